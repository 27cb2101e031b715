package transform_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/transform"
)

const event = `{"version":"0","id":"7bf73129-1428-4cd3-a780-95db273d1602","detail-type":"ECR Image Action","source":"aws.ecr","account":"123456789012",` +
	`"time":"2015-11-11T21:29:54Z","region":"us-east-1","resources":["arn:aws:ecr:us-east-1:123456789012:repository/a","arn:b"],` +
	`"detail":{"instance-id":"i-0123456789","state":"RUNNING","count":1.50,"valid":true,"none":null,"text":"a \"quoted\"\nline <b>","payload":{"acc_id":"0a787ecb-4015","sf_id":"baz"},` +
	`"listsingle":["HIGH"],"listmulti":["ACTIVE","INACTIVE"],"images":[{"tag":"v1","n":1},{"tag":"v2"},{"n":3}],"a/b":{"c_d":[[1],[2,3]]},"twice":1,"twice":2}}`

var rule = transform.Rule{ARN: "arn:aws:events:us-east-1:123456789012:rule/example", Name: "example", IngestionTime: time.Date(2024, 6, 11, 10, 33, 10, 5e8, time.FixedZone("", 7200))}

func TestInputsThatAreNoTemplates(t *testing.T) {
	for _, one := range []struct {
		name string
		in   transform.Input
		want string
	}{
		{"the event itself", transform.Input{}, event},
		{"constant", transform.Input{Constant: ` {"a": [1]}`}, ` {"a": [1]}`},
		{"all of the event", transform.Input{Path: "$"}, event},
		{"object", transform.Input{Path: "$.detail.payload"}, `{"acc_id":"0a787ecb-4015","sf_id":"baz"}`},
		{"string", transform.Input{Path: "$.detail.payload.sf_id"}, `"baz"`},
		{"number as it is written", transform.Input{Path: "$.detail.count"}, `1.50`},
		{"null", transform.Input{Path: "$.detail.none"}, `null`},
		{"nothing", transform.Input{Path: "$.detail.missing.more"}, `null`},
		{"dashes", transform.Input{Path: "$.detail-type"}, `"ECR Image Action"`},
		{"slashes and underscores", transform.Input{Path: "$.detail.a/b.c_d[1][0]"}, `2`},
		{"index", transform.Input{Path: "$.resources[1]"}, `"arn:b"`},
		{"index out of range", transform.Input{Path: "$.resources[2]"}, `null`},
		{"index of an object", transform.Input{Path: "$.detail[0]"}, `null`},
		{"name in a list", transform.Input{Path: "$.resources.a"}, `null`},
		{"all of a list", transform.Input{Path: "$.detail.images[*].tag"}, `["v1","v2"]`},
		{"all of an object", transform.Input{Path: "$.detail.payload.*"}, `["0a787ecb-4015","baz"]`},
		{"all of nothing", transform.Input{Path: "$.detail.images[*].missing"}, `null`},
		{"the last of duplicate members", transform.Input{Path: "$.detail.twice"}, `2`},
		{"nothing is escaped anew", transform.Input{Path: "$.detail.text"}, `"a \"quoted\"\nline <b>"`},
	} {
		t.Run(one.name, func(t *testing.T) {
			if err := one.in.CheckFor(""); err != nil {
				t.Fatal(err)
			}
			got, err := one.in.Apply([]byte(event), rule)
			if err != nil || string(got) != one.want {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}

func paths() map[string]string {
	return map[string]string{
		"instance": "$.detail.instance-id", "state": "$.detail.state", "count": "$.detail.count", "valid": "$.detail.valid", "none": "$.detail.none", "text": "$.detail.text",
		"payload": "$.detail.payload", "listsingle": "$.detail.listsingle", "listmulti": "$.detail.listmulti", "missing": "$.detail.awsAccountId", "tags": "$.detail.images[*].tag",
	}
}

// The templates of the user guide, and others that EventBridge was seen to answer so.
func TestTemplates(t *testing.T) {
	const arn = "arn:aws:events:us-east-1:123456789012:rule/example"
	short := `{"id":"7bf73129-1428-4cd3-a780-95db273d1602","account":"123456789012","detailType":"ECR Image Action","time":"2015-11-11T21:29:54Z","source":"aws.ecr","region":"us-east-1","resources":["arn:aws:ecr:us-east-1:123456789012:repository/a","arn:b"],"version":"0"}`
	for template, want := range map[string]string{
		`"instance <instance> is in <state>"`:                                                                             `"instance i-0123456789 is in RUNNING"`,
		`"instance \"<instance>\" is in <state>"`:                                                                         `"instance \"i-0123456789\" is in RUNNING"`,
		"{\n \"instance\" : <instance>,\n \"state\": <state>\n}":                                                          `{"instance":"i-0123456789","state":"RUNNING"}`,
		`{"instance": <instance>, "state": "<state>", "instanceStatus": "instance \"<instance>\" is in <state>"}`:         `{"instance":"i-0123456789","state":"RUNNING","instanceStatus":"instance \"i-0123456789\" is in RUNNING"}`,
		`{"instance": <instance>, "state": [ 9, <state>, true ], "Transformed" : "Yes"}`:                                  `{"instance":"i-0123456789","state":[9,"RUNNING",true],"Transformed":"Yes"}`,
		`{"ruleArn": <aws.events.rule-arn>, "ruleName": <aws.events.rule-name>, "at": <aws.events.event.ingestion-time>}`: `{"ruleArn":"` + arn + `","ruleName":"example","at":"2024-06-11T08:33:10Z"}`,
		`{"all": <aws.events.event.json>, "some": <aws.events.event>}`:                                                    `{"all":` + event + `,"some":` + short + `}`,
		`"<aws.events.rule-name> triggered"`:                                                                              `"example triggered"`,
		`"<aws.events.rule-arn> <aws.events.event.ingestion-time>"`:                                                       `"` + arn + ` 2024-06-11T08:33:10Z"`,
		`{"path": "users/<instance>", "body": <payload>}`:                                                                 `{"path":"users/i-0123456789","body":{"acc_id":"0a787ecb-4015","sf_id":"baz"}}`,
		`"Payload of <payload> and <instance>"`:                                                                           `"Payload of {acc_id:0a787ecb-4015,sf_id:baz} and i-0123456789"`,
		`"<listsingle> one <listmulti> many <missing> none"`:                                                              `"[HIGH] one [ACTIVE,INACTIVE] many  none"`,
		"\"<listsingle> one\"\n\"<missing> none\"\n\"<payload> payload\"":                                                 "\"[HIGH] one\"\n\" none\"\n\"{acc_id:0a787ecb-4015,sf_id:baz} payload\"",
		`{"list": <listsingle>, "tags": <tags>, "missing": <missing>, "in": "<missing>"}`:                                 `{"list":["HIGH"],"tags":["v1","v2"],"missing":"","in":""}`,
		`"Command is <valid>, <count>, <none>!"`:                                                                          `"Command is true, 1.50, null!"`,
		`{"valid": <valid>, "count": <count>, "none": <none>}`:                                                            `{"valid":true,"count":1.50,"none":null}`,
		`{"multi": "users/<instance>/second/<instance>"}`:                                                                 `{"multi":"users/i-0123456789/second/i-0123456789"}`,
		`"{[/odd beginnings of <state>"`:                                                                                  `"{[/odd beginnings of RUNNING"`,
		`{"text": "it says <text>", "again": <text>}`:                                                                     `{"text":"it says a \"quoted\"\nline <b>","again":"a \"quoted\"\nline <b>"}`,
		`"it says <text>"`:      `"it says a \"quoted\"\nline <b>"`,
		`<payload>`:             `{"acc_id":"0a787ecb-4015","sf_id":"baz"}`,
		`[<instance>, <count>]`: `["i-0123456789", 1.50]`,
		`{"backslash \\": <state>, "less": "1 < 2 > <state> <>"}`: `{"backslash \\":"RUNNING","less":"1 < 2 > RUNNING <>"}`,
		`{"no": "variables"}`: `{"no":"variables"}`,
	} {
		in := transform.Input{Transformer: &transform.Transformer{Paths: paths(), Template: template}}
		if err := in.CheckFor(""); err != nil {
			t.Errorf("%s: %v", template, err)
			continue
		}
		if got, err := in.Apply([]byte(event), rule); err != nil || string(got) != want {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", template, got, err, want)
		}
	}
}

func TestTemplatesThatMakeNoJSON(t *testing.T) {
	for _, template := range []string{`{"payload": "<payload>"}`, `{"list": "a <listsingle>"}`, `{"a": "users/<payload>", "b": <payload>}`} {
		in := transform.Input{Transformer: &transform.Transformer{Paths: paths(), Template: template}}
		if err := in.CheckFor(""); err != nil {
			t.Fatal(err)
		}
		if got, err := in.Apply([]byte(event), rule); !errs.Is(err, errs.Validation) || !strings.Contains(err.Error(), "write it without quotes") {
			t.Errorf("%s: %s, %v", template, got, err)
		}
	}
	in := transform.Input{Path: "$.a"}
	if got, err := in.Apply([]byte("{no event"), rule); err == nil {
		t.Errorf("%s", got)
	}
}

func TestInputsThatAreRefused(t *testing.T) {
	many := map[string]string{}
	for i := range 101 {
		many[fmt.Sprintf("v%d", i)] = "$"
	}
	template := func(text string) transform.Input {
		return transform.Input{Transformer: &transform.Transformer{Paths: map[string]string{"k": "$.detail"}, Template: text}}
	}
	variable := func(name, path string) transform.Input {
		return transform.Input{Transformer: &transform.Transformer{Paths: map[string]string{name: path}, Template: `"x"`}}
	}
	for _, one := range []struct {
		name string
		in   transform.Input
		want string
	}{
		{"constant and path", transform.Input{Constant: `1`, Path: "$"}, "Only one of Input, InputPath, or InputTransformer must be provided for target t1."},
		{"path and template", transform.Input{Path: "$", Transformer: template(`"x"`).Transformer}, "Only one of Input, InputPath, or InputTransformer must be provided for target t1."},
		{"constant that is no JSON", transform.Input{Constant: `hello`}, "JSON syntax error in input for target t1."},
		{"long constant", transform.Input{Constant: `"` + strings.Repeat("x", 8191) + `"`}, "longer than 8192"},
		{"path without root", transform.Input{Path: "detail"}, "InputPath for target t1 is invalid."},
		{"path in brackets", transform.Input{Path: "$.detail['key']"}, "InputPath for target t1 is invalid."},
		{"path of any depth", transform.Input{Path: "$..key"}, "InputPath for target t1 is invalid."},
		{"path with a filter", transform.Input{Path: "$.a[?(@.b)]"}, "InputPath for target t1 is invalid."},
		{"path from the end", transform.Input{Path: "$.a[-1]"}, "InputPath for target t1 is invalid."},
		{"path with a slice", transform.Input{Path: "$.a[0:1]"}, "InputPath for target t1 is invalid."},
		{"path without end", transform.Input{Path: "$.a[0"}, "InputPath for target t1 is invalid."},
		{"path with nothing behind the dot", transform.Input{Path: "$.a."}, "InputPath for target t1 is invalid."},
		{"path without dot", transform.Input{Path: "$a"}, "InputPath for target t1 is invalid."},
		{"long path", transform.Input{Path: "$." + strings.Repeat("x", 255)}, "InputPath for target t1 is invalid."},
		{"variable's path", variable("k", "detail"), "InputPath for target t1 is invalid."},
		{"variable's name", variable("a.b", "$"), `invalid variable "a.b"`},
		{"reserved name", variable("aws.events.rule-arn", "$"), `invalid variable "aws.events.rule-arn"`},
		{"long name", variable(strings.Repeat("k", 257), "$"), `at most 256`},
		{"empty name", variable("", "$"), `invalid variable ""`},
		{"many variables", transform.Input{Transformer: &transform.Transformer{Paths: many, Template: `"x"`}}, "more than 100 variables"},
		{"no template", template(""), "between 1 and 8192"},
		{"long template", template(`"` + strings.Repeat("x", 8191) + `"`), "between 1 and 8192"},
		{"unknown variable", template(`"of <k> and <notdefinedkey>"`), "InputTemplate for target t1 contains invalid placeholder notdefinedkey."},
		{"unknown reserved variable", template(`"<aws.events.x>"`), "InputTemplate for target t1 contains invalid placeholder aws.events.x."},
		{"the event in a string", template(`"<aws.events.event.json>"`), "InputTemplate for target t1 contains placeholder aws.events.event.json valid only for JSON template."},
		{"the event in a list", template(`[<aws.events.event.json>]`), "InputTemplate for target t1 contains placeholder aws.events.event.json valid only for JSON template."},
		{"the event between quotes", template(`{"a": "<aws.events.event.json>"}`), "valid only for JSON template."},
		{"text without quotes", template(`<k> is in state`), "Invalid InputTemplate for target t1 : "},
		{"half a string", template(`"<k>`), "Invalid InputTemplate for target t1 : "},
		{"white space", template(` `), "Invalid InputTemplate for target t1 : "},
		{"half an object", template(`{"a": <k>`), "Invalid InputTemplate for target t1 : "},
		{"two objects", template(`{"a": <k>} {"b": <k>}`), "Invalid InputTemplate for target t1 : "},
		{"text before a variable", template(`{"a": x<k>}`), "Invalid InputTemplate for target t1 : "},
		{"variable behind a number", template(`{"a": 1<k>}`), "Invalid InputTemplate for target t1 : "},
		{"variable as a key", template(`{<k>: 1}`), "Invalid InputTemplate for target t1 : "},
		{"quoted variable as a key", template(`{"a": [{"x <k>" : 1}]}`), "a placeholder cannot be used as an object key."},
	} {
		t.Run(one.name, func(t *testing.T) {
			err := one.in.CheckFor("t1")
			if !errs.Is(err, errs.Validation) || !strings.Contains(err.Error(), one.want) {
				t.Errorf("%v", err)
			}
			if err := one.in.CheckFor(""); !errs.Is(err, errs.Validation) || strings.Contains(err.Error(), "for target") {
				t.Errorf("without the target: %v", err)
			}
		})
	}
}

// What a target is given by a template is JSON, whatever stands in the event.
func TestTemplatesMakeJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, err := json.Marshal(map[string]any{"detail": map[string]any{"a": rapid.String().Draw(t, "a"), "b": rapid.Float64Range(-9, 9).Draw(t, "b"), "c": []string{rapid.String().Draw(t, "c")}}})
		if err != nil {
			t.Fatal(err)
		}
		in := transform.Input{Transformer: &transform.Transformer{
			Paths:    map[string]string{"a": "$.detail.a", "b": "$.detail.b", "c": "$.detail.c", "d": "$.detail.d"},
			Template: rapid.SampledFrom([]string{`{"x": <a>, "y": "<a> <b>", "z": <c>, "w": <d>}`, `"<a><b><c><d>"`, `[<a>, <b>, <c>, "<d>"]`}).Draw(t, "template"),
		}}
		got, err := in.Apply(text, rule)
		if err != nil || !json.Valid(got) {
			t.Fatalf("%s, %v", got, err)
		}
	})
}

func FuzzTemplate(f *testing.F) {
	for _, template := range []string{`"a <k>"`, `{"a": <k>}`, `{"a": "<k>"}`, `<k>`, `[<aws.events.event>]`, `{"\"<k>": 1}`, `{"a": "\\"}`} {
		f.Add(template, "$.detail.state")
	}
	f.Fuzz(func(t *testing.T, template, path string) {
		in := transform.Input{Transformer: &transform.Transformer{Paths: map[string]string{"k": path}, Template: template}}
		if err := in.CheckFor(""); err != nil {
			if !errs.Is(err, errs.Validation) {
				t.Fatal(err)
			}
			return
		}
		// What was accepted fails for one reason only.
		if _, err := in.Apply([]byte(event), rule); err != nil && !strings.Contains(err.Error(), "write it without quotes") {
			t.Errorf("%q of %q: %v", template, path, err)
		}
	})
}
