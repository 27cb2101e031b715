// Package vulndb keeps the vulnerability database that images are matched with:
// imports one from a file, an OCI layout or an artifact, checks it, shares it with
// all nodes through the blob store, unpacks it on each of them, and replaces it
// with a newer one.
//
// It owns the tables scan_database and scan_database_state, the objects whose keys
// begin with Prefix, and the directory in Config.Dir. It does not know the forms that
// registries give the artifact (scan/vulndb/layout), read what stands in a database
// (scan/match), speak to registries (Config.Fetch does), or match images again when it
// changes (Config.Changed has that done).
//
// # One change
//
// The archive is unpacked beside the others and looked through; a row in the state
// "incoming" is written, then the object; and one transaction makes that row the
// current one, the current one the former, and the former one "going". A crash leaves a
// row that says what is to be deleted (Tidy), and nothing that a reader could take
// for a database: directories get their names when they are whole and synced.
//
// # Nodes
//
// Each node has the current database, and the former one if it was there when it was
// replaced, in Config.Dir, by the digest of the archive. Directories of others are removed an
// hour after they were seen to be neither, so that who began with one can end with it.
package vulndb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Schema is the version of the databases' form that is understood: that of
// trivy-db, whose published artifact has it as its tag.
const Schema = 2

// Prefix begins the keys of this package's objects.
const Prefix = "vulndb/"

// ErrNone says that there is no database.
var ErrNone = errors.New("there is no vulnerability database: run berth vulndb fetch -o FILE on a machine with internet and berth vulndb import FILE here")

// Refused is every error about a file that is no usable database.
type Refused struct {
	// Reason says what is wrong and what to do, for the operator.
	Reason string
	// Older says that it is whole, and older than the one in use.
	Older bool
	// Cause is the error behind it, nil if there is none.
	Cause error
}

// Error is the reason.
func (r *Refused) Error() string { return r.Reason }

// Unwrap is the cause.
func (r *Refused) Unwrap() error { return r.Cause }

func refuse(format string, args ...any) *Refused {
	return &Refused{Reason: fmt.Sprintf(format, args...)}
}

// Config is what a Service stands on. All of it is needed, but for what says otherwise.
type Config struct {
	DB *sqldb.DB
	// Store is where the archives are kept, one for all nodes.
	Store func() blobstore.Store
	// Dir is this node's directory for unpacked databases, and for files on their
	// way. No other process uses it. It is made if it is not there.
	Dir   string
	Clock clock.Clock
	Log   *slog.Logger
	// Jobs runs the periodic work; nil: Refresh and Tidy are called by the caller.
	Jobs *jobs.Queue
	// Check opens the database in a directory and looks through it. An error has it
	// refused.
	Check func(ctx context.Context, dir string) (match.Metadata, error)
	// Fetch writes the artifact that a reference ("ghcr.io/aquasecurity/trivy-db:2")
	// names to w, as layout.Write does, and returns its manifest's digest. It is needed where
	// Sources are.
	Fetch func(ctx context.Context, ref string, w io.Writer) (name.Digest, error)
	// Resolve returns the digest alone, without the artifact; nil: it is fetched whole
	// each time.
	Resolve func(ctx context.Context, ref string) (name.Digest, error)
	// Sources are the references that are asked for a newer database, in order; none:
	// no automatic refresh.
	Sources []string
	// Refresh is the time between two questions to the sources; 0: 1 hour.
	Refresh time.Duration
	// MaxAge is the age from which a database is called too old, 0: never. It is
	// used all the same.
	MaxAge time.Duration
	// Changed, if set, is called in the transaction that makes db the current one.
	Changed func(ctx context.Context, tx *sqldb.Tx, db Database) error

	// MaxArchive and MaxPlain bound the packed and the unpacked size of a database, in
	// bytes; 0: 2 GiB and 8 GiB. Published ones have about 50 and 500 MB.
	MaxArchive, MaxPlain int64
	// Poll is how often Run looks for another current database; 0: 3 seconds.
	Poll time.Duration
}

// Database is a vulnerability database.
type Database struct {
	// Digest is that of the archive.
	Digest name.Digest
	// Manifest is the digest of the artifact's manifest that it came in, "" for a bare
	// archive.
	Manifest name.Digest
	// Dir is where it is, unpacked, on this node: trivy.db and metadata.json. Only
	// Current makes sure that it is there.
	Dir    string
	Schema int
	// UpdatedAt is when it was made, NextUpdate when the next one was to be
	// expected then, DownloadedAt when a downloader says to have got it; zero where it does not tell.
	UpdatedAt, NextUpdate, DownloadedAt time.Time
	// ImportedAt is when it came here.
	ImportedAt time.Time
	// Size is that of the archive in bytes.
	Size int64
	// Source says where it came from: a reference, or the name of a file.
	Source string
}

// Service keeps the database. Its methods may be called by many goroutines, on
// many nodes at once.
type Service struct {
	c Config
	// run marks this process's temporary files.
	run string
	// importing and unpacking are held by who does so on this node: both take disk
	// and processor.
	importing, unpacking chan struct{}

	mu sync.Mutex
	// served is what Current returned last.
	served *Database
	// failed is why the current one could not be unpacked here.
	failed *failure
	// unneeded is when a directory was first seen to be neither current nor former.
	unneeded map[string]time.Time
}

// failure is a try that is not repeated before its time.
type failure struct {
	digest name.Digest
	err    error
	again  time.Time
}

// New returns the service, and registers its jobs where Config.Jobs is set.
func New(c Config) (*Service, error) {
	if c.Refresh <= 0 {
		c.Refresh = time.Hour
	}
	if c.MaxArchive <= 0 {
		c.MaxArchive = 2 << 30
	}
	if c.MaxPlain <= 0 {
		c.MaxPlain = 8 << 30
	}
	if c.Poll <= 0 {
		c.Poll = 3 * time.Second
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("the directory for vulnerability databases cannot be made: %w", err)
	}
	s := &Service{
		c: c, run: uuid.NewString()[:8], importing: make(chan struct{}, 1), unpacking: make(chan struct{}, 1), unneeded: map[string]time.Time{},
	}
	s.register()
	return s, nil
}

// enter waits for a lock that can be given up waiting for.
func enter(ctx context.Context, lock chan struct{}) (leave func(), err error) {
	select {
	case lock <- struct{}{}:
		return func() { <-lock }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
