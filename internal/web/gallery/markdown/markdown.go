// Package markdown renders the About and Usage texts of public repositories: GitHub
// Flavored Markdown in, a small closed set of HTML out, whatever the text says.
//
// A text passes four gates. Clean takes out characters that nobody sees or that turn the
// direction of writing. bound keeps what the parser has to do in proportion to the text's
// length. The nodes of the tree are written by this package's own functions: raw HTML is
// not passed on, images are links, headings come below the page's, a link has one of
// three schemes. Last, bluemonday lets through the elements and attributes that are listed
// in policy and nothing else, so that a mistake before it is not one of the page.
//
// It does not own what stands around the text, nor its limits; see web/gallery and
// domain/catalog.
package markdown

import (
	"bytes"
	"fmt"
	"html/template"
	"regexp"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/util"
)

// IDPrefix stands before the id of every heading of a text, so that none can be taken
// for one of the page's.
const IDPrefix = "md-"

// Renderer renders texts. It is safe for concurrent use.
type Renderer struct {
	engine goldmark.Markdown
	policy *bluemonday.Policy
}

// New returns a renderer.
func New() *Renderer {
	strict := bluemonday.StrictPolicy()
	limit := func(p parser.InlineParser) parser.InlineParser {
		return limited{InlineParser: p, asked: parser.NewContextKey()}
	}
	engine := goldmark.New(
		goldmark.WithParser(parser.NewParser(
			parser.WithBlockParsers(parser.DefaultBlockParsers()...),
			parser.WithParagraphTransformers(parser.DefaultParagraphTransformers()...),
			parser.WithInlineParsers(
				util.Prioritized(parser.NewCodeSpanParser(), 100),
				util.Prioritized(limit(parser.NewLinkParser()), 200),
				util.Prioritized(parser.NewAutoLinkParser(), 300),
				util.Prioritized(parser.NewRawHTMLParser(), 400),
				util.Prioritized(limit(parser.NewEmphasisParser()), 500),
				util.Prioritized(limit(hyphens{}), 510),
			),
		)),
		goldmark.WithExtensions(
			extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute)),
			extension.NewLinkify(extension.WithLinkifyAllowedProtocols([]string{"http:", "https:", "mailto:"})),
			extension.Strikethrough, extension.TaskList,
		),
		goldmark.WithParserOptions(
			parser.WithAutoHeadingID(),
			parser.WithASTTransformers(util.Prioritized(outline{}, 900)),
		),
		goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(nodes{strict: strict}, 100))),
	)
	return &Renderer{engine: engine, policy: policy()}
}

// Render returns source as HTML that may stand inside a page's main part, below an h2. It
// never fails for what the source says; an error is a fault of ours.
func (r *Renderer) Render(source string) (template.HTML, error) {
	text := []byte(bound(Clean(source)))
	var out bytes.Buffer
	context := parser.NewContext(parser.WithIDs(&ids{used: map[string]int{}}))
	if err := r.engine.Convert(text, &out, parser.WithContext(context)); err != nil {
		return "", fmt.Errorf("rendering markdown: %w", err)
	}
	// Entities (&#x202e;) have become characters by now, so it is cleaned once more.
	clean := Clean(string(r.policy.SanitizeBytes(out.Bytes())))
	return template.HTML(clean), nil //nolint:gosec // it is what the policy let through
}

// Newlines gives a text line breaks that has none and says \n instead: the form in which
// the ECR Public user guide writes texts for the AWS CLI. In JSON that is a line break
// before it arrives; in the CLI's shorthand syntax it arrives as it stands.
func Newlines(source string) string {
	if strings.Contains(source, "\n") {
		return source
	}
	return strings.ReplaceAll(source, `\n`, "\n")
}

// policy is what a text may become.
func policy() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "hr", "strong", "em", "del", "blockquote", "ul", "li", "table", "thead", "tbody", "tr")
	p.AllowAttrs("id").Matching(regexp.MustCompile(`^`+IDPrefix+`[\p{L}\p{N}_-]+$`)).OnElements("h3", "h4", "h5", "h6")
	p.AllowElements("h3", "h4", "h5", "h6")
	p.AllowAttrs("start").Matching(bluemonday.Integer).OnElements("ol")
	p.AllowElements("ol")
	p.AllowAttrs("align").Matching(regexp.MustCompile(`^(left|center|right)$`)).OnElements("th", "td")
	p.AllowElements("th", "td")
	p.AllowAttrs("class").Matching(regexp.MustCompile(`^language-[a-zA-Z0-9_+#-]{1,30}$`)).OnElements("code")
	p.AllowElements("code")
	p.AllowAttrs("tabindex").Matching(regexp.MustCompile(`^0$`)).OnElements("pre", "div")
	p.AllowAttrs("role").Matching(regexp.MustCompile(`^group$`)).OnElements("pre", "div")
	p.AllowAttrs("aria-label").Matching(regexp.MustCompile(`^(Code|Table)$`)).OnElements("pre", "div")
	p.AllowElements("pre")
	p.AllowAttrs("class").Matching(regexp.MustCompile(`^scroll$`)).OnElements("div")
	p.AllowAttrs("class").Matching(regexp.MustCompile(`^task$`)).OnElements("span")
	p.AllowAttrs("href").OnElements("a")
	p.AllowAttrs("rel").Matching(regexp.MustCompile(`^nofollow noopener noreferrer$`)).OnElements("a")
	p.AllowURLSchemes(schemes()...)
	p.AllowRelativeURLs(true) // only #md-..., which the links' function writes
	p.RequireParseableURLs(true)
	p.RequireNoFollowOnLinks(true)
	p.RequireNoReferrerOnLinks(true)
	return p
}

// schemes are those that links may have.
func schemes() []string { return []string{"http", "https", "mailto"} }
