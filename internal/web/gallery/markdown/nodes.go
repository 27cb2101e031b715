package markdown

import (
	"bytes"
	"html"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark/ast"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// ids makes the ids of headings as GitHub does, behind IDPrefix.
type ids struct{ used map[string]int }

// maxID bounds an id, in characters.
const maxID = 80

// Generate makes an id of a heading's text.
func (s *ids) Generate(value []byte, _ ast.NodeKind) []byte {
	id := slug(string(value))
	n := s.used[id]
	s.used[id]++
	if n > 0 {
		id += "-" + strconv.Itoa(n)
		s.used[id]++
	}
	return []byte(IDPrefix + id)
}

// Put would remember an id that the text gives; texts give none.
func (s *ids) Put([]byte) {}

func slug(heading string) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.ToLower(strings.TrimSpace(heading)) {
		switch {
		case n == maxID:
			return b.String()
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r):
			b.WriteRune(r)
		default:
			continue
		}
		n++
	}
	if n == 0 {
		return "heading"
	}
	return b.String()
}

// outline puts the headings of a text below the page's own: the levels that it uses become
// h3 and on without a gap, and none is more than one below the one before. It also ends
// links after maxTargets.
type outline struct{}

const (
	firstLevel = 3
	lastLevel  = 6
)

// Transform sets the levels.
func (outline) Transform(doc *ast.Document, _ text.Reader, _ parser.Context) {
	var headings []*ast.Heading
	var uses [lastLevel + 1]bool
	targets := maxTargets
	bounded := func(destination []byte) []byte {
		if targets -= len(destination); targets < 0 {
			return nil
		}
		return destination
	}
	walk(doc, func(n ast.Node) {
		switch n := n.(type) {
		case *ast.Heading:
			headings = append(headings, n)
			uses[n.Level] = true
		case *ast.Link:
			n.Destination = bounded(n.Destination)
		case *ast.Image:
			n.Destination = bounded(n.Destination)
		}
	})
	var becomes [lastLevel + 1]int
	next := firstLevel
	for level, used := range uses {
		if used {
			becomes[level] = min(next, lastLevel)
			next++
		}
	}
	before := firstLevel - 1
	for _, h := range headings {
		h.Level = min(becomes[h.Level], before+1)
		before = h.Level
	}
}

func walk(n ast.Node, f func(ast.Node)) {
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // the function below never fails
		if entering {
			f(n)
		}
		return ast.WalkContinue, nil
	})
}

// hyphens reads --text-- as struck out: the ECR Public user guide has it in this form, where
// GitHub's has tildes. It has to stand apart from other words, so that options (--name) and
// dashes in a sentence are left alone.
type hyphens struct{}

// Trigger is the character to stop at.
func (hyphens) Trigger() []byte { return []byte{'-'} }

// IsDelimiter is for goldmark's scanner of delimiters.
func (hyphens) IsDelimiter(b byte) bool { return b == '-' }

// CanOpenCloser says that two runs make a pair.
func (hyphens) CanOpenCloser(opener, closer *parser.Delimiter) bool {
	return opener.Char == closer.Char
}

// OnMatch makes the node for a pair.
func (hyphens) OnMatch(int) ast.Node { return extast.NewStrikethrough() }

// Parse reads a run of two hyphens.
func (h hyphens) Parse(_ ast.Node, block text.Reader, pc parser.Context) ast.Node {
	before := block.PrecendingCharacter()
	line, segment := block.PeekLine()
	node := parser.ScanDelimiter(line, before, 2, h)
	if node == nil || node.OriginalLength != 2 || before == '-' {
		return nil
	}
	after, _ := utf8.DecodeRune(line[2:])
	apart := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsPunct(r) || r == utf8.RuneError }
	node.CanOpen = node.CanOpen && apart(before)
	node.CanClose = node.CanClose && apart(after)
	if !node.CanOpen && !node.CanClose || node.CanOpen && !closes(line[2:]) {
		return nil
	}
	node.Segment = segment.WithStop(segment.Start + 2)
	block.Advance(2)
	pc.PushDelimiter(node)
	return node
}

