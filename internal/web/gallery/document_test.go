package gallery_test

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// document is a page that was read.
type document struct {
	t    *testing.T
	body string
	root *html.Node
}

// read parses a page and checks what holds for each: that elements are closed in their order, that
// nothing runs or styles inline, that ids are unique and labels lead somewhere, and that there are
// one h1 and no gap between levels of headings.
func read(t *testing.T, rec *httptest.ResponseRecorder) document {
	t.Helper()
	body := rec.Body.String()
	d := document{t: t, body: body}
	void := []string{"meta", "link", "input", "img", "br", "hr", "wbr", "path"}
	var stack []string
	for z := html.NewTokenizer(strings.NewReader(body)); ; {
		kind := z.Next()
		tok := z.Token()
		if kind == html.ErrorToken {
			break
		}
		if kind == html.StartTagToken && !slices.Contains(void, tok.Data) {
			stack = append(stack, tok.Data)
		}
		if kind == html.EndTagToken {
			if len(stack) == 0 || stack[len(stack)-1] != tok.Data {
				t.Fatalf("</%s> closes %v", tok.Data, stack)
			}
			stack = stack[:len(stack)-1]
		}
	}
	if len(stack) > 0 {
		t.Errorf("elements stay open: %v", stack)
	}
	var err error
	if d.root, err = html.Parse(strings.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	ids, level, ones := map[string]bool{}, 0, 0
	for n := range d.root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "srcdoc" {
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			}
			if v := strings.ToLower(strings.TrimSpace(a.Val)); (a.Key == "href" || a.Key == "src" || a.Key == "action") && (strings.HasPrefix(v, "javascript:") || strings.HasPrefix(v, "data:")) {
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			}
		}
		if id := attr(n, "id"); id != "" {
			if ids[id] {
				t.Errorf("two elements have the id %q", id)
			}
			ids[id] = true
		}
		switch n.Data {
		case "style", "iframe", "object", "embed", "base":
			t.Errorf("there is a <%s>", n.Data)
		case "script":
			if n.FirstChild != nil || !strings.Contains(attr(n, "src"), "/static/gallery.") {
				t.Error("there is a script of another's")
			}
		case "h1", "h2", "h3", "h4", "h5", "h6":
			l := int(n.Data[1] - '0')
			if l > level+1 {
				t.Errorf("<%s> follows a heading of level %d", n.Data, level)
			}
			if level = l; l == 1 {
				ones++
			}
		}
	}
	if ones != 1 {
		t.Errorf("there are %d h1", ones)
	}
	for n := range d.root.Descendants() {
		for _, key := range []string{"for", "aria-labelledby", "form"} {
			if to := attr(n, key); to != "" && !ids[to] {
				t.Errorf("%s=%q leads nowhere", key, to)
			}
		}
		if n.Data == "input" && attr(n, "type") != "hidden" && attr(n, "type") != "checkbox" && attr(n, "id") == "" {
			t.Error("a field has no label")
		}
	}
	for _, landmark := range []string{"header", "main", "footer"} {
		d.one(landmark, "", "")
	}
	return d
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// all are the elements of a name, where key is given with that value.
func (d document) all(element, key, value string) (found []*html.Node) {
	for n := range d.root.Descendants() {
		if n.Type == html.ElementNode && n.Data == element && (key == "" || attr(n, key) == value) {
			found = append(found, n)
		}
	}
	return found
}

func (d document) one(element, key, value string) *html.Node {
	d.t.Helper()
	found := d.all(element, key, value)
	if len(found) != 1 {
		d.t.Fatalf("there are %d <%s %s=%q>", len(found), element, key, value)
	}
	return found[0]
}

// text is what an element shows, in one line.
func text(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func texts(nodes []*html.Node) (all []string) {
	for _, n := range nodes {
		all = append(all, text(n))
	}
	return all
}
