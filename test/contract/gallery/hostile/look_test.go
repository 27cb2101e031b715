package hostile_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/berth-registry/berth/test/contract/gallery/browser"
	"github.com/berth-registry/berth/test/contract/gallery/hostile"
)

// TestLook shows a browser what it must find and what it must not.
func TestLook(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	p := browser.Start(t).Page(t, browser.Options{Base: server.URL})
	p.Goto("/")
	look := func(html, selector string) []string {
		text, err := json.Marshal(`<!doctype html><title>t</title><p id="taken"></p><div id="about">` + html + `</div>`)
		if err != nil {
			t.Fatal(err)
		}
		var wrong []string
		// A document that is only parsed: one that is shown would act on what it holds,
		// and go elsewhere before it is looked at.
		p.Evaluate(`(() => { const document = new DOMParser().parseFromString(`+string(text)+`, "text/html"); return `+hostile.Look(selector)+` })()`, &wrong)
		return wrong
	}

	good := `<h2 id="install">Install</h2><p><a href="https://example.com" rel="nofollow">a</a> <a href="#install">b</a> <a href="mailto:a@example.com">c</a>
		<code class="language-sh">&lt;script&gt;</code></p><pre tabindex="0">x</pre><table><tr><td align="left">x</td></tr></table><ul><li><input type="checkbox" disabled checked> done</li></ul><img src="/logo/1.png" alt="x">`
	if got := look(good, "#about"); len(got) != 0 {
		t.Errorf("good: %v", got)
	}
	for bad, want := range map[string]string{
		`<script>alert(1)</script>`: "element", `<svg></svg>`: "element", `<x-y></x-y>`: "element", `<iframe></iframe>`: "element", `<style></style>`: "element",
		`<input name="password">`: "field", `<b onclick="x()">b</b>`: "attribute onclick", `<b style="color:red">b</b>`: "attribute style",
		`<a href="javascript:alert(1)">a</a>`: "address", "<a href=' java\nscript:alert(1)'>a</a>": "address", `<a href="data:text/html,x">a</a>`: "address",
		`<img src="https://evil.example/x.png" alt="">`: "from elsewhere", `<img src="//evil.example/x.png" alt="">`: "from elsewhere",
		`<p tabindex="1">x</p>`: "attribute tabindex",
		`<p id="taken">x</p>`:   "an id twice", `<img name="cookie" alt="">`: "a name of the document's",
	} {
		if got := look(bad, "#about"); !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, want+": ") }) {
			t.Errorf("%s: %v, want %s", bad, got, want)
		}
	}
	if got := look(good, "#elsewhere"); len(got) != 1 {
		t.Errorf("an element that is not there: %v", got)
	}
	// The vectors are HTML for the most part: shown as they are, they do harm.
	harmful := 0
	for _, v := range hostile.Markdown() {
		if len(v.Text) < 2_000 && len(look(v.Text, "#about")) > 0 {
			harmful++
		}
	}
	if harmful < 18 {
		t.Errorf("only %d texts do harm", harmful)
	}
}

// TestTexts holds the texts to the limits of the API, so that they get as far as the
// page.
func TestTexts(t *testing.T) {
	names := map[string]bool{}
	for _, m := range hostile.Markdown() {
		if m.Name == "" || names[m.Name] || m.Text == "" || len(m.Text) > 25_600 || !utf8.ValidString(m.Text) {
			t.Errorf("%q: %d bytes", m.Name, len(m.Text))
		}
		names[m.Name] = true
	}
	if len(names) < 35 {
		t.Errorf("only %d texts", len(names))
	}
	names = map[string]bool{}
	for _, n := range hostile.Names() {
		if length := utf8.RuneCountInString(n.Text); n.Name == "" || names[n.Name] || (length > 100) != (n.Name == "more than a hundred") {
			t.Errorf("%q: %d characters", n.Name, length)
		}
		names[n.Name] = true
	}
}
