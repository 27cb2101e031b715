package ecr

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// DownloadPrefix begins the paths that GetDownloadUrlForLayer hands out.
const DownloadPrefix = "/layer-downloads/"

// downloadLife is how long such an address holds (ECR's is signed for 3,600 seconds).
const downloadLife = time.Hour

// downloadPath makes a signed path for one layer of one repository.
func (a *API) downloadPath(r repository.Repository, d name.Digest) string {
	expires := strconv.FormatInt(a.Clock.Now().Add(downloadLife).Unix(), 10)
	path := DownloadPrefix + string(r.Registry.Account) + "/" + string(r.Registry.Region) + "/" + string(r.Name) + "/" + string(d)
	q := url.Values{"Expires": {expires}, "Signature": {a.downloadSignature(path, expires)}}
	return path + "?" + q.Encode()
}

func (a *API) downloadSignature(path, expires string) string {
	m := hmac.New(sha256.New, a.SigningKey)
	m.Write([]byte("download\x00" + path + "\x00" + expires))
	return hex.EncodeToString(m.Sum(nil))
}

// Downloads serves the addresses of GetDownloadUrlForLayer: GET and HEAD, with
// Range. The signature is the permission, as with a presigned S3 address, so
// these paths stand outside the pipeline's table of operations.
func (a *API) Downloads(log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "a layer can be read with GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		expires := r.URL.Query().Get("Expires")
		if !hmac.Equal([]byte(r.URL.Query().Get("Signature")), []byte(a.downloadSignature(r.URL.Path, expires))) {
			http.Error(w, "the signature of this address does not match; ask for a new one with GetDownloadUrlForLayer", http.StatusForbidden)
			return
		}
		if until, err := strconv.ParseInt(expires, 10, 64); err != nil || a.Clock.Now().Unix() >= until {
			http.Error(w, "this address has expired; ask for a new one with GetDownloadUrlForLayer", http.StatusForbidden)
			return
		}
		reg, repo, digest, ok := parseDownloadPath(r.URL.Path)
		if !ok {
			http.NotFound(w, r)
			return
		}
		found, err := a.Repositories.Get(r.Context(), reg, repo)
		if err == nil {
			err = a.serveLayer(w, r, found, digest)
		}
		switch {
		case err == nil:
		case errs.Is(err, errs.RepositoryNotFound), errs.Is(err, errs.LayersNotFound):
			http.Error(w, "the layer is not there any more", http.StatusNotFound)
		default:
			log.Error("a layer download failed", "repository", string(repo), "digest", string(digest), "error", err)
			http.Error(w, "the layer cannot be read", http.StatusInternalServerError)
		}
	})
}

func parseDownloadPath(path string) (name.Registry, name.Repository, name.Digest, bool) {
	rest := strings.TrimPrefix(path, DownloadPrefix)
	account, rest, ok1 := strings.Cut(rest, "/")
	region, rest, ok2 := strings.Cut(rest, "/")
	last := strings.LastIndexByte(rest, '/')
	if !ok1 || !ok2 || last < 0 {
		return name.Registry{}, "", "", false
	}
	return name.Registry{Account: name.AccountID(account), Region: name.Region(region)}, name.Repository(rest[:last]), name.Digest(rest[last+1:]), true
}

// serveLayer lets the standard library answer Range and conditional requests
// over a layer read at random.
func (a *API) serveLayer(w http.ResponseWriter, r *http.Request, repo repository.Repository, d name.Digest) error {
	l, err := a.Cache.Stat(r.Context(), repo, d)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Etag", `"`+string(d)+`"`)
	content := &layerContent{size: l.Size, open: func(offset int64) (io.ReadCloser, error) {
		body, _, err := a.Cache.Open(r.Context(), repo, d, offset, -1)
		return body, err
	}}
	defer content.close()
	http.ServeContent(pacedWriter{w, http.NewResponseController(w)}, r, "", time.Time{}, content)
	return nil
}

// stall is how long a client may take to read one piece of a download.
const stall = time.Minute

// pacedWriter cuts a client that stops reading, without a limit on the whole.
type pacedWriter struct {
	http.ResponseWriter
	rc *http.ResponseController
}

// Write gives the client a while for this piece.
func (w pacedWriter) Write(p []byte) (int, error) {
	_ = w.rc.SetWriteDeadline(time.Now().Add(stall)) // a connection without deadlines is the test's
	return w.ResponseWriter.Write(p)
}

// layerContent is an io.ReadSeeker that opens the layer where it is first read
// after a seek.
type layerContent struct {
	open   func(offset int64) (io.ReadCloser, error)
	size   int64
	offset int64
	body   io.ReadCloser
}

// Read reads on from where the last Seek or Read ended.
func (c *layerContent) Read(p []byte) (int, error) {
	if c.body == nil {
		body, err := c.open(c.offset)
		if err != nil {
			return 0, err
		}
		c.body = body
	}
	n, err := c.body.Read(p)
	c.offset += int64(n)
	return n, err
}

// Seek moves without reading.
func (c *layerContent) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.offset
	case io.SeekEnd:
		offset += c.size
	}
	if offset < 0 {
		return 0, errs.New(errs.RangeInvalid, "a position before the layer's beginning")
	}
	if offset != c.offset {
		c.close()
	}
	c.offset = offset
	return offset, nil
}

func (c *layerContent) close() {
	if c.body != nil {
		_ = c.body.Close() // it was only read
		c.body = nil
	}
}
