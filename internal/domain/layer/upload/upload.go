package upload

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/arena"
	"github.com/berth-registry/berth/internal/infra/clock"
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

// Database is what the service needs of a *sqldb.DB.
type Database interface {
	Lookup(ctx context.Context, fn func(tx *sqldb.Tx) error) error
	View(ctx context.Context, fn func(tx *sqldb.Tx) error) error
	Update(ctx context.Context, fn func(tx *sqldb.Tx) error) error
}

// Objects knows what objects are for once they are finished or given up. It is
// domain/layer.
type Objects interface {
	// Spent says whether the object is a blob's, or waits to be removed.
	Spent(ctx context.Context, region name.Region, objectKey string) (bool, error)
	// Discard removes the object, unless a blob has it. The caller has made sure
	// that no writer comes to it any more.
	Discard(ctx context.Context, region name.Region, objectKey string) error
}

// Config is what a Service stands on.
type Config struct {
	// DB is the volatile database.
	DB Database
	// Store gives the blob store of a region, or the failure to answer where the
	// region is not served here.
	Store   func(name.Region) (blobstore.Store, error)
	Objects Objects
	Clock   clock.Clock
	Log     *slog.Logger
	Quotas  quota.Source
	// Life is how long an upload is kept after its last byte.
	Life time.Duration
	// DurableSuspend says that what the stores' Suspend returned for survives a
	// power cut (object storage).
	DurableSuspend bool
	// InlineBytes is up to how many bytes the stores have of an unfinished object
	// without storing anything (blobstore/inline), and of a finished one; 0 if they
	// always do.
	InlineBytes int64
	// Alone says that no other Service uses DB: who writes to an upload is then
	// known in memory, and rows need no lease.
	Alone bool
	// SaveAfter is how old the row of an upload without bytes becomes in memory, if
	// Alone, before it is written; 0 is a tenth of a second. The process's death takes
	// with it what was begun this long and up to twice as long ago.
	SaveAfter time.Duration
	// Timing is how writers take turns; zero is DefaultTiming.
	Timing Timing
}

// Service keeps upload sessions. All its methods may be called from many
// goroutines and on many nodes at once.
type Service struct {
	Config
	// process is this process's name in the rows.
	process string
	buffers *arena.Pair
	// piped counts the bodies that are stored beside their reading.
	piped atomic.Int32

	memory *memory    // used if Alone
	saving sync.Mutex // one save at a time

	mu     sync.Mutex
	active map[string]*session // by upload id: who writes in this process
}

// New returns the service.
func New(c Config) *Service {
	if c.Timing == (Timing{}) {
		c.Timing = DefaultTiming()
	}
	c.SaveAfter = cmp.Or(c.SaveAfter, saveAfter)
	return &Service{Config: c, process: uuid.NewString(), buffers: arena.NewPair(bufferSize, longBuffers, shortSize), memory: newMemory(), active: map[string]*session{}}
}

// row is a row of the table upload.
type row struct {
	id           string
	repositoryID int64
	region       name.Region
	objectKey    string
	closed       bool
	opened       int64
	received     int64
	parts        int64
	lastPart     int64
	partCut      bool
	smallPart    bool
	state        []byte // blobstore.State, empty before the first byte
	hashes       []byte // the marshalled sha256, empty before the first byte
	process      string // that the bytes came in through, or that started the upload
	mixed        bool   // more than one process had a part in it
	writer       string
	writerUntil  int64
	startedAt    int64
	expiresAt    int64
}

const columns = `id, repository_id, region, object_key, closed, opened, received, parts, last_part, part_cut, small_part,
	state, hashes, process, mixed, writer, writer_until, started_at, expires_at`

func scan(from sqldb.Scanner) (row, error) {
	var u row
	var region string
	err := from.Scan(&u.id, &u.repositoryID, &region, &u.objectKey, &u.closed, &u.opened, &u.received, &u.parts, &u.lastPart,
		&u.partCut, &u.smallPart, &u.state, &u.hashes, &u.process, &u.mixed, &u.writer, &u.writerUntil, &u.startedAt, &u.expiresAt)
	u.region = name.Region(region)
	return u, err
}

func (u row) public() Upload {
	return Upload{ID: u.id, Received: u.received, Parts: u.parts, StartedAt: time.UnixMicro(u.startedAt)}
}

// addPart counts n more bytes as a part, or as the rest of one that was cut
// off. minimum is the least size of a part that is not the last.
func (u *row) addPart(n int64, cut bool, minimum int64) {
	if u.partCut {
		u.lastPart += n
	} else {
		if u.parts > 0 && u.lastPart < minimum {
			u.smallPart = true
		}
		u.parts++
		u.lastPart = n
	}
	u.received += n
	u.partCut = cut
}

// notFound is the failure for an upload that is over, expired, another
// repository's, or never was.
func notFound(r repository.Repository, id string) error {
	return errs.New(errs.UploadNotFound, "The upload with id '%s' does not exist in the repository with name '%s' in the registry with id '%s'",
		id, r.Name, r.Registry.Account)
}

