package math_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/usage/math"
)

func start() time.Time { return time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC) }

// series has the values at the minutes from start on; NaN-like gaps are written as "-".
func series(label, values string) math.Series {
	s := math.Series{Label: label, Period: time.Minute}
	for i, v := range strings.Fields(values) {
		var f float64
		if _, err := fmt.Sscanf(v, "%g", &f); err == nil {
			s.Points = append(s.Points, math.Point{At: start().Add(time.Duration(i) * time.Minute), Value: f})
		}
	}
	return s
}

// show is the inverse of series, for several ones divided by a bar.
func show(v math.Value) string {
	var all []string
	for _, s := range v.Series {
		var out []string
		for _, p := range s.Points {
			for minute := int(p.At.Sub(start()) / time.Minute); len(out) < minute; {
				out = append(out, "-")
			}
			out = append(out, fmt.Sprintf("%.6g", p.Value))
		}
		all = append(all, strings.Join(out, " "))
	}
	return strings.Join(all, " | ")
}

var errStore = errors.New("the store is away")

func env() math.Env {
	metrics := map[string]math.Series{"m1": series("m1", "60 120 - 600"), "m2": series("m2", "1 - 2 3"), "zero": series("zero", "0 1 2 3")}
	return math.Env{
		From: start(), To: start().Add(4 * time.Minute), Period: 2 * time.Minute,
		Value: func(id string) (math.Value, error) {
			switch s, ok := metrics[id]; {
			case ok:
				return math.Of(s), nil
			case id == "empty":
				return math.Of(math.Series{Period: time.Minute}), nil
			case id == "away":
				return math.Value{}, errStore
			}
			return math.Value{}, &math.Error{Text: "no such id " + id}
		},
		Metrics: func(containing string) ([]math.Series, error) {
			var out []math.Series
			for _, id := range []string{"m1", "m2"} {
				if strings.Contains(id, containing) {
					out = append(out, metrics[id])
				}
			}
			return out, nil
		},
		Quota: func(id string) (float64, bool, error) {
			switch id {
			case "m1":
				return 10, true, nil
			case "zero":
				return 0, false, errStore
			}
			return 0, false, nil
		},
	}
}

