// Package check is the part of fsck that looks at layers: that every blob can be
// read and is what its digest says, and that every object in the stores is
// accounted for.
//
// It owns nothing and changes nothing; domain/layer does.
package check

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// ProblemKind says what Verify found.
type ProblemKind string

// What Verify finds. The first five are damage or waste; the last two are in
// order and reported so that every object is accounted for.
const (
	// ObjectMissing: a blob's object is not in the store.
	ObjectMissing ProblemKind = "missing object"
	// ObjectDamaged: a blob's object cannot be read to its end as it was written.
	ObjectDamaged ProblemKind = "damaged object"
	// DigestWrong: a blob's object reads well and is not what its digest says.
	DigestWrong ProblemKind = "wrong digest"
	// RegionUnserved: blobs are recorded for a region that was not looked at.
	RegionUnserved ProblemKind = "region without a store"
	// ObjectUnreferenced: no row names the object; it takes room for nothing.
	ObjectUnreferenced ProblemKind = "unreferenced object"
	// UploadUnfinished: the object of an upload session.
	UploadUnfinished ProblemKind = "unfinished upload"
	// ObjectGarbage: the object waits to be deleted.
	ObjectGarbage ProblemKind = "garbage"
)

// Problem is one finding.
type Problem struct {
	Kind   ProblemKind
	Region name.Region
	// Account and Digest are empty for an object that no blob names.
	Account   name.AccountID
	Digest    name.Digest
	ObjectKey string
	// Size is the blob's size, or for an object without a blob its bytes in the
	// store.
	Size int64
	// Cause is the store's error, nil if there was none.
	Cause error
}

// Serious says whether bytes are lost or cannot be trusted, as apart from
// wasted room and from what is in order.
func (p Problem) Serious() bool {
	switch p.Kind {
	case ObjectMissing, ObjectDamaged, DigestWrong, RegionUnserved:
		return true
	case ObjectUnreferenced, UploadUnfinished, ObjectGarbage:
		return false
	}
	return true
}

// pageSize is how many rows or objects are looked at in one query.
const pageSize = 200

// Options are what Verify looks at and whom it tells.
type Options struct {
	// Regions whose stores are listed and whose blobs are read.
	Regions []name.Region
	// Others are what the keys of objects begin with that are no layers, and not looked at.
	Others []string
	// Progress is called after every blob with the blobs done and their number
	// in all, and the same in bytes; nil is allowed.
	Progress func(done, total, doneBytes, totalBytes int64)
	// Report is called with every finding.
	Report func(Problem)
}

// Service checks layers.
type Service struct {
	// Durable keeps blobs, Volatile the upload sessions.
	Durable, Volatile upload.Database
	// Place gives the store of a region, or its archive.
	Place func(r name.Region, archived bool) (blobstore.Store, error)
}

// Verify reads every blob of the registry and compares it with its digest and
// size, then lists the stores and accounts for every object. It may run beside a
// serving registry: what changes meanwhile is no finding. The error is that of
// the walk itself; what is wrong with the bytes goes to Report.
func (s Service) Verify(ctx context.Context, o Options) error {
	if err := s.verifyBlobs(ctx, o); err != nil {
		return err
	}
	for _, region := range o.Regions {
		if err := s.verifyStore(ctx, o, region); err != nil {
			return err
		}
	}
	return nil
}

// record is a row of blob as Verify needs it.
type record struct {
	id, size  int64
	objectKey string
	seal      []byte
	archived  bool
	account   name.AccountID
	region    name.Region
	digest    name.Digest
}

func scanRecord(row sqldb.Scanner) (record, error) {
	var b record
	var account, region, digest string
	err := row.Scan(&b.id, &account, &region, &digest, &b.size, &b.objectKey, &b.seal, &b.archived)
	b.account, b.region, b.digest = name.AccountID(account), name.Region(region), name.Digest(digest)
	return b, err
}