// Start opens an upload. Nothing is stored but its row, at the latest some time after
// SaveAfter if Alone, so an upload that never gets a byte costs nothing.
func (s *Service) Start(ctx context.Context, r repository.Repository) (Upload, error) {
	if _, err := s.Store(r.Registry.Region); err != nil {
		return Upload{}, err
	}
	now := s.Clock.Now()
	u := row{
		id: uuid.NewString(), repositoryID: r.ID, region: r.Registry.Region, objectKey: NewObjectKey(r.Registry),
		process: s.process, startedAt: now.UnixMicro(), expiresAt: now.Add(s.Life).UnixMicro(),
	}
	if !s.Alone || !s.begin(u) {
		if err := s.DB.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, u) }); err != nil {
			return Upload{}, StoreError(err)
		}
	}
	if s.Alone {
		s.memory.keep(u)
	}
	return u.public(), nil
}

// NewObjectKey makes a key that no object ever had: it is not the upload's id,
// which the client knows. The two digits spread the objects over directories.
func NewObjectKey(reg name.Registry) string {
	id := uuid.NewString()
	return string(reg.Account) + "/" + string(reg.Region) + "/" + id[:2] + "/" + id
}

// Status tells how far an upload is. Bytes of a request that is still running
// are not counted, since only its end makes them resumable.
// errs.UploadNotFound.
func (s *Service) Status(ctx context.Context, r repository.Repository, id string) (Upload, error) {
	u, err := s.look(ctx, r, id)
	if err != nil {
		return Upload{}, err
	}
	gone := u.closed || u.expiresAt <= s.Clock.Now().UnixMicro()
	if s.Alone && !gone {
		// A finished upload's row stays open.
		if gone = s.memory.over(id); !gone && u.process != s.process {
			gone, err = s.Objects.Spent(ctx, u.region, u.objectKey)
		}
	}
	switch {
	case err != nil:
		return Upload{}, err
	case gone:
		return Upload{}, notFound(r, id)
	}
	return u.public(), nil
}

func find(ctx context.Context, tx *sqldb.Tx, r repository.Repository, id string) (row, error) {
	u, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM upload WHERE id = $1 AND repository_id = $2`, id, r.ID))
	if errors.Is(err, sqldb.ErrNoRows) {
		return row{}, notFound(r, id)
	}
	return u, err
}

// Append adds the body's bytes to the upload; see layer.Service.Append.
func (s *Service) Append(ctx context.Context, r repository.Repository, id string, c Chunk, body io.Reader) (Upload, error) {
	in, err := s.Receive(ctx, r, id, c, body)
	if err != nil {
		return Upload{}, err
	}
	defer in.Release(ctx)
	if in.n == 0 {
		return in.session.row.public(), nil
	}
	if err := in.keep(ctx, false); err != nil {
		return Upload{}, err
	}
	return in.session.row.public(), nil
}

// Cancel ends an upload and removes what it brought. errs.UploadNotFound,
// errs.UploadBusy.
func (s *Service) Cancel(ctx context.Context, r repository.Repository, id string) error {
	_, ses, err := s.acquire(ctx, r, id)
	if err != nil {
		return err
	}
	defer s.release(ctx, ses)
	return s.destroy(ctx, ses)
}

// destroy ends an upload and removes its object.
func (s *Service) destroy(ctx context.Context, ses *session) error {
	if err := s.closeRow(ctx, ses); err != nil {
		return err
	}
	if err := s.Objects.Discard(ctx, ses.row.region, ses.row.objectKey); err != nil {
		return err
	}
	return s.forget(ctx, ses)
}

// closeRow keeps every later writer away from the object.
func (s *Service) closeRow(ctx context.Context, ses *session) error {
	ses.unsure = true
	if s.memory.claim(ses.id) {
		s.memory.written(ses.id, nil)
		s.memory.gone(ses.id)
		return nil
	}
	ok, err := s.guarded(ctx, ses, `UPDATE upload SET closed = TRUE, expires_at = $3 WHERE id = $1 AND writer = $2`,
		s.Clock.Now().Add(s.Life).UnixMicro())
	if err == nil && !ok {
		err = stopped(ses, errLeaseLost)
	}
	return err
}

// forget removes the upload's row.
func (s *Service) forget(ctx context.Context, ses *session) error {
	_, err := s.guarded(ctx, ses, `DELETE FROM upload WHERE id = $1 AND writer = $2`)
	if err == nil {
		ses.leased = false
		s.memory.gone(ses.id)
	}
	return err
}

// guarded runs an UPDATE or DELETE of the session's row, which ends with a
// condition on id = $1 AND writer = $2; it says whether the session still had
// the row.
func (s *Service) guarded(ctx context.Context, ses *session, statement string, args ...any) (bool, error) {
	var n int64
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		var err error
		n, err = tx.Exec(ctx, statement, append([]any{ses.row.id, ses.token}, args...)...)
		return err
	})
	return n == 1, StoreError(err)
}
