package upstream

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/upstream/known"
)

// defaultMaxManifest is what the OCI distribution specification wants registries
// to accept at the least.
const defaultMaxManifest = 4 << 20

// Client speaks to registries. It is safe for use by many goroutines, which share
// its connections and tokens.
type Client struct {
	hosts       map[string]Host
	known       []known.Registry
	userAgent   string
	log         *slog.Logger
	clock       clock.Clock
	maxManifest int64
	timeouts    Timeouts
	logins      *logins
	transports  map[string]*http.Transport // of hosts with rules of their own
	transport   *http.Transport            // of all others
}

// New returns a client. Close it when it is no longer needed.
func New(config Config) *Client {
	c := &Client{
		hosts: map[string]Host{}, known: known.Registries(), userAgent: config.UserAgent, log: config.Log, clock: config.Clock,
		maxManifest: config.MaxManifest, timeouts: config.Timeouts, transports: map[string]*http.Transport{},
	}
	if c.userAgent == "" {
		c.userAgent = "berth"
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.clock == nil {
		c.clock = clock.System{}
	}
	if c.maxManifest <= 0 {
		c.maxManifest = defaultMaxManifest
	}
	for _, d := range []struct {
		of     *time.Duration
		normal time.Duration
	}{
		{&c.timeouts.Connect, 10 * time.Second}, {&c.timeouts.TLS, 10 * time.Second}, {&c.timeouts.Header, 30 * time.Second},
		{&c.timeouts.Stall, 60 * time.Second}, {&c.timeouts.Manifest, 60 * time.Second},
	} {
		if *d.of <= 0 {
			*d.of = d.normal
		}
	}
	c.logins = newLogins(c.clock.Now)
	c.transport = transport(c.timeouts, config.Roots, false, config.AllowPrivate)
	for name, h := range config.Hosts {
		name = strings.ToLower(name)
		c.hosts[name] = h
		if h.Roots != nil || h.AllowPrivate {
			roots := h.Roots
			if roots == nil {
				roots = config.Roots
			}
			c.transports[name] = transport(c.timeouts, roots, h.AllowPrivate, config.AllowPrivate)
		}
	}
	return c
}

// Close drops the client's idle connections. Requests under way go on.
func (c *Client) Close() {
	c.transport.CloseIdleConnections()
	for _, t := range c.transports {
		t.CloseIdleConnections()
	}
}

// carrier is what carries requests to a site.
func (c *Client) carrier(s site) http.RoundTripper {
	if t := c.transports[s.name]; t != nil {
		return t
	}
	return c.transport
}

// Manifest reads the manifest that a tag or a digest names, in one of the media
// types in accept. It has been verified: Digest is that of Body, and agrees with
// the reference and with what the registry says. Signed manifests of schema 1,
// whose digests leave their signatures out, are refused by this.
func (c *Client) Manifest(ctx context.Context, e Endpoint, repo, reference string, accept []string) (Manifest, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeouts.Manifest, errSlow)
	defer cancel()
	resp, t, err := c.manifest(ctx, http.MethodGet, e, repo, reference, accept)
	if err != nil {
		return Manifest{}, err
	}
	defer drain(resp)
	body, err := c.readAll(ctx, t, resp, c.maxManifest)
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{MediaType: mediaType(resp.Header), Body: body, Digest: sum("sha256", body)}
	if algorithm, ok := digestAlgorithm(reference); ok {
		if m.Digest = sum(algorithm, body); m.Digest != reference {
			return Manifest{}, t.fail(Invalid, resp.StatusCode, "answers with a manifest whose digest is %s", m.Digest)
		}
	}
	if says := resp.Header.Get("Docker-Content-Digest"); says != "" {
		algorithm, ok := digestAlgorithm(says)
		if !ok || sum(algorithm, body) != says {
			return Manifest{}, t.fail(Invalid, resp.StatusCode, "answers with a manifest of digest %s and calls it %q", m.Digest, clip(says))
		}
	}
	if m.MediaType == "" {
		return Manifest{}, t.fail(Invalid, resp.StatusCode, "does not say which media type its manifest has")
	}
	return m, nil
}

