package layer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer/check"
	"github.com/berth-registry/berth/internal/domain/layer/collect"
	"github.com/berth-registry/berth/internal/domain/layer/placement"
	"github.com/berth-registry/berth/internal/domain/layer/reconcile"
	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/repository/kept"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Upload is an upload session as it stands.
type Upload = upload.Upload

// Chunk says which bytes of an upload a body brings.
type Chunk = upload.Chunk

// Layer is a blob as one repository holds it.
type Layer struct {
	Digest name.Digest
	// Size is in bytes.
	Size int64
	// MediaType is what the newest manifest of the repository that names the
	// layer calls it, "" if none does.
	MediaType string
	// Referenced says whether an image of the repository names the layer.
	Referenced bool
	// Archived says that the bytes are in the archive and that no active image of
	// the repository names the layer: it cannot be read, and a push brings it anew.
	Archived bool
}

// Unannounced is the Chunk of a body that says nothing about its place.
func Unannounced() Chunk { return Chunk{First: -1, Last: -1} }

// CompleteOptions are the ways in which the ECR API is stricter than OCI.
type CompleteOptions struct {
	// RefuseEmpty refuses an upload of zero bytes with errs.UploadEmpty.
	RefuseEmpty bool
	// RefuseExisting answers errs.LayerExists when the repository holds the
	// digest already; otherwise that is a success.
	RefuseExisting bool
	// RefuseSmallParts refuses an upload with a part, other than the last one,
	// under Limits.MinPartBytes with errs.LayerPartTooSmall.
	RefuseSmallParts bool
}

// Config is what a Service stands on.
type Config struct {
	// Durable keeps blobs and layers, Volatile the upload sessions. They may be
	// two handles on one database.
	Durable, Volatile *sqldb.DB
	// Store gives the blob store of a region, false for one not served here.
	Store func(name.Region) (blobstore.Store, bool)
	// Archive gives the region's second place, for the bytes of archived images.
	Archive      func(name.Region) (blobstore.Store, bool)
	Repositories *repository.Service
	Clock        clock.Clock
	Log          *slog.Logger
	Quotas       quota.Source
	// Jobs gets the periodic work; nil leaves Collect and Expire to the caller.
	Jobs *jobs.Queue
	// Grace is how long a layer without a reference is kept; 0 is 24 hours. A
	// push has to put its manifest within half of it after its last layer.
	Grace time.Duration
	// UploadLife is how long an upload is kept after its last byte; 0 is 24 hours.
	UploadLife time.Duration
	// ReconcileRound is the time in which the stores are compared once with the
	// rows; 0 is 7 days, and below 0 they are not.
	ReconcileRound time.Duration
	// DurableSuspend says that what the stores' Suspend returned for survives a
	// power cut (object storage). Otherwise an upload whose bytes came in
	// through more than one process is read again before it is finished.
	DurableSuspend bool
	// InlineBytes is up to how many bytes the stores have of an object without storing
	// anything (blobstore/inline); 0 if they always do.
	InlineBytes int64
	// Alone says that no other process uses Volatile, so that what one knows of an
	// upload need not be asked of the database.
	Alone bool
	// Redirects says that the stores may be asked for addresses that clients read
	// layers at.
	Redirects bool
}

// Service stores layers. All its methods may be called from many goroutines
// and on many nodes at once.
type Service struct {
	durable      upload.Database
	volatile     upload.Database
	store        func(name.Region) (blobstore.Store, bool)
	archive      func(name.Region) (blobstore.Store, bool)
	repositories *repository.Service
	kept         *kept.Cache[held] // of those that were asked for
	uploads      *upload.Service
	places       *placement.Service
	collector    *collect.Service
	reconciler   *reconcile.Service
	clock        clock.Clock
	log          *slog.Logger
	quotas       quota.Source
	usage        usage
	redirects    bool
	grace        time.Duration
	uploadLife   time.Duration
	buffers      sync.Pool // of *[bufferSize]byte, for reading objects again
}

const (
	defaultGrace      = 24 * time.Hour
	defaultUploadLife = 24 * time.Hour
	defaultRound      = 7 * 24 * time.Hour
	// finishLimit bounds the steps of Complete after the row is closed, a
	// re-read of the largest layer included. It stays far below UploadLife,
	// after which the object counts as abandoned.
	finishLimit = time.Hour
	bufferSize  = 256 << 10
	// reconcileMargin is added to the lives of an upload and of a layer without an
	// image, to have the age from which an object that no row names is garbage.
	reconcileMargin = 4 * time.Hour
)

