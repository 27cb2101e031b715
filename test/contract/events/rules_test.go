package events

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/berth-registry/berth/test/contract/harness"
)

// TestRules: the operations as their users call them with the AWS CLI.
func TestRules(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{})
	one, two := w.destination(t, "file", "one", "--path", "one.jsonl"), w.destination(t, "file", "two", "--path", "team/two.jsonl")
	printed := w.cli(`
exec 2>&1
aws events put-rule --name pushes --description 'all pushes' --tags Key=team,Value=a --event-pattern '{"source": ["aws.ecr"], "detail-type": ["ECR Image Action"], "detail": {"action-type": ["PUSH"]}}'
aws events describe-rule --name pushes
aws events put-targets --rule pushes --targets Id=1,Arn=` + one + ` Id=2,Arn=` + two + `,InputPath=$.detail Id=3,Arn=arn:aws:lambda:us-east-1:000000000000:function:none
aws events list-targets-by-rule --rule pushes
aws events list-rule-names-by-target --target-arn ` + two + `
aws events disable-rule --name pushes
aws events list-rules --name-prefix pu
aws events enable-rule --name pushes
aws events remove-targets --rule pushes --ids 2
aws events delete-rule --name pushes 2>&1 && exit 1
aws events remove-targets --rule pushes --ids 1
aws events delete-rule --name pushes
aws events describe-rule --name pushes && exit 1
aws events put-rule --name nightly --schedule-expression 'rate(1 day)' && exit 1
aws events put-rule --name wrong --event-pattern '{"source": "aws.ecr"}' && exit 1
aws events test-event-pattern --event-pattern '{"detail": {"action-type": ["PUSH"]}}' --event file://` + guideEvent(t, "push") + `
aws events test-event-pattern --event-pattern '{"detail": {"action-type": ["PUSH"]}}' --event file://` + guideEvent(t, "delete") + `
`)
	for _, want := range []string{
		`"RuleArn": "arn:aws:events:us-east-1:000000000000:rule/pushes"`, `"Description": "all pushes"`, `"State": "ENABLED"`, `"State": "DISABLED"`,
		`"FailedEntryCount": 1`, `"TargetId": "3"`, "berth events destination create", `"InputPath": "$.detail"`, "\"RuleNames\": [\n        \"pushes\"\n    ]",
		"(ValidationException) when calling the DeleteRule operation: Rule can't be deleted since it has targets.",
		"(ResourceNotFoundException) when calling the DescribeRule operation: Rule pushes does not exist on EventBus default.",
		"when calling the PutRule operation", "(InvalidEventPatternException)", `"Result": true`, `"Result": false`,
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("it prints no %q", want)
		}
	}
	if t.Failed() {
		t.Log(printed)
	}
	w.refused(t, "no destination three", "events", "destination", "show", "three")
}

// guide are the sample events of "Amazon ECR events and EventBridge" in the user guide.
func guide(t *testing.T) map[string]json.RawMessage {
	t.Helper()
	return decode[map[string]json.RawMessage](t, string(must(os.ReadFile("testdata/guide.json"))(t)))
}

func guideEvent(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "event.json")
	if err := os.WriteFile(path, guide(t)[name], 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPatterns: the guide's events match the patterns that are written for them, and no
// others.
func TestPatterns(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	api := eventbridge.NewFromConfig(s.Config())
	all := guide(t)
	if len(all) != 3 {
		t.Fatalf("%d events", len(all))
	}
	for pattern, want := range map[string][]string{
		`{"source": ["aws.ecr"]}`:                                                                                                 {"delete", "push", "scan"},
		`{"source": ["aws.ecr"], "detail-type": ["ECR Image Action"]}`:                                                            {"delete", "push"},
		`{"detail": {"action-type": ["PUSH"], "result": ["SUCCESS"]}}`:                                                            {"push"},
		`{"detail": {"action-type": [{"anything-but": "PUSH"}]}}`:                                                                 {"delete"},
		`{"detail-type": ["ECR Image Scan"], "detail": {"finding-severity-counts": {"CRITICAL": [{"numeric": [">", 0]}]}}}`:       {"scan"},
		`{"detail": {"finding-severity-counts": {"HIGH": [{"exists": true}]}}}`:                                                   nil,
		`{"detail": {"image-tag": [{"exists": false}]}}`:                                                                          {"scan"},
		`{"resources": [{"suffix": ":repository/my-repo"}]}`:                                                                      {"scan"},
		`{"detail": {"repository-name": [{"wildcard": "my-*"}], "image-tag": [{"equals-ignore-case": "LATEST"}]}}`:                {"delete", "push"},
		`{"$or": [{"detail": {"action-type": ["DELETE"]}}, {"detail": {"scan-status": ["COMPLETE", "FAILED"]}}]}`:                 {"delete", "scan"},
		`{"time": [{"prefix": "2019-10-29"}], "account": ["123456789012"], "region": ["us-east-1"], "detail": {"image-tag": []}}`: nil,
	} {
		var matched []string
		var refused bool
		for name, event := range all {
			out, err := api.TestEventPattern(t.Context(), &eventbridge.TestEventPatternInput{EventPattern: &pattern, Event: aws.String(string(event))})
			if invalid, ok := errors.AsType[*types.InvalidEventPatternException](err); ok && strings.Contains(pattern, "[]") && strings.Contains(invalid.ErrorMessage(), "mpty") {
				refused = true
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", pattern, err)
			}
			if out.Result {
				matched = append(matched, name)
			}
		}
		slices.Sort(matched)
		if !reflect.DeepEqual(matched, want) || refused != strings.Contains(pattern, "[]") {
			t.Errorf("%s matches %q, want %q (refused: %t)", pattern, matched, want, refused)
		}
	}
}
