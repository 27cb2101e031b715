package pattern

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

type keys map[string][]string

func (k keys) Lookup(key string) ([]string, bool) {
	v, ok := k[key]
	return v, ok
}

// naive tries every length for every star.
func naive(p, s []rune) bool {
	switch {
	case len(p) == 0:
		return len(s) == 0
	case p[0] == '*':
		return naive(p[1:], s) || (len(s) > 0 && naive(p, s[1:]))
	default:
		return len(s) > 0 && (p[0] == '?' || p[0] == s[0]) && naive(p[1:], s[1:])
	}
}

// tooMuch says that naive would take too long, or that the texts are none.
func tooMuch(p, s string) bool {
	return strings.Count(p, "*") > 6 || len(s) > 40 || len(p) > 40 || !utf8.ValidString(p) || !utf8.ValidString(s)
}

func FuzzWildcards(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""}, {"*", ""}, {"?", ""}, {"?", "é"}, {"*?", "é"}, {"*??", "€"}, {"a*b*c", "axxbyyc"}, {"*ab", "aab"}, {"*a*b?", "abab€"},
		{"**", "x"}, {"a**?b", "a1b"}, {"*aab", "aaab"}, {"a*", "b"}, {"*abc*abd", "abcabcabd"}, {"?*?", "ab"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, p, s string) {
		if tooMuch(p, s) {
			return
		}
		compiled, err := Compile(p, Wildcards)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := compiled.Match(s, keys{}), naive([]rune(p), []rune(s)); got != want {
			t.Errorf("%q %q: %v, want %v", p, s, got, want)
		}
		// The pattern as the value of a variable, where it has no wildcards.
		literal, err := Compile("${k:a}*${*}?${k:b, 'x'}", Wildcards|Variables)
		if err != nil {
			t.Fatal(err)
		}
		rest, want := strings.CutPrefix(s, p)
		runes := []rune(rest)
		n := len(runes)
		want = want && n >= 3 && runes[n-3] == '*' && runes[n-1] == 'x'
		if got := literal.Match(s, keys{"k:a": {p}}); got != want {
			t.Errorf("variable %q, %q: %v, want %v", p, s, got, want)
		}
		if isASCII(p) && isASCII(s) && !strings.Contains(p, ":") && !strings.Contains(s, ":") {
			a := CompileAction(p)
			if got, want := a.Match(s), naive([]rune(strings.ToLower(p)), []rune(strings.ToLower(s))); got != want {
				t.Errorf("action %q %q: %v, want %v", p, s, got, want)
			}
		}
	})
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c >= utf8.RuneSelf })
}

func TestVariables(t *testing.T) {
	ctx := keys{"k:a": {"x*"}, "k:many": {"1", "2"}, "k:none": {}}
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"${k:a}", "x*", true},
		{"${K:A}y", "x*y", true},
		{"${ k:a }", "x*", true},
		{"${k:a}*", "x*z", true},
		{"${k:a}*", "xyz", false},
		{"${k:many}", "1", false},
		{"${k:many, '1'}", "1", false}, // several values are no absence
		{"${k:none}", "", false},
		{"${k:none, 'd'}", "d", true},
		{"${k:absent,'d}e'}", "d}e", true},
		{"${k:absent, ''}", "", true},
		{"${*}${?}${$}", "*?$", true},
		{"${*}${?}${$}", "aa$", false},
		{"$", "$", true},
		{"{k:a}$", "{k:a}$", true},
	} {
		p, err := Compile(c.pattern, Wildcards|Variables)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if got := p.Match(c.text, ctx); got != c.want {
			t.Errorf("%q %q: %v", c.pattern, c.text, got)
		}
	}
	for _, bad := range []string{"${", "${}", "${ }", "${k:a", "${k:a, d}", "${k:a, 'd}", "${k:a, 'd' x}", "${*x}", "${k:'a'}", "${,'x'}"} {
		if _, err := Compile(bad, Variables); err == nil {
			t.Errorf("%q is accepted", bad)
		}
		if p, err := Compile(bad, 0); err != nil || !p.Match(bad, ctx) {
			t.Errorf("%q is no literal text: %v", bad, err)
		}
	}
	var got []string
	a, err := CompileARN("arn:${k:p}:ecr:${k:r, 'x:y'}:*:${*}${K:n}", true)
	if err != nil {
		t.Fatal(err)
	}
	a.VariableKeys(func(key string, optional bool) {
		if optional {
			key += "?"
		}
		got = append(got, key)
	})
	if want := []string{"k:p", "k:r?", "K:n"}; !slices.Equal(got, want) {
		t.Errorf("variables %q, want %q", got, want)
	}
}

func TestARN(t *testing.T) {
	ctx := keys{"k:colon": {"a:b"}}
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true},
		{"*", "anything:at:all", true},
		{"**", "a", true},
		{"arn:aws:ecr:r:1:repository/x", "arn:aws:ecr:r:1:repository/x", true},
		{"arn:aws:ecr:r:1:repository/x", "arn:aws:ecr:r:1:repository/x:y", false},
		{"arn:aws:ecr:r:*:repository:x", "arn:aws:ecr:r:1:repository:x", true},
		{"arn:aws:ecr:*:x", "arn:aws:ecr:r:1:x", false},
		{"arn:aws:ecr:*", "arn:aws:ecr:r:1:x", true},
		{"arn:aws:ecr*", "arn:aws:ecr:r:1:x", true},
		{"arn:aws:*:*:*:*", "arn:aws:s3:::b", true},
		{"arn:*:*:*:*", "arn:aws:s3:::b", true},
		{"arn:*:*:*:b", "arn:aws:s3:::b", false},
		{"arn:aws:s3:::b", "arn:aws:s3:::", false},
		{"arn:aws:s3:::b", "arn:aws:s3", false},
		{"arn:aws:s3:::*", "arn:aws:s3:::", true},
		{"arn:aws:s3:${k:colon}::*", "arn:aws:s3:a:b::x", false},
		{"arn:aws:s3:::${k:colon}", "arn:aws:s3:::a:b", true},
		{"arn:aws:s3:${k:none, 'r:s'}:*:x", "arn:aws:s3:r:s:1:x", false},
		{"", "", true},
		{"", "x", false},
	} {
		a, err := CompileARN(c.pattern, true)
		if err != nil {
			t.Fatal(err)
		}
		s := NewSubject(c.text)
		if got := a.Match(&s, ctx); got != c.want {
			t.Errorf("%q %q: %v", c.pattern, c.text, got)
		}
	}
}

func TestCostStaysLow(t *testing.T) {
	p, err := Compile(strings.Repeat("a*", 2000)+"b", Wildcards)
	if err != nil {
		t.Fatal(err)
	}
	if p.Match(strings.Repeat("a", 4000), keys{}) { // exponential time would not end
		t.Error("it matches")
	}
}
