package gallery

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/gallery/browser"
)

// marked says of the element with the focus whether it is in the window, and whether an
// outline or a shadow marks it, or what is laid over it.
const marked = `(() => {
	const e = document.activeElement, r = e.getBoundingClientRect();
	return r.width > 0 && r.height > 0 && r.bottom > 0 && r.right > 0 && r.left < innerWidth && r.top < innerHeight &&
		[getComputedStyle(e), getComputedStyle(e, "::after")].some((s) => s.outlineStyle != "none" && parseFloat(s.outlineWidth) > 0 || s.boxShadow != "none");
})()`

// tabTo goes to an element with the Tab key, and wants everything on the way to be marked
// when it has the focus.
func tabTo(t *testing.T, p *browser.Page, role, name string) {
	t.Helper()
	var seen []string
	for range 150 {
		p.Press("Tab")
		r, n := p.Focused()
		if r == "none" || r == "RootWebArea" {
			continue // the browser's own address bar
		}
		var ok bool
		if p.Evaluate(marked, &ok); !ok {
			t.Errorf("the focus on %s %q cannot be seen", r, n)
		}
		// A place where a line may break counts as a space.
		if r == role && strings.ReplaceAll(n, "/ ", "/") == name {
			return
		}
		seen = append(seen, r+" "+n)
	}
	t.Fatalf("the keyboard does not reach %s %q, only\n %s", role, name, strings.Join(slices.Compact(seen), "\n "))
}

// keyboard goes from the address bar to a copied command without a mouse.
func keyboard(t *testing.T, p *browser.Page) {
	p.Press("Tab")
	role, name := p.Focused()
	equal(t, "the first element", role+" "+name, "link Skip to the content")
	var ok bool
	p.Evaluate(marked, &ok)
	equal(t, "that the link to the content can be seen", ok, true)
	p.Press("Enter")
	p.WaitURL("#main")
	p.Evaluate(`document.activeElement.id == "main"`, &ok)
	equal(t, "that the content has the focus", ok, true)

	tabTo(t, p, "searchbox", "Search repositories")
	p.Type("servor")
	p.Press("Enter")
	p.WaitURL("searchTerm=servor")
	p.Press("Tab", "Enter") // past the head
	p.WaitURL("#main")
	tabTo(t, p, "checkbox", "Windows 0 repositories")
	tabTo(t, p, "link", "harbour/server")
	p.Press("Enter")
	p.WaitURL("/harbour/server")
	tabTo(t, p, "button", "Copy the pull command")
	p.Press("Enter")
	p.WaitFor("button:text('Copied')")
	lacks(t, "the clipboard", p.Clipboard(), "/harbour/server:latest")
	role, name = p.Focused()
	equal(t, "what has the focus after copying", role+" "+name, "button Copied the pull command")
	equal(t, "what a screen reader says", p.Text("[role=status]"), "Copied")
	tabTo(t, p, "link", "Usage")
	p.Press("Enter")
	p.WaitURL("usage")
	tabTo(t, p, "link", "About")
	p.Press("Enter")
	p.WaitURL("about")
	shown(t, p, "About", aboutHeadings, 10)
	tabTo(t, p, "link", "the Amazon Linux Team")
	quiet(t, p, "the keyboard's page")
}

