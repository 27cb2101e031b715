package events

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/rule"
	"github.com/berth-registry/berth/internal/domain/name"
)

// The actions, their resources and their condition keys are those of the service
// authorization reference, "Amazon EventBridge".

func (a *API) putRuleNeeds(c *aws.Call, in *PutRuleInput) ([]authz.Need, error) {
	needs, err := a.onRule(c, "events:PutRule", *in.Name, in.EventBusName)
	if err != nil {
		return nil, err
	}
	given := authz.TagContext(tagsOf(in.Tags))
	maps.Copy(needs[0].Context, given)
	maps.Copy(needs[0].Context, patternKeys(text(in.EventPattern)))
	if len(in.Tags) > 0 {
		needs = append(needs, authz.Need{Action: "events:TagResource", Resource: needs[0].Resource, Context: given})
	}
	return withRole(needs, in.RoleArn)
}

// withRole asks whether the caller may hand a role to the service, as AWS does, so that
// nobody learns habits here that fail there.
func withRole(needs []authz.Need, role *string) ([]authz.Need, error) {
	if role == nil {
		return needs, nil
	}
	arn, err := name.ParseARN(*role)
	if err != nil {
		return nil, errs.New(errs.Validation, "Parameter RoleArn is not valid. Reason: Provided Arn is not in correct format.")
	}
	return append(needs, authz.Need{Action: "iam:PassRole", Resource: arn, Context: map[string][]string{"iam:passedtoservice": {"events.amazonaws.com"}}}), nil
}

func (a *API) describeRuleNeeds(c *aws.Call, in *DescribeRuleInput) ([]authz.Need, error) {
	return a.onRule(c, "events:DescribeRule", *in.Name, in.EventBusName)
}

func (a *API) deleteRuleNeeds(c *aws.Call, in *DeleteRuleInput) ([]authz.Need, error) {
	return a.onRule(c, "events:DeleteRule", *in.Name, in.EventBusName)
}

func (a *API) enableRuleNeeds(c *aws.Call, in *EnableRuleInput) ([]authz.Need, error) {
	return a.onRule(c, "events:EnableRule", *in.Name, in.EventBusName)
}

func (a *API) disableRuleNeeds(c *aws.Call, in *DisableRuleInput) ([]authz.Need, error) {
	return a.onRule(c, "events:DisableRule", *in.Name, in.EventBusName)
}

func (a *API) putTargetsNeeds(c *aws.Call, in *PutTargetsInput) ([]authz.Need, error) {
	needs, err := a.onRule(c, "events:PutTargets", *in.Rule, in.EventBusName)
	if err != nil {
		return nil, err
	}
	roles := map[string]bool{}
	for _, t := range in.Targets {
		needs[0].Context["events:targetarn"] = append(needs[0].Context["events:targetarn"], *t.Arn)
		if t.RoleArn != nil {
			roles[*t.RoleArn] = true
		}
	}
	for _, r := range slices.Sorted(maps.Keys(roles)) {
		if needs, err = withRole(needs, &r); err != nil {
			return nil, err
		}
	}
	return needs, nil
}

func (a *API) listTargetsNeeds(c *aws.Call, in *ListTargetsByRuleInput) ([]authz.Need, error) {
	return a.onRule(c, "events:ListTargetsByRule", *in.Rule, in.EventBusName)
}

func (a *API) removeTargetsNeeds(c *aws.Call, in *RemoveTargetsInput) ([]authz.Need, error) {
	return a.onRule(c, "events:RemoveTargets", *in.Rule, in.EventBusName)
}

func testPatternNeeds(*aws.Call, *TestEventPatternInput) ([]authz.Need, error) {
	return []authz.Need{{Action: "events:TestEventPattern"}}, nil
}

func listRulesNeeds(c *aws.Call, in *ListRulesInput) ([]authz.Need, error) {
	return []authz.Need{{Action: "events:ListRules", Resource: ruleARN(c.Registry, "*", in.EventBusName)}}, nil
}

func namesByTargetNeeds(c *aws.Call, in *ListRuleNamesByTargetInput) ([]authz.Need, error) {
	return []authz.Need{{Action: "events:ListRuleNamesByTarget", Resource: ruleARN(c.Registry, "*", in.EventBusName)}}, nil
}

func describeBusNeeds(c *aws.Call, in *DescribeEventBusInput) ([]authz.Need, error) {
	return []authz.Need{{Action: "events:DescribeEventBus", Resource: busARN(c.Registry, in.Name)}}, nil
}

func listBusesNeeds(c *aws.Call, _ *ListEventBusesInput) ([]authz.Need, error) {
	return []authz.Need{{Action: "events:ListEventBuses", Resource: busARN(c.Registry, new("*"))}}, nil
}

func (a *API) tagNeeds(c *aws.Call, in *TagResourceInput) ([]authz.Need, error) {
	return a.onResource(c, "events:TagResource", *in.ResourceARN, authz.TagContext(tagsOf(in.Tags)))
}

func (a *API) untagNeeds(c *aws.Call, in *UntagResourceInput) ([]authz.Need, error) {
	return a.onResource(c, "events:UntagResource", *in.ResourceARN, map[string][]string{"aws:tagkeys": in.TagKeys})
}