func (s Service) verifyBlobs(ctx context.Context, o Options) error {
	var total, totalBytes, done, doneBytes, last int64
	err := s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*), CAST(COALESCE(sum(size), 0) AS BIGINT) FROM blob`).Scan(&total, &totalBytes)
	})
	if err != nil {
		return err
	}
	for {
		var page []record
		err := s.Durable.View(ctx, func(tx *sqldb.Tx) error {
			var err error
			page, err = sqldb.Collect(ctx, tx, scanRecord, `SELECT id, account_id, region, digest, size, object_key, seal, archived FROM blob
				WHERE id > $1 ORDER BY id LIMIT $2`, last, pageSize)
			return err
		})
		if err != nil {
			return err
		}
		for _, b := range page {
			if err := s.verifyBlob(ctx, o, b); err != nil {
				return err
			}
			last = b.id
			done++
			doneBytes += b.size
			if o.Progress != nil {
				o.Progress(done, total, doneBytes, totalBytes)
			}
		}
		if len(page) < pageSize {
			return nil
		}
	}
}

// verifyBlob reads one blob.
func (s Service) verifyBlob(ctx context.Context, o Options, b record) error {
	p := Problem{Region: b.region, Account: b.account, Digest: b.digest, ObjectKey: b.objectKey, Size: b.size}
	store, unserved := s.Place(b.region, b.archived)
	if unserved != nil || !slices.Contains(o.Regions, b.region) {
		p.Kind = RegionUnserved
		o.Report(p)
		return nil
	}
	h := b.digest.NewHash()
	if h == nil {
		p.Kind = DigestWrong
		o.Report(p)
		return nil
	}
	n := counter{to: h}
	err := reread(ctx, store, blobstore.Object{Key: b.objectKey, Size: b.size, Seal: b.seal}, &n)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch {
	case errors.Is(err, blobstore.ErrNotFound):
		p.Kind = ObjectMissing
	case err != nil, n.n != b.size:
		p.Kind = ObjectDamaged
	case name.FromHash(b.digest.Algorithm(), h) != b.digest:
		p.Kind = DigestWrong
	default:
		return nil
	}
	p.Cause = err
	// A blob that was collected or moved meanwhile is no finding.
	var there bool
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		var n int64
		err := tx.QueryRow(ctx, `SELECT count(*) FROM blob WHERE id = $1 AND object_key = $2`, b.id, b.objectKey).Scan(&n)
		there = n > 0
		return err
	})
	if err == nil && there {
		o.Report(p)
	}
	return err
}

// reread copies a finished object's bytes to w.
func reread(ctx context.Context, store blobstore.Store, obj blobstore.Object, w io.Writer) error {
	body, err := store.Open(ctx, obj, 0, -1)
	if err != nil {
		return upload.StoreError(err)
	}
	_, err = io.Copy(w, struct{ io.Reader }{body})
	return errors.Join(upload.StoreError(err), body.Close())
}

// counter counts what it passes on.
type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}

// verifyStore lists a region's store and its archive and accounts for every object.
func (s Service) verifyStore(ctx context.Context, o Options, region name.Region) error {
	store, err := s.Place(region, false)
	if err != nil {
		return err
	}
	if err := s.verifyObjects(ctx, o, region, store); err != nil {
		return err
	}
	archive, err := s.Place(region, true)
	if err != nil {
		return nil // there is none
	}
	return s.verifyObjects(ctx, o, region, archive)
}

func (s Service) verifyObjects(ctx context.Context, o Options, region name.Region, store blobstore.Store) error {
	page := make([]blobstore.Info, 0, pageSize)
	flush := func() error {
		defer func() { page = page[:0] }()
		return s.account(ctx, o, region, store, page)
	}
	for info, err := range store.List(ctx, "") {
		if err != nil {
			return err
		}
		if slices.ContainsFunc(o.Others, func(prefix string) bool { return strings.HasPrefix(info.Key, prefix) }) {
			continue
		}
		if page = append(page, info); len(page) == pageSize {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// account finds out what the objects are for. The rows are asked for in the
// order in which an object wanders through them, each after the listing, so
// that one that moves on meanwhile is found further on.
func (s Service) account(ctx context.Context, o Options, region name.Region, store blobstore.Store, page []blobstore.Info) error {
	if len(page) == 0 {
		return nil
	}
	objectKeys := make([]any, len(page))
	for i, info := range page {
		objectKeys[i] = info.Key
	}
	uploads, err := namedIn(ctx, s.Volatile, "upload", objectKeys)
	if err != nil {
		return err
	}
	blobs, err := namedIn(ctx, s.Durable, "blob", objectKeys)
	if err != nil {
		return err
	}
	garbage, err := namedIn(ctx, s.Durable, "garbage", objectKeys)
	if err != nil {
		return err
	}
	for _, info := range page {
		p := Problem{Region: region, ObjectKey: info.Key, Size: info.Size}
		switch {
		case blobs[info.Key]:
			continue
		case garbage[info.Key]:
			p.Kind = ObjectGarbage
		case uploads[info.Key]:
			p.Kind = UploadUnfinished
		default:
			gone, err := isGone(ctx, store, info.Key)
			if err != nil {
				return err
			}
			if !gone { // a copy goes from the garbage to its blob
				blobs, err = namedIn(ctx, s.Durable, "blob", []any{info.Key})
				gone = blobs[info.Key]
			}
			if err != nil {
				return err
			}
			if gone {
				continue
			}
			p.Kind = ObjectUnreferenced
		}
		o.Report(p)
	}
	return nil
}

// namedIn returns those of the object keys that rows of the table have.
func namedIn(ctx context.Context, db upload.Database, table string, objectKeys []any) (map[string]bool, error) {
	found := map[string]bool{}
	err := db.View(ctx, func(tx *sqldb.Tx) error {
		clear(found)
		_, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
			var k string
			err := row.Scan(&k)
			found[k] = true
			return struct{}{}, err
		}, `SELECT object_key FROM `+table+` WHERE object_key IN `+sqldb.In(1, len(objectKeys)), slices.Clone(objectKeys)...)
		return err
	})
	return found, err
}

// isGone says whether the object was deleted since it was listed.
func isGone(ctx context.Context, store blobstore.Store, objectKey string) (bool, error) {
	for info, err := range store.List(ctx, objectKey) {
		if err != nil {
			return false, err
		}
		if info.Key == objectKey {
			return false, nil
		}
	}
	return true, nil
}