// Head asks what a tag or a digest is, without its body. Nothing in the answer is
// verified, except that it names the digest that was asked for.
func (c *Client) Head(ctx context.Context, e Endpoint, repo, reference string, accept []string) (Descriptor, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeouts.Manifest, errSlow)
	defer cancel()
	resp, t, err := c.manifest(ctx, http.MethodHead, e, repo, reference, accept)
	if err != nil {
		return Descriptor{}, err
	}
	defer drain(resp)
	d := Descriptor{MediaType: mediaType(resp.Header), Digest: resp.Header.Get("Docker-Content-Digest"), Size: -1}
	if n, ok := digits(resp.Header.Get("Content-Length")); ok {
		d.Size = n
	}
	if _, ok := digestAlgorithm(d.Digest); d.Digest != "" && !ok {
		return Descriptor{}, t.fail(Invalid, resp.StatusCode, "names the digest %q, which is none", clip(d.Digest))
	}
	asked, byDigest := digestAlgorithm(reference)
	if got, _ := digestAlgorithm(d.Digest); byDigest && got == asked && d.Digest != reference {
		return Descriptor{}, t.fail(Invalid, resp.StatusCode, "names another digest, %s", d.Digest)
	}
	return d, nil
}

func (c *Client) manifest(ctx context.Context, method string, e Endpoint, repo, reference string, accept []string) (*http.Response, call, error) {
	if !repositoryName.MatchString(repo) || !referenced(reference) {
		return nil, call{}, unnamed(repo, reference)
	}
	t, err := c.start(e, repo, method, "/v2/"+repo+"/manifests/"+reference, nil)
	if err != nil {
		return nil, t, err
	}
	header := http.Header{}
	if len(accept) > 0 {
		header.Set("Accept", strings.Join(accept, ", "))
	}
	return c.ok(ctx, t, header)
}

// ok sends a call whose answer has to be 200.
func (c *Client) ok(ctx context.Context, t call, header http.Header) (*http.Response, call, error) {
	resp, t, err := c.do(ctx, t, header)
	if err != nil {
		return nil, t, err
	}
	if resp.StatusCode != http.StatusOK {
		defer drain(resp)
		return nil, t, c.statusFailure(t, resp)
	}
	return resp, t, nil
}

// Blob reads a blob from offset on, 0 for the whole. size is that of the whole
// blob, -1 where the registry does not say. Where it does say, the body ends with
// a Failure unless just so many bytes come; where it does not, a body may be
// endless. The caller compares the digest, limits the size, and closes the body,
// whose every error but io.EOF is a Failure or the context's. Where the
// registry ignores the offset, what is before it has been read and dropped.
func (c *Client) Blob(ctx context.Context, e Endpoint, repo, digest string, offset int64) (content io.ReadCloser, size int64, err error) {
	if _, ok := digestAlgorithm(digest); !ok || !repositoryName.MatchString(repo) || offset < 0 {
		return nil, 0, unnamed(repo, digest)
	}
	t, err := c.start(e, repo, http.MethodGet, "/v2/"+repo+"/blobs/"+digest, nil)
	if err != nil {
		return nil, 0, err
	}
	header := http.Header{}
	if offset > 0 {
		header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer func() {
		if err != nil {
			cancel(context.Canceled)
		}
	}()
	// Until the blob begins to flow, this takes no longer than a manifest.
	begin := time.AfterFunc(c.timeouts.Manifest, func() { cancel(errSlow) })
	defer begin.Stop()
	resp, t, err := c.do(ctx, t, header)
	if err != nil {
		return nil, 0, err
	}
	size, skip, due, err := c.extent(t, resp, offset)
	if err != nil {
		drain(resp)
		return nil, 0, err
	}
	if due == 0 && skip == 0 {
		drain(resp)
		cancel(context.Canceled)
		return http.NoBody, size, nil
	}
	begin.Stop()
	b := &body{t: t, cancel: cancel, resp: resp, left: due, wait: c.timeouts.Stall}
	b.broken = func(err error) error { return c.broken(ctx, t, err, secretsOf(e, "")) }
	b.stall = time.AfterFunc(c.timeouts.Stall, func() { cancel(errStalled) })
	b.stall.Stop()
	if n, err := io.CopyN(io.Discard, b, skip); err != nil {
		_ = b.Close() // it never fails
		if errors.Is(err, io.EOF) {
			err = t.fail(Invalid, resp.StatusCode, "has a blob of %d bytes where %d are here already", n, offset)
		}
		return nil, 0, err
	}
	return b, size, nil
}

// extent says what an answer holds of a blob: the size of the whole, how many
// bytes to skip, and how many bytes the answer has, -1 unknown.
func (c *Client) extent(t call, resp *http.Response, offset int64) (size, skip, due int64, err error) {
	invalid := func(format string, args ...any) (int64, int64, int64, error) {
		return 0, 0, 0, t.fail(Invalid, resp.StatusCode, format, args...)
	}
	header := resp.Header.Get("Content-Range")
	r, ranged := parseContentRange(header)
	switch {
	case resp.StatusCode == http.StatusOK:
		if size = resp.ContentLength; size >= 0 && size < offset {
			return invalid("has a blob of %d bytes where %d are here already", size, offset)
		}
		return size, offset, size, nil
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && ranged && r.first < 0 && r.size == offset && offset > 0:
		return offset, 0, 0, nil // all of it is here
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && offset > 0:
		return invalid("has no bytes from %d on, %q", offset, clip(header))
	case resp.StatusCode != http.StatusPartialContent:
		return 0, 0, 0, c.statusFailure(t, resp)
	case offset == 0:
		return invalid("answers with a part, which it was not asked for")
	case !ranged || r.first != offset || (r.size >= 0 && r.last != r.size-1):
		return invalid("answers with another part than asked for, %q", clip(header))
	}
	due = r.last - r.first + 1
	if resp.ContentLength >= 0 && resp.ContentLength != due {
		return invalid("says two sizes of one part, %d and %d", resp.ContentLength, due)
	}
	return r.size, 0, due, nil
}

// Ping finds out whether the endpoint can be logged in to, and, unless repo is
// "", whether that repository may be read; NotFound is a repository that the registry
// does not have. An anonymous endpoint can always be logged in to, if a registry
// answers there.
func (c *Client) Ping(ctx context.Context, e Endpoint, repo string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeouts.Manifest, errSlow)
	defer cancel()
	path, query := "/v2/", url.Values(nil)
	if repo != "" {
		if !repositoryName.MatchString(repo) {
			return unnamed(repo, "")
		}
		path, query = "/v2/"+repo+"/tags/list", url.Values{"n": {"1"}}
	}
	t, err := c.start(e, repo, http.MethodGet, path, query)
	if err != nil {
		return err
	}
	if repo == "" && e.anonymous() {
		resp, t, err := c.follow(ctx, t, http.Header{}, "")
		if err != nil {
			return err
		}
		defer drain(resp)
		_, usable := choose(parseChallenges(resp.Header.Values("WWW-Authenticate")))
		if resp.StatusCode == http.StatusOK || (resp.StatusCode == http.StatusUnauthorized && usable) {
			return nil
		}
		return c.statusFailure(t, resp)
	}
	resp, _, err := c.ok(ctx, t, http.Header{})
	if err != nil {
		return err
	}
	drain(resp)
	return nil
}

