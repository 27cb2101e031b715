package pattern

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A wildcard is a regular expression with .* for its stars.
func TestWildcardsAreRegularExpressions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`([ab\n/]|\\\\|\\\*|\*)*`).Filter(func(s string) bool {
			_, err := parseWildcard(s)
			return err == nil
		}).Draw(t, "wildcard")
		expression := strings.Builder{}
		for i := 0; i < len(text); i++ {
			switch c := text[i]; c {
			case '*':
				expression.WriteString(`.*`)
			case '\\':
				i++
				fallthrough
			default:
				expression.WriteString(regexp.QuoteMeta(text[i : i+1]))
			}
		}
		w, err := parseWildcard(text)
		if err != nil {
			t.Fatal(err)
		}
		s := rapid.StringMatching(`[ab\n/\\*]{0,12}`).Draw(t, "text")
		if want := regexp.MustCompile(`(?s)^` + expression.String() + `$`).MatchString(s); w.match(s) != want {
			t.Fatalf("%q on %q: %v", text, s, !want)
		}
	})
}

// The number of places that a text is in never falls when a wildcard is added.
func TestComplexityGrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SliceOfN(rapid.StringMatching(`\*?([ab:]+\*){0,4}[ab:]*`), 1, 4).Draw(t, "wildcards")
		more := append(slices.Clone(some), rapid.StringMatching(`\*?[ab:]*`).Draw(t, "one more"))
		if tooComplex(some) && !tooComplex(more) {
			t.Fatalf("%q and not %q", some, more)
		}
	})
}

func TestNumbersInAllForms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.Float64().Filter(func(f float64) bool { return !math.IsInf(f, 0) && !math.IsNaN(f) }).Draw(t, "number")
		forms := []string{strconv.FormatFloat(f, 'f', -1, 64), strconv.FormatFloat(f, 'e', -1, 64), strconv.FormatFloat(f, 'E', -1, 64)}
		if !strings.Contains(forms[0], ".") {
			forms = append(forms, forms[0]+".000", forms[0]+"0e-1")
		}
		for _, a := range forms {
			for _, b := range forms {
				if !parseNumber(a).equal(parseNumber(b)) {
					t.Fatalf("%s and %s", a, b)
				}
			}
			if next := math.Nextafter(f, math.Inf(1)); !math.IsInf(next, 0) && next != f && parseNumber(a).equal(parseNumber(strconv.FormatFloat(next, 'g', -1, 64))) {
				t.Fatalf("%s and the next one", a)
			}
		}
	})
}

func TestNumericRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.Float64Range(-100, 100)
		low, high, f := small.Draw(t, "low"), small.Draw(t, "high"), small.Draw(t, "number")
		if rapid.Bool().Draw(t, "at a bound") {
			f = rapid.SampledFrom([]float64{low, high}).Draw(t, "bound")
		}
		over := rapid.SampledFrom([]string{">", ">="}).Draw(t, "over")
		under := rapid.SampledFrom([]string{"<", "<="}).Draw(t, "under")
		leaf, err := json.Marshal(map[string]any{"n": []any{map[string]any{"numeric": []any{over, low, under, high}}}})
		if err != nil {
			t.Fatal(err)
		}
		p, err := parse(string(leaf))
		if (err != nil) != (low >= high) {
			t.Fatalf("%s: %v", leaf, err)
		}
		if err != nil {
			return
		}
		want := (f > low || (over == ">=" && f == low)) && (f < high || (under == "<=" && f == high))
		if got := p.Match(eventOf(t, map[string]any{"n": f})); got != want {
			t.Fatalf("%s on %v: %v", leaf, f, got)
		}
	})
}

func eventOf(t rapid.TB, v any) Event {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	n, err := parseJSON(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return newEvent(n)
}

// values are small events: few keys and values, many arrays.
func values(depth int) *rapid.Generator[any] {
	leaf := rapid.Map(rapid.IntRange(0, 2), func(n int) any { return n })
	if depth == 0 {
		return leaf
	}
	return rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			return leaf.Draw(t, "leaf")
		case 1, 2:
			return rapid.SliceOfN(values(depth-1), 0, 3).Draw(t, "array")
		}
		return objects(depth).Draw(t, "object")
	})
}

