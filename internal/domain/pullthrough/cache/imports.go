package cache

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/fetch"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// arrival is an image on its way here, as its row has it.
type arrival struct {
	id          int64
	repository  int64
	digest      name.Digest
	mediaType   string
	sealed      []byte
	counterpart name.Digest
	pulled      bool
	createdAt   int64
	failedAt    int64
}

const (
	arrivalColumns = `SELECT i.id, i.repository_id, i.digest, i.media_type, i.body, i.counterpart, i.pulled, i.created_at, i.failed_at FROM pullthrough_import i`
	arrivalByID    = arrivalColumns + ` WHERE i.id = $1`
	arrivalByTag   = arrivalColumns + ` JOIN pullthrough_import_tag t ON t.import_id = i.id WHERE t.repository_id = $1 AND t.tag = $2`
	// arrivalByDigest finds one by its own digest, or else by that of its counterpart.
	arrivalByDigest = arrivalColumns + ` WHERE i.repository_id = $1 AND i.digest = $2
		UNION ALL ` + arrivalColumns + ` WHERE i.repository_id = $1 AND i.counterpart = $2 LIMIT 1`
)

func scanArrival(row sqldb.Scanner) (arrival, error) {
	var a arrival
	var digest, counterpart string
	err := row.Scan(&a.id, &a.repository, &digest, &a.mediaType, &a.sealed, &counterpart, &a.pulled, &a.createdAt, &a.failedAt)
	a.digest, a.counterpart = name.Digest(digest), name.Digest(counterpart)
	return a, err
}

// arrivalTx finds an arrival; its id is 0 where there is none.
func arrivalTx(ctx context.Context, tx *sqldb.Tx, query string, args ...any) (arrival, error) {
	a, err := scanArrival(tx.QueryRow(ctx, query, args...))
	if errors.Is(err, sqldb.ErrNoRows) {
		return arrival{}, nil
	}
	return a, err
}

func (s *Service) arrival(ctx context.Context, query string, args ...any) (a arrival, err error) {
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		a, err = arrivalTx(ctx, tx, query, args...)
		return err
	})
	return a, err
}

// tagState is what is known of a tag beside its image.
type tagState struct {
	arrival   arrival // that is to get the tag
	checkedAt int64   // 0: never
}

func (s *Service) tagState(ctx context.Context, r repository.Repository, tag name.Tag) (state tagState, err error) {
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		state.checkedAt, err = checkedTx(ctx, tx, r.ID, string(tag))
		if err == nil {
			state.arrival, err = arrivalTx(ctx, tx, arrivalByTag, r.ID, string(tag))
		}
		return err
	})
	return state, err
}

func checkedTx(ctx context.Context, tx *sqldb.Tx, repositoryID int64, ref string) (at int64, err error) {
	err = tx.QueryRow(ctx, `SELECT checked_at FROM pullthrough_check WHERE repository_id = $1 AND ref = $2`, repositoryID, ref).Scan(&at)
	if errors.Is(err, sqldb.ErrNoRows) {
		return 0, nil
	}
	return at, err
}

// fresh says whether the upstream need not be asked again.
func (s *Service) fresh(checkedAt int64) bool {
	return checkedAt != 0 && s.Clock.Now().Before(time.UnixMicro(checkedAt).Add(s.Refresh))
}

// touchTx remembers that the upstream has been asked.
func (s *Service) touchTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ref string) error {
	_, err := tx.Exec(ctx, `INSERT INTO pullthrough_check (repository_id, ref, checked_at) VALUES ($1, $2, $3)
		ON CONFLICT (repository_id, ref) DO UPDATE SET checked_at = excluded.checked_at`, r.ID, ref, s.Clock.Now().UnixMicro())
	return err
}

func (s *Service) touch(ctx context.Context, r repository.Repository, ref string) error {
	return s.update(ctx, func(tx *sqldb.Tx) error { return s.touchTx(ctx, tx, r, ref) })
}

// update runs fn in a transaction, and again when an id met one of another node.
// errs.StorageFull when the database has no room.
func (s *Service) update(ctx context.Context, fn func(tx *sqldb.Tx) error) error {
	const tries = 3
	var err error
	for range tries {
		if err = s.Durable.Update(ctx, fn); !sqldb.IsUnique(err) {
			break
		}
	}
	if errors.Is(err, sqldb.ErrFull) {
		return repository.StorageFull(err)
	}
	return err
}

// JobImport is the kind of the jobs that bring imports to their end.
const JobImport = "pullthrough.import"

