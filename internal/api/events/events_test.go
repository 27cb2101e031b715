package events_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/berth-registry/berth/internal/api/events"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// The table can be described without anything behind it.
func TestServiceWithoutConfig(t *testing.T) {
	s := events.New(events.Config{}).Service()
	var built []string
	for _, op := range s.Operations {
		built = append(built, op.Name)
	}
	want := []string{
		"PutRule", "DescribeRule", "ListRules", "DeleteRule", "EnableRule", "DisableRule", "PutTargets", "ListTargetsByRule", "RemoveTargets", "TestEventPattern",
		"ListRuleNamesByTarget", "TagResource", "UntagResource", "ListTagsForResource", "DescribeEventBus", "ListEventBuses",
	}
	if !slices.Equal(built, want) {
		t.Error(built)
	}
	for note := range s.Notes {
		if !slices.Contains(built, note) {
			t.Errorf("a note on %s, which is not built", note)
		}
	}
	for code := errs.Internal; code <= errs.Unavailable; code++ {
		if named, status := s.Errors(code); named == "" || status < 400 {
			t.Errorf("code %d: %q %d", code, named, status)
		}
	}
}

func TestRules(t *testing.T) {
	w := newWorld(t)
	ctx, root := t.Context(), w.root(account)
	const arn = "arn:aws:events:eu-test-1:111111111111:rule/pushes"
	put, err := root.PutRule(ctx, &eventbridge.PutRuleInput{
		Name: new("pushes"), EventPattern: new(pushes), Description: new("of images"), RoleArn: new("arn:aws:iam::111111111111:role/r"), EventBusName: new("default"),
		Tags: []types.Tag{{Key: new("team"), Value: new("blue")}},
	})
	w.must(err)
	if text(put.RuleArn) != arn {
		t.Error(text(put.RuleArn))
	}
	if e := w.last("PutRule"); e.EventSource != "events.amazonaws.com" || e.ReadOnly || !slices.Equal(e.Resources, []string{arn, "arn:aws:iam::111111111111:role/r"}) || !strings.Contains(string(e.RequestParameters), `"EventPattern":"{\"source\"`) || string(e.ResponseElements) != `{"RuleArn":"`+arn+`"}` {
		t.Errorf("%+v %s %s", e, e.RequestParameters, e.ResponseElements)
	}
	described, err := root.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: new("pushes"), EventBusName: new("arn:aws:events:eu-test-1:111111111111:event-bus/default")})
	w.must(err)
	described.ResultMetadata = put.ResultMetadata
	want := &eventbridge.DescribeRuleOutput{
		Name: new("pushes"), Arn: new(arn), EventPattern: new(pushes), State: types.RuleStateEnabled, Description: new("of images"),
		RoleArn: new("arn:aws:iam::111111111111:role/r"), EventBusName: new("default"), CreatedBy: new("111111111111"), ResultMetadata: put.ResultMetadata,
	}
	if !reflect.DeepEqual(described, want) {
		t.Errorf("%+v", described)
	}
	_, err = root.DisableRule(ctx, &eventbridge.DisableRuleInput{Name: new("pushes")})
	w.must(err)
	for _, n := range []string{"a", "b", "pulls"} {
		_, err = root.PutRule(ctx, &eventbridge.PutRuleInput{Name: new(n), EventPattern: new(pushes), State: types.RuleStateEnabledWithAllCloudtrailManagementEvents})
		w.must(err)
	}
	var got []string
	var next *string
	for range 10 {
		page, err := root.ListRules(ctx, &eventbridge.ListRulesInput{Limit: new(int32(3)), NextToken: next})
		w.must(err)
		for _, r := range page.Rules {
			got = append(got, text(r.Name)+" "+string(r.State)+" "+text(r.EventBusName))
		}
		if next = page.NextToken; next == nil {
			break
		}
	}
	const all = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS default"
	if !slices.Equal(got, []string{"a " + all, "b " + all, "pulls " + all, "pushes DISABLED default"}) {
		t.Error(got)
	}
	page, err := root.ListRules(ctx, &eventbridge.ListRulesInput{NamePrefix: new("pu")})
	w.must(err)
	if len(page.Rules) != 2 || text(page.Rules[1].Arn) != arn || text(page.Rules[1].EventPattern) != pushes || page.NextToken != nil {
		t.Errorf("%+v", page.Rules)
	}
	_, err = root.EnableRule(ctx, &eventbridge.EnableRuleInput{Name: new("pushes")})
	w.must(err)
	if r, err := root.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: new("pushes")}); err != nil || r.State != types.RuleStateEnabled {
		t.Error(r, err)
	}

	tags := func(want ...string) {
		t.Helper()
		out, err := root.ListTagsForResource(ctx, &eventbridge.ListTagsForResourceInput{ResourceARN: new(arn)})
		w.must(err)
		var got []string
		for _, one := range out.Tags {
			got = append(got, text(one.Key)+"="+text(one.Value))
		}
		if !slices.Equal(got, want) {
			t.Errorf("tags %v, want %v", got, want)
		}
	}
	tags("team=blue")
	_, err = root.TagResource(ctx, &eventbridge.TagResourceInput{ResourceARN: new(arn), Tags: []types.Tag{{Key: new("a"), Value: new("")}, {Key: new("team"), Value: new("red")}}})
	w.must(err)
	tags("a=", "team=red")
	_, err = root.UntagResource(ctx, &eventbridge.UntagResourceInput{ResourceARN: new(arn), TagKeys: []string{"team", "none"}})
	w.must(err)
	tags("a=")

	for range 2 { // as AWS does, a rule that is not there is deleted well
		_, err = root.DeleteRule(ctx, &eventbridge.DeleteRuleInput{Name: new("pushes")})
		w.must(err)
	}
	_, err = root.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: new("pushes")})
	w.refused("deleted", err, "ResourceNotFoundException", "Rule pushes does not exist on EventBus default.")
	_, err = root.EnableRule(ctx, &eventbridge.EnableRuleInput{Name: new("pushes")})
	w.refused("deleted", err, "ResourceNotFoundException", "Rule pushes does not exist on EventBus default.")
	_, err = root.ListTagsForResource(ctx, &eventbridge.ListTagsForResourceInput{ResourceARN: new(arn)})
	w.refused("deleted", err, "ResourceNotFoundException", "Rule pushes does not exist on EventBus default.")
}