// New returns the service and registers its periodic work on c.Jobs.
func New(c Config) *Service {
	s := &Service{
		durable: c.Durable, volatile: c.Volatile, store: c.Store, archive: c.Archive, repositories: c.Repositories,
		kept:  repository.Keep[held](c.Repositories, keptBytes),
		clock: c.Clock, log: c.Log, quotas: c.Quotas, grace: c.Grace, uploadLife: c.UploadLife, redirects: c.Redirects,
	}
	if s.grace == 0 {
		s.grace = defaultGrace
	}
	if s.uploadLife == 0 {
		s.uploadLife = defaultUploadLife
	}
	s.buffers.New = func() any { return new([bufferSize]byte) }
	s.uploads = upload.New(s.uploadConfig(c))
	s.collector = collect.New(collect.Config{DB: s.durable, Place: s.place, Clock: s.clock, Log: s.log, Removed: s.kept.Changed,
		AskTx: func(ctx context.Context, tx *sqldb.Tx, blobs []int64) error { return s.places.AskTx(ctx, tx, blobs) }})
	s.places = placement.New(placement.Config{DB: s.durable, Place: s.place, Clock: s.clock, Log: s.log, Jobs: c.Jobs, Bury: s.collector.Bury, Moved: s.kept.Clear})
	round := c.ReconcileRound
	if round == 0 {
		round = defaultRound
	}
	s.reconciler = reconcile.New(reconcile.Config{DB: s.durable, Volatile: s.volatile, Place: s.place, Clock: s.clock, Log: s.log,
		Safe: s.uploadLife + s.grace + reconcileMargin, Round: round})
	if c.Jobs != nil {
		s.register(c.Jobs, round > 0)
	}
	return s
}

func (s *Service) uploadConfig(c Config) upload.Config {
	return upload.Config{
		DB: s.volatile, Store: s.storeOf, Objects: objects{s}, Clock: s.clock, Log: s.log, Quotas: s.quotas,
		Life: s.uploadLife, DurableSuspend: c.DurableSuspend, InlineBytes: c.InlineBytes, Alone: c.Alone,
	}
}

// Start opens an upload. errs.Unavailable when the repository's region is not
// served here, errs.LimitExceeded when a storage quota is used up.
func (s *Service) Start(ctx context.Context, r repository.Repository) (Upload, error) {
	limits, err := s.quotas.RepositoryLimits(ctx, r.Registry.Account, r.Name)
	if err == nil {
		err = s.fits(ctx, r, limits, "", 1)
	}
	if err != nil {
		return Upload{}, err
	}
	return s.uploads.Start(ctx, r)
}

// Status tells how far an upload is. Bytes of a request that is still running
// are not counted, since only its end makes them resumable.
// errs.UploadNotFound.
func (s *Service) Status(ctx context.Context, r repository.Repository, id string) (Upload, error) {
	return s.uploads.Status(ctx, r, id)
}

// Append adds the body's bytes to the upload. A request for the same upload
// that is still running is stopped first.
//
// A body that breaks off leaves what it brought, and errs.UploadInterrupted is
// returned; a Part is taken whole or not at all. Every other failure leaves the
// upload as it was: errs.RangeInvalid or errs.LayerPartInvalid (see Chunk),
// errs.LayerTooLarge, errs.LimitExceeded for too many parts, errs.StorageFull,
// errs.KeyFailure, errs.UploadBusy when the other request does not end in time
// or takes over, errs.Unavailable when the database was away for too long to keep
// hold of the upload, errs.UploadNotFound.
//
// When Append returns early, a Read of body may still be under way, in a
// goroutine that ends with it.
func (s *Service) Append(ctx context.Context, r repository.Repository, id string, c Chunk, body io.Reader) (Upload, error) {
	return s.uploads.Append(ctx, r, id, c, body)
}

// Cancel ends an upload and removes what it brought. errs.UploadNotFound,
// errs.UploadBusy.
func (s *Service) Cancel(ctx context.Context, r repository.Repository, id string) error {
	return s.uploads.Cancel(ctx, r, id)
}

// Expire removes uploads that nobody has written to for Config.UploadLife, with
// their objects, and says how many. One upload's failure does not stop the
// others; all failures come back joined.
func (s *Service) Expire(ctx context.Context) (int64, error) { return s.uploads.Expire(ctx) }

// storeOf finds the store of a region.
func (s *Service) storeOf(r name.Region) (blobstore.Store, error) {
	st, ok := s.store(r)
	if !ok {
		return nil, errs.New(errs.Unavailable, "The region '%s' is not served by this deployment", r)
	}
	return st, nil
}

// Checker is what fsck looks at the layers with.
func (s *Service) Checker() check.Service {
	return check.Service{Durable: s.durable, Volatile: s.volatile, Place: s.place}
}

// place finds the store of a region, or its archive.
func (s *Service) place(r name.Region, archived bool) (blobstore.Store, error) {
	if !archived {
		return s.storeOf(r)
	}
	if s.archive != nil {
		if st, ok := s.archive(r); ok {
			return st, nil
		}
	}
	return nil, errs.New(errs.Unavailable, "The archive of the region '%s' is not served by this deployment", r)
}

// share makes sure that the repository exists until the transaction ends,
// beside others that do the same.
func share(ctx context.Context, tx *sqldb.Tx, r repository.Repository) error {
	var id int64
	err := tx.QueryRow(ctx, `SELECT id FROM repository WHERE id = $1 AND deleted_at = 0`+tx.ForShare(), r.ID).Scan(&id)
	if errors.Is(err, sqldb.ErrNoRows) {
		return repository.NotFound(r.Registry, r.Name)
	}
	return err
}

// exists says whether the query has a row.
func exists(ctx context.Context, tx *sqldb.Tx, query string, args ...any) (bool, error) {
	var one int
	err := tx.QueryRow(ctx, query, args...).Scan(&one)
	if errors.Is(err, sqldb.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