// task is the payload of such a job.
type task struct {
	Import int64 `json:"import,string"`
}

const (
	// jobDelay leaves the first try to the process that answered the pull: its client
	// can follow the layers there while they come.
	jobDelay = time.Minute
	// jobTries are more than fit into Limits.GiveUp: pauses of jobs grow to an hour, of
	// which half may be left out.
	jobTries   = 100
	jobTimeout = 6 * time.Hour
	jobWorkers = 4
)

// content is a manifest as it came, verified and parsed.
type content struct {
	manifest.Manifest
	body   []byte
	digest name.Digest
}

// blobs are those that the registry has to hold. Foreign layers are left to where
// their clients get them.
func (c content) blobs() []fetch.Blob {
	var all []fetch.Blob
	for _, b := range c.Blobs() {
		if !b.Foreign {
			all = append(all, fetch.Blob{Digest: b.Digest, Size: b.Size, MediaType: b.MediaType})
		}
	}
	return all
}

// expect writes the row of an image whose blobs are to come, and the job that
// brings it to its end; or puts the tag on the row that is there.
func (s *Service) expect(ctx context.Context, r repository.Repository, c content, tag name.Tag, pulled bool) (arrival, error) {
	sealed, err := s.Repositories.Seal(ctx, r, image.SealContext(c.digest), c.body)
	if err != nil {
		return arrival{}, err
	}
	a := arrival{repository: r.ID, digest: c.digest, mediaType: c.MediaType, sealed: sealed, pulled: pulled}
	if body, _, ok := c.Counterpart(); ok {
		a.counterpart = name.SHA256(body)
	}
	err = s.update(ctx, func(tx *sqldb.Tx) error {
		if _, err := s.Repositories.Lock(ctx, tx, r); err != nil {
			return err
		}
		there, err := arrivalTx(ctx, tx, arrivalColumns+` WHERE i.repository_id = $1 AND i.digest = $2`, r.ID, string(c.digest))
		if err != nil {
			return err
		}
		if there.id != 0 {
			a = there
		} else if err := s.insertTx(ctx, tx, &a, c.blobs()); err != nil {
			return err
		}
		if tag == "" {
			return nil
		}
		_, err = tx.Exec(ctx, `INSERT INTO pullthrough_import_tag (repository_id, tag, import_id) VALUES ($1, $2, $3)
			ON CONFLICT (repository_id, tag) DO UPDATE SET import_id = excluded.import_id`, r.ID, string(tag), a.id)
		if err != nil {
			return err
		}
		return s.touchTx(ctx, tx, r, string(tag))
	})
	return a, err
}

func (s *Service) insertTx(ctx context.Context, tx *sqldb.Tx, a *arrival, blobs []fetch.Blob) error {
	s.quiet.Store(false)
	now := s.Clock.Now()
	a.id, a.createdAt = sqldb.NewID(), now.UnixMicro()
	_, err := tx.Exec(ctx, `INSERT INTO pullthrough_import (id, repository_id, digest, media_type, body, counterpart, pulled, created_at, failed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)`,
		a.id, a.repository, string(a.digest), a.mediaType, a.sealed, string(a.counterpart), a.pulled, a.createdAt)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		_, err := tx.Exec(ctx, `INSERT INTO pullthrough_import_blob (import_id, digest, repository_id, size, media_type) VALUES ($1, $2, $3, $4, $5)`,
			a.id, string(b.Digest), a.repository, b.Size, b.MediaType)
		if err != nil {
			return err
		}
	}
	if s.Jobs == nil {
		return nil
	}
	return s.Jobs.Enqueue(ctx, tx, jobs.Job{
		Kind: JobImport, UniqueKey: strconv.FormatInt(a.id, 10), Payload: task{Import: a.id}, RunAt: now.Add(jobDelay), MaxAttempts: jobTries,
	})
}

// blobsOf lists what an arrival needs.
func (s *Service) blobsOf(ctx context.Context, id int64) (blobs []fetch.Blob, err error) {
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		blobs, err = sqldb.Collect(ctx, tx, scanBlob, `SELECT digest, size, media_type FROM pullthrough_import_blob WHERE import_id = $1 ORDER BY size, digest`, id)
		return err
	})
	return blobs, err
}

func scanBlob(row sqldb.Scanner) (fetch.Blob, error) {
	var b fetch.Blob
	var digest string
	err := row.Scan(&digest, &b.Size, &b.MediaType)
	b.Digest = name.Digest(digest)
	return b, err
}

