// Package placement moves the bytes of blobs between a region's two places: its
// store, and its archive, where the bytes of archived images wait.
//
// It owns the table blob_placement and the columns that say where a blob's
// object stands. It does not decide which images are archived (domain/image/storage)
// nor remove objects that are no longer needed (domain/layer, its only user).
//
// # Where a blob belongs
//
// In the archive when an image refers to it and all images that do are archived,
// whichever repositories of the registry they are in; in the store as soon as one
// is active or on its way back. A blob that no image refers to stays where it is.
//
// # How it moves
//
// The bytes are copied to an object under a new key, which stands in the garbage
// until the row of the blob names it, and are held against the digest on the way.
// The row then changes in one transaction, in which the reason is looked at again:
// it holds the blob's row, which whoever begins to use the blob shares. A crash
// leaves the blob as it was and an object that the collector removes.
package placement

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Job is the kind of the work that empties blob_placement.
const Job = "layer.place"

const (
	// copyLimit bounds one copy; after it, the copy counts as given up.
	copyLimit = 2 * time.Hour
	// garbageDue is when a copy under way is garbage.
	garbageDue = 2 * copyLimit
	jobLimit   = 6 * time.Hour
	pageSize   = 200
)

// Config is what a Service stands on.
type Config struct {
	DB upload.Database
	// Place gives the store of a region, or its archive.
	Place func(r name.Region, archived bool) (blobstore.Store, error)
	Clock clock.Clock
	Log   *slog.Logger
	// Jobs gets the work; nil leaves Run to the caller.
	Jobs *jobs.Queue
	// Bury removes an object that a committed row of garbage names.
	Bury func(ctx context.Context, r name.Region, objectKey string, archived bool) error
	// Moved is told when a blob has come into the archive or out of it; nil: nobody is.
	Moved func()
}

// Service moves blobs. Its methods may be called from many goroutines and on
// many nodes at once.
type Service struct{ Config }

// New returns the service and registers its work on c.Jobs.
func New(c Config) *Service {
	s := &Service{c}
	if c.Jobs != nil {
		c.Jobs.Handle(Job, jobs.Handler{Timeout: jobLimit, Run: func(ctx context.Context, _ jobs.Task) error {
			_, err := s.Run(ctx)
			return err
		}})
	}
	return s
}

// AskTx has the places of blobs looked at, soon after the transaction.
func (s *Service) AskTx(ctx context.Context, tx *sqldb.Tx, blobs []int64) error {
	blobs = slices.Compact(slices.Sorted(slices.Values(blobs))) // in one order, so that two transactions do not lock crosswise
	for _, id := range blobs {
		// The update locks a row that is there already: Settle must not take it
		// away before this transaction can be seen.
		_, err := tx.Exec(ctx, `INSERT INTO blob_placement (blob_id) VALUES ($1) ON CONFLICT (blob_id) DO UPDATE SET blob_id = excluded.blob_id`, id)
		if err != nil {
			return err
		}
	}
	if s.Jobs == nil || len(blobs) == 0 {
		return nil
	}
	return s.Jobs.Enqueue(ctx, tx, jobs.Job{Kind: Job, UniqueKey: "all"})
}

// Moved counts what a run has done.
type Moved struct{ Archived, Recalled, Bytes int64 }

// Run settles all blobs that somebody asked for. One blob's failure does not
// stop the others; all failures come back joined.
func (s *Service) Run(ctx context.Context) (Moved, error) {
	var m Moved
	var failed error
	var last int64
	for {
		var page []int64
		err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
			var err error
			page, err = sqldb.Collect(ctx, tx, sqldb.One[int64],
				`SELECT blob_id FROM blob_placement WHERE blob_id > $1 ORDER BY blob_id LIMIT $2`, last, pageSize)
			return err
		})
		if err != nil {
			return m, errors.Join(failed, err)
		}
		for _, id := range page {
			last = id
			if err := ctx.Err(); err != nil {
				return m, errors.Join(failed, err)
			}
			failed = errors.Join(failed, s.settle(ctx, id, &m))
		}
		if len(page) < pageSize {
			break
		}
	}
	if m != (Moved{}) {
		s.Log.InfoContext(ctx, "layers were moved", "to_archive", m.Archived, "from_archive", m.Recalled, "bytes", m.Bytes)
	}
	return m, failed
}

// Settle brings one blob to its place and returns when it is there. A blob that
// is gone is settled.
func (s *Service) Settle(ctx context.Context, blobID int64) error {
	var m Moved
	return s.settle(ctx, blobID, &m)
}

// attempts bounds how often a blob is begun anew because it changed its place
// while it was copied.
const attempts = 5

func (s *Service) settle(ctx context.Context, id int64, m *Moved) error {
	for range attempts {
		b, wanted, err := s.look(ctx, id)
		if err != nil || !wanted {
			return err
		}
		moved, err := s.move(ctx, b)
		if err != nil {
			return fmt.Errorf("layer %s of registry %s cannot be moved (object %s): %w", b.digest, b.registry, b.object.Key, err)
		}
		if moved {
			if b.archived {
				m.Recalled++
			} else {
				m.Archived++
			}
			m.Bytes += b.object.Size
			return nil
		}
	}
	return fmt.Errorf("layer with blob %d changes its place all the time; it is tried again later", id)
}

// placed is a blob's row.
type placed struct {
	id       int64
	registry name.Registry
	keyID    string
	digest   name.Digest
	object   blobstore.Object
	archived bool
}