// screenReader looks at the pages as a screen reader does.
func screenReader(t *testing.T, s *shop, p *browser.Page) {
	for address, parts := range map[string][]string{
		"/": {`- heading "Find a container image" [level=1]`, `- search`, `- searchbox "Search repositories"`, `- button "Search"`, `- heading "Popular" [level=2]`, `- heading "Recently updated" [level=2]`,
			`- link "harbour/server"`, `- list "Platforms"`},
		"/search?searchTerm=server": {`- heading "Results for`, `- group "Operating system"`, `- checkbox "Linux 2 repositories"`, `- checkbox "Verified account 2 repositories"`, `- combobox "Order"`, `- button "Apply"`, `- link "harbour/server"`},
		"/search":                   {`- navigation "Pages"`, `- link "Page 2"`, `- link "Next"`},
		"/harbour/server": {`- heading "harbour/server" [level=1]`, `- textbox "Pull command"`, `- button "Copy the pull command"`, `- navigation "About this repository"`, `- link "Image tags"`,
			`- heading "What is Amazon Linux?" [level=3]`, `- complementary "Details"`},
		"/harbour/server?tab=tags": {`- searchbox "Filter tags"`, `- table`, `- columnheader "Digest"`, `- rowheader "latest`, `- button "Copy the digest of latest"`, `- navigation "Pages of tags"`},
		"/harbour":                 {`- heading "Harbour Software" [level=1]`, `- searchbox "Search this publisher"`, `- combobox "Order"`},
		"/nobody-here":             {`- heading "Not found" [level=1]`},
	} {
		p.Goto(address)
		tree := p.Aria("body")
		lacks(t, address, tree, append(parts, `- link "Skip to the content"`, "- banner", "- main", "- contentinfo")...)
		if n := strings.Count(tree, "[level=1]"); n != 1 {
			t.Errorf("%s has %d main headings:\n%s", address, n, tree)
		}
		for line := range strings.Lines(tree) {
			line = strings.TrimSuffix(strings.TrimSpace(line), ":")
			if slices.Contains([]string{"- link", "- button", "- textbox", "- searchbox", "- checkbox", "- combobox", "- group", "- heading", "- navigation", "- complementary"}, line) {
				t.Errorf("%s has something without a name: %s\n%s", address, line, tree)
			}
		}
		var deeper []int
		p.Evaluate(`[...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((h) => +h.localName[1])`, &deeper)
		for i := 1; i < len(deeper); i++ {
			if deeper[i] > deeper[i-1]+1 {
				t.Errorf("%s leaves out a level of headings: %v", address, deeper)
			}
		}
		var titled bool
		p.Evaluate(`document.documentElement.lang == "en" && document.title.includes("Gallery")`, &titled)
		equal(t, address+": language and title", titled, true)
	}
}

// all are the pages of each kind.
func (s *shop) all() []string {
	return []string{"/", "/search", "/search?searchTerm=server&operatingSystems=Linux", "/search?searchTerm=zzzzzzz", "/harbour/server", "/harbour/server?tab=usage", "/harbour/server?tab=tags",
		"/harbour", "/" + s.lab.alias, "/harbour/absent"}
}

// looks goes through all pages in light and dark and on a phone.
func looks(t *testing.T, s *shop, b *browser.Browser) {
	wide := b.Page(t, browser.Options{Base: s.PublicEndpoint})
	phone := b.Page(t, browser.Options{Base: s.PublicEndpoint, Phone: true})
	for _, address := range s.all() {
		wide.Dark(false)
		wide.Goto(address)
		sound(t, wide, address)
		light := background(wide)
		wide.Dark(true)
		sound(t, wide, address+" in the dark")
		if dark := background(wide); dark == light {
			t.Errorf("%s is %s in light and dark", address, dark)
		}
		// axe-core takes its time: on a phone it looks where the layout is another one.
		look := quiet
		if strings.Contains(address, "searchTerm=server") || strings.Contains(address, "tab=tags") {
			look = sound
		}
		phone.Goto(address)
		look(t, phone, address+" on a phone")
	}
	// As narrow as phones are.
	phone.Viewport(320, 640)
	for _, address := range s.all() {
		phone.Goto(address)
		quiet(t, phone, address+" in the narrowest window")
	}
}

func background(p *browser.Page) (colour string) {
	p.Evaluate(`getComputedStyle(document.body).backgroundColor`, &colour)
	return colour
}

