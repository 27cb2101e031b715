package match

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/aquasecurity/trivy-db/pkg/db"
	bolt "go.etcd.io/bbolt"
)

// Schema is the version of Trivy's database that is understood: that of the
// metadata and of the artifact's tag (trivy-db, db.SchemaVersion).
const Schema = db.SchemaVersion

// DatabaseFile and MetadataFile are the files of a database, in one directory.
const (
	DatabaseFile = "trivy.db"
	MetadataFile = "metadata.json"
)

// lockTimeout is how long Open waits for another process that writes the file, which
// none of Berth's does.
const lockTimeout = 2 * time.Second

// ErrOpen says that the process has a database open already.
var ErrOpen = errors.New("a vulnerability database is open in this process already: close it first")

// errClosed: the database was used after Close.
var errClosed = errors.New("the vulnerability database is closed")

// opening guards trivy-db's variable, which says whether a database is open.
var opening sync.Mutex

// Metadata is what is told of a database, in metadata.json beside it.
type Metadata struct {
	// Schema is the version of the database's layout, see the constant.
	Schema int
	// UpdatedAt is when the database was made, NextUpdate when the next was to be
	// expected, DownloadedAt when this copy was fetched; zero where it is not told.
	UpdatedAt, NextUpdate, DownloadedAt time.Time
}

// ReadMetadata reads metadata.json in dir. The error says what is wrong with it.
func ReadMetadata(dir string) (Metadata, error) {
	f, err := os.Open(filepath.Join(dir, MetadataFile))
	if err != nil {
		return Metadata{}, fmt.Errorf("no description of the vulnerability database: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	var m struct {
		Version                             int
		UpdatedAt, NextUpdate, DownloadedAt time.Time
	}
	const limit = 1 << 20 // a few hundred bytes in practice
	if err := json.NewDecoder(io.LimitReader(f, limit)).Decode(&m); err != nil {
		return Metadata{}, fmt.Errorf("%s of the vulnerability database is no valid JSON: %w", MetadataFile, err)
	}
	return Metadata{Schema: m.Version, UpdatedAt: m.UpdatedAt.UTC(), NextUpdate: m.NextUpdate.UTC(), DownloadedAt: m.DownloadedAt.UTC()}, nil
}

// Database is an open vulnerability database. Its methods may be called at the same time.
type Database struct {
	metadata Metadata
	mu       sync.RWMutex // held by whoever reads; Close takes it whole
	bolt     *bolt.DB     // nil once closed
}

// Open opens the database in dir for reading. It changes nothing in dir. At most one
// may be open in a process: ErrOpen. Any other error says what is wrong with the database.
func Open(dir string) (*Database, error) {
	opening.Lock()
	defer opening.Unlock()
	if c := (db.Config{}).Connection(); c != nil && c.Path() != "" {
		return nil, ErrOpen
	}
	m, err := ReadMetadata(dir)
	if err != nil {
		return nil, err
	}
	if m.Schema != Schema {
		return nil, fmt.Errorf("the vulnerability database has schema version %d; this version of Berth reads %d", m.Schema, Schema)
	}
	// trivy-db removes a file that it fails to read, and makes one where there is none; it
	// gets to see only those that can be opened.
	if err := probe(filepath.Join(dir, DatabaseFile)); err != nil {
		return nil, err
	}
	ensureQuiet()
	if err := db.Init(dir, db.WithBoltOptions(readOnly())); err != nil {
		return nil, fmt.Errorf("open the vulnerability database: %w", err)
	}
	return &Database{metadata: m, bolt: db.Config{}.Connection()}, nil
}

func readOnly() *bolt.Options {
	return &bolt.Options{ReadOnly: true, Timeout: lockTimeout}
}

// probe opens and closes the file.
func probe(path string) (err error) {
	switch st, err := os.Stat(path); {
	case err != nil:
		return fmt.Errorf("no vulnerability database: %w", err)
	case !st.Mode().IsRegular():
		return fmt.Errorf("no vulnerability database: %s is no regular file", path)
	}
	return guard(func() error {
		b, err := bolt.Open(path, 0, readOnly())
		if err != nil {
			return fmt.Errorf("%s is no database that can be opened: %w", DatabaseFile, err)
		}
		return errors.Join(whole(path, b), b.Close())
	})
}

// whole says whether the file is as long as its pages are many.
func whole(path string, b *bolt.DB) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	return b.View(func(tx *bolt.Tx) error {
		if tx.Size() > st.Size() {
			return fmt.Errorf("%s is cut off: it has %d bytes of %d", DatabaseFile, st.Size(), tx.Size())
		}
		return nil
	})
}

// Metadata is what metadata.json said when the database was opened.
func (d *Database) Metadata() Metadata { return d.metadata }

// Close closes the database, after those who read it now.
func (d *Database) Close() error {
	opening.Lock()
	defer opening.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bolt == nil {
		return nil
	}
	d.bolt = nil
	return db.Close()
}

// use runs f with the database held open.
func (d *Database) use(ctx context.Context, f func(*bolt.DB) error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.bolt == nil {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return guard(func() error { return f(d.bolt) })
}

// guard runs f, which reads a mapped file: a page that is not there, or one that says
// what cannot be, is an error. bbolt panics in both cases.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if !damage(p) {
				panic(p)
			}
			err = &damaged{fmt.Sprint(p)}
		}
	}()
	return f()
}

// damaged: the database file cannot be read.
type damaged struct{ reason string }

func (d *damaged) Error() string {
	return "the vulnerability database is damaged, import it again: " + d.reason
}

// damage says, called while p is recovered from, whether reading the database caused the
// panic: a fault of memory, or one below bbolt.
func damage(p any) bool {
	if _, fault := p.(interface{ Addr() uintptr }); fault {
		return true
	}
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	panicked := false
	for {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			panicked = true
		case panicked && strings.HasPrefix(f.Function, "runtime."):
		case panicked:
			return strings.HasPrefix(f.Function, "go.etcd.io/bbolt")
		}
		if !more {
			return false
		}
	}
}
