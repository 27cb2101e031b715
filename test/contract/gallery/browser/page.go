package browser

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Options say how a page is looked at. The zero value of all but Base is a window
// of 1280 by 800 pixels, light, with scripts.
type Options struct {
	// Base is the server's address, such as http://localhost:5001. Addresses
	// without a host are taken from it. Needed.
	Base string
	// Hosts are further hosts that the page may reach, each as host:port.
	Hosts []string
	// NoScript switches off the scripts of the page. What the test itself evaluates
	// still runs.
	NoScript bool
	// Dark has the system prefer dark colours.
	Dark bool
	// Phone is a phone of 390 by 844 pixels: it has touch, and takes the page's
	// viewport declaration seriously.
	Phone bool
	// Width and Height are the window's in CSS pixels; 0 is the default.
	Width, Height int
}

// Page is one page in a profile of its own: no cookies or storage of other pages.
// Only the clipboard is the browser's. Its methods fail the test at once when the
// browser cannot do what it is asked.
//
// Targets are selectors of Playwright: CSS, "text=..." (which passes over what is in
// noscript), or what [Role] makes. Where
// one element is meant and several are found, the test fails. What acts on an
// element waits for it up to a minute.
type Page struct {
	t  testing.TB
	b  *Browser
	id int
}

// Page opens an empty page. It is closed with the test, and what went on in it is
// printed if the test failed.
func (b *Browser) Page(t testing.TB, o Options) *Page {
	t.Helper()
	base, err := url.Parse(o.Base)
	if err != nil || base.Host == "" {
		t.Fatalf("Options.Base is %q: it must be the server's address with http://", o.Base)
	}
	width, height := 1280, 800
	if o.Phone {
		width, height = 390, 844
	}
	if o.Width > 0 {
		width = o.Width
	}
	if o.Height > 0 {
		height = o.Height
	}
	p := &Page{t: t, b: b}
	p.do("open", map[string]any{
		"base": o.Base, "hosts": append([]string{base.Host}, o.Hosts...), "noScript": o.NoScript,
		"dark": o.Dark, "phone": o.Phone, "width": width, "height": height,
	}, &p.id)
	t.Cleanup(func() {
		if t.Failed() {
			var events []Event
			if b.do("events", p.id, nil, &events) == nil {
				for _, e := range events {
					t.Logf("in the page: %v", e)
				}
			}
		}
		_ = b.do("close", p.id, nil, nil) // the browser may be dead, which the test was told elsewhere
	})
	return p
}

// do has the driver do something on the page, and fails the test if it cannot.
func (p *Page) do(command string, args map[string]any, into any) {
	p.t.Helper()
	if err := p.b.do(command, p.id, args, into); err != nil {
		p.t.Fatalf("%s %v: %v", command, args, err)
	}
}

// ask is do with a target, for a text.
func (p *Page) ask(command, target string) string {
	p.t.Helper()
	var s string
	p.do(command, map[string]any{"target": target}, &s)
	return s
}

// Role is the target with a role and an accessible name, as a screen reader sees
// them: Role("button", "Copy"). The name is meant whole and as written; "" is any.
func Role(role, name string) string {
	if name == "" {
		return "role=" + role
	}
	return "role=" + role + "[name=" + strconv.Quote(name) + "]"
}

// Goto opens an address, waits until all of it is loaded, and returns the status of
// the answer. An address that the page may not reach fails the test.
func (p *Page) Goto(address string) int {
	p.t.Helper()
	var status int
	p.do("goto", map[string]any{"url": address}, &status)
	return status
}

// Back goes back to the address before.
func (p *Page) Back() {
	p.t.Helper()
	p.do("back", nil, nil)
}

// URL returns the address that the page is at.
func (p *Page) URL() string {
	p.t.Helper()
	return p.ask("url", "")
}

// Title returns the page's title.
func (p *Page) Title() string {
	p.t.Helper()
	return p.ask("title", "")
}

// HTML returns the document as the browser has understood it.
func (p *Page) HTML() string {
	p.t.Helper()
	return p.ask("html", "")
}

// Click clicks an element, once it can be seen and nothing covers it.
func (p *Page) Click(target string) {
	p.t.Helper()
	p.do("click", map[string]any{"target": target}, nil)
}