// closes says whether a run that closes could follow on the line.
func closes(rest []byte) bool {
	at := bytes.Index(rest, []byte("--"))
	return at > 0 && !unicode.IsSpace(rune(rest[at-1]))
}

// nodes writes what goldmark would write otherwise.
type nodes struct{ strict *bluemonday.Policy }

// RegisterFuncs names the functions.
func (n nodes) RegisterFuncs(reg renderer.NodeRendererFuncRegisterer) {
	reg.Register(ast.KindLink, n.link)
	reg.Register(ast.KindAutoLink, n.autoLink)
	reg.Register(ast.KindImage, n.image)
	reg.Register(ast.KindRawHTML, n.rawHTML)
	reg.Register(ast.KindHTMLBlock, n.htmlBlock)
	reg.Register(ast.KindFencedCodeBlock, n.fencedCode)
	reg.Register(ast.KindCodeBlock, n.code)
	reg.Register(extast.KindTable, n.table)
	reg.Register(extast.KindTaskCheckBox, n.task)
}

func open(w util.BufWriter, destination string) {
	_, _ = w.WriteString(`<a href="`) // w keeps its first error, and Convert returns it
	_, _ = w.Write(util.EscapeHTML(util.URLEscape([]byte(destination), true)))
	_, _ = w.WriteString(`" rel="nofollow noopener noreferrer">`)
}

func end(w util.BufWriter) { _, _ = w.WriteString("</a>") }

// target is where a link may lead, "" for nowhere: to another site by one of the schemes,
// or to a heading of the same text. A relative address was relative to somewhere else.
func target(destination []byte) string {
	d := strings.TrimSpace(string(destination))
	if fragment, ok := strings.CutPrefix(d, "#"); ok {
		if fragment == "" {
			return ""
		}
		return "#" + IDPrefix + strings.ToLower(strings.TrimPrefix(fragment, IDPrefix))
	}
	u, err := url.Parse(string(util.URLEscape([]byte(d), true)))
	if err != nil || !slices.Contains(schemes(), u.Scheme) || u.Host == "" && u.Opaque == "" {
		return ""
	}
	return d
}

func (nodes) link(w util.BufWriter, _ []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	switch to := target(node.(*ast.Link).Destination); {
	case to == "":
	case entering:
		open(w, to)
	default:
		end(w)
	}
	return ast.WalkContinue, nil
}

func (nodes) autoLink(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	n := node.(*ast.AutoLink)
	to := string(n.URL(source))
	if n.AutoLinkType == ast.AutoLinkEmail && !strings.HasPrefix(strings.ToLower(to), "mailto:") {
		to = "mailto:" + to
	}
	to = target([]byte(to))
	if to != "" {
		open(w, to)
	}
	_, _ = w.Write(util.EscapeHTML(n.Label(source)))
	if to != "" {
		end(w)
	}
	return ast.WalkContinue, nil
}

// image writes a link, as pages show no images of others: with the text that stands for
// the picture. Inside a link it is that text alone.
func (nodes) image(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	to := target(node.(*ast.Image).Destination)
	inside := false
	for p := node.Parent(); p != nil && !inside; p = p.Parent() {
		inside = p.Kind() == ast.KindLink
	}
	if inside || strings.HasPrefix(to, "#") {
		to = ""
	}
	alt := words(node, source)
	if strings.TrimSpace(alt) == "" {
		alt = "image"
	}
	if to != "" {
		open(w, to)
		defer end(w)
	}
	_, _ = w.Write(util.EscapeHTML([]byte(alt)))
	return ast.WalkSkipChildren, nil
}

