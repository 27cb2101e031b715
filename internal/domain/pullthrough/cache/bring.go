package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/fetch"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/once"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/outcome"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// blobsAtOnce is how many blobs of one import come at once.
const blobsAtOnce = 4

// errMoved says that a transaction found the tag or the row of an import gone.
var errMoved = errors.New("pull-through: the import was changed meanwhile")

// runJob is the handler of JobImport.
func (s *Service) runJob(ctx context.Context, t jobs.Task) error {
	var payload task
	if err := json.Unmarshal(t.Payload, &payload); err != nil {
		return jobs.Permanent(err)
	}
	if err := s.leases.Sweep(ctx); err != nil {
		return err
	}
	f, err := s.bring(ctx, payload.Import)
	if err != nil {
		return err
	}
	return f.Wait(ctx)
}

// bring brings an import to its end, once at a time in this process.
func (s *Service) bring(ctx context.Context, id int64) (*once.Flight, error) {
	return s.work.Fly(ctx, "i/"+strconv.FormatInt(id, 10), func(ctx context.Context) error {
		err := s.bringHere(ctx, id)
		if err != nil && ctx.Err() == nil {
			s.Log.DebugContext(ctx, "an import has not come whole; it is tried again", "import", id, "error", err)
		}
		return err
	})
}

// bringHere fetches what an import lacks and makes an image of it. One that is over,
// or whose repository is, is no failure.
func (s *Service) bringHere(ctx context.Context, id int64) error {
	const rounds = 2 // a blob may be collected between its coming and the image
	for round := 1; ; round++ {
		a, r, err := s.load(ctx, id)
		if err != nil || a.id == 0 {
			return err
		}
		if s.Clock.Now().After(time.UnixMicro(a.createdAt).Add(s.Limits.GiveUp)) {
			return s.giveUp(ctx, r, a)
		}
		if err := s.fetchAll(ctx, r, a); err != nil {
			if ctx.Err() != nil {
				return err
			}
			return errors.Join(err, s.markFailed(ctx, a))
		}
		err = s.finish(ctx, r, a)
		if round == rounds || !errs.Is(err, errs.LayersNotFound) {
			return err
		}
	}
}

// load reads an import and its repository. The import's id is 0 where it is over; one
// whose repository was deleted is removed.
func (s *Service) load(ctx context.Context, id int64) (arrival, repository.Repository, error) {
	a, err := s.arrival(ctx, arrivalByID, id)
	if err != nil || a.id == 0 {
		return arrival{}, repository.Repository{}, err
	}
	r, err := s.Repositories.Stored(ctx, a.repository)
	if errs.Is(err, errs.RepositoryNotFound) {
		return arrival{}, repository.Repository{}, nil // its rows went with it
	}
	if err == nil && !r.DeletedAt.IsZero() {
		return arrival{}, repository.Repository{}, s.drop(ctx, a)
	}
	return a, r, err
}