// Fill writes a text into a field, in place of what it held.
func (p *Page) Fill(target, text string) {
	p.t.Helper()
	p.do("fill", map[string]any{"target": target, "text": text}, nil)
}

// Select chooses the option with a value or a label in a list.
func (p *Page) Select(target, option string) {
	p.t.Helper()
	p.do("select", map[string]any{"target": target, "text": option}, nil)
}

// Press presses keys one after the other, wherever the focus is: "Tab",
// "Shift+Tab", "Enter", "a".
func (p *Page) Press(keys ...string) {
	p.t.Helper()
	p.do("press", map[string]any{"keys": keys}, nil)
}

// Type types a text, wherever the focus is.
func (p *Page) Type(text string) {
	p.t.Helper()
	p.do("type", map[string]any{"text": text}, nil)
}

// WaitFor waits until an element can be seen.
func (p *Page) WaitFor(target string) {
	p.t.Helper()
	p.do("waitFor", map[string]any{"target": target}, nil)
}

// WaitURL waits until the page's address holds a text and all of it is loaded.
func (p *Page) WaitURL(part string) {
	p.t.Helper()
	p.do("waitURL", map[string]any{"text": part}, nil)
}

// Text returns the text of an element as it is shown.
func (p *Page) Text(target string) string {
	p.t.Helper()
	return p.ask("text", target)
}

// Texts returns the texts of all elements that are there, nil for none; it does not
// wait for one.
func (p *Page) Texts(target string) []string {
	p.t.Helper()
	var all []string
	p.do("texts", map[string]any{"target": target}, &all)
	return all
}

// Count returns how many elements there are; it does not wait for one.
func (p *Page) Count(target string) int {
	p.t.Helper()
	var n int
	p.do("count", map[string]any{"target": target}, &n)
	return n
}

// Visible says whether an element is there and can be seen; it does not wait for it.
func (p *Page) Visible(target string) bool {
	p.t.Helper()
	var visible bool
	p.do("visible", map[string]any{"target": target}, &visible)
	return visible
}

// Attribute returns an attribute of an element, and whether it has it.
func (p *Page) Attribute(target, name string) (value string, ok bool) {
	p.t.Helper()
	var v *string
	p.do("attribute", map[string]any{"target": target, "name": name}, &v)
	if v == nil {
		return "", false
	}
	return *v, true
}

// Value returns what a field or a list holds.
func (p *Page) Value(target string) string {
	p.t.Helper()
	return p.ask("value", target)
}

// Aria returns what a screen reader is told of an element and all in it, as
// indented lines: `- heading "Repositories" [level=1]`.
func (p *Page) Aria(target string) string {
	p.t.Helper()
	return p.ask("aria", target)
}

// Focused returns role and accessible name of the element that has the focus. While
// nothing has it, the role is "none".
func (p *Page) Focused() (role, name string) {
	p.t.Helper()
	var f struct{ Role, Name string }
	p.do("focused", nil, &f)
	return f.Role, f.Name
}

// TabTo presses Tab until an element with the role and the name has the focus, and
// fails the test when none has got it after a hundred times.
func (p *Page) TabTo(role, name string) {
	p.t.Helper()
	var seen []string
	for range 100 {
		p.Press("Tab")
		r, n := p.Focused()
		if r == role && n == name {
			return
		}
		seen = append(seen, fmt.Sprintf("%s %q", r, n))
	}
	p.t.Fatalf("the keyboard does not reach %s %q, only %v", role, name, slices.Compact(seen))
}

// Evaluate runs an expression of JavaScript in the page, also in one without scripts
// and whatever its policy forbids. It waits if the value is a promise, which nothing
// fulfils without scripts, and decodes the value into a variable; nil drops it.
func (p *Page) Evaluate(expression string, into any) {
	p.t.Helper()
	p.do("evaluate", map[string]any{"text": expression}, into)
}

// Viewport gives the window another size, in CSS pixels.
func (p *Page) Viewport(width, height int) {
	p.t.Helper()
	p.do("viewport", map[string]any{"width": width, "height": height}, nil)
}

// Dark has the system prefer dark colours, or light ones.
func (p *Page) Dark(on bool) {
	p.t.Helper()
	p.do("dark", map[string]any{"on": on}, nil)
}

