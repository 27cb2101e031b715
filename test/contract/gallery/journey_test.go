package gallery

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/gallery/browser"
	"github.com/berth-registry/berth/test/contract/harness"
)

// shop is a world with something to look for.
type shop struct {
	*world
	harbour *publisher // verified, with an alias of its own
	lab     *publisher // nobody in particular, with more than one page of repositories
}

// labImages are the repositories of lab; those of harbour are three.
const labImages = 30

func open(t *testing.T, args ...string) *shop {
	t.Helper()
	s := &shop{world: start(t, args...)}
	linux, both := []string{"Linux"}, []string{"x86-64", "ARM 64"}
	h := s.publisher(t, "111122223333")
	h.named(t, "harbour", "Harbour Software")
	about, usage := example(t, "about"), example(t, "usage")
	h.repository(t, "server", &data{
		Description: text("A small web server."), AboutText: &about, UsageText: &usage,
		OperatingSystems: linux, Architectures: both, LogoImageBlob: logo(t),
	})
	old := h.image(t, "server", "tag-1", "linux/amd64")
	h.retag(t, "server", old, numbered("tag-%d", 59)...)
	h.image(t, "server", "latest", "linux/amd64", "linux/arm64/v8")
	h.published(t, "tools/proxy", &data{Description: text("Goes with the server."), OperatingSystems: linux, Architectures: both})
	h.published(t, "iis", &data{Description: text("For Windows."), OperatingSystems: []string{"Windows"}, Architectures: []string{"x86-64"}})
	l := s.publisher(t, "222233334444")
	for i, name := range numbered("image-%02d", labImages) {
		architectures := []string{"x86-64"}
		if i%3 == 0 {
			architectures = both
		}
		l.published(t, name, &data{Description: text("An image of the laboratory."), OperatingSystems: linux, Architectures: architectures})
	}
	s.harbour, s.lab = h, l
	return s
}

// example is a full text of the public guide, as it comes out of the guide's JSON.
func example(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(harness.Root(t), "internal", "web", "gallery", "markdown", "testdata", name+".txt"))
	must(t, "the example", err)
	return strings.ReplaceAll(strings.TrimSpace(string(raw)), `\n`, "\n")
}

var (
	searchField = browser.Role("searchbox", "Search repositories")
	cardLink    = "main h3 a"
	range1st    = regexp.MustCompile(`(?:(\d+) to (\d+) of )?([\d,]+) repositor`)
)

// found reads how many repositories a list says that it has, and the names on its page.
func found(t *testing.T, p *browser.Page) (total int, names []string) {
	t.Helper()
	line := p.Text("main .range")
	names = p.Texts(cardLink)
	m := range1st.FindStringSubmatch(line)
	if m == nil {
		if !strings.Contains(line, "No repositories") || len(names) > 0 {
			t.Fatalf("the list says %q", line)
		}
		return 0, nil
	}
	total, err := strconv.Atoi(strings.ReplaceAll(m[3], ",", ""))
	must(t, line, err)
	if m[1] == "" && total != len(names) {
		t.Errorf("%q over %d repositories", line, len(names))
	}
	if m[1] != "" {
		first, _ := strconv.Atoi(m[1]) // digits
		last, _ := strconv.Atoi(m[2])  // digits
		equal(t, line, len(names), last-first+1)
	}
	return total, names
}

