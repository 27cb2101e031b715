package events

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/pattern"
	"github.com/berth-registry/berth/internal/domain/event/rule"
)

// onDefault refuses every bus but the default one of the caller's account and region.
func onDefault(c *aws.Call, busName *string) error {
	if isDefault(c.Registry, busName) {
		return nil
	}
	return errs.New(errs.EventResourceNotFound, "Event bus %s does not exist.", *busName)
}

func (a *API) putRule(ctx context.Context, c *aws.Call, in *PutRuleInput) (*PutRuleOutput, error) {
	if err := onDefault(c, in.EventBusName); err != nil {
		return nil, err
	}
	if text(in.ScheduleExpression) != "" {
		return nil, errs.New(errs.Validation, "Parameter ScheduleExpression is not valid. Reason: Rules do not run on a schedule here. Leave it out and say by EventPattern which events the rule is for.")
	}
	tags, err := tagsWithoutTwins(in.Tags)
	if err != nil {
		return nil, err
	}
	p := rule.Put{
		Home: c.Registry, Name: *in.Name, Pattern: text(in.EventPattern), Description: text(in.Description), RoleARN: text(in.RoleArn), Tags: tags,
	}
	if in.State != nil {
		p.State = rule.State(*in.State)
	}
	made, err := a.Rules.Put(ctx, p)
	if err != nil {
		return nil, err
	}
	return &PutRuleOutput{RuleArn: new(made.ARN().String())}, nil
}

func (a *API) describeRule(ctx context.Context, c *aws.Call, in *DescribeRuleInput) (*DescribeRuleOutput, error) {
	if err := onDefault(c, in.EventBusName); err != nil {
		return nil, err
	}
	r, err := a.Rules.Find(ctx, c.Registry, *in.Name)
	if err != nil {
		return nil, err
	}
	return &DescribeRuleOutput{
		Name: &r.Name, Arn: new(r.ARN().String()), EventPattern: &r.Pattern, State: new(RuleState(r.State)), Description: optional(r.Description),
		RoleArn: optional(r.RoleARN), EventBusName: new(rule.DefaultBus), CreatedBy: new(string(r.Home.Account)),
	}, nil
}

// pageSize is how many entries a page has at most, and has where the call asks for no
// number (API reference, LimitMax100).
const pageSize = 100