// Screenshot writes what the window shows to a PNG file; full is the whole page,
// also what must be scrolled to.
func (p *Page) Screenshot(path string, full bool) {
	p.t.Helper()
	abs, err := filepath.Abs(path) // the driver runs in another directory
	if err != nil {
		p.t.Fatal(err)
	}
	p.do("screenshot", map[string]any{"path": abs, "full": full}, nil)
}

// Clipboard returns the text on the clipboard, which all pages of the browser
// share. Only pages of localhost, 127.0.0.1 and HTTPS have it.
func (p *Page) Clipboard() string {
	p.t.Helper()
	return p.ask("clipboard", "")
}

// Violation is a rule of accessibility that a page breaks, as axe-core tells it.
type Violation struct {
	// ID is the rule's name, such as "image-alt", Help what it wants.
	ID, Help string
	// Impact is minor, moderate, serious or critical.
	Impact string
	// Nodes are the elements that break it.
	Nodes []Node
}

// Node is an element that breaks a rule.
type Node struct {
	// Target is a CSS selector, HTML the beginning of the element, Summary what to
	// mend.
	Target, HTML, Summary string
}

// String is the violation in full, for the log.
func (v Violation) String() string {
	var s strings.Builder
	_, _ = fmt.Fprintf(&s, "%s (%s): %s", v.ID, v.Impact, v.Help) // a Builder takes everything
	for _, n := range v.Nodes {
		_, _ = fmt.Fprintf(&s, "\n  %s\n  %s\n  %s", n.Target, n.HTML, strings.ReplaceAll(n.Summary, "\n", "\n  "))
	}
	return s.String()
}

// Severe says whether it keeps people from using the page: serious or critical.
func (v Violation) Severe() bool { return v.Impact == "serious" || v.Impact == "critical" }

// Axe checks the page as it is now with all rules of axe-core, contrast of colours
// included, and returns the broken ones.
func (p *Page) Axe() []Violation {
	p.t.Helper()
	var all []Violation
	p.do("axe", nil, &all)
	return all
}

// Kind is what kind of thing happened in a page.
type Kind string

// The kinds of events.
const (
	// Console is a message on the console: of a script, or the browser's own, such
	// as a resource that failed or that the Content-Security-Policy refused.
	Console Kind = "console"
	// Error is an exception that no script caught.
	Error Kind = "error"
	// Foreign is a request to a host that is not among the page's, with the type of
	// what was wanted. It was refused, save where a redirect or a WebSocket leads to
	// another port of this machine: those are recorded only. Connections that the
	// browser is told to open ahead of requests are not seen.
	Foreign Kind = "foreign"
	// Dialog is an alert, confirm or prompt; it was dismissed.
	Dialog Kind = "dialog"
	// Popup is another page that this one opened.
	Popup Kind = "popup"
	// Download is a file that the browser was to keep.
	Download Kind = "download"
	// Crash is the end of the page's process.
	Crash Kind = "crash"
)

// Event is something that happened in a page besides what it shows.
type Event struct {
	Kind Kind
	// Text is the message, the address, or the error with its stack.
	Text string
	// Level is that of a console message: log, info, warning, error and so on.
	Level string
}

// String is the event in one line, for the log.
func (e Event) String() string {
	if e.Level != "" {
		return fmt.Sprintf("%s %s: %s", e.Kind, e.Level, e.Text)
	}
	return fmt.Sprintf("%s: %s", e.Kind, e.Text)
}

// Events returns what happened in the page since it was opened, of some kinds or of
// all. What the page does later, after a timer or an answer, is not waited for.
func (p *Page) Events(kinds ...Kind) []Event {
	p.t.Helper()
	var all []Event
	p.do("events", nil, &all)
	if len(kinds) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(e Event) bool { return !slices.Contains(kinds, e.Kind) })
}

// Trouble returns the events that a good page has none of: all but the messages on
// the console that are neither warnings nor errors.
func (p *Page) Trouble() []Event {
	p.t.Helper()
	return slices.DeleteFunc(p.Events(), func(e Event) bool {
		return e.Kind == Console && e.Level != "warning" && e.Level != "error" && e.Level != "assert"
	})
}