func (a *API) listTagsNeeds(c *aws.Call, in *ListTagsForResourceInput) ([]authz.Need, error) {
	return a.onResource(c, "events:ListTagsForResource", *in.ResourceARN, nil)
}

// onRule asks for an action on a rule. One that is not there is asked for as well, so
// that strangers do not learn which there are.
func (a *API) onRule(c *aws.Call, action, ruleName string, busName *string) ([]authz.Need, error) {
	keys, err := a.keys(c, ruleARN(c.Registry, ruleName, busName), nil)
	if err != nil {
		return nil, err
	}
	return []authz.Need{{Action: action, Resource: ruleARN(c.Registry, ruleName, busName), Context: keys}}, nil
}

// onResource asks for an action on what has tags.
func (a *API) onResource(c *aws.Call, action, resource string, keys map[string][]string) ([]authz.Need, error) {
	arn, err := name.ParseARN(resource)
	if err != nil {
		return nil, errs.New(errs.Validation, "Parameter ResourceARN is not valid. Reason: Provided Arn is not in correct format.")
	}
	if keys, err = a.keys(c, arn, keys); err != nil {
		return nil, err
	}
	return []authz.Need{{Action: action, Resource: arn, Context: keys}}, nil
}

// keys adds what is known of a resource that is there: its tags, and for a rule the
// account that has made it, which is the one it belongs to.
func (a *API) keys(c *aws.Call, arn name.ARN, keys map[string][]string) (map[string][]string, error) {
	if keys == nil {
		keys = map[string][]string{}
	}
	tags, err := a.Rules.Tags(context.Background(), c.Registry, arn.String())
	if errs.Is(err, errs.EventResourceNotFound) {
		return keys, nil
	}
	if err != nil {
		return nil, err
	}
	for k, v := range tags {
		keys["aws:resourcetag/"+strings.ToLower(k)] = []string{v}
	}
	if strings.HasPrefix(arn.Resource, "rule/") {
		keys["events:creatoraccount"] = []string{string(c.Registry.Account)}
	}
	return keys, nil
}

// ruleARN is the ARN of a rule, also on a bus that is not there.
func ruleARN(home name.Registry, ruleName string, busName *string) name.ARN {
	if isDefault(home, busName) {
		return rule.ARN(home, ruleName)
	}
	return rule.ARN(home, shortName(*busName)+"/"+ruleName)
}

// busARN is the ARN of a bus, given by its name or ARN.
func busARN(home name.Registry, busName *string) name.ARN {
	arn := rule.BusARN(home)
	if !isDefault(home, busName) {
		arn.Resource = "event-bus/" + shortName(*busName)
	}
	return arn
}

func isDefault(home name.Registry, busName *string) bool {
	return busName == nil || *busName == rule.DefaultBus || *busName == rule.BusARN(home).String()
}

// shortName is a bus's name without the ARN around it.
func shortName(busName string) string {
	if _, after, ok := strings.Cut(busName, ":event-bus/"); ok {
		return after
	}
	return busName
}

// patternKeys are the condition keys that tell what a pattern is for: the values that it
// names of a member. What is no plain text (a prefix, say) stands there as it is written,
// so that a policy that lists the values it allows does not allow it.
func patternKeys(pattern string) map[string][]string {
	keys := map[string][]string{}
	var tree map[string]any
	if json.Unmarshal([]byte(pattern), &tree) != nil {
		return keys // which the operation refuses
	}
	for key, path := range map[string]string{
		"events:source": "source", "events:detail-type": "detail-type", "events:detail.service": "detail.service",
		"events:detail.eventtypecode": "detail.eventTypeCode", "events:detail.useridentity.principalid": "detail.userIdentity.principalId",
	} {
		if values := named(tree, strings.Split(path, ".")); len(values) > 0 {
			keys[key] = values
		}
	}
	return keys
}

// named collects what a pattern says of the member at the path, alternatives included.
// Where one of these says nothing of it, while others do, it is open to everything, and
// stands as "$or".
func named(tree map[string]any, path []string) []string {
	var values []string
	for i := 1; i <= len(path); i++ { // {"a": {"b": …}} and {"a.b": …} are one
		switch at := tree[strings.Join(path[:i], ".")].(type) {
		case []any:
			if i == len(path) {
				for _, one := range at {
					values = append(values, written(one))
				}
			}
		case map[string]any:
			if i < len(path) {
				values = append(values, named(at, path[i:])...)
			}
		}
	}
	alternatives, _ := tree["$or"].([]any) // what is no list is refused by the operation
	var inside []string
	open := false
	for _, one := range alternatives {
		branch, _ := one.(map[string]any)
		of := named(branch, path)
		open = open || len(of) == 0
		inside = append(inside, of...)
	}
	if open && len(inside) > 0 && len(values) == 0 {
		inside = append(inside, "$or")
	}
	return append(values, inside...)
}

func written(one any) string {
	if s, ok := one.(string); ok {
		return s
	}
	b, err := json.Marshal(one)
	if err != nil {
		return "?" // not for what was read from JSON
	}
	return string(b)
}