func objects(depth int) *rapid.Generator[any] {
	return rapid.Map(rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c", "a.b"}), values(depth-1), 0, 3), func(m map[string]any) any { return m })
}

func conditions() *rapid.Generator[[]condition] {
	path := rapid.SampledFrom([]string{"a", "b", "c", "a.a", "a.b", "a.c", "a.a.a", "a.a.b", "a.b.c", "a.b.a", "b.a", "b.b", "b.b.a"})
	return rapid.Custom(func(t *rapid.T) []condition {
		var out []condition
		for _, p := range rapid.SliceOfNDistinct(path, 1, 5, rapid.ID).Draw(t, "paths") {
			c := condition{path: p, absent: rapid.IntRange(0, 3).Draw(t, "absent") == 0}
			if n := rapid.IntRange(-1, 2).Draw(t, "value"); n >= 0 {
				c.matchers = append(c.matchers, exactly(value{kind: kindNumber, text: strconv.Itoa(n), number: parseNumber(strconv.Itoa(n))}))
			}
			out = append(out, c)
		}
		slices.SortFunc(out, func(a, b condition) int { return strings.Compare(a.path, b.path) })
		return out
	})
}

// tryAll is what Match means, without its shortcuts: some value for each condition, all of
// which agree on the elements of arrays.
func tryAll(all []condition, e Event, chosen []element) bool {
	if len(all) == 0 {
		return true
	}
	c, absent := all[0], all[0].absent
	for _, f := range e.fields[c.path] {
		if !consistent(f.in, chosen) {
			continue
		}
		absent = false
		if slices.ContainsFunc(c.matchers, func(m matcher) bool { return m(f.value) }) && tryAll(all[1:], e, append(slices.Clone(chosen), f.in...)) {
			return true
		}
	}
	return absent && tryAll(all[1:], e, chosen)
}

func TestSearchFindsWhatTryingAllFinds(t *testing.T) {
	matched := 0
	rapid.Check(t, func(t *rapid.T) {
		e := eventOf(t, objects(4).Draw(t, "event"))
		all := conditions().Draw(t, "pattern")
		want := tryAll(all, e, nil)
		if got := matchAll(all, e); got != want {
			t.Fatalf("%v", got)
		}
		if want {
			matched++
		}
	})
	if matched == 0 {
		t.Error("nothing ever matched")
	}
}

// A pattern with $or matches what one of its branches does.
func TestOrIsEither(t *testing.T) {
	leaf := rapid.Custom(func(t *rapid.T) string {
		key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
		return fmt.Sprintf(`{%q: [%d]}`, key, rapid.IntRange(0, 2).Draw(t, "value"))
	})
	rapid.Check(t, func(t *rapid.T) {
		branches := rapid.SliceOfN(leaf, 2, 4).Draw(t, "branches")
		e := eventOf(t, map[string]any{"d": objects(3).Draw(t, "event")})
		either := false
		for _, b := range branches {
			p, err := parse(`{"d": ` + b + `}`)
			if err != nil {
				t.Fatal(err)
			}
			either = either || p.Match(e)
		}
		p, err := parse(`{"d": {"$or": [` + strings.Join(branches, ",") + `]}}`)
		if err != nil {
			t.Fatal(err)
		}
		if p.Match(e) != either {
			t.Fatalf("%v", !either)
		}
	})
}

// An event with long arrays beside and in each other takes no time that grows with the
// product of their lengths: trying all would take longer than the test may.
func TestLongArrays(t *testing.T) {
	many := make([]map[string]any, 300)
	for i := range many {
		many[i] = map[string]any{"x": i, "y": []map[string]any{{"z": i, "w": i}, {"z": i, "w": i + 1}}}
	}
	e := eventOf(t, map[string]any{"a": many, "b": many, "c": many, "d": many, "e": many, "f": many})
	var leaves []string
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		leaves = append(leaves, fmt.Sprintf(`%q: {"x": [{"exists": true}], "y": {"z": [{"numeric": [">=", 0]}], "w": [{"numeric": [">=", 0]}]}}`, key))
	}
	for last, want := range map[string]bool{`"f": {"x": [1], "y": {"w": [1], "z": [1]}}`: true, `"f": {"x": [1], "y": {"w": [2], "z": [0]}}`: false} {
		p, err := parse(`{` + strings.Join(append(leaves, last), ",") + `}`)
		if err != nil {
			t.Fatal(err)
		}
		if p.Match(e) != want {
			t.Errorf("%s: %v", last, !want)
		}
	}
}

// TestJSONIsJSON: the parser takes what encoding/json takes.
func TestJSONIsJSON(t *testing.T) {
	piece := rapid.SampledFrom([]string{`{`, `}`, `[`, `]`, `,`, `:`, `"a"`, `"\u00e4\n"`, `"\x"`, `1`, `-1.5e3`, `01`, `-`, `1.`, `.5`, `1e`, `true`, `nul`, `null`, ` `, "\n", "\t", `""`, `é`})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(piece, 0, 8).Draw(t, "pieces"), "")
		if rapid.Bool().Draw(t, "valid") {
			b, err := json.Marshal(objects(3).Draw(t, "value"))
			if err != nil {
				t.Fatal(err)
			}
			text = string(b)
		}
		if _, err := parseJSON(text); (err == nil) != json.Valid([]byte(text)) {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
