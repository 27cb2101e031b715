package vulndb

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb/layout"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// storeLimit bounds writing the object and the row that names it, so that nobody
	// still does when what he wrote is swept as left over, after sweepAfter.
	storeLimit = time.Hour
	sweepAfter = 3 * time.Hour
	// cleanupLimit bounds what is done after a failure.
	cleanupLimit = 30 * time.Second
	// layoutSlack is what an OCI layout may have beside the archive.
	layoutSlack = 64 << 20
	// maxSource bounds what is kept of where a database came from, in bytes.
	maxSource = 500
)

// ImportOptions say how a database is imported.
type ImportOptions struct {
	// Older takes one that is older than the one in use.
	Older bool

	// quiet leaves the database in use alone when it is the same one, and refresh the
	// former one as well, which somebody went back from.
	quiet, refresh bool
}

// candidate is a database that may be imported.
type candidate struct {
	open     func(ctx context.Context) (io.ReadCloser, error)
	digest   name.Digest // of the archive, "" where nobody told
	manifest name.Digest
	source   string
}

// Import makes the database in a file the current one: a db.tar.gz, an OCI layout in a
// tar archive, or a directory with one. source says where it comes from, for people. The
// one in use may be imported again, which replaces its stored copy. What is no usable
// database, or older than the one in use, is Refused.
func (s *Service) Import(ctx context.Context, file, source string, o ImportOptions) (db Database, err error) {
	info, err := os.Stat(file)
	if err != nil {
		return Database{}, err
	}
	if info.IsDir() {
		root, err := os.OpenRoot(file)
		if err != nil {
			return Database{}, err
		}
		defer func() { err = errors.Join(err, root.Close()) }()
		return s.importLayout(ctx, layout.InDirectory(root), source, o)
	}
	f, err := os.Open(file)
	if err != nil {
		return Database{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return Database{}, err
	}
	switch {
	case n == 0:
		return Database{}, refuse("the file is empty%s", wanted)
	case n >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		return s.take(ctx, candidate{source: source, open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(f, 0, 1<<62)), nil
		}}, o)
	case n == len(head) && string(head[257:262]) == "ustar":
		l, err := layout.InTar(ctx, f)
		if err != nil {
			return Database{}, ofLayout(err)
		}
		return s.importLayout(ctx, l, source, o)
	}
	return Database{}, refuse("the file is neither a gzip nor a tar archive%s", wanted)
}

func (s *Service) importLayout(ctx context.Context, l layout.Layout, source string, o ImportOptions) (Database, error) {
	a, err := l.Artifact()
	if err != nil {
		return Database{}, ofLayout(err)
	}
	return s.take(ctx, candidate{
		digest: a.Layer.Digest, manifest: a.Manifest, source: source,
		open: func(context.Context) (io.ReadCloser, error) {
			content, err := l.Layer(a)
			return content, ofLayout(err)
		},
	}, o)
}

// ofLayout makes one of this package's refusals of one of layout's, so that callers know
// a single kind.
func ofLayout(err error) error {
	var r *layout.Refused
	if errors.As(err, &r) {
		return &Refused{Reason: r.Reason, Cause: err}
	}
	return err
}

// ImportReader is Import of a file that comes over a connection.
func (s *Service) ImportReader(ctx context.Context, r io.Reader, source string, o ImportOptions) (Database, error) {
	file, err := s.spool(ctx, func(w io.Writer) error {
		from := newSource(ctx, r, s.c.MaxArchive+layoutSlack)
		_, err := io.Copy(w, from)
		return err
	})
	if err != nil {
		return Database{}, err
	}
	defer func() { _ = os.Remove(file) }() // Run removes what stays
	return s.Import(ctx, file, source, o)
}