const (
	lockBlob = `SELECT id, account_id, region, key_id, digest, size, object_key, seal, archived FROM blob WHERE id = $1`
	// refers finds an image in the given state that refers to a blob.
	refers   = `SELECT 1 FROM layer l JOIN image_layer r ON r.repository_id = l.repository_id AND r.digest = l.digest JOIN image i ON i.id = r.image_id WHERE l.blob_id = $1 AND `
	useful   = refers + `i.status <> 1 LIMIT 1`
	archived = refers + `i.status = 1 LIMIT 1`
)

// look reads the blob and says whether it has to move. If not, nobody asks for
// it any more.
func (s *Service) look(ctx context.Context, id int64) (b placed, wanted bool, err error) {
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		b, wanted, err = lookTx(ctx, tx, id)
		if err != nil || wanted {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM blob_placement WHERE blob_id = $1`, id)
		return err
	})
	return b, wanted, err
}

// lookTx holds the blob's row until the transaction ends.
func lookTx(ctx context.Context, tx *sqldb.Tx, id int64) (b placed, wanted bool, err error) {
	var account, region, digest string
	err = tx.QueryRow(ctx, lockBlob+tx.ForUpdate(), id).Scan(&b.id, &account, &region, &b.keyID, &digest, &b.object.Size, &b.object.Key, &b.object.Seal, &b.archived)
	if errors.Is(err, sqldb.ErrNoRows) {
		return b, false, nil
	}
	if err != nil {
		return b, false, err
	}
	b.registry, b.digest = name.Registry{Account: name.AccountID(account), Region: name.Region(region)}, name.Digest(digest)
	// As a statement of its own, begun after the lock: it sees who shared the row.
	used, err := exists(ctx, tx, useful, id)
	if err != nil || used {
		return b, err == nil && b.archived, err
	}
	kept, err := exists(ctx, tx, archived, id)
	return b, err == nil && kept && !b.archived, err
}

func exists(ctx context.Context, tx *sqldb.Tx, query string, id int64) (bool, error) {
	var one int64
	err := tx.QueryRow(ctx, query, id).Scan(&one)
	if errors.Is(err, sqldb.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// move copies the blob to its other place. It says false when the blob changed
// meanwhile and has to be looked at again.
func (s *Service) move(ctx context.Context, b placed) (moved bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, copyLimit)
	defer cancel()
	objectKey := upload.NewObjectKey(b.registry)
	region := string(b.registry.Region)
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO garbage (region, object_key, due_at, archived, size) VALUES ($1, $2, $3, $4, $5)`,
			region, objectKey, s.Clock.Now().Add(garbageDue).UnixMicro(), !b.archived, b.object.Size)
		return err
	})
	if err != nil {
		return false, err
	}
	given := b.object.Key // what is garbage in the end
	copied, err := s.copy(ctx, b, objectKey)
	if err != nil {
		// Perhaps another node was first, and what was read is gone.
		now, _, lookErr := s.look(ctx, b.id)
		if lookErr == nil && now.object.Key != b.object.Key {
			err = nil
		}
	} else {
		err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
			moved = false
			now, wanted, err := lookTx(ctx, tx, b.id)
			if err != nil || !wanted || now.object.Key != b.object.Key {
				return err
			}
			n, err := tx.Exec(ctx, `DELETE FROM garbage WHERE region = $1 AND object_key = $2 AND claimed_until = 0`, region, objectKey)
			if err != nil {
				return err
			}
			if n == 0 {
				return errors.New("the copy took so long that it was given up")
			}
			if copied.Seal == nil {
				copied.Seal = []byte{}
			}
			if _, err := tx.Exec(ctx, `UPDATE blob SET object_key = $2, seal = $3, archived = $4 WHERE id = $1`, b.id, objectKey, copied.Seal, !b.archived); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `INSERT INTO garbage (region, object_key, due_at, archived, size) VALUES ($1, $2, $3, $4, $5)`,
				region, b.object.Key, s.Clock.Now().UnixMicro(), b.archived, b.object.Size); err != nil {
				return err
			}
			moved = true
			if s.Moved != nil {
				tx.AfterCommit(s.Moved)
			}
			_, err = tx.Exec(ctx, `DELETE FROM blob_placement WHERE blob_id = $1`, b.id)
			return err
		})
	}
	where := b.archived
	if !moved {
		given, where = objectKey, !b.archived
	}
	if err != nil {
		// The transaction may have been committed although its answer was lost:
		// the collector finds out later what is garbage.
		return false, err
	}
	if buryErr := s.Bury(ctx, b.registry.Region, given, where); buryErr != nil {
		s.Log.WarnContext(ctx, "an object that is not needed was not removed and is left to the collector", "object", given, "error", buryErr)
	}
	return moved, nil
}

// copy writes the blob's bytes to the other place.
func (s *Service) copy(ctx context.Context, b placed, objectKey string) (o blobstore.Object, err error) {
	from, err := s.Place(b.registry.Region, b.archived)
	if err != nil {
		return o, err
	}
	to, err := s.Place(b.registry.Region, !b.archived)
	if err != nil {
		return o, err
	}
	body, err := from.Open(ctx, b.object, 0, -1)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	w, err := to.Create(ctx, objectKey, blobstore.Placement{KeyID: b.keyID})
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, w.Close()) }() // after Commit it does nothing
	h := b.digest.NewHash()
	if h == nil {
		return o, fmt.Errorf("the digest %s cannot be computed", b.digest)
	}
	if _, err := io.Copy(io.MultiWriter(w, h), whileHolds(ctx, body)); err != nil {
		return o, err
	}
	if got := name.FromHash(b.digest.Algorithm(), h); got != b.digest {
		return o, fmt.Errorf("%w: the bytes have the digest %s", blobstore.ErrCorrupt, got)
	}
	return w.Commit(ctx)
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