func TestTargets(t *testing.T) {
	w := newWorld(t)
	ctx, root := t.Context(), w.root(account)
	_, err := root.PutRule(ctx, &eventbridge.PutRuleInput{Name: new("r"), EventPattern: new(pushes)})
	w.must(err)
	targets := []types.Target{
		{Id: new("1"), Arn: new(queue), SqsParameters: &types.SqsParameters{MessageGroupId: new("g")}, InputPath: new("$.detail"), RoleArn: new("arn:aws:iam::111111111111:role/r")},
		{
			Id: new("2"), Arn: new(hook), InputTransformer: &types.InputTransformer{InputPathsMap: map[string]string{"tag": "$.detail.image-tag"}, InputTemplate: new(`{"pushed": <tag>}`)},
			HttpParameters: &types.HttpParameters{HeaderParameters: map[string]string{"X-Team": "blue"}, QueryStringParameters: map[string]string{"q": "1"}, PathParameterValues: []string{"a"}},
			RetryPolicy:    &types.RetryPolicy{MaximumRetryAttempts: new(int32(0)), MaximumEventAgeInSeconds: new(int32(60))}, DeadLetterConfig: &types.DeadLetterConfig{Arn: new(queue)},
		},
		{Id: new("3"), Arn: new(queue), Input: new(`{"a":1}`)},
	}
	refused := []types.Target{
		{Id: new("ecs"), Arn: new("arn:aws:ecs:eu-test-1:111111111111:cluster/c"), EcsParameters: &types.EcsParameters{TaskDefinitionArn: new("arn:aws:ecs:eu-test-1:111111111111:task-definition/t")}},
		{Id: new("sqs"), Arn: new(hook), SqsParameters: &types.SqsParameters{MessageGroupId: new("g")}},
		{Id: new("http"), Arn: new(queue), HttpParameters: &types.HttpParameters{PathParameterValues: []string{"a"}}},
		{Id: new("unknown"), Arn: new("arn:aws:lambda:eu-test-1:111111111111:function:f")},
	}
	put, err := root.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: new("r"), Targets: slices.Concat(targets, refused)})
	w.must(err)
	for i, want := range []struct{ id, code, message string }{
		{"ecs", "ValidationException", "Parameter(s) EcsParameters not valid for target ecs: targets of this kind are not served here."},
		{"sqs", "ValidationException", "Parameter(s) SqsParameters not valid for target sqs"},
		{"http", "ValidationException", "Parameter(s) HttpParameters not valid for target http"},
		{"unknown", "ResourceNotFoundException", "No destination of the account in the region has the ARN arn:aws:lambda:eu-test-1:111111111111:function:f. An administrator makes one with `berth events destination create`"},
	} {
		if i >= len(put.FailedEntries) || int(put.FailedEntryCount) != len(put.FailedEntries) || text(put.FailedEntries[i].TargetId) != want.id ||
			text(put.FailedEntries[i].ErrorCode) != want.code || !strings.HasPrefix(text(put.FailedEntries[i].ErrorMessage), want.message) {
			t.Errorf("%d: %+v", i, put)
		}
	}
	list := func(want ...types.Target) {
		t.Helper()
		var got []types.Target
		var next *string
		for range 10 {
			page, err := root.ListTargetsByRule(ctx, &eventbridge.ListTargetsByRuleInput{Rule: new("r"), Limit: new(int32(2)), NextToken: next})
			w.must(err)
			got = append(got, page.Targets...)
			if next = page.NextToken; next == nil {
				break
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v", got)
		}
	}
	list(targets...)
	names, err := root.ListRuleNamesByTarget(ctx, &eventbridge.ListRuleNamesByTargetInput{TargetArn: new(queue)})
	w.must(err)
	if !slices.Equal(names.RuleNames, []string{"r"}) {
		t.Error(names.RuleNames)
	}
	_, err = root.DeleteRule(ctx, &eventbridge.DeleteRuleInput{Name: new("r")})
	w.refused("with targets", err, "ValidationException", "Rule can't be deleted since it has targets.")
	_, err = root.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: new("r"), Targets: []types.Target{{Id: new("4"), Arn: new(queue)}, {Id: new("5"), Arn: new(queue)}, {Id: new("6"), Arn: new(queue)}}})
	w.refused("six", err, "LimitExceededException", "The requested resource exceeds the maximum number allowed. A rule can have 5 targets")
	gone, err := root.RemoveTargets(ctx, &eventbridge.RemoveTargetsInput{Rule: new("r"), Ids: []string{"1", "3", "none"}, Force: true})
	w.must(err)
	if gone.FailedEntryCount != 1 || len(gone.FailedEntries) != 1 || text(gone.FailedEntries[0].TargetId) != "none" || text(gone.FailedEntries[0].ErrorCode) != "ResourceNotFoundException" {
		t.Errorf("%+v", gone)
	}
	list(targets[1])

	bad := func(what string, target types.Target, message string) {
		t.Helper()
		_, err := root.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: new("r"), Targets: []types.Target{target}})
		w.refused(what, err, "ValidationException", message)
	}
	bad("no ARN", types.Target{Id: new("x"), Arn: new("queue")}, "Parameter queue is not valid. Reason: Provided Arn is not in correct format.")
	bad("two inputs", types.Target{Id: new("x"), Arn: new(queue), Input: new("1"), InputPath: new("$")}, "Only one of Input, InputPath, or InputTransformer must be provided for target x.")
	bad("no JSON", types.Target{Id: new("x"), Arn: new(queue), Input: new("{")}, "JSON syntax error in input for target x.")
	bad("no role", types.Target{Id: new("x"), Arn: new(queue), RoleArn: new("r")}, "Parameter RoleArn is not valid.")
	bad("attempts", types.Target{Id: new("x"), Arn: new(queue), RetryPolicy: &types.RetryPolicy{MaximumRetryAttempts: new(int32(186))}},
		"1 validation error detected: Value '186' at 'targets.1.member.retryPolicy.maximumRetryAttempts' failed to satisfy constraint: Member must have value less than or equal to 185")
	bad("age", types.Target{Id: new("x"), Arn: new(queue), RetryPolicy: &types.RetryPolicy{MaximumEventAgeInSeconds: new(int32(59))}}, "1 validation error detected: Value '59' at 'targets.1.member.retryPolicy.maximumEventAgeInSeconds'")
	bad("a name of a header", types.Target{Id: new("x"), Arn: new(hook), HttpParameters: &types.HttpParameters{HeaderParameters: map[string]string{"a b": "c"}}},
		"1 validation error detected: Value 'a b' at 'targets.1.member.httpParameters.headerParameters' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy regular expression pattern:")
	_, err = root.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: new("none"), Targets: refused[:1]})
	w.refused("of no rule", err, "ResourceNotFoundException", "Rule none does not exist on EventBus default.")
	_, err = root.ListTargetsByRule(ctx, &eventbridge.ListTargetsByRuleInput{Rule: new("none")})
	w.refused("of no rule", err, "ResourceNotFoundException", "Rule none does not exist on EventBus default.")
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	ctx, root := t.Context(), w.root(account)
	put := func(what string, in eventbridge.PutRuleInput, code, message string) {
		t.Helper()
		_, err := root.PutRule(ctx, &in)
		w.refused(what, err, code, message)
	}
	put("a schedule", eventbridge.PutRuleInput{Name: new("r"), ScheduleExpression: new("rate(5 minutes)")}, "ValidationException", "Parameter ScheduleExpression is not valid. Reason: Rules do not run on a schedule here.")
	put("nothing", eventbridge.PutRuleInput{Name: new("r")}, "ValidationException", "Parameter(s) EventPattern or ScheduleExpression must be specified.")
	put("a pattern", eventbridge.PutRuleInput{Name: new("r"), EventPattern: new(`{"source":[{"none":1}]}`)}, "InvalidEventPatternException", "Event pattern is not valid. Reason: ")
	put("a name", eventbridge.PutRuleInput{Name: new("a b"), EventPattern: new(pushes)}, "ValidationException",
		`1 validation error detected: Value 'a b' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [\.\-_A-Za-z0-9]+`)
	put("a state", eventbridge.PutRuleInput{Name: new("r"), EventPattern: new(pushes), State: "ON"}, "ValidationException", "1 validation error detected: Value 'ON' at 'state'")
	put("twin tags", eventbridge.PutRuleInput{Name: new("r"), EventPattern: new(pushes), Tags: []types.Tag{{Key: new("a"), Value: new("")}, {Key: new("a"), Value: new("")}}}, "ValidationException", "Parameter Tags is not valid.")
	for _, bus := range []string{"mine", "arn:aws:events:eu-test-1:222222222222:event-bus/default", "arn:aws:events:us-east-1:111111111111:event-bus/default"} {
		message := "Event bus " + bus + " does not exist."
		put("a bus", eventbridge.PutRuleInput{Name: new("r"), EventPattern: new(pushes), EventBusName: &bus}, "ResourceNotFoundException", message)
		for what, call := range map[string]func() error{
			"DescribeRule": func() error {
				_, err := root.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: new("r"), EventBusName: &bus})
				return err
			},
			"ListRules": func() error {
				_, err := root.ListRules(ctx, &eventbridge.ListRulesInput{EventBusName: &bus})
				return err
			},
			"DeleteRule": func() error {
				_, err := root.DeleteRule(ctx, &eventbridge.DeleteRuleInput{Name: new("r"), EventBusName: &bus})
				return err
			},
			"EnableRule": func() error {
				_, err := root.EnableRule(ctx, &eventbridge.EnableRuleInput{Name: new("r"), EventBusName: &bus})
				return err
			},
			"DisableRule": func() error {
				_, err := root.DisableRule(ctx, &eventbridge.DisableRuleInput{Name: new("r"), EventBusName: &bus})
				return err
			},
			"PutTargets": func() error {
				_, err := root.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: new("r"), EventBusName: &bus, Targets: []types.Target{{Id: new("1"), Arn: new(queue)}}})
				return err
			},
			"ListTargetsByRule": func() error {
				_, err := root.ListTargetsByRule(ctx, &eventbridge.ListTargetsByRuleInput{Rule: new("r"), EventBusName: &bus})
				return err
			},
			"RemoveTargets": func() error {
				_, err := root.RemoveTargets(ctx, &eventbridge.RemoveTargetsInput{Rule: new("r"), EventBusName: &bus, Ids: []string{"1"}})
				return err
			},
			"ListRuleNamesByTarget": func() error {
				_, err := root.ListRuleNamesByTarget(ctx, &eventbridge.ListRuleNamesByTargetInput{TargetArn: new(queue), EventBusName: &bus})
				return err
			},
			"DescribeEventBus": func() error {
				_, err := root.DescribeEventBus(ctx, &eventbridge.DescribeEventBusInput{Name: &bus})
				return err
			},
		} {
			w.refused(what, call(), "ResourceNotFoundException", message)
		}
	}
	for _, bad := range []string{"x", "***", "cnVsZXM6", "dGFyZ2V0czph", "cnVsZXM6YSBi"} { // not ours, no base64, no name, another listing's, no name
		_, err := root.ListRules(ctx, &eventbridge.ListRulesInput{NextToken: &bad})
		w.refused(bad, err, "ValidationException", "Parameter NextToken is not valid.")
		_, err = root.ListEventBuses(ctx, &eventbridge.ListEventBusesInput{NextToken: &bad})
		w.refused(bad, err, "ValidationException", "Parameter NextToken is not valid.")
	}
	_, err := root.ListRules(ctx, &eventbridge.ListRulesInput{Limit: new(int32(101))})
	w.refused("a limit", err, "ValidationException", "1 validation error detected: Value '101' at 'limit'")
	_, err = root.TagResource(ctx, &eventbridge.TagResourceInput{ResourceARN: new("r"), Tags: []types.Tag{}})
	w.refused("no ARN", err, "ValidationException", "Parameter ResourceARN is not valid.")
	_, err = root.CreateEventBus(ctx, &eventbridge.CreateEventBusInput{Name: new("mine")})
	w.refused("not built", err, "UnknownOperationException", "")
}