func TestVisitor(t *testing.T) {
	t.Parallel()
	s := open(t)
	b := browser.Start(t)
	page := func(t *testing.T) *browser.Page {
		t.Helper()
		return b.Page(t, browser.Options{Base: s.PublicEndpoint})
	}
	// look opens a page, which must be there.
	look := func(t *testing.T, address string) *browser.Page {
		t.Helper()
		p := page(t)
		equal(t, address, p.Goto(address), http.StatusOK)
		return p
	}
	// run has a test end with a page in which nothing went wrong.
	run := func(name string, test func(*testing.T, *browser.Page)) {
		t.Run(name, func(t *testing.T) {
			p := look(t, "/")
			test(t, p)
			quiet(t, p, name)
		})
	}

	run("searches", func(t *testing.T, p *browser.Page) {
		lacks(t, "the home page", p.Text("main"), "33 public repositories", "Popular", "Recently updated")
		for _, c := range []struct{ term, first string }{
			{"server", "harbour/server"},
			{"servor", "harbour/server"}, // a typo
			{"SERV", "harbour/server"},   // the beginning
			{"windows", "harbour/iis"},   // the description
			{"image-07", s.lab.alias + "/image-07"},
			{"harbour iis", "harbour/iis"}, // publisher and name
		} {
			p.Fill(searchField, c.term)
			p.Press("Enter")
			p.WaitURL("searchTerm=" + url.QueryEscape(c.term))
			_, names := found(t, p)
			if len(names) == 0 || names[0] != c.first {
				t.Errorf("%s finds %v, want %s first", c.term, names, c.first)
			}
			equal(t, "the field", p.Value(searchField), c.term)
		}
		total, names := found(t, look(t, "/search?searchTerm=harbour"))
		equal(t, "what the publisher's name finds", total, 3)
		slices.Sort(names)
		same(t, "what the publisher's name finds", names, []string{"harbour/iis", "harbour/server", "harbour/tools/proxy"})
		p.Fill(searchField, "zzzzzzz")
		p.Click(browser.Role("button", "Search"))
		p.WaitFor("text=Nothing was found")
		p.Click("main >> " + browser.Role("link", "all repositories"))
		p.WaitFor(browser.Role("heading", "All repositories"))
		total, _ = found(t, p)
		equal(t, "all", total, labImages+3)
	})

	run("filters", func(t *testing.T, p *browser.Page) {
		box := func(value string) string { return `input[type=checkbox][value="` + value + `"]` }
		for _, c := range []struct {
			values []string
			want   int
		}{
			{[]string{"verified"}, 3},
			{[]string{"Linux"}, labImages + 2},
			{[]string{"Windows"}, 1},
			{[]string{"ARM 64"}, 12},
			{[]string{"verified", "Linux", "ARM 64"}, 2},
		} {
			p.Goto("/search")
			said := 0
			for _, value := range c.values {
				count := p.Text("label:has(" + box(value) + ") .n")
				n, err := strconv.Atoi(strings.Fields(count)[0])
				must(t, "the count of "+value, err)
				said = n
				p.Click(box(value))
				p.Click("main " + browserButton("Apply"))
				p.WaitURL(url.QueryEscape(value))
			}
			total, _ := found(t, p)
			equal(t, "what is found with "+strings.Join(c.values, " and "), total, c.want)
			equal(t, "the number beside "+c.values[len(c.values)-1], said, c.want)
			equal(t, "the filters that are on", p.Count(".chips li"), len(c.values)+1)
		}
		// One of them is taken off, and then all.
		p.Click(".chips a:has-text('ARM 64')")
		p.WaitFor("text=2 repositories")
		equal(t, "a box", p.Count(box("ARM 64")+":checked"), 0)
		equal(t, "another box", p.Count(box("Linux")+":checked"), 1)
		p.Click(".chips .all")
		p.WaitFor("text=" + strconv.Itoa(labImages+3) + " repositories")
	})

	run("sorts and turns pages", func(t *testing.T, p *browser.Page) {
		p.Goto("/search")
		p.Select("#sort", "name")
		p.Click("main " + browserButton("Apply"))
		p.WaitURL("sort=")
		var all []string
		for {
			total, names := found(t, p)
			equal(t, "the total", total, labImages+3)
			all = append(all, names...)
			next := "nav >> " + browser.Role("link", "Next")
			if p.Count(next) == 0 {
				break
			}
			if len(all) > 100 {
				t.Fatal("there is no last page")
			}
			before := p.URL()
			p.Click(next)
			if p.URL() == before {
				t.Fatal("the next page is the same one")
			}
		}
		names := make([]string, 0, len(all))
		for _, name := range all {
			_, name, _ = strings.Cut(name, "/")
			names = append(names, name)
		}
		want := append([]string{"iis", "server", "tools/proxy"}, numbered("image-%02d", labImages)...)
		slices.Sort(want)
		same(t, "the list by name", names, want)
		p.Click("nav >> " + browser.Role("link", "Page 1"))
		total, again := found(t, p)
		equal(t, "the total", total, labImages+3)
		same(t, "the first page", again, all[:len(again)])

		p.Select("#sort", "updated")
		p.Click("main " + browserButton("Apply"))
		p.WaitURL("updated")
		_, again = found(t, p)
		equal(t, "what was pushed last", again[0], s.lab.alias+"/"+numbered("image-%02d", labImages)[labImages-1])
	})

	run("reads a repository", func(t *testing.T, p *browser.Page) {
		p.Fill(searchField, "web server")
		p.Press("Enter")
		p.WaitURL("/search")
		p.Click(cardLink + "[href$='/harbour/server']")
		p.WaitURL("/harbour/server")
		equal(t, "the title", p.Text("h1"), "harbour/server")
		lacks(t, "the page", p.Text("main"), "Harbour Software", "Verified account", "A small web server.", "Linux", "ARM 64", "x86-64")
		var decoded bool
		p.Evaluate(`(async () => { const i = document.querySelector("main img"); await i.decode(); return i.naturalWidth == 96 && new URL(i.src).pathname.startsWith("/logo/") })()`, &decoded)
		equal(t, "the logo", decoded, true)
		shown(t, p, "About", aboutHeadings, 10)
		p.Click(tabs + browser.Role("link", "Usage"))
		p.WaitURL("usage")
		shown(t, p, "Usage", usageHeadings, 1)
		p.Click(tabs + browser.Role("link", "About"))
		p.WaitURL("about")
		shown(t, p, "About", aboutHeadings, 10)
	})

	run("copies and pulls", func(t *testing.T, p *browser.Page) {
		p.Goto("/harbour/server")
		p.Click(browser.Role("button", "Copy the pull command"))
		p.WaitFor("button:text('Copied')")
		command := p.Clipboard()
		equal(t, "the copied command", command, "docker pull "+s.PublicHost+"/harbour/server:latest")
		equal(t, "the shown command", p.Value("#pull"), command)
		box := harness.NewBox(t, "crane")
		lacks(t, "the image that is pulled", box.Run("crane", "manifest", strings.TrimPrefix(command, "docker pull ")), harness.OCIIndex)

		p.Goto("/harbour/server?tab=tags")
		second := tagNames(p)[1]
		p.Click(browser.Role("button", "Copy the command to pull "+second))
		p.WaitFor("button:text('Copied')")
		equal(t, "the command for a tag", p.Clipboard(), "docker pull "+s.PublicHost+"/harbour/server:"+second)
		p.Click(browser.Role("button", "Copy the digest of latest"))
		p.WaitFor("tr:has-text('latest') td button:text('Copied')")
		digest := p.Clipboard()
		if got := strings.TrimSpace(box.Run("crane", "digest", s.PublicHost+"/harbour/server:latest")); got != digest {
			t.Errorf("the copied digest is %q, want %s", digest, got)
		}
	})

	run("reads tags", func(t *testing.T, p *browser.Page) {
		p.Goto("/harbour/server")
		p.Click(tabs + browser.Role("link", "Image tags"))
		p.WaitFor("table")
		row := p.Text("tr:has(th:has-text('latest'))")
		lacks(t, "a row", row, "linux/amd64", "linux/arm64/v8", "today", "sha256:")
		if !regexp.MustCompile(`\d B|kB`).MatchString(row) {
			t.Errorf("a row has no size: %s", row)
		}
		rows := "tbody tr"
		equal(t, "the tags on the first page", p.Count(rows), 50)
		equal(t, "the newest tag's place", p.Count("tbody tr:nth-child(1):has-text('latest')"), 1)
		first := tagNames(p)
		p.Click(browser.Role("link", "Older tags"))
		p.WaitURL("after=")
		equal(t, "the tags on the second page", p.Count(rows), 10)
		all := append(first, tagNames(p)...)
		slices.Sort(all)
		want := append(numbered("tag-%d", 59), "latest")
		slices.Sort(want)
		same(t, "all tags", all, want)
		p.Click(browser.Role("link", "Newest tags"))
		p.WaitFor("tr:has-text('latest')")

		p.Fill(browser.Role("searchbox", "Filter tags"), "ag-5")
		p.Press("Enter")
		p.WaitURL("ag-5")
		equal(t, "the filtered tags", p.Count(rows), 11) // 5 and 50 to 59
		p.Fill(browser.Role("searchbox", "Filter tags"), "absent")
		p.Click("main " + browserButton("Filter"))
		p.WaitFor("text=No tag has")
	})

	run("visits a publisher", func(t *testing.T, p *browser.Page) {
		p.Goto("/harbour/server")
		p.Click("aside >> " + browser.Role("link", "Harbour Software"))
		p.WaitFor(browser.Role("heading", "Harbour Software"))
		total, _ := found(t, p)
		equal(t, "the publisher's repositories", total, 3)
		lacks(t, "the page", p.Text("main"), "Verified account", "harbour", s.harbour.alias)
		p.Fill(browser.Role("searchbox", "Search this publisher"), "proxy")
		p.Press("Enter")
		p.WaitURL("proxy")
		_, names := found(t, p)
		same(t, "what is found there", names, []string{"harbour/tools/proxy"})

		// Whoever is not verified is called by the alias.
		p.Goto("/" + s.lab.alias)
		equal(t, "the heading", p.Text("h1"), s.lab.alias)
		equal(t, "the badge", p.Count("main .verified"), 0)
		p.Click("nav >> " + browser.Role("link", "Next"))
		total, names = found(t, p)
		equal(t, "the total", total, labImages)
		equal(t, "the second page", len(names), labImages-24)
	})

	run("is told of what is not there", func(t *testing.T, p *browser.Page) {
		for _, address := range []string{"/nobody-here", "/harbour/absent", "/harbour/nothing-in-it", "/harbour/server/deeper", "/No/Such/Page", "/harbour/..%2f..%2fetc", "/logo/absent.png", "/static/absent.css"} {
			equal(t, address, p.Goto(address), http.StatusNotFound)
			equal(t, "the heading", p.Text("h1"), "Not found")
			p.WaitFor(browser.Role("link", "To the gallery's home page"))
		}
		for _, address := range []string{"/search?page=x", "/search?page=999999999", "/harbour/server?tab=other", "/harbour/server?tab=tags&after=!"} {
			equal(t, address, p.Goto(address), http.StatusBadRequest)
			equal(t, "the heading", p.Text("h1"), "That address does not work")
		}
	})

	t.Run("keyboard", func(t *testing.T) { keyboard(t, look(t, "/")) })
	t.Run("screen reader", func(t *testing.T) { screenReader(t, s, look(t, "/")) })
	t.Run("looks", func(t *testing.T) { looks(t, s, b) })
	t.Run("without scripts", func(t *testing.T) {
		withoutScripts(t, s, b.Page(t, browser.Options{Base: s.PublicEndpoint, NoScript: true}))
	})
	t.Run("under a prefix", func(t *testing.T) { prefixed(t, s, b.Page(t, browser.Options{Base: s.Endpoint})) })
	s.MustFsck(t)
}

