package gallery

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/web/gallery/markdown"
)

//go:embed templates
var templateFiles embed.FS

// siteName is how the website calls itself.
const siteName = "Berth Public Gallery"

// pages are the templates by the file's name, each with the layout around it, and what
// writes them.
type pages struct {
	byName map[string]*template.Template
	zip    *sync.Pool
}

func parsePages() (pages, error) {
	p := pages{byName: map[string]*template.Template{}, zip: &sync.Pool{New: func() any { return gzip.NewWriter(nil) }}}
	layout, err := template.New("layout.html").Funcs(template.FuncMap{
		"count": count, "short": short, "size": size, "date": date, "stamp": stamp, "clean": clean, "plural": plural,
	}).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return pages{}, fmt.Errorf("parsing the gallery's templates: %w", err)
	}
	for _, name := range []string{"home", "search", "publisher", "repository", "problem"} {
		t, err := layout.Clone()
		if err == nil {
			t, err = t.ParseFS(templateFiles, "templates/"+name+".html")
		}
		if err != nil {
			return pages{}, fmt.Errorf("parsing the gallery's templates: %w", err)
		}
		p.byName[name] = t
	}
	return p, nil
}

// page is what every page has.
type page struct {
	// Title stands before the site's name in the window's title; "" for the home page.
	Title       string
	Description string
	// Path is the page's own address, without prefix, as others should link to it.
	Path string
	// Logo is the path of a picture for the page, "" for none.
	Logo string
	// Term is what the search field holds.
	Term string
	// Hero says that the page has a search field of its own, so that the head has none.
	Hero bool
	// Index says whether search engines may list the page.
	Index bool
	Body  any

	Site, Prefix, Base, CSS, JS, Icon string // filled in by show
	now                               time.Time
}

// Full is the title of the window.
func (p page) Full() string {
	if p.Title == "" {
		return p.Site
	}
	return p.Title + " · " + p.Site
}

// Href is a path of the website as a link on this page has it.
func (p page) Href(path string) string { return p.Prefix + path }

// URL is a path of the website in full.
func (p page) URL(path string) string { return p.Base + p.Prefix + path }

// With gives a part of the page what it shows, together with the page.
func (p page) With(value any) with { return with{Page: p, Value: value} }

// Ago says in words how long ago a day was, and the date once that is longer.
func (p page) Ago(t time.Time) string {
	day := func(t time.Time) int64 { return t.UTC().Unix() / (24 * 60 * 60) }
	switch days := day(p.now) - day(t); {
	case t.IsZero():
		return "never"
	case days <= 0:
		return "today"
	case days == 1:
		return "yesterday"
	case days < 30:
		return strconv.FormatInt(days, 10) + " days ago"
	}
	return date(t)
}

// with is a value and the page that shows it.
type with struct {
	Page  page
	Value any
}

// show answers with a page. It is revalidated by its content each time, so that a change
// shows at once.
func (s *site) show(w http.ResponseWriter, r *http.Request, status int, name string, p page) error {
	p.Site, p.Prefix, p.Base, p.now = siteName, s.Prefix(r), s.Base(r), s.Clock.Now()
	p.CSS, p.JS, p.Icon = s.static["gallery.css"].path, s.static["gallery.js"].path, s.static.icon()
	var out bytes.Buffer
	if err := s.pages.byName[name].ExecuteTemplate(&out, "layout", p); err != nil {
		return fmt.Errorf("writing the page %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache")
	if status != http.StatusOK {
		h.Set("Cache-Control", "no-store")
	} else {
		sum := sha256.Sum256(out.Bytes())
		etag := `W/"` + hex.EncodeToString(sum[:12]) + `"`
		h.Set("ETag", etag)
		if matches(r.Header.Get("If-None-Match"), etag) {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	if acceptsGzip(r) && out.Len() > 1400 { // what fits one packet is not worth it
		zipped, err := s.pages.compress(out.Bytes())
		if err != nil {
			return err
		}
		h.Set("Content-Encoding", "gzip")
		send(w, r, status, zipped)
		return nil
	}
	send(w, r, status, out.Bytes())
	return nil
}

func (p pages) compress(body []byte) ([]byte, error) {
	z, _ := p.zip.Get().(*gzip.Writer) // the pool holds nothing else
	defer p.zip.Put(z)
	var out bytes.Buffer
	z.Reset(&out)
	if _, err := z.Write(body); err != nil {
		return nil, fmt.Errorf("compressing a page: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compressing a page: %w", err)
	}
	return out.Bytes(), nil
}

func matches(header, etag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		if c := strings.TrimSpace(candidate); c == "*" || strings.TrimPrefix(c, "W/") == strings.TrimPrefix(etag, "W/") {
			return true
		}
	}
	return false
}

// problem answers with the page of an error.
func (s *site) problem(w http.ResponseWriter, r *http.Request, status int, message string) {
	p := page{Title: http.StatusText(status), Path: "/", Body: struct {
		Status  int
		Heading string
		Message string
	}{status, headings(status), message}}
	if err := s.show(w, r, status, "problem", p); err != nil {
		s.Log.ErrorContext(r.Context(), "the gallery's page for errors failed", "error", err)
		http.Error(w, http.StatusText(status), status)
	}
}

func headings(status int) string {
	switch status {
	case http.StatusNotFound:
		return "Not found"
	case http.StatusBadRequest:
		return "That address does not work"
	case http.StatusMethodNotAllowed:
		return "Not possible here"
	case http.StatusTooManyRequests:
		return "Too fast"
	}
	return "Something went wrong"
}

// clean is for what publishers wrote in one line.
func clean(s string) string { return strings.Join(strings.Fields(markdown.Clean(s)), " ") }

// count is a number with its thousands apart.
func count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for at := len(digits) - 3; at > 0 && digits[at-1] != '-'; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// short is a number of at most three digits.
func short(n int64) string {
	switch {
	case n < 1000:
		return strconv.FormatInt(n, 10)
	case n < 999_500:
		return three(float64(n)/1e3) + "K"
	case n < 999_500_000:
		return three(float64(n)/1e6) + "M"
	}
	return three(float64(n)/1e9) + "B"
}

func three(f float64) string {
	if f < 9.95 {
		return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
	}
	return strconv.FormatFloat(f, 'f', 0, 64)
}

// size is a number of bytes in decimal units, as docker shows them.
func size(n int64) string {
	switch {
	case n < 1000:
		return strconv.FormatInt(n, 10) + " B"
	case n < 999_500:
		return three(float64(n)/1e3) + " kB"
	case n < 999_500_000:
		return three(float64(n)/1e6) + " MB"
	}
	return strconv.FormatFloat(float64(n)/1e9, 'f', 2, 64) + " GB"
}

func date(t time.Time) string { return t.UTC().Format("2 Jan 2006") }

// stamp is for machines.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func plural(n int64, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}
