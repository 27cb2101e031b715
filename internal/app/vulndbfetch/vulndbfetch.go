// Package vulndbfetch reads the vulnerability database's artifact from a registry,
// for the server that refreshes its own and for the command that fetches one where
// there is internet.
//
// It owns which parts of the artifact are asked for, retries, and where references point.
// It does not own how a registry is spoken to (infra/upstream), what the artifact has to be
// (domain/scan/vulndb/layout), nor what is made of the database (domain/scan/vulndb).
package vulndbfetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb/layout"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

// Sources are where the database is published (Trivy documentation, "Vulnerability
// database"): the mirror first, which does not limit how often one asks.
func Sources() []string {
	return []string{"mirror.gcr.io/aquasec/trivy-db:2", "ghcr.io/aquasecurity/trivy-db:2"}
}

const (
	// manyAttempts is how often a request is made that fails for reasons that may pass.
	manyAttempts = 5
	// maxPause bounds the pause between two attempts.
	maxPause = 30 * time.Second
	// maxConfig bounds the artifact's configuration, in bytes; published ones are empty.
	maxConfig = 1 << 20
)

// Config is what a Fetcher works by.
type Config struct {
	// Upstream is how registries are spoken to: addresses that are allowed, mirrors,
	// certificate authorities.
	Upstream upstream.Config
	// Progress, if set, is told how much of the archive has come.
	Progress func(done, total int64)
	// MaxArchive bounds the archive in bytes; 0: 2 GiB.
	MaxArchive int64
	// Pause is before the second attempt; it doubles with each. 0: 2 seconds.
	Pause time.Duration
	// Attempts is how often a request is made that fails for reasons that may pass; 0: 5.
	Attempts int
}

// Fetcher fetches. Its methods may be called by many goroutines.
type Fetcher struct {
	c      Config
	client *upstream.Client
}

// New returns a Fetcher. Close it when it is no longer needed.
func New(c Config) *Fetcher {
	hosts := maps.Clone(c.Upstream.Hosts)
	if hosts == nil {
		hosts = map[string]upstream.Host{}
	}
	for host, also := range redirects() {
		h := hosts[host]
		h.Also = append(append([]string{}, h.Also...), also...)
		hosts[host] = h
	}
	c.Upstream.Hosts = hosts
	if c.MaxArchive <= 0 {
		c.MaxArchive = 2 << 30
	}
	if c.Attempts <= 0 {
		c.Attempts = manyAttempts
	}
	if c.Pause <= 0 {
		c.Pause = 2 * time.Second
	}
	return &Fetcher{c: c, client: upstream.New(c.Upstream)}
}

// redirects are hosts that registries of Sources send their clients to and that
// upstream/known does not list, since they are no upstreams of AWS: Google's registry
// serves blobs from its own storage.
func redirects() map[string][]string {
	return map[string][]string{"mirror.gcr.io": {"storage.googleapis.com", "*.pkg.dev"}}
}

// Close drops idle connections.
func (f *Fetcher) Close() { f.client.Close() }

// Reference is where an artifact is.
type Reference struct{ Host, Repository, Reference string }

// ParseReference reads "host[:port]/repository[:tag][@digest]". A tag that is missing
// is that of the schema, "2".
func ParseReference(s string) (Reference, error) {
	host, rest, ok := strings.Cut(strings.TrimPrefix(s, "docker://"), "/")
	r := Reference{Host: strings.ToLower(host), Reference: fmt.Sprint(vulndb.Schema)}
	if !ok || host == "" || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return r, fmt.Errorf("%q names no registry: a source is HOST/REPOSITORY:TAG, such as %s", s, Sources()[1])
	}
	if r.Host == "docker.io" {
		r.Host = "registry-1.docker.io"
	}
	var digest string
	rest, digest, _ = strings.Cut(rest, "@")
	if at := strings.LastIndexByte(rest, ':'); at >= 0 {
		rest, r.Reference = rest[:at], rest[at+1:]
	}
	r.Repository = rest
	_, err := name.ParseRepository(rest)
	if err == nil {
		_, err = name.ParseTag(r.Reference)
	}
	if err == nil && digest != "" {
		r.Reference = digest
		_, err = name.ParseDigest(digest)
	}
	if err != nil {
		return r, fmt.Errorf("%q is no source, which is HOST/REPOSITORY:TAG, such as %s: %w", s, Sources()[1], err)
	}
	return r, nil
}

// Resolve returns the digest of the manifest that a reference names.
func (f *Fetcher) Resolve(ctx context.Context, ref string) (name.Digest, error) {
	r, err := ParseReference(ref)
	if err != nil {
		return "", err
	}
	a, err := f.manifest(ctx, r)
	return a.Manifest, err
}

