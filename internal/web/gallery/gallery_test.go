package gallery_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/infra/clock"
	web "github.com/berth-registry/berth/internal/web/gallery"
	"github.com/berth-registry/berth/internal/web/gallery/gallerytest"
)

const prefix = "/gallery"

// The read model is what the website takes.
var _ web.Source = (*gallery.Service)(nil)

// serve makes a website of a world, found under a prefix as the listener does it.
func serve(t testing.TB, w *gallerytest.World, under string) http.Handler {
	t.Helper()
	h, err := web.New(web.Config{
		Gallery: w, Logo: w.Logo, Log: slog.New(slog.DiscardHandler), Clock: clock.NewFake(gallerytest.Now()),
		Registry: func(*http.Request) string { return "public.example.com:5001" },
		Prefix:   func(*http.Request) string { return under },
	})
	if err != nil {
		t.Fatal(err)
	}
	return http.StripPrefix(under, h)
}

func ask(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

func get(t *testing.T, h http.Handler, path string) document {
	t.Helper()
	rec := ask(h, http.MethodGet, path)
	if rec.Code != http.StatusOK {
		t.Fatalf("GET %s: %d\n%s", path, rec.Code, rec.Body)
	}
	return read(t, rec)
}

func TestHome(t *testing.T) {
	d := get(t, serve(t, gallerytest.Sample(), ""), "/")
	if got := text(d.one("title", "", "")); got != "Berth Public Gallery" {
		t.Errorf("title %q", got)
	}
	if got := texts(d.all("h2", "", "")); !slices.Equal(got, []string{"Popular", "Recently updated"}) {
		t.Errorf("headings %q", got)
	}
	names := texts(d.all("h3", "", ""))
	if len(names) != 24 || names[0] != "harbour/server" || names[12] != "harbour/tools/proxy" {
		t.Errorf("repositories %q", names)
	}
	if !strings.Contains(text(d.one("main", "", "")), "67 public repositories") {
		t.Error("the number of repositories is not said")
	}
	d = get(t, serve(t, &gallerytest.World{}, ""), "/")
	if len(d.all("h2", "", "")) != 0 {
		t.Error("an empty gallery has lists")
	}
}

func TestSearch(t *testing.T) {
	h := serve(t, gallerytest.Sample(), prefix)
	d := get(t, h, prefix+"/search?searchTerm=image&operatingSystems=Linux&sort=name")
	if got := text(d.one("h1", "", "")); got != "Results for image" {
		t.Errorf("h1 %q", got)
	}
	if got := len(d.all("h3", "", "")); got != 24 {
		t.Errorf("%d repositories", got)
	}
	if !strings.Contains(text(d.one("main", "", "")), "1 to 24 of 60 repositories") {
		t.Error("the range is not said")
	}
	var on, boxes []string
	for _, box := range d.all("input", "type", "checkbox") {
		boxes = append(boxes, attr(box, "name")+"="+attr(box, "value")+" "+text(box.Parent))
		for _, a := range box.Attr {
			if a.Key == "checked" {
				on = append(on, attr(box, "value"))
			}
		}
		if attr(box, "form") != "find" {
			t.Error("a filter is of no form")
		}
	}
	if want := []string{"verified=verified Verified account 0 repositories", "operatingSystems=Linux Linux 60 repositories", "operatingSystems=Windows Windows 0 repositories", "architectures=ARM ARM 0 repositories",
		"architectures=ARM 64 ARM 64 0 repositories", "architectures=x86 x86 0 repositories", "architectures=x86-64 x86-64 60 repositories"}; !slices.Equal(boxes, want) {
		t.Errorf("filters %q", boxes)
	}
	if !slices.Equal(on, []string{"Linux"}) {
		t.Errorf("filters that are on: %q", on)
	}
	if form := d.one("form", "id", "find"); attr(form, "action") != prefix+"/search" || attr(form, "method") != "get" {
		t.Error("the form leads elsewhere")
	}
	if got := attr(d.one("input", "id", "term"), "value"); got != "image" {
		t.Errorf("the field holds %q", got)
	}
	// from page to page to the end, by the links
	seen := map[string]bool{}
	for pages := 1; ; pages++ {
		for _, n := range texts(d.all("h3", "", "")) {
			seen[n] = true
		}
		if got := text(d.one("a", "aria-current", "page")); got != "Page "+string(rune('0'+pages)) {
			t.Errorf("page %d calls itself %q", pages, got)
		}
		next := d.all("a", "rel", "next")
		if len(next) == 0 {
			if pages != 3 || len(d.all("a", "rel", "prev")) != 1 {
				t.Errorf("the list ends on page %d", pages)
			}
			break
		}
		d = get(t, h, attr(next[0], "href"))
	}
	if len(seen) != 60 {
		t.Errorf("%d repositories on all pages", len(seen))
	}
	// filters that AWS's gallery writes in one member, and taking one away
	d = get(t, h, prefix+"/search?architectures=ARM%2064,ARM&verified=verified")
	if got := texts(d.all("h3", "", "")); !slices.Equal(got, []string{"harbour/server", "harbour/tools/proxy", "rtl-team/salam"}) {
		t.Errorf("repositories %q", got)
	}
	var without []string
	for n := range d.root.Descendants() {
		if n.Data == "a" && strings.HasPrefix(text(n), "Remove the filter") {
			without = append(without, attr(n, "href"))
		}
	}
	if want := []string{prefix + "/search?architectures=ARM+64&architectures=ARM", prefix + "/search?architectures=ARM&verified=verified", prefix + "/search?architectures=ARM+64&verified=verified"}; !slices.Equal(without, want) {
		t.Errorf("ways to remove filters: %q", without)
	}
	d = get(t, h, prefix+"/search?searchTerm=nothing-like-it")
	if !strings.Contains(text(d.one("main", "", "")), "Nothing was found for nothing-like-it") {
		t.Error("an empty result does not say so")
	}
	d = get(t, h, prefix+"/search?page=9")
	if !strings.Contains(text(d.one("main", "", "")), "none on this page") || len(d.all("a", "rel", "prev")) != 1 {
		t.Error("a page after the last leads nowhere")
	}
}

func TestPublisher(t *testing.T) {
	h := serve(t, gallerytest.Sample(), prefix)
	d := get(t, h, prefix+"/h4r8o2r1?sort=name")
	if got := text(d.one("h1", "", "")); got != "Harbour Software" {
		t.Errorf("h1 %q", got)
	}
	if got := texts(d.all("h3", "", "")); !slices.Equal(got, []string{"harbour/charts/server", "harbour/server", "harbour/tools/proxy"}) {
		t.Errorf("repositories %q", got)
	}
	if got := attr(d.one("link", "rel", "canonical"), "href"); got != "http://example.com/gallery/harbour" {
		t.Errorf("canonical %q", got)
	}
	if !strings.Contains(text(d.one("main", "", "")), "Verified account harbour also h4r8o2r1") {
		t.Error("badge and aliases are missing")
	}
	d = get(t, h, prefix+"/k5n6o2s4?searchTerm=redis")
	if got := text(d.one("h1", "", "")); got != "k5n6o2s4" || !strings.Contains(text(d.one("main", "", "")), "Amazon") {
		t.Errorf("h1 %q: who is not verified is headed by his alias, and his display name is there", got)
	}
	if got := texts(d.all("h3", "", "")); !slices.Equal(got, []string{"k5n6o2s4/redis-compatible"}) {
		t.Errorf("repositories %q", got)
	}
	d = get(t, h, prefix+"/bulk?sort=name")
	if next := attr(d.one("a", "rel", "next"), "href"); next != prefix+"/bulk?page=2&sort=name" {
		t.Errorf("next %q", next)
	}
}

func TestRepository(t *testing.T) {
	h := serve(t, gallerytest.Sample(), prefix)
	d := get(t, h, prefix+"/harbour/server")
	if got := text(d.one("h1", "", "")); got != "harbour/server" {
		t.Errorf("h1 %q", got)
	}
	if got := attr(d.one("input", "id", "pull"), "value"); got != "docker pull public.example.com:5001/harbour/server:latest" {
		t.Errorf("pull command %q", got)
	}
	if got := text(d.one("a", "aria-current", "page")); got != "About" {
		t.Errorf("tab %q", got)
	}
	if got := texts(d.all("h3", "", "")); !slices.Equal(got, []string{"Harbour"}) {
		t.Errorf("headings of the text %q", got)
	}
	main := text(d.one("main", "", ""))
	for _, want := range []string{"Harbour Software", "Verified account", "A small, fast web server", "Linux", "ARM 64", "48,213,377", "123", "yesterday", "14 Mar 2025"} {
		if !strings.Contains(main, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for property, want := range map[string]string{
		"og:title": "harbour/server", "og:type": "website", "og:url": "http://example.com/gallery/harbour/server", "og:image": "http://example.com/gallery/logo/l0g0.png",
		"og:description": "A small, fast web server for static files, with automatic certificates.",
	} {
		if got := attr(d.one("meta", "property", property), "content"); got != want {
			t.Errorf("%s %q", property, got)
		}
	}
	d = get(t, h, prefix+"/harbour/server?tab=usage")
	if got := text(d.one("pre", "", "")); got != "docker run server" || text(d.one("a", "aria-current", "page")) != "Usage" {
		t.Errorf("usage %q", got)
	}
	for path, want := range map[string]string{
		"/harbour/charts/server":     "helm pull oci://public.example.com:5001/harbour/charts/server --version 0.3.1",
		"/k5n6o2s4/redis-compatible": "docker pull public.example.com:5001/k5n6o2s4/redis-compatible:7",
		"/h4r8o2r1/tools/proxy":      "docker pull public.example.com:5001/harbour/tools/proxy:1.0",
	} {
		d := get(t, h, prefix+path)
		if got := attr(d.one("input", "id", "pull"), "value"); got != want {
			t.Errorf("pull command %q", got)
		}
		if !strings.HasPrefix(path, "/h") && len(d.all("meta", "property", "og:image")) > 0 {
			t.Error("there is a logo")
		}
	}
	// without a description the tags come first
	d = get(t, h, prefix+"/harbour/tools/proxy")
	if got := text(d.one("a", "aria-current", "page")); got != "Image tags" {
		t.Errorf("tab %q", got)
	}
}

func TestTags(t *testing.T) {
	h := serve(t, gallerytest.Sample(), prefix)
	d := get(t, h, prefix+"/harbour/server?tab=tags")
	rows := d.all("tr", "", "")
	if got := text(rows[3]); !strings.HasPrefix(got, "2.4-debian Copy the command to pull 2.4-debian 42 MB linux/386 linux/amd64 linux/arm/v5 linux/arm/v7 linux/arm64/v8 linux/ppc64le linux/riscv64 linux/s390x 2 days ago sha256:") {
		t.Errorf("row %q", got)
	}
	digest := string(gallerytest.Tag("2.4-debian", 2, 0).Digest)
	for copied, want := range map[string]int{digest: 1, "docker pull public.example.com:5001/harbour/server:2.4-debian": 1} {
		buttons := d.all("button", "data-copy", copied)
		if len(buttons) != want {
			t.Errorf("%d buttons copy %q", len(buttons), copied)
		}
		for _, b := range buttons {
			if !slices.ContainsFunc(b.Attr, func(a html.Attribute) bool { return a.Key == "hidden" }) {
				t.Error("a button shows without a script")
			}
		}
	}
	seen := 0
	for {
		seen += len(d.all("tr", "", "")) - 1
		next := d.all("a", "rel", "next")
		if len(next) == 0 {
			break
		}
		d = get(t, h, attr(next[0], "href"))
	}
	if seen != 123 {
		t.Errorf("%d tags on all pages", seen)
	}
	d = get(t, h, prefix+"/harbour/server?tab=tags&tag=DEBIAN")
	if len(d.all("tr", "", "")) != 2 || attr(d.one("input", "id", "tag"), "value") != "DEBIAN" || attr(d.one("input", "type", "hidden"), "value") != "tags" {
		t.Error("the filter does not filter")
	}
	d = get(t, h, prefix+"/harbour/server?tab=tags&tag=none")
	if !strings.Contains(text(d.one("main", "", "")), "No tag has none in it") {
		t.Error("an empty list does not say so")
	}
}

// TestLinks follows every link of every page that can be reached, once with the prefix and
// once without.
func TestLinks(t *testing.T) {
	for _, under := range []string{"", prefix} {
		h := serve(t, gallerytest.Sample(), under)
		todo, seen := []string{under + "/"}, map[string]bool{under + "/": true}
		for len(todo) > 0 {
			path := todo[0]
			todo = todo[1:]
			rec := ask(h, http.MethodGet, path)
			if rec.Code != http.StatusOK {
				t.Errorf("GET %s: %d", path, rec.Code)
				continue
			}
			if !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/html") {
				continue
			}
			for n := range read(t, rec).root.Descendants() {
				for _, a := range n.Attr {
					if a.Key != "href" && a.Key != "src" && a.Key != "action" || strings.Contains(a.Val, "://") || strings.HasPrefix(a.Val, "#") {
						continue
					}
					if !strings.HasPrefix(a.Val, under+"/") {
						t.Errorf("%s has a link to %q", path, a.Val)
					}
					if !seen[a.Val] && len(seen) < 150 {
						seen[a.Val] = true
						todo = append(todo, a.Val)
					}
				}
			}
		}
		if len(seen) < 100 {
			t.Errorf("only %d pages were found", len(seen))
		}
	}
}

func TestErrors(t *testing.T) {
	w := gallerytest.Sample()
	h := serve(t, w, prefix)
	long := strings.Repeat("x", 201)
	for target, want := range map[string]int{
		"/nobody": 404, "/nobody/x": 404, "/harbour/nothing": 404, "/Harbour": 404, "/harbour/UPPER": 404, "/harbour//x": 404, "/-": 404, "/static/": 404, "/static/gallery.css": 404,
		"/static/../gallery.go": 404, "/logo/none.png": 404, "/logo/l0g0.svg": 404, "/logo/": 404, "/logo/../x.png": 404, "//evil.example/": 404, "//evil.example": 404, "/%2F%2Fevil.example/": 404,
		"/search?page=0": 400, "/search?page=x": 400, "/search?page=418": 400, "/search?sort=best": 400, "/search?verified=no": 400, "/search?searchTerm=" + long: 400, "/search?architectures=" + long: 400,
		"/search?architectures=a,b,c,d,e,f,g,h,i,j,k": 400, "/search?a=%zz": 400, "/search?" + strings.Repeat("x", 2001): 400, "/harbour?sort=x": 400,
		"/harbour/server?tab=x": 400, "/harbour/server?tab=tags&tag=" + long: 400, "/harbour/server?tab=tags&after=x": 400, "/harbour/server?after=" + strings.Repeat("x", 1001): 400, "/harbour/server?a=%zz": 400,
	} {
		rec := ask(h, http.MethodGet, prefix+target)
		if rec.Code != want {
			t.Errorf("GET %s: %d, want %d", target, rec.Code, want)
			continue
		}
		d := read(t, rec)
		if rec.Header().Get("Cache-Control") != "no-store" || text(d.one("h1", "", "")) == "" {
			t.Errorf("GET %s is not the page of an error", target)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		rec := ask(h, method, prefix+"/search")
		if rec.Code != http.StatusMethodNotAllowed || rec.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d", method, rec.Code)
		}
	}
	for fails, want := range map[error]int{
		errors.New("secret cause"): 500, errs.New(errs.Internal, "secret cause"): 500, errs.New(errs.Unavailable, "x"): 503, errs.New(errs.Throttled, "x"): 429,
	} {
		w.Fails = fails
		for _, target := range []string{"/", "/search", "/harbour", "/harbour/server"} {
			rec := ask(h, http.MethodGet, prefix+target)
			if rec.Code != want || strings.Contains(rec.Body.String(), "secret") {
				t.Errorf("GET %s with %v: %d", target, fails, rec.Code)
			}
		}
	}
}

func TestRedirects(t *testing.T) {
	h := serve(t, gallerytest.Sample(), prefix)
	for from, want := range map[string]string{
		"": "/", "/harbour/": "/harbour", "/harbour/server/": "/harbour/server", "/harbour/server/?tab=tags": "/harbour/server?tab=tags", "/search/?searchTerm=a": "/search?searchTerm=a",
	} {
		rec := ask(h, http.MethodGet, prefix+from)
		if got := rec.Header().Get("Location"); rec.Code != http.StatusMovedPermanently || got != prefix+want {
			t.Errorf("GET %q: %d to %q", from, rec.Code, got)
		}
	}
	rec := ask(h, http.MethodGet, prefix+"/favicon.ico")
	if got := ask(h, http.MethodGet, rec.Header().Get("Location")); got.Header().Get("Content-Type") != "image/svg+xml" {
		t.Errorf("the icon is %q", got.Header().Get("Content-Type"))
	}
}

func TestHeaders(t *testing.T) {
	h := serve(t, gallerytest.Sample(), "")
	rec := ask(h, http.MethodGet, "/harbour/server")
	for key, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		"X-Content-Type-Options":  "nosniff", "Referrer-Policy": "same-origin", "Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache", "X-Frame-Options": "DENY",
	} {
		if got := rec.Header().Get(key); got != want {
			t.Errorf("%s: %q", key, got)
		}
	}
	etag := rec.Header().Get("ETag")
	if again := ask(h, http.MethodGet, "/harbour/server", "If-None-Match", `"x", `+etag); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("the same page again: %d", again.Code)
	}
	if other := ask(h, http.MethodGet, "/harbour/server?tab=tags", "If-None-Match", etag); other.Code != http.StatusOK {
		t.Errorf("another page: %d", other.Code)
	}
	if head := ask(h, http.MethodHead, "/harbour/server"); head.Code != http.StatusOK || head.Body.Len() > 0 || head.Header().Get("Content-Length") != rec.Header().Get("Content-Length") {
		t.Errorf("HEAD: %d, %d bytes", head.Code, head.Body.Len())
	}
	zipped := ask(h, http.MethodGet, "/harbour/server", "Accept-Encoding", "br, gzip;q=0.5")
	z, err := gzip.NewReader(zipped.Body)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(z); err != nil || !bytes.Equal(body, rec.Body.Bytes()) {
		t.Errorf("the compressed page is another: %v", err)
	}
	if plain := ask(h, http.MethodGet, "/harbour/server", "Accept-Encoding", "gzip;q=0"); plain.Header().Get("Content-Encoding") != "" {
		t.Error("who refuses gzip gets it")
	}
	d := read(t, rec)
	for _, path := range []string{attr(d.one("link", "rel", "stylesheet"), "href"), attr(d.one("script", "", ""), "src"), attr(d.one("link", "rel", "icon"), "href")} {
		for _, encoding := range []string{"", "gzip"} {
			a := ask(h, http.MethodGet, path, "Accept-Encoding", encoding)
			if a.Code != http.StatusOK || a.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || a.Body.Len() == 0 || a.Header().Get("Content-Encoding") != encoding {
				t.Errorf("GET %s: %d %v", path, a.Code, a.Header())
			}
		}
	}
	logo := ask(h, http.MethodGet, "/logo/l0g0.png")
	if logo.Header().Get("Content-Type") != "image/png" || logo.Header().Get("Content-Security-Policy") != "default-src 'none'; sandbox" || logo.Header().Get("Last-Modified") != "Sat, 14 Mar 2026 15:09:26 GMT" {
		t.Errorf("logo: %v", logo.Header())
	}
	w := gallerytest.Sample()
	w.Logos["evil"] = gallerytest.Logo{MediaType: "image/svg+xml", Body: []byte("<svg onload=alert(1)>")}
	if rec := ask(serve(t, w, ""), http.MethodGet, "/logo/evil.png"); rec.Code != http.StatusInternalServerError || strings.Contains(rec.Body.String(), "<svg onload") {
		t.Errorf("a logo that is no picture: %d", rec.Code)
	}
}

func TestBase(t *testing.T) {
	w := gallerytest.Sample()
	h, err := web.New(web.Config{
		Gallery: w, Logo: w.Logo, Log: slog.New(slog.DiscardHandler), Clock: clock.NewFake(gallerytest.Now().Add(24 * time.Hour)),
		Registry: func(*http.Request) string { return "public.example.com" }, Prefix: func(*http.Request) string { return "" },
		Base: func(*http.Request) string { return "https://gallery.example.com" },
	})
	if err != nil {
		t.Fatal(err)
	}
	d := get(t, h, "/harbour")
	if got := attr(d.one("meta", "property", "og:url"), "content"); got != "https://gallery.example.com/harbour" {
		t.Errorf("og:url %q", got)
	}
}
