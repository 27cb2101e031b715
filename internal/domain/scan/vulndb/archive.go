package vulndb

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb/layout"
)

// The files of a database, as the archive has them.
const (
	fileDatabase = "trivy.db"
	fileMetadata = "metadata.json"
)

const (
	// maxMetadata is a hundred times what the file has.
	maxMetadata = 64 << 10
	// clockSkew is how far in the future a database may have been made.
	clockSkew = 24 * time.Hour
	copyBytes = 256 << 10
)

// What refusals end in, the same as those of layouts.
const (
	wanted = layout.Wanted
	again  = layout.Again
)

// source reads an archive: it counts, hashes, limits, and remembers what went
// wrong below, which is not the archive's fault.
type source struct {
	read func([]byte) (int, error)
	sum  hash.Hash
	n    int64
	max  int64
	err  error
}

func newSource(ctx context.Context, in io.Reader, limit int64) *source {
	return &source{sum: sha256.New(), max: limit, read: func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return in.Read(p)
	}}
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.read(p)
	s.n += int64(n)
	if s.n > s.max {
		err = refuse("the archive has more than %d bytes, the most that is taken%s", s.max, wanted)
	}
	s.sum.Write(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// fault is what to say of an error that came out of reading an archive through s.
func (s *source) fault(err error) error {
	var refused *Refused
	switch {
	case s.err != nil:
		return s.err
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return &Refused{Reason: "the archive ends early, it has not come whole" + again, Cause: err}
	}
	return &Refused{Reason: "the archive is damaged (" + err.Error() + ")" + again, Cause: err}
}

// limited reads what an archive unpacks to.
type limited struct {
	r   io.Reader
	n   int64
	max int64
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.n += int64(n); l.n > l.max {
		return 0, refuse("the archive unpacks to more than %d bytes, the most that is taken%s", l.max, wanted)
	}
	return n, err
}

// sink writes a file, and remembers its errors, which are not the archive's.
type sink struct {
	f   *os.File
	err error
}

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	s.err = err
	return n, err
}

// unpack writes the two files of an archive into a directory, synced, and returns
// the archive's digest and size. Nothing else is written, whatever the archive has; what
// is not just that is Refused.
func (s *Service) unpack(ctx context.Context, in io.Reader, dir string) (name.Digest, int64, error) {
	from := newSource(ctx, in, s.c.MaxArchive)
	// The reader takes more than it needs; all of it is hashed in the end.
	buffered := bufio.NewReaderSize(from, copyBytes)
	packed, err := gzip.NewReader(buffered)
	if err != nil {
		return "", 0, from.fault(err)
	}
	plain := &limited{r: packed, max: s.c.MaxPlain}
	files := tar.NewReader(plain)
	var have []string
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", 0, from.fault(err)
		}
		if err := s.expect(header, have); err != nil {
			return "", 0, err
		}
		if err := writeFile(filepath.Join(dir, header.Name), files, from); err != nil {
			return "", 0, err
		}
		have = append(have, header.Name)
	}
	// The rest has the checksum, and belongs to the digest.
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return "", 0, from.fault(err)
	}
	if _, err := io.Copy(io.Discard, buffered); err != nil {
		return "", 0, from.fault(err)
	}
	for _, file := range []string{fileDatabase, fileMetadata} {
		if !slices.Contains(have, file) {
			return "", 0, refuse("the archive has no %s%s", file, wanted)
		}
	}
	return name.FromHash("sha256", from.sum), from.n, syncDir(dir)
}

// expect refuses an entry that is not one of the two files.
func (s *Service) expect(h *tar.Header, have []string) error {
	limit := s.c.MaxPlain
	switch h.Name {
	case fileDatabase:
	case fileMetadata:
		limit = maxMetadata
	default:
		if layout.IsPart(h.Name) {
			return refuse("the OCI layout is compressed: gunzip it first")
		}
		return refuse("the archive has a %.200q, which does not belong there%s", h.Name, wanted)
	}
	if h.Typeflag != tar.TypeReg {
		return refuse("the archive's %s is not a regular file%s", h.Name, wanted)
	}
	if slices.Contains(have, h.Name) {
		return refuse("the archive has two files %s%s", h.Name, wanted)
	}
	if h.Size > limit {
		return refuse("the archive's %s has %d bytes, more than the %d that are taken%s", h.Name, h.Size, limit, wanted)
	}
	return nil
}

// writeFile makes a file durable, but for its name.
func writeFile(path string, content io.Reader, from *source) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	to := &sink{f: f}
	if _, err = io.CopyBuffer(to, content, make([]byte, copyBytes)); err != nil && to.err == nil {
		return errors.Join(from.fault(err), f.Close())
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// metadata is the file beside a database.
type metadata struct {
	Version                             int
	UpdatedAt, NextUpdate, DownloadedAt time.Time
}

// readMetadata reads it, and refuses a database that cannot be used at now.
func readMetadata(dir string, now time.Time) (m metadata, err error) {
	text, err := os.ReadFile(filepath.Join(dir, fileMetadata))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(bytes.TrimPrefix(text, []byte("\ufeff")), &m); err != nil {
		return m, &Refused{Reason: "the database's metadata.json cannot be read (" + err.Error() + ")" + again, Cause: err}
	}
	switch {
	case m.Version != Schema:
		return m, refuse("the database has the schema version %d, and this program understands %d: fetch the artifact with the tag %d (ghcr.io/aquasecurity/trivy-db:%d)", m.Version, Schema, Schema, Schema)
	case m.UpdatedAt.Year() < 2000 || m.UpdatedAt.Year() > 9999:
		return m, refuse("the database's metadata.json does not say when it was made (UpdatedAt)%s", wanted)
	case m.UpdatedAt.After(now.Add(clockSkew)):
		return m, refuse("the database was made at %s, which is in the future: set this machine's clock right (it has %s), or fetch a database that tells the truth", timeText(m.UpdatedAt), timeText(now))
	}
	return m, nil
}

func timeText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