// withoutScripts does what needs no script: all but copying.
func withoutScripts(t *testing.T, s *shop, p *browser.Page) {
	for _, address := range s.all() {
		p.Goto(address)
		quiet(t, p, address+" without scripts")
	}
	p.Goto("/harbour/server?tab=tags")
	sound(t, p, "a page without scripts")
	p.Goto("/")
	p.Fill(searchField, "server")
	p.Press("Enter")
	p.WaitURL("searchTerm=server")
	p.Click(`input[value="ARM 64"]`)
	p.Select("#sort", "name")
	p.Click("main " + browserButton("Apply"))
	p.WaitURL("architectures=ARM")
	_, names := found(t, p)
	same(t, "what is found", names, []string{"harbour/server", "harbour/tools/proxy"})
	p.Click(cardLink + "[href$='/harbour/server']")
	p.WaitURL("/harbour/server")
	shown(t, p, "About", aboutHeadings, 10)
	equal(t, "the pull command", p.Value("#pull"), "docker pull "+s.PublicHost+"/harbour/server:latest")
	equal(t, "buttons that would copy", p.Count("button.copy:visible"), 0)
	p.Click(tabs + browser.Role("link", "Image tags"))
	p.WaitURL("tags")
	p.Click(browser.Role("link", "Older tags"))
	p.WaitURL("after=")
	p.Fill(browser.Role("searchbox", "Filter tags"), "late")
	p.Press("Enter")
	p.WaitURL("tag=late")
	same(t, "the filtered tags", tagNames(p), []string{"latest"})
	p.Click("main h1 a")
	p.WaitFor(browser.Role("heading", "Harbour Software"))
	quiet(t, p, "what needs no script")
}

// prefixed goes through the gallery on the program's main address, where all of it stands
// under /gallery.
func prefixed(t *testing.T, s *shop, p *browser.Page) {
	const prefix = "/gallery"
	equal(t, "the status", p.Goto(prefix), http.StatusOK)
	equal(t, "the address", p.URL(), s.Endpoint+prefix+"/")
	for _, address := range s.all() {
		p.Goto(prefix + address)
		quiet(t, p, prefix+address)
		var leads []string
		p.Evaluate(`[...document.querySelectorAll("[href], [src], [action]")].map((e) => e.getAttribute("href") ?? e.getAttribute("src") ?? e.getAttribute("action"))`, &leads)
		if len(leads) < 8 {
			t.Errorf("%s leads to %v only", address, leads)
		}
		for _, lead := range leads {
			ours := strings.HasPrefix(lead, prefix+"/") || strings.HasPrefix(lead, "#") || strings.HasPrefix(lead, s.Endpoint+prefix+"/")
			foreign := strings.HasPrefix(lead, "https://")
			if !ours && !foreign {
				t.Errorf("%s leads to %s", address, lead)
			}
		}
	}
	p.Goto(prefix + "/")
	p.Fill(searchField, "servor")
	p.Press("Enter")
	p.WaitURL(prefix + "/search?searchTerm=servor")
	p.Click(`input[value="Linux"]`)
	p.Click("main " + browserButton("Apply"))
	p.WaitURL("operatingSystems=Linux")
	p.Click(cardLink + "[href$='/harbour/server']")
	p.WaitURL(prefix + "/harbour/server")
	p.Click(browser.Role("button", "Copy the pull command"))
	p.WaitFor("button:text('Copied')")
	equal(t, "the copied command", p.Clipboard(), "docker pull "+s.PublicHost+"/harbour/server:latest")
	p.Click(tabs + browser.Role("link", "Image tags"))
	p.Click(browser.Role("link", "Older tags"))
	p.WaitURL("after=")
	p.Click("aside >> " + browser.Role("link", "Harbour Software"))
	p.WaitURL(prefix + "/harbour")
	equal(t, "a page that is not there", p.Goto(prefix+"/harbour/absent"), http.StatusNotFound)
	p.Click(browser.Role("link", "To the gallery's home page"))
	p.WaitFor(browser.Role("heading", "Find a container image"))
	equal(t, "the address", p.URL(), s.Endpoint+prefix+"/")
}
