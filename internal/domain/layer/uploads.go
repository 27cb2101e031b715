package layer

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// upload is a row of the table of that name.
type upload struct {
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
	process      string // that the bytes came in through
	mixed        bool   // more than one process had a part in it
	writer       string
	writerUntil  int64
	startedAt    int64
	expiresAt    int64
}

const uploadColumns = `id, repository_id, region, object_key, closed, opened, received, parts, last_part, part_cut, small_part,
	state, hashes, process, mixed, writer, writer_until, started_at, expires_at`

func scanUpload(row sqldb.Scanner) (upload, error) {
	var u upload
	var region string
	err := row.Scan(&u.id, &u.repositoryID, &region, &u.objectKey, &u.closed, &u.opened, &u.received, &u.parts, &u.lastPart,
		&u.partCut, &u.smallPart, &u.state, &u.hashes, &u.process, &u.mixed, &u.writer, &u.writerUntil, &u.startedAt, &u.expiresAt)
	u.region = name.Region(region)
	return u, err
}

func (u upload) public() Upload {
	return Upload{ID: u.id, Received: u.received, Parts: u.parts, StartedAt: time.UnixMicro(u.startedAt)}
}

// addPart counts n more bytes as a part, or as the rest of one that was cut
// off. minimum is the least size of a part that is not the last.
func (u *upload) addPart(n int64, cut bool, minimum int64) {
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

// uploadNotFound is the failure for an upload that is over, expired, another
// repository's, or never was.
func uploadNotFound(r repository.Repository, id string) error {
	return errs.New(errs.UploadNotFound, "The upload with id '%s' does not exist in the repository with name '%s' in the registry with id '%s'",
		id, r.Name, r.Registry.Account)
}

// Start opens an upload. Nothing is stored but its row, so an upload that never
// gets a byte costs nothing. errs.Unavailable when the repository's region is
// not served here.
func (s *Service) Start(ctx context.Context, r repository.Repository) (Upload, error) {
	if _, err := s.storeOf(r.Registry.Region); err != nil {
		return Upload{}, err
	}
	now := s.clock.Now()
	u := upload{
		id: uuid.NewString(), repositoryID: r.ID, region: r.Registry.Region,
		state: []byte{}, hashes: []byte{}, startedAt: now.UnixMicro(), expiresAt: now.Add(s.uploadLife).UnixMicro(),
	}
	u.objectKey = objectKey(r.Registry)
	err := s.volatile.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO upload (`+uploadColumns+`, wanted)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)`,
			u.id, u.repositoryID, string(u.region), u.objectKey, u.closed, u.opened, u.received, u.parts, u.lastPart,
			u.partCut, u.smallPart, u.state, u.hashes, u.process, u.mixed, u.writer, u.writerUntil, u.startedAt, u.expiresAt, false)
		return err
	})
	if err != nil {
		return Upload{}, storeError(err)
	}
	return u.public(), nil
}

// objectKey makes a key that no object ever had: it is not the upload's id,
// which the client knows. The two digits spread the objects over directories.
func objectKey(reg name.Registry) string {
	id := uuid.NewString()
	return string(reg.Account) + "/" + string(reg.Region) + "/" + id[:2] + "/" + id
}

// Status tells how far an upload is. Bytes of a request that is still running
// are not counted, since only its end makes them resumable.
// errs.UploadNotFound.
func (s *Service) Status(ctx context.Context, r repository.Repository, id string) (Upload, error) {
	var u upload
	err := s.volatile.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		u, err = findUpload(ctx, tx, r, id)
		return err
	})
	if err != nil {
		return Upload{}, err
	}
	if u.closed || u.expiresAt <= s.clock.Now().UnixMicro() {
		return Upload{}, uploadNotFound(r, id)
	}
	return u.public(), nil
}

func findUpload(ctx context.Context, tx *sqldb.Tx, r repository.Repository, id string) (upload, error) {
	u, err := scanUpload(tx.QueryRow(ctx, `SELECT `+uploadColumns+` FROM upload WHERE id = $1 AND repository_id = $2`, id, r.ID))
	if errors.Is(err, sqldb.ErrNoRows) {
		return upload{}, uploadNotFound(r, id)
	}
	return u, err
}

// Append adds the body's bytes to the upload. A request for the same upload
// that is still running is stopped first.
//
// A body that breaks off leaves what it brought, and errs.UploadInterrupted is
// returned; a Part is taken whole or not at all. Every other failure leaves the
// upload as it was: errs.RangeInvalid or errs.LayerPartInvalid (see Chunk),
// errs.LayerTooLarge, errs.LimitExceeded for too many parts, errs.StorageFull,
// errs.KeyFailure, errs.UploadBusy when the other request does not end in time,
// errs.UploadNotFound.
func (s *Service) Append(ctx context.Context, r repository.Repository, id string, c Chunk, body io.Reader) (Upload, error) {
	ctx, ses, err := s.acquire(ctx, r, id)
	if err != nil {
		return Upload{}, err
	}
	defer s.release(ctx, ses)
	in, err := s.receive(ctx, ses, c, body)
	if err != nil {
		return Upload{}, err
	}
	defer in.close()
	if in.n == 0 {
		return ses.row.public(), nil
	}
	if err := s.keep(ctx, in, false); err != nil {
		return Upload{}, err
	}
	return ses.row.public(), nil
}

// Cancel ends an upload and removes what it brought. errs.UploadNotFound,
// errs.UploadBusy.
func (s *Service) Cancel(ctx context.Context, r repository.Repository, id string) error {
	ctx, ses, err := s.acquire(ctx, r, id)
	if err != nil {
		return err
	}
	defer s.release(ctx, ses)
	return s.destroy(ctx, ses)
}