func TestBuses(t *testing.T) {
	w := newWorld(t)
	ctx, root := t.Context(), w.root(account)
	const arn = "arn:aws:events:eu-test-1:111111111111:event-bus/default"
	for _, in := range []*string{nil, new("default"), new(arn)} {
		bus, err := root.DescribeEventBus(ctx, &eventbridge.DescribeEventBusInput{Name: in})
		w.must(err)
		if text(bus.Name) != "default" || text(bus.Arn) != arn || bus.Policy != nil {
			t.Errorf("%+v", bus)
		}
	}
	for prefix, want := range map[string]int{"": 1, "def": 1, "x": 0} {
		in := eventbridge.ListEventBusesInput{}
		if prefix != "" {
			in.NamePrefix = &prefix
		}
		buses, err := root.ListEventBuses(ctx, &in)
		w.must(err)
		if len(buses.EventBuses) != want || want == 1 && text(buses.EventBuses[0].Arn) != arn {
			t.Errorf("%q: %+v", prefix, buses.EventBuses)
		}
	}
	_, err := root.TagResource(ctx, &eventbridge.TagResourceInput{ResourceARN: new(arn), Tags: []types.Tag{{Key: new("a"), Value: new("b")}}})
	w.must(err)
	if tags, err := root.ListTagsForResource(ctx, &eventbridge.ListTagsForResourceInput{ResourceARN: new(arn)}); err != nil || len(tags.Tags) != 1 {
		t.Error(tags, err)
	}
}

