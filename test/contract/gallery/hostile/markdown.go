package hostile

import (
	_ "embed"
	"strings"
)

//go:embed testdata/vectors.md
var vectors string

// Text is a text given as a name or as Markdown.
type Text struct {
	// Name says what it tries.
	Name string
	Text string
	Fate Fate
}

// Markdown returns texts for About and Usage. Every one may be taken; what is shown of
// it must be harmless, which [Look] tells.
func Markdown() []Text {
	var all []Text
	for _, part := range strings.Split("\n"+vectors, "\n%%% ")[1:] {
		name, text, _ := strings.Cut(part, "\n")
		all = append(all, Text{Name: name, Text: text, Fate: Harmless})
	}
	return append(all,
		Text{"quotes within quotes", strings.Repeat("> ", 5_000) + "x", Harmless},
		Text{"lists within lists", strings.Repeat("- ", 5_000) + "x", Harmless},
		Text{"brackets", strings.Repeat("[", 10_000), Harmless},
		Text{"links within links", strings.Repeat("[a](", 6_000), Harmless},
		Text{"emphasis", strings.Repeat("*a_", 8_000), Harmless},
		Text{"backticks", strings.Repeat("`a``", 6_000), Harmless},
		Text{"tags within tags", strings.Repeat("<b>", 8_000), Harmless},
		Text{"a table of many columns", strings.Repeat("|a", 5_000) + "|\n" + strings.Repeat("|-", 5_000) + "|\n", Harmless},
		Text{"references to references", strings.Repeat("[a]: /x\n", 3_000) + strings.Repeat("[a]", 500), Harmless},
		Text{"a word without end", strings.Repeat("w", 25_000), Harmless},
	)
}

// Names returns texts for display names. Accepted ones must be shown letter by letter.
func Names() []Text {
	return []Text{
		{"plain", "Example Corporation", Accepted},
		{"tags", `<b>Bold</b> & "quoted" 'too'`, Accepted},
		{"script", "<script>alert(1)</script>", Accepted},
		{"image", "<img src=x onerror=alert(1)>", Accepted},
		{"attribute", `" onmouseover="alert(1)" x="`, Accepted},
		{"end of the title", "</title><script>alert(1)</script>", Accepted},
		{"entity", "&lt;b&gt; &amp;amp;", Accepted},
		{"template", "{{.}} {{7*7}} ${7*7} <%= 7 %>", Accepted},
		{"markdown", "**bold** [x](javascript:alert(1))", Accepted},
		{"other scripts", "例え株式会社 שלום مرحبا", Accepted},
		{"a hundred characters", strings.Repeat("é", 100), Accepted},
		{"a word without end", strings.Repeat("W", 100), Accepted},

		{"more than a hundred", strings.Repeat("é", 101), Refused},
		{"right-to-left override", "Verified \u202egnp.exe", Refused},
		{"left-to-right override", "a\u202db", Refused},
		{"embedding", "a\u202bb\u202c", Refused},
		{"isolate", "a\u2067b\u2069", Refused},
		{"line break", "Example\nVerified account", Refused},
		{"escape", "\x1b[31mred\x1b[0m", Refused},
		{"zero", "a\x00b", Refused},
		{"delete", "a\x7fb", Refused},
		{"next line", "a\u0085b", Refused},

		{"zero width", "Exam\u200bple\u200d\ufeff", Harmless},
		{"right-to-left mark", "a\u200fb", Harmless},
		{"line separator", "a\u2028b\u2029", Harmless},
		{"letters of other alphabets", "Аmаzоn", Harmless}, // Cyrillic А, а and о
		{"letters upon letters", "Z" + strings.Repeat("\u0335\u0321\u0489", 30), Harmless},
		{"spaces only", "\u2003\u00a0 ", Harmless},
		{"badge", "Example ✔️ Verified", Harmless},
		{"tag characters", "a\U000e0041\U000e007f", Harmless},
	}
}
