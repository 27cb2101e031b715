package gallery

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
)

//go:embed static
var staticFiles embed.FS

const (
	staticPrefix = "/static/"
	logoPrefix   = "/logo/"
	forever      = "public, max-age=31536000, immutable"
)

// asset is a file of the website.
type asset struct {
	path      string // with the hash of its content in it
	mediaType string
	body      []byte
	zipped    []byte
}

// assets are the files, by their name in the directory and by their path.
type assets map[string]asset

func loadAssets() (assets, error) {
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	all := assets{}
	entries, err := staticFiles.ReadDir("static")
	if err != nil {
		return nil, fmt.Errorf("reading the gallery's files: %w", err)
	}
	for _, e := range entries {
		body, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("reading the gallery's files: %w", err)
		}
		sum := sha256.Sum256(body)
		ext := path.Ext(e.Name())
		a := asset{
			path:      staticPrefix + strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext,
			mediaType: types[ext], body: body,
		}
		var zipped bytes.Buffer
		z := gzip.NewWriter(&zipped)
		if _, err := z.Write(body); err != nil {
			return nil, fmt.Errorf("compressing the gallery's files: %w", err)
		}
		if err := z.Close(); err != nil {
			return nil, fmt.Errorf("compressing the gallery's files: %w", err)
		}
		a.zipped = zipped.Bytes()
		all[e.Name()], all[a.path] = a, a
	}
	return all, nil
}

func (a assets) icon() string { return a["icon.svg"].path }

// asset answers with a file. Its address changes with its content, so it is kept for ever.
func (s *site) asset(w http.ResponseWriter, r *http.Request, path string) error {
	a, ok := s.static[path]
	if !ok || a.path != path {
		return errNoPage
	}
	h := w.Header()
	h.Set("Cache-Control", forever)
	h.Set("Content-Type", a.mediaType)
	h.Set("Vary", "Accept-Encoding")
	body := a.body
	if acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		body = a.zipped
	}
	send(w, r, http.StatusOK, body)
	return nil
}

// logoPath is where a logo is. The media type is the header's to say, whatever the name.
func logoPath(id string) string { return logoPrefix + id + ".png" }

var logoName = regexp.MustCompile(`^([0-9A-Za-z_-]{1,64})\.(?:png|jpg)$`)

// logo answers with a logo. An id stands for one picture, so it is kept for ever.
func (s *site) logo(w http.ResponseWriter, r *http.Request, file string) error {
	m := logoName.FindStringSubmatch(file)
	if m == nil {
		return errNoPage
	}
	mediaType, body, updated, err := s.Logo(r.Context(), m[1])
	if err != nil {
		return err
	}
	if mediaType != "image/png" && mediaType != "image/jpeg" {
		return fmt.Errorf("logo %s has the media type %q", m[1], mediaType)
	}
	h := w.Header()
	h.Set("Cache-Control", forever)
	h.Set("Content-Type", mediaType)
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Last-Modified", updated.UTC().Format(http.TimeFormat))
	send(w, r, http.StatusOK, body)
	return nil
}

func acceptsGzip(r *http.Request) bool {
	for accepted := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		coding, q, _ := strings.Cut(strings.TrimSpace(accepted), ";")
		if coding == "gzip" || coding == "*" {
			weight, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(q), "q="), 64)
			return err != nil || weight > 0
		}
	}
	return false
}

// send writes a body, and for HEAD its length only.
func send(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that has gone needs no answer
	}
}