func TestPatterns(t *testing.T) {
	w := newWorld(t)
	ctx, root := t.Context(), w.root(account)
	const event = `{"version":"0","id":"1","detail-type":"ECR Image Action","source":"aws.ecr","account":"111111111111","time":"2026-01-02T03:04:05Z","region":"us-east-1","resources":[],"detail":{"action-type":"PUSH","image-tag":"v1.2"}}`
	for pattern, want := range map[string]bool{
		pushes: true, `{"detail":{"image-tag":[{"prefix":"v1."}]}}`: true, `{"detail":{"image-tag":[{"anything-but":["v1.2"]}]}}`: false,
	} {
		out, err := root.TestEventPattern(ctx, &eventbridge.TestEventPatternInput{EventPattern: &pattern, Event: new(event)})
		if err != nil || out.Result != want {
			t.Errorf("%s: %+v %v", pattern, out, err)
		}
	}

	// The matcher's own corpus, as a client sees it.
	raw, err := os.ReadFile("../../domain/event/pattern/testdata/cases.json")
	w.must(err)
	var corpus struct {
		Base  map[string]any
		Cases []struct {
			Name, Pattern string
			Event         map[string]json.RawMessage // numbers stay as they are written
			Match         bool
		}
		Invalid []struct{ Name, Pattern string }
	}
	w.must(json.Unmarshal(raw, &corpus))
	if len(corpus.Cases) == 0 || len(corpus.Invalid) == 0 {
		t.Fatal("the corpus is empty")
	}
	for _, one := range corpus.Cases {
		whole := maps.Clone(corpus.Base)
		for k, v := range one.Event {
			whole[k] = v
		}
		text, err := json.Marshal(whole)
		w.must(err)
		out, err := root.TestEventPattern(ctx, &eventbridge.TestEventPatternInput{EventPattern: &one.Pattern, Event: new(string(text))})
		if err != nil || out.Result != one.Match {
			t.Errorf("%s: %+v %v", one.Name, out, err)
		}
	}
	for _, one := range corpus.Invalid {
		_, err := root.TestEventPattern(ctx, &eventbridge.TestEventPatternInput{EventPattern: &one.Pattern, Event: new(event)})
		if len(one.Pattern) > 4096 { // the service model is asked first
			w.refused(one.Name, err, "ValidationException", "1 validation error detected: Value '")
			continue
		}
		w.refused(one.Name, err, "InvalidEventPatternException", "Event pattern is not valid. Reason: ")
	}
	_, err = root.TestEventPattern(ctx, &eventbridge.TestEventPatternInput{EventPattern: new(`{}`), Event: new(event)})
	w.refused("an empty pattern", err, "InvalidEventPatternException", "Event pattern is not valid.")
	for _, bad := range []string{"{", "[]", `{"source":"aws.ecr"}`} {
		_, err = root.TestEventPattern(ctx, &eventbridge.TestEventPatternInput{EventPattern: new(pushes), Event: &bad})
		w.refused(bad, err, "ValidationException", "Parameter Event is not valid.")
	}
}

