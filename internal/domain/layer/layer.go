package layer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Upload is an upload session as it stands.
type Upload struct {
	// ID is a UUID.
	ID string
	// Received is the number of bytes that are kept: the next chunk begins there.
	Received int64
	// Parts counts the requests that brought bytes; one that was cut off and the
	// one that went on with it are one part.
	Parts     int64
	StartedAt time.Time
}

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
}

// Chunk says which bytes of an upload a body brings.
type Chunk struct {
	// First and Last are inclusive offsets. -1 and -1: not announced, the body
	// is appended whatever its length.
	First, Last int64
	// Part marks an UploadLayerPart of the ECR API: the limits on the size and
	// the number of parts hold, the body is taken whole or not at all, and a
	// wrong range is errs.LayerPartInvalid instead of errs.RangeInvalid.
	Part bool
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
	Store        func(name.Region) (blobstore.Store, bool)
	Repositories *repository.Service
	Clock        clock.Clock
	Log          *slog.Logger
	Limits       quota.Limits
	// Jobs gets the periodic work; nil leaves Collect and Expire to the caller.
	Jobs *jobs.Queue
	// Grace is how long a layer without a reference is kept; 0 is 24 hours. A
	// push has to put its manifest within half of it after its last layer.
	Grace time.Duration
	// UploadLife is how long an upload is kept after its last byte; 0 is 24 hours.
	UploadLife time.Duration
	// DurableSuspend says that what the stores' Suspend returned for survives a
	// power cut (object storage). Otherwise an upload whose bytes came in
	// through more than one process is read again before it is finished.
	DurableSuspend bool
}

// database is what the service needs of a *sqldb.DB.
type database interface {
	View(ctx context.Context, fn func(tx *sqldb.Tx) error) error
	Update(ctx context.Context, fn func(tx *sqldb.Tx) error) error
}

// Service stores layers. All its methods may be called from many goroutines
// and on many nodes at once.
type Service struct {
	durable, volatile database
	store             func(name.Region) (blobstore.Store, bool)
	repositories      *repository.Service
	clock             clock.Clock
	log               *slog.Logger
	limits            quota.Limits
	grace             time.Duration
	uploadLife        time.Duration
	durableSuspend    bool
	timing            timing
	// process is this process's name in upload rows.
	process string

	buffers sync.Pool // of *[bufferSize]byte

	mu     sync.Mutex
	active map[string]*session // by upload id: who writes in this process
}

const (
	defaultGrace      = 24 * time.Hour
	defaultUploadLife = 24 * time.Hour
	// finishLimit bounds the steps of Complete after the row is closed, a
	// re-read of the largest layer included. It stays far below UploadLife,
	// after which the object counts as abandoned.
	finishLimit = time.Hour
)

// New returns the service and registers its periodic work on c.Jobs.
func New(c Config) *Service {
	s := &Service{
		durable: c.Durable, volatile: c.Volatile, store: c.Store, repositories: c.Repositories,
		clock: c.Clock, log: c.Log, limits: c.Limits, grace: c.Grace, uploadLife: c.UploadLife,
		durableSuspend: c.DurableSuspend, timing: defaultTiming(), process: uuid.NewString(),
		active: map[string]*session{},
	}
	if s.grace == 0 {
		s.grace = defaultGrace
	}
	if s.uploadLife == 0 {
		s.uploadLife = defaultUploadLife
	}
	s.buffers.New = func() any { return new([bufferSize]byte) }
	if c.Jobs != nil {
		s.register(c.Jobs)
	}
	return s
}

// storeOf finds the store of a region.
func (s *Service) storeOf(r name.Region) (blobstore.Store, error) {
	st, ok := s.store(r)
	if !ok {
		return nil, errs.New(errs.Unavailable, "The region '%s' is not served by this deployment", r)
	}
	return st, nil
}

// storeError gives those failures of a store or a database that the caller can
// do something about their codes; everything else stays as it is, a fault of
// ours.
func storeError(err error) error {
	if _, done := errors.AsType[*errs.Error](err); done {
		return err
	}
	switch {
	case errors.Is(err, blobstore.ErrFull), errors.Is(err, sqldb.ErrFull):
		return errs.Wrap(err, errs.StorageFull, "The registry has no storage space left. Ask its operator to make room, then go on with the upload.")
	case errors.Is(err, blobstore.ErrKey):
		code := "KMSInternalException"
		switch {
		case errors.Is(err, keys.ErrNotFound):
			code = "NotFoundException"
		case errors.Is(err, keys.ErrDisabled):
			code = "DisabledException"
		case errors.Is(err, keys.ErrUnwrap):
			code = "InvalidCiphertextException"
		}
		return errs.Wrap(err, errs.KeyFailure, "The repository's encryption key cannot be used: %s", code).With("kmsError", code)
	}
	return err
}

// share makes sure that the repository exists until the transaction ends,
// beside others that do the same.
func share(ctx context.Context, tx *sqldb.Tx, r repository.Repository) error {
	var id int64
	err := tx.QueryRow(ctx, `SELECT id FROM repository WHERE id = $1`+tx.ForShare(), r.ID).Scan(&id)
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
