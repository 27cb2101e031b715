package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/layer/collect"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// blobPage is how many blobs are read in one query.
	blobPage = 1000
	// strayPage is how many objects are looked for among the rows at once.
	strayPage = 500
	// strayDue is how long an object that no row named waits as garbage. The row of
	// garbage refuses whoever is about to name the object all the same, an upload whose row a
	// power cut took or a copy; so it must stand for longer than those take, which
	// give up after an hour and two.
	strayDue = 4 * time.Hour
)

// row is a row of blob.
type row struct {
	id        int64
	account   string
	digest    string
	objectKey string
	archived  bool
}

// page compares what begins with account/region/xx; at is "account/xx". Its
// memory is the page's rows: a 256th of a registry.
func (s *Service) page(ctx context.Context, region name.Region, at string) (did Round, err error) {
	account, digits, _ := strings.Cut(at, "/")
	prefix := account + "/" + string(region) + "/" + digits + "/"
	began := s.Clock.Now().UnixMicro()
	blobs, err := s.blobs(ctx, prefix)
	if err != nil {
		return did, err
	}
	did.Blobs = int64(len(blobs))
	for _, archived := range []bool{false, true} {
		store, err := s.Place(region, archived)
		if err != nil {
			// Not served here: what should stand there is no finding.
			for k, b := range blobs {
				if b.archived == archived {
					delete(blobs, k)
				}
			}
			continue
		}
		if err := s.objects(ctx, region, archived, store, prefix, blobs, &did); err != nil {
			return did, err
		}
	}
	for _, k := range sorted(blobs) {
		if err := s.missing(ctx, region, blobs[k], began); err != nil {
			return did, err
		}
	}
	// Those of earlier rounds that have been found.
	return did, s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM layer_missing WHERE object_key > $1 AND object_key < $2 AND seen_at < $3`, prefix, upTo(prefix), began)
		return err
	})
}

// upTo is greater than all keys that begin with a prefix that ends in a slash.
func upTo(prefix string) string { return prefix[:len(prefix)-1] + "0" }

func sorted(blobs map[string]row) []string {
	all := make([]string, 0, len(blobs))
	for k := range blobs {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// blobs reads the page's rows, by object key, save those that hold the bytes
// themselves.
func (s *Service) blobs(ctx context.Context, prefix string) (map[string]row, error) {
	all := map[string]row{}
	for last := prefix; ; {
		var some []row
		err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
			var err error
			some, err = sqldb.Collect(ctx, tx, func(from sqldb.Scanner) (b row, err error) {
				err = from.Scan(&b.id, &b.account, &b.digest, &b.objectKey, &b.archived)
				return b, err
			}, `SELECT id, account_id, digest, object_key, archived FROM blob WHERE object_key > $1 AND object_key < $2
				AND NOT (length(seal) > 0 AND substr(seal, 1, 1) IN ($4, $5)) ORDER BY object_key LIMIT $3`,
				last, upTo(prefix), int64(blobPage), []byte{blobstore.SealedWithin}, []byte{blobstore.PlainWithin})
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, b := range some {
			all[b.objectKey] = b
		}
		if len(some) < blobPage {
			return all, nil
		}
		last = some[len(some)-1].objectKey
	}
}

// objects lists the page in one place, takes the blobs that it finds out of the
// map, and looks for rows of the objects that are old enough.
func (s *Service) objects(ctx context.Context, region name.Region, archived bool, store blobstore.Store, prefix string, blobs map[string]row, did *Round) error {
	old := s.Clock.Now().Add(-s.Safe)
	var some []blobstore.Info
	for info, err := range store.List(ctx, prefix) {
		if err != nil {
			return err
		}
		did.Objects++
		if b, ok := blobs[info.Key]; ok && b.archived == archived {
			delete(blobs, info.Key)
			continue
		}
		if info.Modified.IsZero() || !info.Modified.Before(old) || strings.Count(info.Key, "/") != strings.Count(prefix, "/") {
			continue
		}
		if some = append(some, info); len(some) == strayPage {
			if err := s.strays(ctx, region, archived, store, some, did); err != nil {
				return err
			}
			some = some[:0]
		}
	}
	return s.strays(ctx, region, archived, store, some, did)
}

// strays makes garbage of those objects that no row names. See the package's
// comment for the order of its steps.
func (s *Service) strays(ctx context.Context, region name.Region, archived bool, store blobstore.Store, some []blobstore.Info, did *Round) error {
	if len(some) == 0 {
		return nil
	}
	keys := make([]any, len(some))
	for i, info := range some {
		keys[i] = info.Key
	}
	known := map[string]bool{}
	for _, look := range []struct {
		in    func(context.Context, func(*sqldb.Tx) error) error
		table string
	}{{s.Volatile.View, "upload"}, {s.DB.View, "garbage"}, {s.DB.View, "blob"}} {
		err := look.in(ctx, func(tx *sqldb.Tx) error {
			found, err := named(ctx, tx, look.table, keys)
			for _, k := range found {
				known[k] = true
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	sizes := map[string]int64{}
	for _, info := range some {
		if known[info.Key] {
			continue
		}
		// Deleted since it was listed, by one who removed its row too?
		_, err := collect.Stat(ctx, store, info.Key)
		if errors.Is(err, blobstore.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		sizes[info.Key] = info.Size
	}
	if len(sizes) == 0 {
		return nil
	}
	var added []string
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) (err error) {
		added, err = s.nameGarbage(ctx, tx, region, archived, sizes)
		return err
	})
	if err != nil {
		return err
	}
	for _, k := range added {
		did.Strays++
		did.StrayBytes += sizes[k]
		s.Log.WarnContext(ctx, "an object that no row names is deleted", "region", region, "object", k, "archived", archived, "bytes", sizes[k])
	}
	return nil
}

// nameGarbage inserts the rows, and takes those back whose objects a blob names.
func (s *Service) nameGarbage(ctx context.Context, tx *sqldb.Tx, region name.Region, archived bool, sizes map[string]int64) (added []string, err error) {
	due := s.Clock.Now().Add(strayDue).UnixMicro()
	keys := make([]string, 0, len(sizes))
	for k := range sizes {
		keys = append(keys, k)
	}
	slices.Sort(keys) // in one order, so that two runs do not lock crosswise
	var mine []any
	for _, k := range keys {
		n, err := tx.Exec(ctx, `INSERT INTO garbage (region, object_key, due_at, archived, size) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (region, object_key) DO NOTHING`,
			string(region), k, due, archived, sizes[k])
		if err != nil {
			return nil, err
		}
		if n == 1 {
			mine = append(mine, k)
		}
	}
	if len(mine) == 0 {
		return nil, nil
	}
	taken, err := named(ctx, tx, "blob", mine)
	if err != nil {
		return nil, err
	}
	for _, k := range taken {
		if _, err := tx.Exec(ctx, `DELETE FROM garbage WHERE region = $1 AND object_key = $2`, string(region), k); err != nil {
			return nil, err
		}
	}
	for _, k := range mine {
		if !slices.Contains(taken, k.(string)) {
			added = append(added, k.(string))
		}
	}
	return added, nil
}

// named returns those of the keys that rows of the table have.
func named(ctx context.Context, tx *sqldb.Tx, table string, keys []any) ([]string, error) {
	return sqldb.Collect(ctx, tx, sqldb.One[string], `SELECT object_key FROM `+table+` WHERE object_key IN `+sqldb.In(1, len(keys)), slices.Clone(keys)...)
}

// missing looks again for the object of a blob that was not listed, and then
// whether the row still names it.
func (s *Service) missing(ctx context.Context, region name.Region, b row, began int64) error {
	store, err := s.Place(region, b.archived)
	if err != nil {
		return err
	}
	if _, err := collect.Stat(ctx, store, b.objectKey); !errors.Is(err, blobstore.ErrNotFound) {
		if err != nil {
			return fmt.Errorf("looking for the object of a blob: %w", err)
		}
		return nil
	}
	var still int64
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		err := tx.QueryRow(ctx, `SELECT id FROM blob WHERE id = $1 AND object_key = $2`+tx.ForShare(), b.id, b.objectKey).Scan(&still)
		if errors.Is(err, sqldb.ErrNoRows) {
			still = 0
			return nil // collected or moved meanwhile
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO layer_missing (blob_id, account_id, region, digest, object_key, archived, found_at, seen_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
			ON CONFLICT (blob_id) DO UPDATE SET object_key = excluded.object_key, archived = excluded.archived, seen_at = excluded.seen_at`,
			b.id, b.account, string(region), b.digest, b.objectKey, b.archived, began, s.Clock.Now().UnixMicro())
		return err
	})
	if err == nil && still != 0 {
		s.Log.ErrorContext(ctx, "the bytes of a layer are missing from the store; restore its object from a backup",
			"account", b.account, "region", region, "digest", b.digest, "object", b.objectKey, "archived", b.archived)
	}
	return err
}