// words are the text in a node, without what marks it up.
func words(node ast.Node, source []byte) string {
	var b strings.Builder
	walk(node, func(n ast.Node) {
		switch n := n.(type) {
		case *ast.Text:
			b.Write(n.Value(source))
		case *ast.String:
			b.Write(n.Value)
		}
	})
	return html.UnescapeString(b.String())
}

// rawHTML drops a tag of HTML and shows what only looks like one, such as <tag> in "image:<tag>".
func (nodes) rawHTML(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkSkipChildren, nil
	}
	raw := string(node.(*ast.RawHTML).Segments.Value(source))
	switch tag := tagName(raw); {
	case tag == "br":
		_, _ = w.WriteString("<br>")
	case tag == "" || isHTML(tag): // comments have no name
	default:
		_, _ = w.Write(util.EscapeHTML([]byte(raw)))
	}
	return ast.WalkSkipChildren, nil
}

func tagName(raw string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(raw, "<"), "/")
	at := strings.IndexFunc(rest, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	})
	if at < 0 {
		at = len(rest)
	}
	return strings.ToLower(rest[:at])
}

// isHTML says whether a name is one of HTML's or SVG's elements that texts use.
func isHTML(tag string) bool {
	const elements = " a abbr address area article aside audio b base bdi bdo blockquote body br button canvas caption center cite code col colgroup" +
		" data datalist dd del details dfn dialog div dl dt em embed fieldset figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head" +
		" header hgroup hr html i iframe img input ins kbd label legend li link main map mark math menu meta meter nav noscript object ol optgroup" +
		" option output p param picture pre progress q rp rt ruby s samp script section select slot small source span strike strong style sub summary" +
		" sup svg table tbody td template textarea tfoot th thead time title tr track tt u ul var video wbr "
	return strings.Contains(elements, " "+tag+" ")
}

// htmlBlock shows the words of a block of HTML without its tags.
func (n nodes) htmlBlock(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	block := node.(*ast.HTMLBlock)
	raw := block.Lines().Value(source)
	if block.HasClosure() {
		raw = append(bytes.Clone(raw), block.ClosureLine.Value(source)...)
	}
	if words := bytes.TrimSpace(n.strict.SanitizeBytes(raw)); len(words) > 0 {
		_, _ = w.WriteString("<p>")
		_, _ = w.Write(words)
		_, _ = w.WriteString("</p>\n")
	}
	return ast.WalkContinue, nil
}

func (n nodes) fencedCode(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	return n.pre(w, source, node, entering, node.(*ast.FencedCodeBlock).Language(source))
}

func (n nodes) code(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	return n.pre(w, source, node, entering, nil)
}

// pre writes a box that scrolls, and that the keyboard can reach to scroll it.
func (nodes) pre(w util.BufWriter, source []byte, node ast.Node, entering bool, language []byte) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	_, _ = w.WriteString(`<pre tabindex="0" role="group" aria-label="Code"><code`)
	if len(language) > 0 {
		_, _ = w.WriteString(` class="language-`)
		_, _ = w.Write(util.EscapeHTML(language))
		_ = w.WriteByte('"')
	}
	_ = w.WriteByte('>')
	for i := range node.Lines().Len() {
		line := node.Lines().At(i)
		_, _ = w.Write(util.EscapeHTML(line.Value(source)))
	}
	_, _ = w.WriteString("</code></pre>\n")
	return ast.WalkSkipChildren, nil
}

func (nodes) table(w util.BufWriter, _ []byte, _ ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		_, _ = w.WriteString("<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Table\"><table>\n")
	} else {
		_, _ = w.WriteString("</table></div>\n")
	}
	return ast.WalkContinue, nil
}

// task writes the box as a character: a form's field would want a label and do nothing.
func (nodes) task(w util.BufWriter, _ []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	box := "☐"
	if node.(*extast.TaskCheckBox).IsChecked {
		box = "☑"
	}
	_, _ = w.WriteString(`<span class="task">` + box + `</span> `)
	return ast.WalkContinue, nil
}