// fetchAll fetches the blobs that the repository lacks, the small ones first. The
// first failure ends it; what is under way goes on.
func (s *Service) fetchAll(ctx context.Context, r repository.Repository, a arrival) error {
	blobs, err := s.blobsOf(ctx, a.id)
	if err != nil || len(blobs) == 0 {
		return err
	}
	held, err := s.held(ctx, r, blobs)
	if err != nil {
		return err
	}
	var lacking []fetch.Blob
	for _, b := range blobs {
		if l, ok := held[b.Digest]; !ok || l.Archived {
			lacking = append(lacking, b)
		} else if l.Size != b.Size {
			return fmt.Errorf("the layer %s has %d bytes here, and by the manifest %s %d", b.Digest, l.Size, a.digest, b.Size)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan fetch.Blob)
	var all sync.WaitGroup
	for range min(blobsAtOnce, len(lacking)) {
		all.Go(func() {
			for b := range next {
				if err := s.fetchOne(ctx, r, b); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, b := range lacking {
		select {
		case next <- b:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	all.Wait()
	return context.Cause(ctx)
}

// fetchOne fetches a blob, or waits for the fetch that is under way.
func (s *Service) fetchOne(ctx context.Context, r repository.Repository, b fetch.Blob) error {
	f, err := s.blobs.Begin(ctx, r, b)
	if err != nil {
		return err
	}
	defer f.Release()
	return f.Wait(ctx)
}

// finish makes an image of an import whose blobs are here, one tag after the other.
// Each tag goes from the import to the image in one transaction, and with the last
// the import's row goes: a kill in between leaves what this can go on with.
func (s *Service) finish(ctx context.Context, r repository.Repository, a arrival) error {
	c, err := s.open(ctx, r, a)
	if err != nil {
		return err
	}
	rule, _, err := s.Rules.Covering(ctx, r.Registry, r.Name)
	if err != nil {
		return err
	}
	for {
		tag, err := s.nextTag(ctx, a)
		if err != nil {
			return err
		}
		over := false
		_, _, err = s.Images.Put(ctx, r, image.Put{
			Manifest: c.body, MediaType: a.mediaType, Tag: tag, Digest: a.digest, Origin: event.OriginPullThrough,
			Before: func(ctx context.Context, tx *sqldb.Tx, r repository.Repository) error {
				last, err := s.handOverTx(ctx, tx, a, tag)
				if err != nil {
					return err
				}
				over = last
				return s.recordTx(ctx, tx, rule, r.Registry, event.PullThroughDetail{Repository: r.Name, Digest: a.digest, Tag: tag, Result: event.Success})
			},
		})
		switch {
		case errors.Is(err, errMoved):
			if gone, _, loadErr := s.load(ctx, a.id); loadErr != nil || gone.id == 0 {
				return loadErr // finished elsewhere
			}
		case errs.Is(err, errs.TagExists):
			// The tag is immutable, and has an image since this import began.
			if err := s.loseTag(ctx, a, tag); err != nil {
				return err
			}
		case err != nil:
			return err
		case over:
			s.track.Count(func(n *outcome.Stats) { n.Imported++ })
			return s.notePull(ctx, r, a)
		}
	}
}

// notePull notes the pull that began the import.
func (s *Service) notePull(ctx context.Context, r repository.Repository, a arrival) error {
	if !a.pulled {
		return nil
	}
	_, err := s.Images.Get(ctx, r, image.Ref{Digest: a.digest}, nil)
	if errs.Is(err, errs.ImageNotFound) || errs.Is(err, errs.RepositoryNotFound) {
		return nil // deleted since
	}
	return err
}

// nextTag is a tag that an import is to get, "" for none.
func (s *Service) nextTag(ctx context.Context, a arrival) (tag name.Tag, err error) {
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		tag, err = nextTagTx(ctx, tx, a)
		return err
	})
	return tag, err
}

func nextTagTx(ctx context.Context, tx *sqldb.Tx, a arrival) (tag name.Tag, err error) {
	err = tx.QueryRow(ctx, `SELECT tag FROM pullthrough_import_tag WHERE import_id = $1 ORDER BY tag LIMIT 1`, a.id).Scan(&tag)
	if errors.Is(err, sqldb.ErrNoRows) {
		return "", nil
	}
	return tag, err
}

// handOverTx takes a tag from an import, and its row with the last one; over says
// that it did. The caller holds the repository's lock, as whoever gives an import a
// tag does.
func (s *Service) handOverTx(ctx context.Context, tx *sqldb.Tx, a arrival, tag name.Tag) (over bool, err error) {
	if tag != "" {
		n, err := tx.Exec(ctx, `DELETE FROM pullthrough_import_tag WHERE import_id = $1 AND tag = $2`, a.id, string(tag))
		if err != nil {
			return false, err
		}
		if n == 0 {
			return false, errMoved
		}
	}
	more, err := nextTagTx(ctx, tx, a)
	if err != nil {
		return false, err
	}
	if more != "" {
		if tag == "" {
			return false, errMoved // it came just now
		}
		return false, nil
	}
	n, err := tx.Exec(ctx, `DELETE FROM pullthrough_import WHERE id = $1`, a.id)
	if err == nil && n == 0 {
		err = errMoved
	}
	return err == nil, err
}

// loseTag takes a tag from an import.
func (s *Service) loseTag(ctx context.Context, a arrival, tag name.Tag) error {
	return s.update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM pullthrough_import_tag WHERE import_id = $1 AND tag = $2`, a.id, string(tag))
		return err
	})
}

// giveUp drops an import whose blobs could not be had for too long.
func (s *Service) giveUp(ctx context.Context, r repository.Repository, a arrival) error {
	tag, err := s.nextTag(ctx, a)
	if err != nil {
		return err
	}
	rule, _, err := s.Rules.Covering(ctx, r.Registry, r.Name)
	if err != nil {
		return err
	}
	if err := s.drop(ctx, a); err != nil {
		return err
	}
	s.track.Count(func(n *outcome.Stats) { n.Dropped++ })
	s.Log.WarnContext(ctx, "an image was given up that the pull-through cache could not bring here whole; the next pull of it begins anew",
		"registry", r.Registry.String(), "repository", r.Name, "image", a.digest, "upstream", rule.URL)
	s.recordFailure(ctx, check{rule: rule, registry: r.Registry, repository: r.Name, ref: image.Ref{Tag: tag, Digest: a.digest}}, errors.New("its layers could not be had"))
	return nil
}

// maxDepth bounds how deep indexes may stand in indexes.
const maxDepth = 4

// Complete brings an image here whole, the children of an index with it, and waits
// until it has come. errs.ImageNotFound where the upstream does not have it, or no
// rule covers the repository; else it fails as Image and Open do.
func (s *Service) Complete(ctx context.Context, r repository.Repository, d name.Digest) error {
	return s.complete(ctx, r, d, maxDepth)
}

func (s *Service) complete(ctx context.Context, r repository.Repository, d name.Digest, depth int) error {
	ref := image.Ref{Digest: d}
	img, err := s.Images.Peek(ctx, r, ref, nil)
	if errs.Is(err, errs.ImageNotFound) {
		var f image.Failure
		if errors.As(err, &f) && f.Code != image.NotFound {
			return err
		}
		if err := s.bringWhole(ctx, r, d, err); err != nil {
			return err
		}
		img, err = s.Images.Peek(ctx, r, ref, nil)
	}
	if err != nil {
		return err
	}
	m, err := manifest.Parse(img.Manifest, img.MediaType, manifest.Limits{})
	if err != nil {
		return err
	}
	for _, child := range m.ChildManifests() {
		if depth == 0 {
			return errs.New(errs.UpstreamImageFailed, "The index %s stands in too many other ones", d)
		}
		if err := s.complete(ctx, r, child.Digest, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// bringWhole asks for an image that is not here, unless it is on its way, and waits
// for all of it. missing is the failure where there is none.
func (s *Service) bringWhole(ctx context.Context, r repository.Repository, d name.Digest, missing error) error {
	rule, covered, err := s.Rules.Covering(ctx, r.Registry, r.Name)
	if err != nil {
		return err
	}
	a, err := s.arrival(ctx, arrivalByDigest, r.ID, string(d))
	if err == nil && a.id == 0 {
		if !covered {
			return missing
		}
		p := Pull{Registry: r.Registry, Repository: r.Name, Ref: image.Ref{Digest: d}}
		if err := s.consult(ctx, p, rule, checkKey(r.Registry, r.Name, p.Ref), false); err != nil {
			return outcome.ImageError(rule, r.Name, err)
		}
		a, err = s.arrival(ctx, arrivalByDigest, r.ID, string(d))
	}
	if err != nil || a.id == 0 {
		return err
	}
	f, err := s.bring(ctx, a.id)
	if err != nil {
		return err
	}
	if err := f.Wait(ctx); err != nil {
		return outcome.LayerError(rule, r, d, err)
	}
	return nil
}
