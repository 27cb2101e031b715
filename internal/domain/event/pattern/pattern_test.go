package pattern_test

import (
	"encoding/json"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/pattern"
)

// corpus is testdata/cases.json. An event there is what it has beside the base.
type corpus struct {
	Base  map[string]any
	Cases []struct {
		Name, Pattern string
		Event         map[string]json.RawMessage
		Match         bool
	}
	Invalid []struct{ Name, Pattern, Reason string }
}

func readCorpus(t testing.TB) corpus {
	t.Helper()
	b, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var c corpus
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c corpus) event(t testing.TB, with map[string]json.RawMessage) []byte {
	t.Helper()
	all := maps.Clone(c.Base)
	for k, v := range with {
		all[k] = v
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMatch(t *testing.T) {
	c := readCorpus(t)
	for _, one := range c.Cases {
		t.Run(one.Name, func(t *testing.T) {
			p, err := pattern.Parse(one.Pattern)
			if err != nil {
				t.Fatal(err)
			}
			e, err := pattern.ParseEvent(c.event(t, one.Event))
			if err != nil {
				t.Fatal(err)
			}
			if p.Match(e) != one.Match {
				t.Errorf("%s on %s: %v", one.Pattern, one.Event, !one.Match)
			}
		})
	}
	if len(c.Cases) < 150 {
		t.Errorf("%d cases", len(c.Cases))
	}
}

func TestInvalidPatternsSayWhatIsWrong(t *testing.T) {
	for _, one := range readCorpus(t).Invalid {
		t.Run(one.Name, func(t *testing.T) {
			_, err := pattern.Parse(one.Pattern)
			if !errs.Is(err, errs.EventPatternInvalid) || !strings.HasPrefix(err.Error(), "Event pattern is not valid. Reason: ") || !strings.Contains(err.Error(), one.Reason) {
				t.Errorf("%s: %v", one.Pattern, err)
			}
		})
	}
}

// The texts are AWS's, as TestEventPattern answered them.
func TestInvalidPatternsSayWhere(t *testing.T) {
	for text, want := range map[string]string{
		`{"int": 42}`:                                           `"int" must be an object or an array|11`,
		`{"string": "my-value"}`:                                `"string" must be an object or an array|13`,
		`{"resources": []}`:                                     `Empty arrays are not allowed|17`,
		`{"my_key": [{"EXISTS": true}]}`:                        `Unrecognized match type EXISTS|28`,
		`{"detail": {"equal": [{"NUMERIC": ["=", 5]}]}}`:        `Unrecognized match type NUMERIC|36`,
		`{"detail": {"n": [{"numeric": [">", 0, ">", 0]}]}}`:    `Bad numeric range operator: >|43`,
		`{"FileName": [{"suffix": [".png"]}]}`:                  `suffix match pattern must be a string|27`,
		`{"time": [{"prefix": 123}]}`:                           `prefix match pattern must be a string|25`,
		`["not", "a", "dict"]`:                                  `Filter is not an object|2`,
		`{"not": closed mark"`:                                  `Unrecognized token 'closed': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')|15`,
		`{"detail": {"f": [{"anything-but": {"prefix": ""}}]}}`: `Null prefix/suffix not allowed|49`,
	} {
		reason, column, _ := strings.Cut(want, "|")
		want := "Event pattern is not valid. Reason: " + reason + "\n at [Source: (String)\"" + text + "\"; line: 1, column: " + column + "]"
		if _, err := pattern.Parse(text); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	_, err := pattern.Parse("{\n \"a\": [\n  {\"prefix\": 1}]}")
	if err == nil || !strings.HasSuffix(err.Error(), "line: 3, column: 15]") {
		t.Errorf("%v", err)
	}
	_, err = pattern.Parse(`{"a": ["` + strings.Repeat("ä", 600) + `"], "b": 1}`)
	if err == nil || !strings.Contains(err.Error(), "ä\"[truncated 119 chars]; line: 1, column: 619]") {
		t.Errorf("%v", err)
	}
}

func TestEventsThatAreNone(t *testing.T) {
	whole := readCorpus(t)
	for _, text := range []string{
		``, `plain string`, `"text"`, `["a"]`, `{}`, `{"a":1`,
	} {
		if _, err := pattern.ParseEvent([]byte(text)); !errs.Is(err, errs.Validation) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, name := range []string{"id", "account", "source", "time", "region", "detail-type"} {
		less := corpus{Base: maps.Clone(whole.Base)}
		delete(less.Base, name)
		if _, err := pattern.ParseEvent(less.event(t, nil)); !errs.Is(err, errs.Validation) || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	deep := strings.Repeat(`{"a":`, 1100) + "1" + strings.Repeat("}", 1100)
	if _, err := pattern.ParseEvent([]byte(deep)); !errs.Is(err, errs.Validation) {
		t.Error("an event of any depth")
	}
}

func TestTheZeroPatternMatchesNothing(t *testing.T) {
	c := readCorpus(t)
	e, err := pattern.ParseEvent(c.event(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if (pattern.Pattern{}).Match(e) {
		t.Error("it does")
	}
}