func TestPermissions(t *testing.T) {
	w := newWorld(t)
	ctx, root := t.Context(), w.root(account)
	put := func(c *eventbridge.Client, ruleName, pattern string, tags ...types.Tag) error {
		_, err := c.PutRule(ctx, &eventbridge.PutRuleInput{Name: &ruleName, EventPattern: &pattern, Tags: tags})
		return err
	}
	w.must(put(root, "mine", pushes, types.Tag{Key: new("team"), Value: new("blue")}))
	w.must(put(root, "other", pushes, types.Tag{Key: new("team"), Value: new("red")}))
	const denied = "User: arn:aws:iam::111111111111:user/"

	// One rule by its ARN, and rules by their tags.
	one := w.user("one", `{"Effect":"Allow","Action":["events:PutRule","events:DescribeRule"],"Resource":"arn:aws:events:eu-test-1:111111111111:rule/mine"}`)
	w.must(put(one, "mine", pushes))
	w.refused("another rule", put(one, "other", pushes), "AccessDeniedException", denied+"one is not authorized to perform: events:PutRule on resource: arn:aws:events:eu-test-1:111111111111:rule/other")
	w.refused("tags", put(one, "mine", pushes, types.Tag{Key: new("a"), Value: new("")}), "AccessDeniedException", denied+"one is not authorized to perform: events:TagResource")
	_, err := one.ListRules(ctx, &eventbridge.ListRulesInput{})
	w.refused("list", err, "AccessDeniedException", denied+"one is not authorized to perform: events:ListRules on resource: arn:aws:events:eu-test-1:111111111111:rule/*")
	_, err = one.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: new("mine"), EventBusName: new("mine")})
	w.refused("another bus", err, "AccessDeniedException", denied+"one is not authorized to perform: events:DescribeRule on resource: arn:aws:events:eu-test-1:111111111111:rule/mine/mine")
	_, err = one.ListEventBuses(ctx, &eventbridge.ListEventBusesInput{})
	w.refused("buses", err, "AccessDeniedException", denied+"one is not authorized to perform: events:ListEventBuses on resource: arn:aws:events:eu-test-1:111111111111:event-bus/*")
	blue := w.user("blue", `{"Effect":"Allow","Action":"events:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"blue","events:creatorAccount":"111111111111"}}}`)
	_, err = blue.DisableRule(ctx, &eventbridge.DisableRuleInput{Name: new("mine")})
	w.must(err)
	for _, n := range []string{"other", "none"} {
		_, err = blue.DisableRule(ctx, &eventbridge.DisableRuleInput{Name: &n})
		w.refused(n, err, "AccessDeniedException", denied+"blue")
	}
	_, err = blue.UntagResource(ctx, &eventbridge.UntagResourceInput{ResourceARN: new("arn:aws:events:eu-test-1:111111111111:rule/other"), TagKeys: []string{"team"}})
	w.refused("tags of another", err, "AccessDeniedException", denied+"blue")

	// Patterns by what they are for, and targets by their ARNs.
	ecr := w.user("ecr", `{"Effect":"Allow","Action":"events:PutRule","Resource":"*","Condition":{"ForAllValues:StringEquals":{"events:source":"aws.ecr"},"Null":{"events:source":"false"}}},
		{"Effect":"Allow","Action":"events:PutTargets","Resource":"*","Condition":{"ForAllValues:ArnEquals":{"events:TargetArn":"`+queue+`"}}}`)
	for pattern, ok := range map[string]bool{
		pushes:                                                                       true,
		`{"source":["aws.ecr","aws.ecr"]}`:                                           true,
		`{"source":["aws.ecr","aws.s3"]}`:                                            false,
		`{"source":[{"prefix":"aws.ecr"}]}`:                                          false,
		`{"detail-type":["ECR Image Action"]}`:                                       false,
		`{"$or":[{"source":["aws.ecr"]},{"source":["aws.s3"]}]}`:                     false,
		`{"$or":[{"source":["aws.ecr"]},{"detail-type":["x"]}]}`:                     false,
		`{"source":["aws.ecr"],"$or":[{"detail-type":["y"]},{"detail-type":["x"]}]}`: true,
	} {
		switch err := put(ecr, "r", pattern); {
		case ok:
			w.must(err)
		default:
			w.refused(pattern, err, "AccessDeniedException", denied+"ecr")
		}
	}
	targets := func(arns ...string) error {
		in := &eventbridge.PutTargetsInput{Rule: new("r")}
		for i, arn := range arns {
			in.Targets = append(in.Targets, types.Target{Id: new(strconv.Itoa(i)), Arn: &arn})
		}
		_, err := ecr.PutTargets(ctx, in)
		return err
	}
	w.must(targets(queue))
	w.refused("another target", targets(queue, hook), "AccessDeniedException", denied+"ecr")
	_, err = ecr.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: new("r"), Targets: []types.Target{{Id: new("1"), Arn: new(queue), RoleArn: new("arn:aws:iam::111111111111:role/admin")}}})
	w.refused("a role", err, "AccessDeniedException", denied+"ecr is not authorized to perform: iam:PassRole on resource: arn:aws:iam::111111111111:role/admin")

	// Detail by its path, however the pattern writes it.
	health := w.user("health", `{"Effect":"Allow","Action":"events:PutRule","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"events:detail.service":"EC2"}}}`)
	for _, pattern := range []string{`{"detail":{"service":["EC2"]}}`, `{"detail.service":["EC2"]}`} {
		w.must(put(health, "h", pattern))
	}
	w.refused("another service", put(health, "h", `{"detail":{"service":["S3"]}}`), "AccessDeniedException", denied+"health")

	// Strangers have their own rules, and none of these.
	stranger := w.root(other)
	_, err = stranger.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: new("mine")})
	w.refused("a stranger's", err, "ResourceNotFoundException", "Rule mine does not exist on EventBus default.")
	_, err = stranger.ListTagsForResource(ctx, &eventbridge.ListTagsForResourceInput{ResourceARN: new("arn:aws:events:eu-test-1:111111111111:rule/mine")})
	w.refused("a stranger's", err, "AccessDeniedException", "User: arn:aws:iam::222222222222:root")
}