// manifest reads it. It is small, and unlike the answer to a HEAD it can be verified.
func (f *Fetcher) manifest(ctx context.Context, r Reference) (a layout.Artifact, err error) {
	var m upstream.Manifest
	err = f.persist(ctx, func() error {
		m, err = f.client.Manifest(ctx, upstream.Endpoint{Host: r.Host}, r.Repository, r.Reference, []string{layout.MediaTypeOCI, layout.MediaTypeDocker})
		return err
	})
	if err != nil {
		return a, err
	}
	return layout.ParseManifest(m.Body, m.MediaType)
}

// Fetch writes the artifact that a reference names to w, as layout.Write does,
// and returns its manifest's digest. The digests of all blobs have been compared when it
// returns nil; a connection that breaks off is gone on with.
func (f *Fetcher) Fetch(ctx context.Context, ref string, w io.Writer) (name.Digest, error) {
	r, err := ParseReference(ref)
	if err != nil {
		return "", err
	}
	a, err := f.manifest(ctx, r)
	if err != nil {
		return "", err
	}
	switch {
	case a.Layer.Size > f.c.MaxArchive:
		return "", fmt.Errorf("the database has %d bytes, more than the %d that are taken", a.Layer.Size, f.c.MaxArchive)
	case a.Config.Size > maxConfig:
		return "", fmt.Errorf("the artifact's configuration has %d bytes, more than the %d that are taken", a.Config.Size, maxConfig)
	}
	small, end := f.blob(ctx, r, a.Config, nil)
	config, err := io.ReadAll(small)
	end()
	if err != nil {
		return "", err
	}
	archive, end := f.blob(ctx, r, a.Layer, f.c.Progress)
	defer end()
	if err := layout.Write(w, a, config, archive); err != nil {
		return "", err
	}
	return a.Manifest, nil
}

// persist tries again what fails for reasons that may pass.
func (f *Fetcher) persist(ctx context.Context, try func() error) error {
	pause := f.c.Pause
	for n := 1; ; n++ {
		err := try()
		if err == nil || n == f.c.Attempts || !passing(err) {
			return err
		}
		if err := rest(ctx, max(pause, min(retryAfter(err), maxPause))); err != nil {
			return err
		}
		pause = min(2*pause, maxPause)
	}
}

func passing(err error) bool {
	kind := upstream.KindOf(err)
	return kind == upstream.Unavailable || kind == upstream.TooManyRequests
}

func retryAfter(err error) time.Duration {
	var failure *upstream.Failure
	if errors.As(err, &failure) {
		return failure.RetryAfter
	}
	return 0
}

func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reader is a func as an io.Reader.
type reader func([]byte) (int, error)

// Read implements io.Reader.
func (r reader) Read(p []byte) (int, error) { return r(p) }

// blob reads a blob, going on where a connection broke off, and fails at its end if
// it is not what its descriptor says. end has to be called when nothing is read any more.
func (f *Fetcher) blob(ctx context.Context, r Reference, d layout.Descriptor, progress func(done, total int64)) (content io.Reader, end func()) {
	var at int64
	var body io.ReadCloser
	end = func() {
		if body != nil {
			_ = body.Close() // what came of it is known
			body = nil
		}
	}
	sum := sha256.New()
	open := func() error {
		c, size, err := f.client.Blob(ctx, upstream.Endpoint{Host: r.Host}, r.Repository, string(d.Digest), at)
		if err == nil && size >= 0 && size != d.Size {
			err = errors.Join(fmt.Errorf("the registry gives %d bytes for %s, which has %d", size, d.Digest, d.Size), c.Close())
		}
		if err == nil {
			body = c
		}
		return err
	}
	broken := 0
	return reader(func(p []byte) (int, error) {
		if at == d.Size {
			end()
			if got := name.FromHash("sha256", sum); got != d.Digest {
				return 0, fmt.Errorf("the registry gives a blob with the digest %s in place of %s; try again, or another source", got, d.Digest)
			}
			return 0, io.EOF
		}
		for {
			if body == nil {
				if err := f.persist(ctx, open); err != nil {
					return 0, err
				}
			}
			n, err := body.Read(p[:min(int64(len(p)), d.Size-at)])
			at += int64(n)
			sum.Write(p[:n])
			switch {
			case n > 0:
				broken = 0
				if progress != nil {
					progress(at, d.Size)
				}
				if err != nil && !errors.Is(err, io.EOF) {
					end() // and the next read goes on
				}
				return n, nil
			case err == nil:
				continue
			case errors.Is(err, io.EOF):
				return 0, fmt.Errorf("the registry gives %d bytes for %s, which has %d; try again, or another source", at, d.Digest, d.Size)
			case !passing(err) || broken == f.c.Attempts:
				return 0, err
			}
			end()
			broken++
			if err := rest(ctx, f.c.Pause); err != nil {
				return 0, err
			}
		}
	}), end
}
