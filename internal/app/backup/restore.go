package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/internal/app/backends"
	"github.com/berth-registry/berth/internal/app/backup/dump"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// unfinished is what a data directory holds while a backup is restored into it.
type unfinished struct {
	Snapshot string `json:"snapshot"`
	Metadata string `json:"metadata"` // its checksum
}

const fileUnfinished = "restore.json"

// CheckFinished refuses a data directory into which a backup was not restored to
// the end: a server on it would begin a new registry, or one without all its layers.
func CheckFinished(data string) error {
	u, err := readUnfinished(data)
	if err != nil || u == nil {
		return err
	}
	return fmt.Errorf("the backup %s was not restored to the end into %s: run the same berth restore again, which goes on where it was cut; or begin anew with an empty data directory, database and bucket", u.Snapshot, data)
}

// readUnfinished is nil where no restore was begun, or one was finished.
func readUnfinished(data string) (*unfinished, error) {
	text, err := os.ReadFile(filepath.Join(data, fileUnfinished))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var u unfinished
	if err := json.Unmarshal(text, &u); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", filepath.Join(data, fileUnfinished), err)
	}
	return &u, nil
}

// begin notes that a restore is under way.
func begin(data string, u unfinished) error {
	text, err := json.Marshal(u)
	if err != nil {
		return err
	}
	path := filepath.Join(data, fileUnfinished)
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := writeSynced(path+".new", append(text, '\n')); err != nil {
		return err
	}
	return errors.Join(os.Rename(path+".new", path), syncDir(data))
}

// Restoring says what is restored, and how.
type Restoring struct {
	Snapshot string // "" is the newest
	Clock    clock.Clock
	Log      *slog.Logger
	Report   func(Line) // nil: nobody is told
}

// Restored is what a Restore has done.
type Restored struct {
	Snapshot
	// Copied is how many objects were not in the stores already.
	Copied int64 `json:"copied"`
}

// Restore brings a snapshot into the deployment that cfg describes, which has to be
// empty, or one into which the same snapshot was not restored to the end. Objects
// come first, then all rows in one transaction, then what is left of the
// migrations, and the keyring: until the rows are there, the deployment is an empty
// one. Every object's checksum has been compared when it returns.
func (d *Dir) Restore(ctx context.Context, cfg config.Config, o Restoring) (done Restored, err error) {
	if done.Snapshot, err = d.Snapshot(o.Snapshot); err != nil {
		return done, err
	}
	s := done.Snapshot
	if err := fits(cfg, s); err != nil {
		return done, err
	}
	note(o.Report, "reading snapshot "+s.ID)
	if err := d.verifyFiles(s); err != nil {
		return done, err
	}
	if err := os.MkdirAll(cfg.Data, dirMode); err != nil {
		return done, fmt.Errorf("the data directory cannot be made: %w", err)
	}
	this := unfinished{Snapshot: s.ID, Metadata: s.Files[fileMetadata]}
	before, err := readUnfinished(cfg.Data)
	if err != nil {
		return done, err
	}
	if before != nil && *before != this {
		return done, fmt.Errorf("another backup, %s, was not restored to the end into %s: restore that one, or begin anew with an empty data directory, database and bucket", before.Snapshot, cfg.Data)
	}
	durable, volatile, err := backends.Databases(ctx, cfg)
	if err != nil {
		return done, err
	}
	defer func() {
		err = errors.Join(err, durable.Close())
		if volatile != durable {
			err = errors.Join(err, volatile.Close())
		}
	}()
	table, err := dump.Occupied(ctx, durable)
	if err != nil {
		return done, err
	}
	if table != "" && before == nil {
		return done, fmt.Errorf("there is a deployment here already (its table %s has rows): a backup is restored into an empty data directory and database only", table)
	}
	if err := begin(cfg.Data, this); err != nil {
		return done, fmt.Errorf("the data directory cannot be written: %w", err)
	}
	if table == "" {
		if err := intoForm(ctx, durable, s); err != nil {
			return done, err
		}
	}
	if done.Copied, err = d.returnObjects(ctx, cfg, s, o); err != nil {
		return done, err
	}
	if err := d.returnRows(ctx, cfg, durable, volatile, s, o, table == ""); err != nil {
		return done, err
	}
	if err := os.Remove(filepath.Join(cfg.Data, fileUnfinished)); err != nil {
		return done, err
	}
	return done, syncDir(cfg.Data)
}

// fits says what of a snapshot would have no place in the deployment.
func fits(cfg config.Config, s Snapshot) error {
	for _, r := range s.Regions {
		if !slices.Contains(backends.Regions(cfg), r) {
			return fmt.Errorf("the backup has layers in the region %s, which is not among the regions served here: add it (--regions)", r)
		}
	}
	if !slices.Contains(s.Accounts, cfg.Account) {
		return fmt.Errorf("the backup has no account %s; its default account was %s in %s: give both (--account %s --region %s)", cfg.Account, s.Account, s.Region, s.Account, s.Region)
	}
	return nil
}

