// Package gallery is the website of public repositories: a home page, a search, a page
// for each publisher and each repository, all made on the server and complete without a
// script, and the JSON API (package api) that AWS's gallery has.
//
// Nothing here asks who is there: what the read model gives is public. What publishers
// wrote is untrusted; html/template escapes it, package markdown renders their texts, and the
// Content-Security-Policy lets a page load nothing but this package's own files.
//
// It does not own what it shows; see domain/catalog and domain/catalog/gallery.
package gallery

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/web/gallery/api"
	"github.com/berth-registry/berth/internal/web/gallery/markdown"
)

// Source is what the pages are made of; *gallery.Service has it.
type Source interface {
	api.Source
	// Home gives the most popular repositories, those with the newest images, and how many
	// there are.
	Home(ctx context.Context) (popular, updated []gallery.Repository, total int, err error)
}

// Config is what the website stands on. All but Base is needed.
type Config struct {
	Gallery Source
	// Logo gives a logo by its id; errs.CatalogDataNotFound for an unknown one.
	Logo func(ctx context.Context, id string) (mediaType string, body []byte, updated time.Time, err error)
	// Registry is the public registry's host, with its port where it has one, as the client of
	// this request reaches it; pull commands name it.
	Registry func(r *http.Request) string
	// Prefix is the path under which this request found the gallery: "" on the gallery's own
	// host, "/gallery" elsewhere. Every link carries it.
	Prefix func(r *http.Request) string
	// Base is the scheme and host of the request as its client wrote it, without a slash at
	// the end. Where it is nil, they are those of the connection and of the Host header.
	Base  func(r *http.Request) string
	Log   *slog.Logger
	Clock clock.Clock
}

// site is the handler.
type site struct {
	Config
	api    http.Handler
	pages  pages
	static assets
	texts  *texts
}

// New returns the website. It gets requests with their prefix taken off.
func New(c Config) (http.Handler, error) {
	if c.Base == nil {
		c.Base = base
	}
	static, err := loadAssets()
	if err != nil {
		return nil, err
	}
	parsed, err := parsePages()
	if err != nil {
		return nil, err
	}
	s := &site{Config: c, pages: parsed, static: static, texts: newTexts(markdown.New(), maxTexts)}
	s.api = api.New(api.Config{
		Gallery: c.Gallery, Log: c.Log,
		Logo: func(r *http.Request, id string) string { return c.Base(r) + c.Prefix(r) + logoPath(id) },
	})
	return s, nil
}

func base(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// policy is the Content-Security-Policy of every page.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// maxQuery bounds a query string, in bytes.
const maxQuery = 2_000

// ServeHTTP answers a request.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	if strings.HasPrefix(s.Base(r), "https:") { // elsewhere browsers complain of it
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
	if api.Serves(r.URL.Path) {
		s.api.ServeHTTP(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		s.problem(w, r, http.StatusMethodNotAllowed, "This page can only be read.")
		return
	}
	if len(r.URL.RawQuery) > maxQuery {
		s.problem(w, r, http.StatusBadRequest, "The address is too long.")
		return
	}
	if err := s.route(w, r); err != nil {
		s.fail(w, r, err)
	}
}

// errNoPage is for addresses that lead nowhere.
var errNoPage = errors.New("there is no page at this address")

func (s *site) route(w http.ResponseWriter, r *http.Request) error {
	switch path := r.URL.Path; {
	case path == "":
		return s.redirect(w, r, "/")
	case path == "/":
		return s.home(w, r)
	case path == "/search":
		return s.search(w, r)
	case path == "/search/":
		return s.redirect(w, r, "/search")
	case path == "/favicon.ico":
		return s.redirect(w, r, s.static.icon())
	case strings.HasPrefix(path, staticPrefix):
		return s.asset(w, r, path)
	case strings.HasPrefix(path, logoPrefix):
		return s.logo(w, r, strings.TrimPrefix(path, logoPrefix))
	default:
		return s.catalog(w, r, strings.TrimPrefix(path, "/"))
	}
}

// catalog is the page of a publisher or a repository.
func (s *site) catalog(w http.ResponseWriter, r *http.Request, path string) error {
	path, slash := strings.CutSuffix(path, "/")
	first, rest, deeper := strings.Cut(path, "/")
	alias, err := name.ParseAlias(first)
	if err != nil {
		return errNoPage
	}
	var repo name.Repository
	if deeper {
		if repo, err = name.ParseRepository(rest); err != nil {
			return errNoPage
		}
	}
	switch {
	case slash: // what is left is made of names, so it leads to this host
		return s.redirect(w, r, "/"+path)
	case deeper:
		return s.repository(w, r, alias, repo)
	}
	return s.publisher(w, r, alias)
}

func (s *site) redirect(w http.ResponseWriter, r *http.Request, path string) error {
	if r.URL.RawQuery != "" {
		path += "?" + r.URL.RawQuery
	}
	http.Redirect(w, r, s.Prefix(r)+path, http.StatusMovedPermanently)
	return nil
}

// badQuery is a query string that the pages do not write.
func badQuery(format string, args ...any) error {
	return errs.New(errs.InvalidParameter, format, args...)
}

// fail answers with the page of an error.
func (s *site) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, errNoPage) {
		s.problem(w, r, http.StatusNotFound, "There is no page at this address.")
		return
	}
	var e *errs.Error
	if !errors.As(err, &e) {
		e = errs.Wrap(err, errs.Internal, "internal")
	}
	_, _, status := api.ErrorOf(e.Code)
	message := ""
	switch status {
	case http.StatusNotFound:
		message = "There is no such public repository or publisher. Repositories are shown here once they hold an image."
	case http.StatusBadRequest:
		message = e.Message
	case http.StatusTooManyRequests:
		message = "Too many requests. Wait a moment and try again."
	case http.StatusServiceUnavailable:
		message = "The gallery is not available now. Try again in a moment."
	default:
		if r.Context().Err() == nil {
			s.Log.ErrorContext(r.Context(), "gallery page failed", "path", r.URL.Path, "error", err)
		}
		message = "Something went wrong on our side. Try again in a moment."
	}
	s.problem(w, r, status, message)
}