const tabs = "nav[aria-label='About this repository'] >> "

// browserButton is a selector that follows another one.
func browserButton(name string) string { return ">> " + browser.Role("button", name) }

func tagNames(p *browser.Page) []string { return p.Texts("tbody th bdi") }

var (
	aboutHeadings = []string{"Supported tags and respective dockerfile links", "What is Amazon Linux?", "Where can I run Amazon Linux container images?", "License", "Security"}
	usageHeadings = []string{
		"Where can I run Amazon Linux container images?", "How do I install a software package from Extras repository in Amazon Linux 2?",
		"Will updates be available for Amazon Linux containers?", "Will AWS support the current version of Amazon Linux going forward?",
	}
)

// shown wants a full example of the guide as what it means.
func shown(t *testing.T, p *browser.Page, what string, headings []string, links int) {
	t.Helper()
	got := p.Texts(".text :is(h1, h2, h3, h4, h5, h6)")
	same(t, "the headings of "+what, got, headings)
	if n := p.Count(".text a[href^='https://']"); n < links {
		t.Errorf("%s has %d links, want %d", what, n, links)
	}
	if n := p.Count(".text code"); n == 0 {
		t.Errorf("%s has no code", what)
	}
	if raw := p.Text(".text"); strings.Contains(raw, `\n`) || strings.Contains(raw, "](") || strings.Contains(raw, "## ") {
		t.Errorf("%s is shown as it was written:\n%s", what, raw)
	}
}

// api calls an operation of the gallery's JSON API.
func api(t *testing.T, c *http.Client, base, operation, body string, into any) {
	t.Helper()
	status, answer := send(t, c, http.MethodPost, base+"/"+operation, body)
	if err := json.Unmarshal(answer, into); status != http.StatusOK || err != nil {
		t.Errorf("%s %s: %d %s: %v", operation, body, status, answer, err)
	}
}