// mediaType is the media type of an answer, without parameters, "" where there is
// none.
func mediaType(h http.Header) string {
	// A type with a parameter that is badly written is still one.
	bare, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	t, _, err := mime.ParseMediaType(bare)
	if err != nil || !strings.Contains(t, "/") {
		return ""
	}
	return t
}

// digestAlgorithm is the algorithm of a digest, "sha256" or "sha512"; false for
// what is none.
func digestAlgorithm(s string) (string, bool) {
	algorithm, value, _ := strings.Cut(s, ":")
	size := map[string]int{"sha256": sha256.Size, "sha512": sha512.Size}[algorithm]
	return algorithm, size > 0 && len(value) == 2*size && strings.Trim(value, "0123456789abcdef") == ""
}

// sum is the digest of bytes, by sha256 or sha512.
func sum(algorithm string, b []byte) string {
	if algorithm == "sha512" {
		s := sha512.Sum512(b)
		return "sha512:" + hex.EncodeToString(s[:])
	}
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

// repositoryName is what may stand for a repository in an address: the grammar of
// the OCI distribution specification, and upper case, which some registries allow.
var repositoryName = regexp.MustCompile(`^[a-zA-Z0-9]+([._-]+[a-zA-Z0-9]+)*(/[a-zA-Z0-9]+([._-]+[a-zA-Z0-9]+)*)*$`)

// unnamed is a failure for a name that cannot be put into an address.
func unnamed(repo, reference string) *Failure {
	return &Failure{Kind: Invalid, Err: fmt.Errorf("upstream: %q and %q are no repository and tag or digest", clip(repo), clip(reference))}
}

// referenced says whether a reference is a tag or a digest.
func referenced(reference string) bool {
	if _, ok := digestAlgorithm(reference); ok {
		return true
	}
	if reference == "" || len(reference) > 128 || strings.HasPrefix(reference, ".") || strings.HasPrefix(reference, "-") {
		return false
	}
	return !strings.ContainsFunc(reference, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	})
}
