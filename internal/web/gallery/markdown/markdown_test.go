package markdown

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

func render(t *testing.T, source string) string {
	t.Helper()
	out, err := New().Render(Newlines(source))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

const rel = ` rel="nofollow noopener noreferrer"`

// TestGuide has the examples of "Repository catalog data" in the ECR Public user guide,
// those for the console and those for the AWS CLI.
func TestGuide(t *testing.T) {
	bullets := "<ul>\n<li>Bullet 1</li>\n<li>Bullet 2</li>\n<li>Bullet 3</li>\n</ul>"
	steps := "<ol>\n<li>Step one</li>\n<li>Step two</li>\n<li>Step three</li>\n</ol>"
	for source, want := range map[string]string{
		"# Heading level one  \n  \nBody text":                                                  `<h3 id="md-heading-level-one">Heading level one</h3>` + "\n<p>Body text</p>",
		"## Heading level two  \n  \nBody text  \n  \n### Heading level three  \n  \nBody text": `<h3 id="md-heading-level-two">Heading level two</h3>` + "\n<p>Body text</p>\n" + `<h4 id="md-heading-level-three">Heading level three</h4>` + "\n<p>Body text</p>",
		`# Heading level one\n\nBody text\n\n## Heading level two\n\nBody text\n\n### Heading level three\n\nBody text\n\n#### Heading level four\n\nBody text`: `<h3 id="md-heading-level-one">Heading level one</h3>` + "\n<p>Body text</p>\n" +
			`<h4 id="md-heading-level-two">Heading level two</h4>` + "\n<p>Body text</p>\n" + `<h5 id="md-heading-level-three">Heading level three</h5>` + "\n<p>Body text</p>\n" +
			`<h6 id="md-heading-level-four">Heading level four</h6>` + "\n<p>Body text</p>",
		"*This text appears in italics*":         "<p><em>This text appears in italics</em></p>",
		"**This text appears in bold**":          "<p><strong>This text appears in bold</strong></p>",
		"--This text appears in strikethrough--": "<p><del>This text appears in strikethrough</del></p>",
		"~~This text appears in strikethrough~~": "<p><del>This text appears in strikethrough</del></p>",
		"`code text`":                            "<p><code>code text</code></p>",
		"```\\nmulti-line\\ncodeblock\\n```":     `<pre tabindex="0" role="group" aria-label="Code"><code>` + "multi-line\ncodeblock\n</code></pre>",
		"[What is Amazon Elastic Container Registry?](https://docs.aws.amazon.com/AmazonECR/latest/userguide/what-is-ecr.html)": `<p><a href="https://docs.aws.amazon.com/AmazonECR/latest/userguide/what-is-ecr.html"` + rel + `>What is Amazon Elastic Container Registry?</a></p>`,
		"* Bullet 1\n* Bullet 2\n* Bullet 3":      bullets,
		`* Bullet 1\n* Bullet 2\n* Bullet 3`:      bullets,
		"1. Step one\n2. Step two\n3. Step three": steps,
		`1. Step one\n2. Step two\n3. Step three`: steps,
	} {
		if got := render(t, source); got != want {
			t.Errorf("%q becomes\n%s\nwant\n%s", source, got, want)
		}
	}
}

// TestGuideTexts has the guide's whole About and Usage texts.
func TestGuideTexts(t *testing.T) {
	for file, want := range map[string][]string{
		"about.txt": {
			"<p>Quick reference</p>\n<p>Maintained by: <a href=\"https://github.com/aws/amazon-linux-docker-images\"" + rel + ">the Amazon Linux Team</a></p>",
			`<a href="https://stackoverflow.com/search?tab=newest&amp;q=docker"` + rel + `>Stack Overflow</a>`,
			`<h3 id="md-supported-tags-and-respective-dockerfile-links">Supported tags and respective <code>dockerfile</code> links</h3>`,
			`<li>` + "\n" + `<p><a href="https://github.com/amazonlinux/container-images/blob/03d54f8c4d522bf712cffd6c8f9aafba0a875e78/Dockerfile"` + rel + `>2.0.20200722.0, 2, latest</a></p>` + "\n</li>",
			`<a href="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/managing-software.html"` + rel + `>use <code>yum</code></a>`,
			`run <code>rpm -qi [package name]</code> or check <code>/usr/share/doc/[package name]-*</code>`,
			`<h3 id="md-security">Security</h3>`,
		},
		"usage.txt": {
			"<p>Supported architectures</p>\n<p>amd64, arm64v8</p>",
			`<h3 id="md-how-do-i-install-a-software-package-from-extras-repository-in-amazon-linux-2">How do I install`,
			`<code>amazon-linux-extras install &lt;package&gt;</code>`,
			`<a href="https://alas.aws.amazon.com/"` + rel + `>https://alas.aws.amazon.com/</a>`,
		},
	} {
		source, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		got := render(t, strings.TrimSuffix(string(source), "\n"))
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s lacks %q", file, w)
			}
		}
		if bad := refused(got); bad != "" {
			t.Errorf("%s: %s", file, bad)
		}
	}
}