// needed finds a blob that an arrival of the repository needs; of two that differ
// about its size, that which has not failed.
func (s *Service) needed(ctx context.Context, r repository.Repository, d name.Digest) (b fetch.Blob, found bool, err error) {
	err = s.Durable.Lookup(ctx, func(tx *sqldb.Tx) error {
		b, err = scanBlob(tx.QueryRow(ctx, `SELECT b.digest, b.size, b.media_type FROM pullthrough_import_blob b JOIN pullthrough_import i ON i.id = b.import_id
			WHERE b.repository_id = $1 AND b.digest = $2 ORDER BY i.failed_at, i.id DESC LIMIT 1`, r.ID, string(d)))
		if errors.Is(err, sqldb.ErrNoRows) {
			err = nil
			return nil
		}
		found = err == nil
		return err
	})
	return b, found, err
}

// needing finds the imports of the repository that need a blob; a few are enough, for
// the others are found when they end.
func (s *Service) needing(ctx context.Context, r repository.Repository, d name.Digest) (ids []int64, err error) {
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		ids, err = sqldb.Collect(ctx, tx, sqldb.One[int64], `SELECT import_id FROM pullthrough_import_blob WHERE repository_id = $1 AND digest = $2 ORDER BY import_id DESC LIMIT 8`, r.ID, string(d))
		return err
	})
	return ids, err
}

// drop removes an arrival; its tags are asked for anew by the next pull.
func (s *Service) drop(ctx context.Context, a arrival) error {
	return s.update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM pullthrough_check WHERE repository_id = $1 AND ref IN (SELECT tag FROM pullthrough_import_tag WHERE import_id = $2)`, a.repository, a.id)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM pullthrough_import WHERE id = $1`, a.id)
		return err
	})
}

// markFailed remembers that the arrival's blobs could not be had, so that a tag that
// has an image here keeps it until they can.
func (s *Service) markFailed(ctx context.Context, a arrival) error {
	return s.update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE pullthrough_import SET failed_at = $2 WHERE id = $1`, a.id, s.Clock.Now().UnixMicro())
		return err
	})
}

// open reads the arrival's manifest.
func (s *Service) open(ctx context.Context, r repository.Repository, a arrival) (content, error) {
	body, err := s.Repositories.Unseal(ctx, r, image.SealContext(a.digest), a.sealed)
	if err != nil {
		return content{}, err
	}
	m, err := manifest.Parse(body, a.mediaType, manifest.Limits{}) // it was held to limits when it came
	return content{Manifest: m, body: body, digest: a.digest}, err
}

// serve gives an arrival to a client as image.Service gives an image.
func (s *Service) serve(ctx context.Context, r repository.Repository, a arrival, ref image.Ref, accept []string) (image.Image, error) {
	c, err := s.open(ctx, r, a)
	if err != nil {
		return image.Image{}, err
	}
	img := image.Image{
		Digest: c.digest, Stored: c.digest, MediaType: c.MediaType, ArtifactType: c.EffectiveArtifactType(), Manifest: c.body,
		ManifestSize: int64(len(c.body)), Tag: ref.Tag, Subject: c.Subject.Digest, PushedAt: time.UnixMicro(a.createdAt),
	}
	translate := a.counterpart != "" && ref.Digest == a.counterpart
	switch {
	case ref.Digest != "" && ref.Digest != a.digest && !translate:
		f := image.Failure{Ref: ref, Code: image.TagMismatch, Reason: "Requested image tag and digest do not match"}
		return image.Image{}, errs.Wrap(f, errs.ImageNotFound, "%s", f.Reason)
	case ref.Digest == "":
		// Schema 1 needs the configuration, which may be still to come.
		forms := slices.DeleteFunc(c.Forms(), func(form string) bool { return form == manifest.DockerSchema1Signed })
		form, ok := manifest.Choose(forms, accept)
		if !ok {
			return image.Image{}, errs.New(errs.ManifestUntranslated, "Requested image has a manifest of the media type %s, which is none of those that the client accepts, and cannot be translated", c.MediaType)
		}
		translate = form != c.MediaType
	}
	if !translate {
		return img, nil
	}
	body, mediaType, _ := c.Counterpart() // that it has one was seen above
	translated, err := manifest.Parse(body, mediaType, manifest.Limits{})
	if err != nil {
		return image.Image{}, err
	}
	img.Manifest, img.MediaType, img.Digest = body, mediaType, name.SHA256(body)
	img.ManifestSize, img.ArtifactType = int64(len(body)), translated.EffectiveArtifactType()
	return img, nil
}
