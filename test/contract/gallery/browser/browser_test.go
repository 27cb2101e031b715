package browser

import (
	"bufio"
	"encoding/json"
	"fmt"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// site is a small web site with what the browser must be able to do and to notice.
// The page's script and style stand under their own addresses, as the strict policy
// wants it.
func site(t *testing.T) (base string, foreign *atomic.Int64) {
	t.Helper()
	foreign = new(atomic.Int64)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { foreign.Add(1) }))
	t.Cleanup(elsewhere.Close)

	mux := http.NewServeMux()
	page := func(path, body string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Security-Policy", "default-src 'self'")
			_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><head><title>%s</title>
				<meta name="viewport" content="width=device-width"><link rel="icon" href="/icon.svg">
				<link rel="stylesheet" href="/style.css"></head><body><main>%s</main></body></html>`,
				r.URL.Path, strings.ReplaceAll(body, "ELSEWHERE", elsewhere.URL)) // a browser that went away is the test's to notice
		})
	}
	file := func(path, mediaType, body string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			_, _ = w.Write([]byte(body)) // as above
		})
	}
	file("/style.css", "text/css", `
		:root { color-scheme: light dark } body { background: #fff; color: #000 }
		@media (prefers-color-scheme: dark) { body { background: #000; color: #fff } }
		.narrow { display: none } @media (max-width: 500px) { .narrow { display: block } }`)
	file("/script.js", "text/javascript", `
		document.querySelector("#copy").addEventListener("click", async (e) => {
			await navigator.clipboard.writeText(document.querySelector("code").textContent);
			document.querySelector("#said").textContent = "Copied";
		});
		console.log("script was here");`)
	page("/{$}", `<h1>Images</h1>
		<form action="/found"><label>Search <input name="q"></label>
			<label>Sort <select name="sort"><option value="n">Name</option><option value="p">Popular</option></select></label>
			<button>Go</button></form>
		<a href="/second">Second</a> <code>docker pull localhost:5001/a/b</code>
		<button id="copy">Copy</button><p id="said" role="status"></p>
		<ul><li>one</li><li>two</li></ul><p hidden class="never">hidden</p><p class="narrow">narrow</p>
		<noscript><p>No script</p></noscript><script src="/script.js"></script>`)
	page("/found", `<h1>Found</h1>`)
	page("/second", `<h1>Second</h1>`)
	page("/faulty", `<h1>Faulty</h1><img src="/icon.svg">`)
	file("/icon.svg", "image/svg+xml", `<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"/>`)

	file("/throws.js", "text/javascript", `
		console.error("said an error"); console.warn("said a warning");
		setTimeout(() => { document.title = "thrown"; throw new Error("thrown on purpose") }, 0);`)
	page("/throws", `<h1>Throws</h1><script src="/throws.js"></script><script>document.title = "inline"</script>`)
	file("/asks.js", "text/javascript", `alert("asked"); window.open("/second"); document.title = "asked";`)
	page("/asks", `<h1>Asks</h1><script src="/asks.js"></script>`)

	// No policy here: what goes elsewhere is the browser's to stop.
	file("/leaks", "text/html", strings.ReplaceAll(`<!doctype html><title>Leaks</title>
		<img src="ELSEWHERE/image.png"><img src="http://tracker.example/pixel"><img src="/redirected">
		<script>fetch("ELSEWHERE/fetched").catch(() => {}).then(() => { document.title = "fetched" });
		try { new WebSocket("ws://sockets.example/") } catch {}</script>`, "ELSEWHERE", elsewhere.URL))
	mux.HandleFunc("GET /redirected", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://redirected.example/", http.StatusFound)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1), foreign
}

// TestBrowser asks everything of one browser, as a suite does.
func TestBrowser(t *testing.T) {
	base, elsewhere := site(t)
	b := Start(t)
	if b.Version == "" {
		t.Error("the browser has no version")
	}
	open := func(t *testing.T, o Options, address string) *Page {
		t.Helper()
		o.Base = base
		p := b.Page(t, o)
		if got := p.Goto(address); got != http.StatusOK {
			t.Fatalf("%s: status %d", address, got)
		}
		return p
	}

	t.Run("reads", func(t *testing.T) {
		p := open(t, Options{}, "/")
		equal(t, p.Text("h1"), "Images")
		equal(t, p.Title(), "/")
		equal(t, p.URL(), base+"/")
		equal(t, strings.Join(p.Texts("li"), ","), "one,two")
		equal(t, p.Count("li"), 2)
		equal(t, p.Count("video"), 0)
		equal(t, len(p.Texts("video")), 0)
		equal(t, p.Visible(".never"), false)
		equal(t, p.Visible("h1"), true)
		name, ok := p.Attribute("input", "name")
		equal(t, name, "q")
		equal(t, ok, true)
		_, ok = p.Attribute("input", "value")
		equal(t, ok, false)
		if html := p.HTML(); !strings.Contains(html, "<h1>Images</h1>") {
			t.Errorf("HTML: %s", html)
		}
		if aria := p.Aria("main"); !strings.Contains(aria, `- heading "Images" [level=1]`) || strings.Contains(aria, "hidden") {
			t.Errorf("Aria: %s", aria)
		}
		var sum int
		p.Evaluate("Promise.resolve(eval('40 + 2'))", &sum)
		equal(t, sum, 42)
		equal(t, len(p.Trouble()), 0)
		if got := p.Events(Console); len(got) != 1 || got[0].Level != "log" || !strings.HasPrefix(got[0].Text, "script was here") {
			t.Errorf("console: %v", got)
		}
		equal(t, p.Goto("/absent"), http.StatusNotFound)
	})

	t.Run("acts", func(t *testing.T) {
		p := open(t, Options{}, "/")
		p.Fill(Role("textbox", "Search"), "nginx & more")
		equal(t, p.Value("input"), "nginx & more")
		p.Select(Role("combobox", "Sort"), "Popular")
		p.Click(Role("button", "Go"))
		p.WaitURL("/found?")
		equal(t, p.URL(), base+"/found?q=nginx+%26+more&sort=p")
		p.Back()
		p.Click("text=Second")
		p.WaitFor("h1:text-is('Second')")
	})

	t.Run("copies", func(t *testing.T) {
		p := open(t, Options{}, "/")
		p.Click(Role("button", "Copy"))
		p.WaitFor("text=Copied")
		equal(t, p.Clipboard(), "docker pull localhost:5001/a/b")
	})

	t.Run("keyboard", func(t *testing.T) {
		p := open(t, Options{}, "/")
		role, _ := p.Focused()
		equal(t, role, "none")
		p.TabTo("textbox", "Search")
		p.Type("crane")
		equal(t, p.Value("input"), "crane")
		p.TabTo("link", "Second")
		p.Press("Shift+Tab")
		role, name := p.Focused()
		equal(t, role+" "+name, "button Go")
		p.Press("Tab", "Enter")
		p.WaitURL("/second")
	})

	t.Run("without scripts", func(t *testing.T) {
		p := open(t, Options{NoScript: true}, "/")
		equal(t, p.Visible("noscript p"), true)
		equal(t, len(p.Events(Console)), 0)
		p.Click(Role("button", "Copy"))
		equal(t, p.Text("#said"), "")
		equal(t, len(severe(p.Axe())), 0) // axe is the test's and runs all the same
		p.Click(Role("button", "Copy"))
		equal(t, p.Text("#said"), "") // and nothing else does, afterwards neither
		p.Click(Role("button", "Go"))
		p.WaitURL("/found")
	})

	t.Run("sizes and colours", func(t *testing.T) {
		p := open(t, Options{}, "/")
		equal(t, p.Visible(".narrow"), false)
		p.Viewport(400, 800)
		p.WaitFor(".narrow")
		equal(t, background(t, p, 400), color.NRGBA{255, 255, 255, 255})
		p.Dark(true)
		equal(t, background(t, p, 400), color.NRGBA{0, 0, 0, 255})

		dark := open(t, Options{Dark: true, Width: 800, Height: 600}, "/")
		equal(t, background(t, dark, 800), color.NRGBA{0, 0, 0, 255})

		phone := open(t, Options{Phone: true}, "/")
		equal(t, phone.Visible(".narrow"), true)
		var width int
		phone.Evaluate("innerWidth", &width)
		equal(t, width, 390)
	})

	t.Run("accessibility", func(t *testing.T) {
		if got := severe(open(t, Options{}, "/").Axe()); len(got) != 0 {
			t.Errorf("the good page: %v", got)
		}
		for _, o := range []Options{{}, {NoScript: true}, {Phone: true}} {
			got := severe(open(t, o, "/faulty").Axe())
			if len(got) != 1 || got[0].ID != "image-alt" || got[0].Impact != "critical" || len(got[0].Nodes) != 1 || got[0].Nodes[0].Target != "img" {
				t.Errorf("%+v: an image without a text for those who cannot see it: %v", o, got)
			}
		}
	})

	t.Run("errors", func(t *testing.T) {
		p := open(t, Options{}, "/throws")
		p.WaitFor("h1")
		p.Evaluate(`new Promise((done) => { const look = () => document.title == "thrown" ? done(0) : setTimeout(look, 10); look() })`, nil)
		if got := p.Events(Error); len(got) != 1 || !strings.Contains(got[0].Text, "thrown on purpose") {
			t.Errorf("errors: %v", got)
		}
		// What the script said, and that the policy stopped the other one.
		levels := map[string]int{}
		for _, e := range p.Events(Console) {
			levels[e.Level]++
		}
		if levels["error"] != 2 || levels["warning"] != 1 {
			t.Errorf("console: %v", p.Events(Console))
		}
		equal(t, len(p.Trouble()), 4)
	})

	t.Run("dialogs and popups", func(t *testing.T) {
		p := open(t, Options{}, "/asks")
		if got := p.Events(Dialog); len(got) != 1 || got[0].Text != "alert: asked" {
			t.Errorf("dialogs: %v", got)
		}
		// Chromium itself keeps the window from opening, as nobody clicked; then
		// there is nothing to notice.
		p.Evaluate(`document.querySelector("h1").addEventListener("click", () => window.open("/second"))`, nil)
		p.Click("h1")
		await(t, p, Popup)
	})

	t.Run("elsewhere", func(t *testing.T) {
		p := open(t, Options{}, "/leaks")
		p.Evaluate(`new Promise((done) => { const look = () => document.title == "fetched" ? done(0) : setTimeout(look, 10); look() })`, nil)
		for _, part := range []string{"/image.png", "http://tracker.example/pixel", "http://redirected.example/", "/fetched", "websocket ws://sockets.example/"} {
			if !slices.ContainsFunc(p.Events(Foreign), func(e Event) bool { return strings.HasSuffix(e.Text, part) }) {
				t.Errorf("not recorded: %s in %v", part, p.Events(Foreign))
			}
		}
		equal(t, elsewhere.Load(), 0)
	})

	t.Run("further hosts", func(t *testing.T) {
		name := strings.Replace(base, "localhost", "gallery.berth.test", 1)
		p := b.Page(t, Options{Base: base, Hosts: []string{strings.TrimPrefix(name, "http://")}})
		equal(t, p.Goto(name+"/second"), http.StatusOK)
		equal(t, len(p.Trouble()), 0)
	})

	t.Run("failures", func(t *testing.T) {
		p := open(t, Options{}, "/")
		for _, c := range []struct {
			do   string
			args map[string]any
			want string
		}{
			{"evaluate", map[string]any{"text": "nowhere.to()"}, "nowhere is not defined"},
			{"text", map[string]any{"target": "li"}, "strict mode violation"},
			{"goto", map[string]any{"url": "http://elsewhere.example/"}, "ERR_BLOCKED_BY_CLIENT"},
			{"fly", nil, "not a function"},
		} {
			if err := b.do(c.do, p.id, c.args, nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", c.do, err)
			}
		}
		if err := b.do("title", 4711, nil, nil); err == nil || err.Error() != "there is no page 4711" {
			t.Errorf("a page that is not there: %v", err)
		}
	})
}

// TestDriverDies kills the driver: commands fail at once, and Chromium ends.
func TestDriverDies(t *testing.T) {
	base, _ := site(t)
	b := Start(t)
	p := b.Page(t, Options{Base: base})
	p.Goto("/")
	family := b.processes()
	if !slices.ContainsFunc(family, func(p process) bool { return strings.HasPrefix(p.name, "chrom") }) {
		t.Fatalf("no Chromium among %v", family)
	}
	if err := b.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := b.do("title", p.id, nil, nil); err == nil || !strings.Contains(err.Error(), errEnded.Error()) {
		t.Errorf("a command to a dead driver: %v", err)
	}
	if left := waitGone(family, endTimeout); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestTestDies kills a test process that has a browser: nothing of it is left.
func TestTestDies(t *testing.T) {
	if os.Getenv("BERTH_TEST_BROWSER_DIES") != "" {
		b := Start(t)
		_ = json.NewEncoder(os.Stdout).Encode(b.cmd.Process.Pid) // the parent notices
		select {}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "berth-browser-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // a directory in the temporary directory
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestTestDies$")
	cmd.Env = append(os.Environ(), "BERTH_TEST_BROWSER_DIES=1", "TMPDIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var pid int
	if err == nil {
		err = json.Unmarshal(line, &pid)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	driver, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	family := (&Browser{cmd: &exec.Cmd{Process: driver}}).processes()
	if len(family) < 3 {
		t.Fatalf("only %v", family)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if left := waitGone(family, endTimeout); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestLockFile keeps the addresses of private registries out of the lock file, and
// packages that npm would take without looking at their contents.
func TestLockFile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(harness.Root(t), "tools", "browser", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version, Resolved, Integrity string }
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(err)
	}
	if len(lock.Packages) < 3 {
		t.Errorf("%d packages", len(lock.Packages))
	}
	for name, p := range lock.Packages {
		if name == "" {
			continue // our own
		}
		if !strings.HasPrefix(p.Resolved, "https://registry.npmjs.org/") || !strings.HasPrefix(p.Integrity, "sha512-") {
			t.Errorf("%s: %+v: write the file again with npm's --omit-lockfile-registry-resolved=false and the public registry", name, p)
		}
	}
}

func equal[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func severe(all []Violation) []Violation {
	return slices.DeleteFunc(all, func(v Violation) bool { return !v.Severe() })
}

// await waits until something happened, and fails the test when it does not.
func await(t *testing.T, p *Page, kind Kind) {
	t.Helper()
	for range 600 {
		if len(p.Events(kind)) > 0 {
			return
		}
		p.Evaluate("new Promise((done) => setTimeout(done, 100))", nil)
	}
	t.Errorf("no %s", kind)
}

// background takes a picture, checks its width and returns the colour of a corner.
func background(t *testing.T, p *Page, width int) color.NRGBA {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shot.png")
	p.Screenshot(path, false)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, img.Bounds().Dx(), width)
	c, ok := color.NRGBAModel.Convert(img.At(1, 1)).(color.NRGBA)
	if !ok {
		t.Fatal("no colour")
	}
	return c
}