// intoForm brings an empty database to the form of the snapshot's rows.
func intoForm(ctx context.Context, db *sqldb.DB, s Snapshot) error {
	at, err := backends.MigrateTo(ctx, db, s.Version)
	if err != nil {
		return err
	}
	if at != s.Version {
		return fmt.Errorf("the database has no rows but a newer form (%d) than the backup (%d): use a database that is wholly empty", at, s.Version)
	}
	return nil
}

// returnRows loads the rows, where they are not in yet, and brings the database to
// this program's form. The keyring comes as early as there is a place for it.
func (d *Dir) returnRows(ctx context.Context, cfg config.Config, durable, volatile *sqldb.DB, s Snapshot, o Restoring, empty bool) error {
	exported, err := os.ReadFile(d.file(dirSnapshots, s.ID, fileKeyring))
	if err != nil {
		return err
	}
	early, err := dump.Has(ctx, durable, "keyring")
	if err != nil {
		return err
	}
	keys := func() error {
		if err := backends.ImportKeyring(ctx, cfg, durable, exported, o.Log); err != nil {
			return fmt.Errorf("the keyring cannot be restored: %w", err)
		}
		return nil
	}
	if early || !cfg.Database.Postgres() {
		if err := keys(); err != nil {
			return err
		}
	}
	if empty {
		var total int64
		for _, n := range s.Rows {
			total += n
		}
		m := newMeter("rows", total, o.Report)
		var last int64
		err := dump.Load(ctx, durable, func() (io.ReadCloser, error) {
			last = 0
			return unpack(d.file(dirSnapshots, s.ID, fileMetadata))
		}, func(rows int64) {
			m.add(rows-last, 0)
			last = rows
		})
		if err != nil {
			return fmt.Errorf("the rows cannot be restored, and none is: %w", err)
		}
	}
	if err := backends.Migrate(ctx, durable, volatile); err != nil {
		return err
	}
	return keys()
}

// returnObjects copies the snapshot's objects into the stores, several at once.
func (d *Dir) returnObjects(ctx context.Context, cfg config.Config, s Snapshot, o Restoring) (copied int64, err error) {
	b, err := backends.Places(ctx, cfg, backends.Options{Clock: o.Clock, Log: o.Log})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	m := newMeter("objects", s.Objects+s.Missing, o.Report)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	wrote := make(chan int64, 1)
	wrote <- 0
	for e, err := range entries(d.file(dirSnapshots, s.ID, fileObjects)) {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return 0, errors.Join(group.Wait(), err)
		}
		if e.Missing != "" {
			note(o.Report, "an object was missing already when the backup was made: "+e.Key)
			m.add(1, 0)
			continue
		}
		group.Go(func() error {
			store, err := storeOf(b, e.Ref)
			if err != nil {
				return err
			}
			did, err := d.returnObject(ctx, store, e, m)
			if did {
				wrote <- <-wrote + 1
			}
			m.add(1, 0)
			return err
		})
	}
	err = group.Wait()
	return <-wrote, err
}

// returnObject makes sure that the store has the object.
func (d *Dir) returnObject(ctx context.Context, store blobstore.Store, e entry, m *meter) (copied bool, err error) {
	there, err := holds(ctx, store, e, m)
	if err != nil || there {
		return false, err
	}
	f, err := os.Open(d.objectFile(e.Ref))
	if err != nil {
		return false, fmt.Errorf("the backup lacks an object: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	w, err := store.Create(ctx, e.Key, blobstore.Placement{})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.Close()) }() // after Commit it does nothing
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h, m), whileHolds(ctx, f))
	if err != nil {
		return false, fmt.Errorf("the object %s cannot be copied: %w", e.Key, err)
	}
	if sum := hex.EncodeToString(h.Sum(nil)); n != e.Size || sum != e.SHA256 {
		return false, fmt.Errorf("the backup is damaged: the object %s has %d bytes with the SHA-256 %s and should have %d with %s", f.Name(), n, sum, e.Size, e.SHA256)
	}
	_, err = w.Commit(ctx)
	return true, err
}

// holds says whether the store has the object as it should be. What else it has
// under its name, the beginning of a copy that was cut perhaps, is removed.
func holds(ctx context.Context, store blobstore.Store, e entry, m *meter) (bool, error) {
	body, err := store.Open(ctx, blobstore.Object{Key: e.Key, Size: e.Size}, 0, -1)
	if errors.Is(err, blobstore.ErrNotFound) {
		return false, nil
	}
	if err == nil {
		h := sha256.New()
		_, err = io.Copy(io.MultiWriter(h, m), whileHolds(ctx, body))
		if err := errors.Join(err, body.Close()); err == nil && hex.EncodeToString(h.Sum(nil)) == e.SHA256 {
			return true, nil
		}
	}
	if err != nil && !errors.Is(err, blobstore.ErrCorrupt) {
		return false, fmt.Errorf("the object %s cannot be read in its store: %w", e.Key, err)
	}
	return false, store.Delete(ctx, e.Key)
}

// reading is a Read.
type reading func(p []byte) (int, error)

// Read implements io.Reader.
func (r reading) Read(p []byte) (int, error) { return r(p) }

// whileHolds reads as long as the context holds.
func whileHolds(ctx context.Context, from io.Reader) io.Reader {
	return reading(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return from.Read(p)
	})
}