// What is answered where there is nothing, to the byte.
func TestAnswers(t *testing.T) {
	w := newWorld(t)
	id, secretKey := principal.NewAccessKeyPair(principal.PrefixAccessKey, account)
	w.must(w.principals.PutRootKey(t.Context(), account, id, secretKey))
	for _, c := range []struct{ op, in, want string }{
		{"ListRules", `{}`, `{"Rules":[]}`},
		{"PutRule", `{"Name":"r","EventPattern":"{\"source\":[\"aws.ecr\"]}"}`, `{"RuleArn":"arn:aws:events:eu-test-1:111111111111:rule/r"}`},
		{"ListTargetsByRule", `{"Rule":"r"}`, `{"Targets":[]}`},
		{"PutTargets", `{"Rule":"r","Targets":[{"Id":"1","Arn":"` + queue + `"}]}`, `{"FailedEntryCount":0,"FailedEntries":[]}`},
		{"RemoveTargets", `{"Rule":"r","Ids":["1"]}`, `{"FailedEntryCount":0,"FailedEntries":[]}`},
		{"ListRuleNamesByTarget", `{"TargetArn":"` + queue + `"}`, `{"RuleNames":[]}`},
		{"ListTagsForResource", `{"ResourceARN":"arn:aws:events:eu-test-1:111111111111:rule/r"}`, `{"Tags":[]}`},
		{"DescribeRule", `{"Name":"r"}`, `{"Name":"r","Arn":"arn:aws:events:eu-test-1:111111111111:rule/r","EventPattern":"{\"source\":[\"aws.ecr\"]}","State":"ENABLED","EventBusName":"default","CreatedBy":"111111111111"}`},
		{"DeleteRule", `{"Name":"r"}`, `{}`},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url, strings.NewReader(c.in))
		w.must(err)
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", "AWSEvents."+c.op)
		sum := sha256.Sum256([]byte(c.in))
		w.must(v4.NewSigner().SignHTTP(t.Context(), sdk.Credentials{AccessKeyID: id, SecretAccessKey: secretKey}, r, hex.EncodeToString(sum[:]), "events", string(region), time.Now()))
		resp, err := http.DefaultClient.Do(r)
		w.must(err)
		body, err := io.ReadAll(resp.Body)
		w.must(err)
		w.must(resp.Body.Close())
		if !json.Valid(body) || string(bytes.TrimSpace(body)) != c.want || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", c.op, resp.StatusCode, body)
		}
	}
}
