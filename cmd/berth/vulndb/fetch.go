package vulndb

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/vulndbfetch"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/certs"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

type fetchCommand struct {
	Output    string   `short:"o" required:"" placeholder:"FILE" help:"File to write: an OCI layout in a tar archive."`
	Source    []string `placeholder:"REF" help:"Where to fetch it from, in place of where it is published; may be repeated: each is tried in turn."`
	PlainHTTP bool     `name:"plain-http" help:"Speak plain HTTP to the source."`
	CA        string   `name:"ca" placeholder:"FILE" help:"Certificate authorities of the source, as PEM, beside the system's."`
	Also      []string `placeholder:"HOST" help:"Host that the source may send us to, for its blobs or its tokens; may be repeated."`
	JSON      bool     `name:"json" help:"Print JSON."`
}

// Help says what comes of it.
func (fetchCommand) Help() string {
	return `Fetches the database from the first source that answers, and compares its digests. The
file is there whole or not at all. Carry it to where Berth runs, and import it there:

  berth vulndb import FILE

Proxies of the environment are not used. Where one is needed, any other client that
copies artifacts will do:  skopeo copy docker://ghcr.io/aquasecurity/trivy-db:2 oci-archive:FILE`
}

// Fetched is what was fetched.
type Fetched struct {
	File   string      `json:"file"`
	Source string      `json:"source"`
	Digest name.Digest `json:"manifest"`
	Size   int64       `json:"size"` // of the file, in bytes
}

// Run fetches.
func (c fetchCommand) Run(ctx context.Context, out io.Writer) error {
	roots, err := certs.Authorities(c.CA, "--ca")
	if err != nil {
		return err
	}
	sources := c.Source
	if len(sources) == 0 {
		sources = vulndbfetch.Sources()
	}
	var failed error
	for _, source := range sources {
		done, err := c.fetch(ctx, source, roots)
		if err == nil {
			if c.JSON {
				return console.JSON(out, done)
			}
			_, err = fmt.Fprintf(out, "Wrote %s, %s, from %s.\nImport it where Berth runs: berth vulndb import %s\n", done.File, sizeText(done.Size), done.Source, filepath.Base(done.File))
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w", source, err))
	}
	return failed
}

func (c fetchCommand) fetch(ctx context.Context, source string, roots *x509.CertPool) (done Fetched, err error) {
	ref, err := vulndbfetch.ParseReference(source)
	if err != nil {
		return done, err
	}
	set := upstream.Config{Roots: roots, Hosts: map[string]upstream.Host{}}
	if len(c.Source) > 0 {
		// The operator names the host himself; it may be one of his own network.
		set.Hosts[ref.Host] = upstream.Host{PlainHTTP: c.PlainHTTP, AllowPrivate: true, Also: c.Also}
	}
	progress, end := progressOn(os.Stderr)
	defer end()
	f := vulndbfetch.New(vulndbfetch.Config{Upstream: set, Progress: progress})
	defer f.Close()

	dir := filepath.Dir(c.Output)
	part, err := os.CreateTemp(dir, filepath.Base(c.Output)+".part-*")
	if err != nil {
		return done, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, part.Close(), os.Remove(part.Name()))
		}
	}()
	if done.Digest, err = f.Fetch(ctx, source, part); err != nil {
		return done, err
	}
	if done.Size, err = part.Seek(0, io.SeekCurrent); err != nil {
		return done, err
	}
	if err = cmp.Or(part.Chmod(0o644), part.Sync()); err != nil {
		return done, err
	}
	if err = os.Rename(part.Name(), c.Output); err != nil {
		return done, err
	}
	done.File, done.Source = c.Output, source
	return done, part.Close()
}

// progressOn shows how far the fetching is, where f is a terminal.
func progressOn(f *os.File) (progress func(done, total int64), end func()) {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil, func() {}
	}
	var last time.Time
	shown := false
	return func(done, total int64) {
			if time.Since(last) < 200*time.Millisecond && done < total {
				return
			}
			last, shown = time.Now(), true
			fmt.Fprintf(f, "\r%s of %s", sizeText(done), sizeText(total)) // for people; nothing depends on it
		}, func() {
			if shown {
				fmt.Fprintln(f)
			}
		}
}