// page reads the limit and the token of a listing: the last key of the page before.
func page(operation string, limit *int64, token *string) (after string, size int, err error) {
	size = pageSize
	if limit != nil {
		size = int(*limit)
	}
	if token == nil {
		return "", size, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(*token)
	after, ours := strings.CutPrefix(string(raw), operation+":")
	// Keys are letters, digits and a few signs; what else was made up is no key.
	if err != nil || !ours || after == "" || !patternRuleName.Matches(after) {
		return "", 0, errs.New(errs.InvalidInput, "Parameter NextToken is not valid. Reason: It is not a token of this listing. Begin without one.")
	}
	return after, size, nil
}

func token(operation, last string, more bool) *string {
	if !more {
		return nil
	}
	return new(base64.RawURLEncoding.EncodeToString([]byte(operation + ":" + last)))
}

func (a *API) listRules(ctx context.Context, c *aws.Call, in *ListRulesInput) (*ListRulesOutput, error) {
	if err := onDefault(c, in.EventBusName); err != nil {
		return nil, err
	}
	after, size, err := page("rules", in.Limit, in.NextToken)
	if err != nil {
		return nil, err
	}
	rules, more, err := a.Rules.List(ctx, c.Registry, text(in.NamePrefix), after, size)
	if err != nil {
		return nil, err
	}
	out := &ListRulesOutput{Rules: []Rule{}}
	last := ""
	for _, r := range rules {
		last = r.Name
		out.Rules = append(out.Rules, Rule{
			Name: &r.Name, Arn: new(r.ARN().String()), EventPattern: &r.Pattern, State: new(RuleState(r.State)), Description: optional(r.Description),
			RoleArn: optional(r.RoleARN), EventBusName: new(rule.DefaultBus),
		})
	}
	out.NextToken = token("rules", last, more)
	return out, nil
}

func (a *API) deleteRule(ctx context.Context, c *aws.Call, in *DeleteRuleInput) (*DeleteRuleOutput, error) {
	if err := onDefault(c, in.EventBusName); err != nil {
		return nil, err
	}
	return &DeleteRuleOutput{}, a.Rules.Delete(ctx, c.Registry, *in.Name)
}

func (a *API) enableRule(ctx context.Context, c *aws.Call, in *EnableRuleInput) (*EnableRuleOutput, error) {
	if err := onDefault(c, in.EventBusName); err != nil {
		return nil, err
	}
	return &EnableRuleOutput{}, a.Rules.SetState(ctx, c.Registry, *in.Name, rule.Enabled)
}

func (a *API) disableRule(ctx context.Context, c *aws.Call, in *DisableRuleInput) (*DisableRuleOutput, error) {
	if err := onDefault(c, in.EventBusName); err != nil {
		return nil, err
	}
	return &DisableRuleOutput{}, a.Rules.SetState(ctx, c.Registry, *in.Name, rule.Disabled)
}

func (a *API) testPattern(_ context.Context, _ *aws.Call, in *TestEventPatternInput) (*TestEventPatternOutput, error) {
	p, err := pattern.Parse(*in.EventPattern)
	if err != nil {
		return nil, err
	}
	e, err := pattern.ParseEvent([]byte(*in.Event))
	if err != nil {
		return nil, err
	}
	return &TestEventPatternOutput{Result: new(p.Match(e))}, nil
}

func (a *API) describeBus(_ context.Context, c *aws.Call, in *DescribeEventBusInput) (*DescribeEventBusOutput, error) {
	if err := onDefault(c, in.Name); err != nil {
		return nil, err
	}
	return &DescribeEventBusOutput{Name: new(rule.DefaultBus), Arn: new(rule.BusARN(c.Registry).String())}, nil
}

func (a *API) listBuses(_ context.Context, c *aws.Call, in *ListEventBusesInput) (*ListEventBusesOutput, error) {
	if _, _, err := page("buses", in.Limit, in.NextToken); err != nil {
		return nil, err
	}
	out := &ListEventBusesOutput{EventBuses: []EventBus{}}
	if in.NextToken == nil && strings.HasPrefix(rule.DefaultBus, text(in.NamePrefix)) {
		out.EventBuses = append(out.EventBuses, EventBus{Name: new(rule.DefaultBus), Arn: new(rule.BusARN(c.Registry).String())})
	}
	return out, nil
}

func (a *API) tagResource(ctx context.Context, c *aws.Call, in *TagResourceInput) (*TagResourceOutput, error) {
	tags, err := tagsWithoutTwins(in.Tags)
	if err != nil {
		return nil, err
	}
	return &TagResourceOutput{}, a.Rules.Tag(ctx, c.Registry, *in.ResourceARN, tags)
}

func (a *API) untagResource(ctx context.Context, c *aws.Call, in *UntagResourceInput) (*UntagResourceOutput, error) {
	return &UntagResourceOutput{}, a.Rules.Untag(ctx, c.Registry, *in.ResourceARN, in.TagKeys)
}

func (a *API) listTags(ctx context.Context, c *aws.Call, in *ListTagsForResourceInput) (*ListTagsForResourceOutput, error) {
	tags, err := a.Rules.Tags(ctx, c.Registry, *in.ResourceARN)
	if err != nil {
		return nil, err
	}
	out := &ListTagsForResourceOutput{Tags: []Tag{}}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out.Tags = append(out.Tags, Tag{Key: new(k), Value: new(tags[k])})
	}
	return out, nil
}

func tagsOf(in []Tag) map[string]string {
	tags := map[string]string{}
	for _, t := range in {
		tags[*t.Key] = *t.Value
	}
	return tags
}

// tagsWithoutTwins refuses a key that a call has twice.
func tagsWithoutTwins(in []Tag) (map[string]string, error) {
	tags := tagsOf(in)
	if len(tags) != len(in) {
		return nil, errs.New(errs.Validation, "Parameter Tags is not valid. Reason: A key must not occur twice.")
	}
	return tags, nil
}

// text is an optional member; "" where it is absent.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// optional leaves an empty member out.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