// The first rows are those of the user guide, "Visualizing your service quotas and
// setting alarms".
func TestEval(t *testing.T) {
	for expression, want := range map[string]string{
		"SERVICE_QUOTA(m1)":           "10 10 10 10",
		"m1/60/SERVICE_QUOTA(m1)*100": "10 20 - 100",
		"SERVICE_QUOTA(m2)":           "",
		"m1/SERVICE_QUOTA(m2)":        "",

		"m1":                             "60 120 - 600",
		"m1 + 1":                         "61 121 - 601",
		"1+m1*2":                         "121 241 - 1201",
		"(1+m1)*2":                       "122 242 - 1202",
		"100-m1-10-5":                    "25 -35 - -515",
		"m1/60/2":                        "0.5 1 - 5",
		"-m1":                            "-60 -120 - -600",
		"- -m1":                          "60 120 - 600",
		"+m1":                            "60 120 - 600",
		"m2^2":                           "1 - 4 9",
		"-m2^2":                          "-1 - -4 -9",
		"2^3^2+0*zero":                   "512 512 512 512",
		"2^-1*m2":                        "0.5 - 1 1.5",
		"m1+m2":                          "61 - - 603",
		"m2/zero":                        "- - 1 1",
		"1/zero":                         "- 1 0.5 0.333333",
		"1.5e2 + .5 - m2":                "149.5 - 148.5 147.5",
		"m1 - AVG(m1)":                   "-200 -140 - 340",
		"m1*0+MAX(m2)-MIN(m2)+SUM(m2)":   "8 8 - 8",
		"m2 - AVG(empty)":                "",
		"m2 + SUM(empty)":                "1 - 2 3",
		"m2*0+STDDEV(m1)":                "241.661 - 241.661 241.661",
		"SUM([m1,m2])":                   "61 120 2 603",
		"SUM(METRICS())":                 "61 120 2 603",
		"AVG([m1, m2])":                  "30.5 120 2 301.5",
		"MAX([m1,zero])/MIN([m1,zero])":  "- 120 1 200",
		"[m1,m2]*2":                      "120 240 - 1200 | 2 - 4 6",
		"2*[m1,m2]":                      "120 240 - 1200 | 2 - 4 6",
		"m2*[m1,m2]":                     "60 - - 1800 | 1 - 4 9",
		"[m1,m2]*m2":                     "60 - - 1800 | 1 - 4 9",
		"METRICS(\"2\")":                 "1 - 2 3",
		"METRICS('m') + 0":               "60 120 - 600 | 1 - 2 3",
		"[]":                             "",
		"RATE(m1)":                       "- 1 - 4",
		"DIFF(m1)":                       "- 60 - 480",
		"DIFF_TIME(m1)":                  "- 60 - 120",
		"RUNNING_SUM(m2)":                "1 - 3 6",
		"PERIOD(m1)+0*m2":                "60 - 60 60",
		"m1/PERIOD(m1)":                  "1 2 - 10",
		"ABS(0-m2)":                      "1 - 2 3",
		"CEIL(m2/2)":                     "1 - 1 2",
		"FLOOR(m2/2)":                    "0 - 1 1",
		"LOG10(m1/6)":                    "1 1.30103 - 2",
		"LOG(zero)":                      "- 0 0.693147 1.09861",
		"FILL(m2, 0)":                    "1 0 2 3",
		"FILL(m1, REPEAT)":               "60 120 120 600",
		"FILL(DIFF(m1), REPEAT)":         "- 60 60 480",
		"FILL([m1,m2], -1)":              "60 120 -1 600 | 1 -1 2 3",
		"FILL(empty, 7)":                 "7 7 7 7",
		"TIME_SERIES(5)":                 "5 - 5",
		"\t( ( m2 ) )\r\n":               "1 - 2 3",
		"SUM([FILL(m1,0),FILL(m2,0)])^1": "61 120 2 603",
	} {
		parsed, err := math.Parse(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got, err := parsed.Eval(env()); err != nil || show(got) != want {
			t.Errorf("%s is %q, %v, want %q", expression, show(got), err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for expression, want := range map[string]string{
		"": "ends too early", "m1 +": "ends too early", "(m1": "ends too early", "[m1": "ends too early", "SUM(m1": "ends too early",
		"m1 m2": "'m2' is not expected at character 4", "m1)": "')' is not expected", "m1,m2": "',' is not expected", "*m1": "'*' is not expected at character 1",
		"[m1,,m2]": "',' is not expected", "[m1,]": "']' is not expected", "1.2.3": "is not expected", ".": "'.' is no number", "1e": "'1e' is no number", "1e999": "is no number",
		"m1 > 5": "comparisons", "m1 && m2": "comparisons", "m1 % 2": `"%" is not expected at character 4`, "METRICS(\"a)": "not closed",
		strings.Repeat("(", 1000) + "m1" + strings.Repeat(")", 1000): "too deeply",
		strings.Repeat("-", 1000) + "m1":                             "too deeply",
		strings.Repeat("2^", 1000) + "m1":                            "too deeply",
	} {
		var wrong *math.Error
		if _, err := math.Parse(expression); !errors.As(err, &wrong) || !strings.Contains(wrong.Text, want) {
			t.Errorf("%.40s: %v, want %q", expression, err, want)
		}
	}
}

func TestEvalRefuses(t *testing.T) {
	for expression, want := range map[string]string{
		"5": "has to give a time series", "AVG(m1)": "has to give a time series", "unknown+1": "no such id", "M1": "'M1' is neither",
		"NOPE(m1)": "NOPE is not supported here; there are ABS, AVG", "IF(m1)": "IF is not supported", "sum(m1)": "sum is not supported",
		"SUM()": "takes one argument", "SUM(m1,m2)": "takes one argument", "SUM(5)": "takes a time series", "RATE(5)": "takes a time series",
		"[1,m1]": "no numbers", "[m1]*[m2]": "does not take two lists", "PERIOD([m1])": "takes one time series", "TIME_SERIES(m1)": "takes a number",
		"SERVICE_QUOTA()": "one argument", "SERVICE_QUOTA(m1+1)": "takes the id", "SERVICE_QUOTA(5)": "takes the id", "SERVICE_QUOTA(nope)": "no such id",
		"METRICS(m1)": "one text", "METRICS('a','b')": "one text", "'a'": "a text stands", "m1+'a'": "a text stands", "-'a'": "a text stands", "'a'+m1": "a text stands",
		"FILL(m1)": "FILL takes", "FILL(5, 1)": "FILL takes", "FILL(m1, m2)": "FILL takes", "FILL(m1, LINEAR)": "LINEAR is not supported", "FILL(m1,'a')": "a text stands", "FILL('a',1)": "a text stands",
		"ABS('a')": "a text stands",
	} {
		parsed, err := math.Parse(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		var wrong *math.Error
		if _, err := parsed.Eval(env()); !errors.As(err, &wrong) || !strings.Contains(wrong.Text, want) {
			t.Errorf("%s: %v, want %q", expression, err, want)
		}
	}
	for _, expression := range []string{"away", "1+away", "SERVICE_QUOTA(away)", "SERVICE_QUOTA(zero)", "[away]", "SUM(away)", "FILL(away,1)", "FILL(m1,away)"} {
		parsed, err := math.Parse(expression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parsed.Eval(env()); !errors.Is(err, errStore) {
			t.Errorf("%s: %v", expression, err)
		}
	}
}

func TestIDs(t *testing.T) {
	e, err := math.Parse("m2/SERVICE_QUOTA(m1)+m2+FILL(a_1,REPEAT)")
	if err != nil || !slices.Equal(e.IDs(), []string{"a_1", "m1", "m2"}) || e.Metrics() {
		t.Errorf("%q %v %v", e.IDs(), e.Metrics(), err)
	}
	if e, err := math.Parse("SUM(METRICS())"); err != nil || len(e.IDs()) != 0 || !e.Metrics() {
		t.Errorf("%q %v %v", e.IDs(), e.Metrics(), err)
	}
}

// TestBounds: neither a long line nor a list that repeats itself takes more than its
// share.
func TestBounds(t *testing.T) {
	e, err := math.Parse("SERVICE_QUOTA(m1)")
	if err != nil {
		t.Fatal(err)
	}
	wide := env()
	wide.From = wide.From.AddDate(-10, 0, 0)
	got, err := e.Eval(wide)
	if err != nil || len(got.Series[0].Points) != 100_800 || !got.Series[0].Points[100_799].At.Equal(wide.To.Add(-time.Minute)) {
		t.Errorf("%d points, %v", len(got.Series[0].Points), err)
	}
	wide.From = wide.To
	if got, err := e.Eval(wide); err != nil || len(got.Series[0].Points) != 0 {
		t.Errorf("no time at all has %d points, %v", len(got.Series[0].Points), err)
	}
	long := env()
	long.Metrics = func(string) ([]math.Series, error) {
		return []math.Series{{Points: make([]math.Point, 1_000_000)}}, nil
	}
	if e, err = math.Parse("-[" + strings.Repeat("METRICS(),", 20) + "m1]"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Eval(long); err == nil || !strings.Contains(err.Error(), "handles more than") {
		t.Errorf("repeated: %v", err)
	}
}

// FuzzParse: whatever is parsed can be evaluated without a panic, and names its ids.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"m1/60/SERVICE_QUOTA(m1)*100", "FILL([m1,m2],-1)^2", "SUM(METRICS(\"m\"))", "-2.5e-3*RATE(m1)", "[[m1],m2]", "TIME_SERIES(1)/zero", "PERIOD(FILL(m1,REPEAT))"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		e, err := math.Parse(source)
		if err != nil {
			var wrong *math.Error
			if !errors.As(err, &wrong) {
				t.Fatalf("%q: %v", source, err)
			}
			return
		}
		for _, id := range e.IDs() {
			if !strings.Contains(source, id) {
				t.Fatalf("%q does not name %s", source, id)
			}
		}
		v, err := e.Eval(env())
		if err != nil {
			return
		}
		for _, s := range v.Series {
			for i := 1; i < len(s.Points); i++ {
				if !s.Points[i-1].At.Before(s.Points[i].At) {
					t.Fatalf("%q: %v", source, s.Points)
				}
			}
		}
	})
}