// spool writes a temporary file; the caller removes it.
func (s *Service) spool(ctx context.Context, write func(io.Writer) error) (file string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	f, err := os.OpenFile(s.temporary(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// temporary is a path for something of this process that is on its way.
func (s *Service) temporary() string {
	return filepath.Join(s.c.Dir, temporaryPrefix+s.run+"-"+rand.Text())
}

// ImportArtifact makes the database of an artifact the current one whose manifest and
// blobs are at hand, such as one that was pushed to a repository here. open opens a blob.
// If it is the one in use, nothing is done.
func (s *Service) ImportArtifact(ctx context.Context, manifest []byte, open func(ctx context.Context, digest name.Digest) (io.ReadCloser, error), source string) (Database, error) {
	a, err := layout.ParseManifest(manifest, "")
	if err != nil {
		return Database{}, ofLayout(err)
	}
	current, _, err := s.look(ctx)
	if err != nil {
		return Database{}, err
	}
	if current != nil && current.db.Digest == a.Layer.Digest {
		return current.db, nil
	}
	return s.take(ctx, candidate{
		digest: a.Layer.Digest, manifest: a.Manifest, source: source,
		open: func(ctx context.Context) (io.ReadCloser, error) { return open(ctx, a.Layer.Digest) },
	}, ImportOptions{quiet: true})
}

// take checks a candidate and makes it the current database.
func (s *Service) take(ctx context.Context, c candidate, o ImportOptions) (Database, error) {
	leave, err := enter(ctx, s.importing)
	if err != nil {
		return Database{}, err
	}
	defer leave()
	dir := s.temporary()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return Database{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // Run removes what stays
	db, err := s.examine(ctx, c, dir)
	if err != nil {
		return Database{}, err
	}
	current, former, err := s.look(ctx)
	if err != nil {
		return Database{}, err
	}
	if o.quiet && current != nil && current.db.Digest == db.Digest {
		current.db.Manifest = db.Manifest
		return current.db, s.noteManifest(ctx, current.id, db.Manifest)
	}
	if o.refresh && current != nil && former != nil && former.db.Digest == db.Digest {
		return current.db, s.noteManifest(ctx, former.id, db.Manifest)
	}
	if err := newer(db, current, o.Older); err != nil {
		return Database{}, err
	}
	if _, err := s.c.Check(ctx, dir); err != nil {
		if ctx.Err() != nil {
			return Database{}, ctx.Err()
		}
		return Database{}, &Refused{Reason: "the database was looked through and cannot be used: " + err.Error() + again, Cause: err}
	}
	if err := s.keep(ctx, c, &db, dir, o); err != nil {
		return Database{}, err
	}
	if s.Stale(db) {
		s.c.Log.WarnContext(ctx, "the vulnerability database that was imported is old", "digest", db.Digest, "made", db.UpdatedAt, "source", db.Source)
	}
	if err := s.Tidy(ctx); err != nil {
		s.c.Log.WarnContext(ctx, "what earlier vulnerability databases left in the store is deleted later", "error", err)
	}
	return db, nil
}

// examine unpacks a candidate into a directory and finds out what it is.
func (s *Service) examine(ctx context.Context, c candidate, dir string) (Database, error) {
	in, err := c.open(ctx)
	if err != nil {
		return Database{}, err
	}
	digest, size, err := s.unpack(ctx, in, dir)
	if err := errors.Join(err, in.Close()); err != nil {
		return Database{}, err
	}
	if c.digest != "" && digest != c.digest {
		return Database{}, refuse("the layer has the digest %s in place of %s, which its manifest tells%s", digest, c.digest, again)
	}
	now := s.c.Clock.Now()
	m, err := readMetadata(dir, now)
	if err != nil {
		return Database{}, err
	}
	return Database{
		Digest: digest, Manifest: c.manifest, Dir: s.dir(digest), Schema: m.Version, UpdatedAt: at(micro(m.UpdatedAt)), NextUpdate: at(micro(m.NextUpdate)),
		DownloadedAt: at(micro(m.DownloadedAt)), ImportedAt: at(micro(now)), Size: size, Source: cut(c.source),
	}, nil
}

// cut bounds the text that says where a database came from.
func cut(s string) string {
	if len(s) <= maxSource {
		return s
	}
	return "..." + s[len(s)-maxSource:]
}

// keep stores the archive and makes it the current one; the directory with what
// it unpacks to becomes this node's.
func (s *Service) keep(ctx context.Context, c candidate, db *Database, dir string, o ImportOptions) error {
	ctx, end := context.WithTimeout(ctx, storeLimit)
	defer end()
	r := row{id: sqldb.NewID(), db: *db, object: blobstore.Object{Key: Prefix + uuid.NewString()}}
	if err := s.begin(ctx, r); err != nil {
		return err
	}
	err := s.write(ctx, c, &r)
	if err == nil {
		var leave func()
		// Nobody is to unpack here between the change and the directory's name.
		if leave, err = enter(ctx, s.unpacking); err == nil {
			var same bool
			if same, err = s.adopt(ctx, r, o.Older); err == nil {
				s.c.Log.InfoContext(ctx, "a vulnerability database was imported", "digest", db.Digest, "made", db.UpdatedAt, "source", db.Source, "again", same)
				if e := s.install(dir, db.Digest); e != nil {
					s.c.Log.WarnContext(ctx, "the vulnerability database is unpacked again later", "error", e)
				}
			}
			leave()
		}
	}
	if err == nil || errors.Is(err, sqldb.ErrUncertain) {
		return err // if that is uncertain, the row says what holds
	}
	after, ended := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer ended()
	// The row may be gone already (errSwept), so the object does not wait for Tidy alone.
	if e := errors.Join(s.giveUp(after, r.id), s.c.Store().Delete(after, r.object.Key), s.Tidy(after)); e != nil {
		s.c.Log.WarnContext(ctx, "what was stored of a vulnerability database is deleted later", "error", e)
	}
	return err
}

// write stores the archive as the row's object.
func (s *Service) write(ctx context.Context, c candidate, r *row) (err error) {
	in, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	w, err := s.c.Store().Create(ctx, r.object.Key, blobstore.Placement{})
	if err != nil {
		return fmt.Errorf("the vulnerability database cannot be stored: %w", err)
	}
	from := newSource(ctx, in, s.c.MaxArchive)
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{from}, make([]byte, copyBytes)); err != nil {
		return errors.Join(fmt.Errorf("the vulnerability database cannot be stored: %w", err), w.Close())
	}
	if got := name.FromHash("sha256", from.sum); got != r.db.Digest {
		return errors.Join(refuse("the file has changed while it was read: it had the digest %s, and then %s; import it again", r.db.Digest, got), w.Close())
	}
	o, err := w.Commit(ctx)
	if err != nil {
		return errors.Join(fmt.Errorf("the vulnerability database cannot be stored: %w", err), w.Close())
	}
	r.object = o
	return nil
}

// noteManifest remembers that the database in use came in this manifest, too.
func (s *Service) noteManifest(ctx context.Context, id int64, manifest name.Digest) error {
	if manifest == "" {
		return nil
	}
	return s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE scan_database SET manifest = $1 WHERE id = $2`, manifest, id)
		return err
	})
}