func TestRender(t *testing.T) {
	pre := `<pre tabindex="0" role="group" aria-label="Code"><code`
	for source, want := range map[string]string{
		// GitHub's own
		"- [ ] open\n- [x] done": "<ul>\n<li><span class=\"task\">☐</span> open</li>\n<li><span class=\"task\">☑</span> done</li>\n</ul>",
		"| a | b |\n|:--|--:|\n| 1 | 2 |": "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Table\"><table>\n<thead>\n<tr>\n<th align=\"left\">a</th>\n<th align=\"right\">b</th>\n</tr>\n</thead>\n" +
			"<tbody>\n<tr>\n<td align=\"left\">1</td>\n<td align=\"right\">2</td>\n</tr>\n</tbody>\n</table></div>",
		"see www.example.com or me@example.com": `<p>see <a href="http://www.example.com"` + rel + `>www.example.com</a> or <a href="mailto:me@example.com"` + rel + `>me@example.com</a></p>`,
		"```sh\necho 'a < b'\n```":              pre + ` class="language-sh">` + "echo &#39;a &lt; b&#39;\n</code></pre>",
		"    indented":                          pre + ">indented\n</code></pre>",
		"a\n\n---\n\n> b":                       "<p>a</p>\n<hr>\n<blockquote>\n<p>b</p>\n</blockquote>",
		"3. c":                                  "<ol start=\"3\">\n<li>c</li>\n</ol>",
		// hyphens that strike nothing out
		"run with --rm and --name":  "<p>run with --rm and --name</p>",
		"a--b--c":                   "<p>a--b--c</p>",
		"-- not --":                 "<p>-- not --</p>",
		"`--a--` ---b--- --c":       "<p><code>--a--</code> ---b--- --c</p>",
		"use --all, or --a *b* c--": "<p>use --all, or <del>a <em>b</em> c</del></p>",
		// headings
		"#### a\n# b\n## c":   `<h3 id="md-a">a</h3>` + "\n" + `<h3 id="md-b">b</h3>` + "\n" + `<h4 id="md-c">c</h4>`,
		"# a\n# a\n[x](#a-1)": `<h3 id="md-a">a</h3>` + "\n" + `<h3 id="md-a-1">a</h3>` + "\n" + `<p><a href="#md-a-1"` + rel + `>x</a></p>`,
		"# !":                 `<h3 id="md-heading">!</h3>`,
		// images
		"![logo](https://example.com/a.png)":                            `<p><a href="https://example.com/a.png"` + rel + `>logo</a></p>`,
		"[![build *ok*](https://example.com/a.svg)](https://b.example)": `<p><a href="https://b.example"` + rel + `>build ok</a></p>`,
		"![](data:image/png;base64,AAAA)":                               "<p>image</p>",
		// HTML
		"a <b>bold</b> image:<tag> <!-- no --> x<br>y":  "<p>a bold image:&lt;tag&gt;  x<br>y</p>",
		"<div align=\"center\">\n<h1>Name</h1>\n</div>": "<p>Name</p>",
		"<script>alert(1)</script>\n\nafter":            "<p>after</p>",
		"<style>body{}</style>":                         "",
		"<img src=x onerror=alert(1)>":                  "",
		"x <img src=x onerror=alert(1)> y":              "<p>x  y</p>",
		"<svg/onload=alert(1)>":                         "<p>&lt;svg/onload=alert(1)&gt;</p>",
		"<x onclick=alert(1)>y</x>":                     "<p>&lt;x onclick=alert(1)&gt;y&lt;/x&gt;</p>",
		// addresses
		"[a](javascript:alert(1))":              "<p>a</p>",
		"[a](JaVaScRiPt:alert(1))":              "<p>a</p>",
		"[a](java\tscript:alert(1))":            "<p>[a](java\tscript:alert(1))</p>",
		"[a](&#106;avascript:alert(1))":         "<p>a</p>",
		"[a](data:text/html,x)":                 "<p>a</p>",
		"[a](vbscript:x) [b](file:///etc)":      "<p>a b</p>",
		"[a](//evil.example) [b](/search)":      "<p>a b</p>",
		"[a](docs/x.md) [b](#) [c]()":           "<p>a b c</p>",
		"<javascript:alert(1)>":                 "<p>javascript:alert(1)</p>",
		"<https://a.example> <ftp://b.example>": `<p><a href="https://a.example"` + rel + `>https://a.example</a> ftp://b.example</p>`,
		"[a](https://x.example/\"onclick=\"b)":  `<p><a href="https://x.example/%22onclick=%22b"` + rel + `>a</a></p>`,
		"[a]\n\n[a]: javascript:x":              "<p>a</p>",
		// characters
		"a\u202eb\u200bc&#x202e;d&#8203;e": "<p>abcde</p>",
		"a\x00b\xffc\r\nd":                 "<p>ab\ufffdc\nd</p>",
		"👩\u200d💻 x\u200dy":                "<p>👩\u200d💻 xy</p>",
	} {
		if got := render(t, source); got != want {
			t.Errorf("%q becomes\n%s\nwant\n%s", source, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"plain text\twith tab\n":    "plain text\twith tab\n",
		"naïve 日本 😀":                "naïve 日本 😀",
		"nginx\u202egpj.":           "nginxgpj.",
		"\u2066a\u2069\ufeff\u00ad": "a",
		"\U000e0041tag\U000e007f":   "tag",
		"می\u200cخواهم":             "می\u200cخواهم",
		"\u200cx\u200d":             "x",
		"é\u200d":                   "é",
		"\x1b[31m":                  "[31m",
		"\xc3\x28":                  "\ufffd(",
		"a\rb":                      "a\nb",
		"\u3164\u115f\u2800\u2028":  "",
		"❤\ufe0f":                   "❤\ufe0f",
	} {
		if got := Clean(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// refused says what in the HTML is none of what a text may become, "" if nothing.
func refused(out string) string {
	allowed := map[string][]string{
		"p": nil, "br": nil, "hr": nil, "strong": nil, "em": nil, "del": nil, "blockquote": nil, "ul": nil, "li": nil, "table": nil, "thead": nil, "tbody": nil, "tr": nil,
		"h3": {"id"}, "h4": {"id"}, "h5": {"id"}, "h6": {"id"}, "ol": {"start"}, "th": {"align"}, "td": {"align"}, "code": {"class"}, "span": {"class"},
		"pre": {"tabindex", "role", "aria-label"}, "div": {"class", "tabindex", "role", "aria-label"}, "a": {"href", "rel"},
	}
	z := html.NewTokenizer(strings.NewReader(out))
	var depth int
	for {
		switch z.Next() {
		case html.ErrorToken:
			if depth != 0 {
				return "elements stay open"
			}
			return ""
		case html.CommentToken, html.DoctypeToken:
			return "a comment or doctype"
		case html.EndTagToken:
			depth--
		case html.SelfClosingTagToken:
			return "a tag that closes itself"
		case html.StartTagToken:
			tok := z.Token()
			attributes, ok := allowed[tok.Data]
			if !ok {
				return "element " + tok.Data
			}
			if tok.Data != "br" && tok.Data != "hr" {
				depth++
			}
			if depth > 1500 {
				return "is too deep"
			}
			for _, a := range tok.Attr {
				if !slices.Contains(attributes, a.Key) {
					return "attribute " + a.Key + " of " + tok.Data
				}
				if a.Key == "id" && !strings.HasPrefix(a.Val, IDPrefix) {
					return "id " + a.Val
				}
				if a.Key == "rel" && a.Val != "nofollow noopener noreferrer" {
					return "rel " + a.Val
				}
				v := strings.ToLower(a.Val)
				if a.Key == "href" && !strings.HasPrefix(v, "http:") && !strings.HasPrefix(v, "https:") && !strings.HasPrefix(v, "mailto:") && !strings.HasPrefix(v, "#"+IDPrefix) {
					return "address " + a.Val
				}
			}
			if tok.Data == "a" && len(tok.Attr) != 2 {
				return "a link without address and rel"
			}
		case html.TextToken:
			if text := string(z.Text()); Clean(text) != text {
				return "characters that nobody sees"
			}
		}
	}
}

func FuzzRender(f *testing.F) {
	for _, seed := range []string{"# a\n\n[b](c)", "<b>", "`a`", "- [x] ![a](b)", "|a|\n|-|\n|b|", "<javascript:a>", "[a](javascript:b)", "&#x202e;", "--a--", "<a href='x' onclick=y>", "[a]: <b> \"c\"\n[a]", "```<x\"y\n", "> - 1. *a*", "\xff\x00", "<http://a.b/\"><script>", "www.a.b/<x>", "<x@y.z>"} {
		f.Add(seed)
	}
	r := New()
	f.Fuzz(func(t *testing.T, source string) {
		out, err := r.Render(source)
		if err != nil {
			t.Fatal(err)
		}
		if bad := refused(string(out)); bad != "" {
			t.Fatalf("%s:\n%s", bad, out)
		}
	})
}

func BenchmarkRender(b *testing.B) {
	r := New()
	about, err := os.ReadFile("testdata/about.txt")
	if err != nil {
		b.Fatal(err)
	}
	full := strings.Repeat(Newlines(strings.TrimSpace(string(about)))+"\n\n", 10)[:25_600]
	b.SetBytes(int64(len(full)))
	for b.Loop() {
		if _, err := r.Render(full); err != nil {
			b.Fatal(err)
		}
	}
}
