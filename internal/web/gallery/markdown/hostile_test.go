package markdown

import (
	"fmt"
	"strings"
	"testing"
)

func fill(unit string) string { return strings.Repeat(unit, 25600/len(unit)+1)[:25600] }

func hostileTexts() map[string]string {
	t := map[string]string{}
	for _, unit := range []string{"[", "]", "[]", "[a](", "![", "![a](", "[a][b]", "[[]]", "[a]: b\n", "[a]:", ">", "> ", ">\n", ">>>\n", "*", "_", "~", "**", "*a ", "*a_ ", "**a *b", "_a*b", "a**b", "*a**b", "~~a ", "~a~~", "`", "``a", "`a", "<", "<a ", "<a b=\"", "<!--", "<!-- a", "<?", "<![CDATA[", "</", "&", "&#", "&lt", "\\", "- ", "-\n", "- a\n", "+ ", "1. ", "1.\n", "# ", "#\n", "# a\n", "a\n-\n", "=\n", "a\n=\n", "|", "|-", "|\n", "|-|\n", "a|b\n-|-\n", "--", "-- a--", "--a ", "--a-- ", "a--", "http://", "http://a", "http://a.b/((((", "www.", "www.a.b ", "www.a", "a@b", "a@b.c ", "@", "a@", "mailto:", "://", ":", "```\n", "~~~\n", "    a\n", "\t", "\n", " ", "  \n", "\x00", "\xff", "\u202e", "\u200b", "👨\u200d", "<br>", "<b>", "<div>\n", "<p>\n\n", "</p>", "- [ ] a\n", "- [x] ", "[ ] ", "(", ")", "[a](<", "[a](b 'c", "[a](b \"", "[^1]", "x ", "é", "[a]()", "[![a](b)](c)", "![a[a", "[*a", "**[", "*[a](b)", "_`", "`*", "*<"} {
		t[unit] = fill(unit)
	}
	var runs strings.Builder
	for n := 1; runs.Len() < 25600; n++ {
		runs.WriteString(strings.Repeat("`", n) + " ")
	}
	t["runs of backticks"] = runs.String()[:25600]
	var deep strings.Builder
	for n := 0; deep.Len() < 25600; n++ {
		deep.WriteString(strings.Repeat("  ", n) + "- a\n")
	}
	t["deep list"] = deep.String()[:25600]
	half := func(a, b string) string { return strings.Repeat(a, 12800/len(a)) + strings.Repeat(b, 12800/len(b)) }
	t["emphasis pairs"] = half("*a ", " b*")
	t["strong pairs"] = half("**a ", " b**")
	t["brackets pairs"] = half("[", "]")
	t["link nest"] = half("[", "](a)")
	t["image nest"] = half("![", "](a)")
	t["quote then"] = half(">", "a\n")
	t["odd stars"] = "a" + strings.Repeat("**a", 4000) + strings.Repeat("a***", 3300)
	t["mixed"] = strings.Repeat("*_~", 4000) + strings.Repeat("a", 2000) + strings.Repeat("~_*", 3800)
	t["wide table"] = strings.Repeat("|", 3000) + "\n" + strings.Repeat("|-", 3000) + "\n" + strings.Repeat("|\n", 8000)
	t["table 40"] = strings.Repeat("|", 40) + "\n" + strings.Repeat("|-", 40) + "\n" + strings.Repeat("|\n", 12000)
	t["quoted table"] = "> " + strings.Repeat("|", 3000) + "\n> " + strings.Repeat("|-", 3000) + "\n" + strings.Repeat("> |\n", 4000)
	t["nested quote lines"] = strings.Repeat(strings.Repeat("> ", 16)+"- a\n\n", 700)
	t["refs"] = strings.Repeat("[a]: b\n", 1800) + strings.Repeat("[a]", 4000)
	t["ref amplification"] = "[a]: http://" + strings.Repeat("x", 12000) + "\n\n" + strings.Repeat("[a]", 4200)
	t["same headings"] = strings.Repeat("# a\n", 6400)
	t["headings"] = strings.Repeat("# a\n# a-1\n", 2500)
	return t
}

// TestHostile renders texts that are made to cost much: none becomes much larger than it
// is, or deep, and what comes out is allowed. That it takes long would show as a test that does not end: where
// nothing is bounded, some of them take minutes and gigabytes.
func TestHostile(t *testing.T) {
	r := New()
	for name, text := range hostileTexts() {
		out, err := r.Render(text)
		if err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if len(out) > 500_000 {
			t.Errorf("%q becomes %d bytes", name, len(out))
		}
		if bad := refused(string(out)); bad != "" {
			t.Errorf("%q: %s", name, bad)
		}
	}
}

// BenchmarkHostile tells how long they take, one by one.
func BenchmarkHostile(b *testing.B) {
	r := New()
	for name, text := range hostileTexts() {
		b.Run(fmt.Sprintf("%q", name), func(b *testing.B) {
			for b.Loop() {
				if _, err := r.Render(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
