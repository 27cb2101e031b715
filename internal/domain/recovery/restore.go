package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Restored is an image that is back.
type Restored struct {
	Digest name.Digest `json:"digest"`
	// Tags are on it again, in byte order.
	Tags []name.Tag `json:"tags"`
	// Elsewhere are tags that it had and that stay on another image.
	Elsewhere []Elsewhere `json:"elsewhere,omitempty"`
}

// Elsewhere is a tag that a restored image has not got back.
type Elsewhere struct {
	Tag name.Tag `json:"tag"`
	// On is the image that has it; "" where a push was quicker.
	On name.Digest `json:"on,omitempty"`
	// Immutable says that the repository's setting keeps it there.
	Immutable bool `json:"immutable,omitempty"`
}

// Restore brings a deleted image back, and before it the images that it names as
// an index and that were deleted too: they come first in the result. A tag finds
// the image that had it and was deleted last. Tags that are on other images
// meanwhile stay there, unless moveTags says otherwise and they can be moved.
//
// errs.ImageNotFound when there is nothing of the kind; errs.ReferencedImagesNotFound
// when an index cannot be complete, and then nothing is restored; else it fails as
// image.Service.Put does. What failed half-way is still in the bin, and can be
// restored again.
func (s *Service) Restore(ctx context.Context, r repository.Repository, ref image.Ref, moveTags bool) ([]Restored, error) {
	if ref == (image.Ref{}) {
		return nil, errs.New(errs.InvalidParameter, "name the image to restore by its digest or by a tag that it had")
	}
	found, err := s.find(ctx, r, ref)
	if err != nil {
		return nil, err
	}
	p := plan{seen: map[name.Digest]bool{}}
	if err := s.plan(ctx, r, found[len(found)-1], &p); err != nil {
		return nil, err
	}
	if len(p.missing) > 0 {
		return nil, errs.New(errs.ReferencedImagesNotFound, "The image with digest '%s' cannot be restored to the repository with name '%s': it needs the images [%s], which are neither in the repository nor among its deleted images",
			found[len(found)-1].Digest, r.Name, strings.Join(p.missing, ", "))
	}
	var all []Restored
	for _, step := range p.steps {
		one, err := s.restore(ctx, r, step, moveTags)
		if err != nil {
			return all, err
		}
		all = append(all, one)
	}
	return all, nil
}

// find returns the deleted images of the repository that the ref names, all for
// the zero ref, in the order of their deletion, without their manifests.
// errs.ImageNotFound when there are none.
func (s *Service) find(ctx context.Context, r repository.Repository, ref image.Ref) ([]Image, error) {
	var found []Image
	err := s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		// By digest there is an index; by tag all are read, which an operator can wait for.
		query, args := `SELECT `+imageColumns+` FROM deleted_image d WHERE d.repository_id = $1`, []any{r.ID}
		if ref.Digest != "" {
			query += ` AND d.digest = $2`
			args = append(args, string(ref.Digest))
		}
		all, err := sqldb.Collect(ctx, tx, scanImage, query+` ORDER BY d.deleted_at, d.id`, args...)
		found = slices.DeleteFunc(all, func(i Image) bool { return ref.Tag != "" && !slices.Contains(i.Tags, ref.Tag) })
		return err
	})
	if err == nil && len(found) == 0 {
		what := ""
		if ref != (image.Ref{}) {
			what = " '" + string(ref.Digest) + string(ref.Tag) + "'"
		}
		err = errs.New(errs.ImageNotFound, "There is no deleted image%s of the repository with name '%s' in the registry with id '%s'", what, r.Name, r.Registry.Account)
	}
	return found, err
}

// step is one image to put back.
type step struct {
	Image
	manifest []byte
}

// plan is what a restoration does, children before the index that names them.
type plan struct {
	steps   []step
	seen    map[name.Digest]bool
	missing []string
}

func (s *Service) plan(ctx context.Context, r repository.Repository, i Image, p *plan) error {
	if p.seen[i.Digest] {
		return nil
	}
	p.seen[i.Digest] = true
	err := s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		err := tx.QueryRow(ctx, `SELECT body FROM deleted_image WHERE id = $1`, i.ID).Scan(&i.body)
		if errors.Is(err, sqldb.ErrNoRows) {
			return errs.New(errs.ImageNotFound, "The deleted image '%s' has gone meanwhile", i.Digest)
		}
		return err
	})
	if err != nil {
		return err
	}
	body, m, err := s.open(ctx, r, i)
	if err != nil {
		return err
	}
	for _, child := range m.ChildManifests() {
		var there bool
		var kept []Image
		err := s.Durable.View(ctx, func(tx *sqldb.Tx) error {
			_, err := s.Images.FindTx(ctx, tx, r, image.Ref{Digest: child.Digest})
			if there = err == nil; there || !errs.Is(err, errs.ImageNotFound) {
				return err
			}
			kept, err = sqldb.Collect(ctx, tx, scanImage, `SELECT `+imageColumns+` FROM deleted_image d WHERE d.repository_id = $1 AND d.digest = $2`, r.ID, string(child.Digest))
			return err
		})
		switch {
		case err != nil:
			return err
		case there:
		case len(kept) == 0:
			p.missing = append(p.missing, string(child.Digest))
		default:
			if err := s.plan(ctx, r, kept[0], p); err != nil {
				return err
			}
		}
	}
	p.steps = append(p.steps, step{i, body})
	return nil
}

// open unseals the manifest of a deleted image and reads it.
func (s *Service) open(ctx context.Context, r repository.Repository, i Image) ([]byte, manifest.Manifest, error) {
	body, err := s.Repositories.Unseal(ctx, r, image.SealContext(i.Digest), i.body)
	if err != nil {
		return nil, manifest.Manifest{}, err
	}
	m, err := manifest.Parse(body, i.MediaType, manifest.Limits{})
	if err != nil {
		return nil, manifest.Manifest{}, fmt.Errorf("the manifest of the deleted image %s of the repository %s cannot be read: %w", i.Digest, r.Name, err)
	}
	return body, m, nil
}

// restore puts one image back, with the tags that are free. Until the last
// transaction it is in the bin as well, so that nothing is lost on the way.
func (s *Service) restore(ctx context.Context, r repository.Repository, i step, moveTags bool) (Restored, error) {
	out := Restored{Digest: i.Digest, Tags: []name.Tag{}}
	there, wanted, err := s.tagsFor(ctx, r, i, moveTags, &out)
	if err != nil {
		return out, err
	}
	put := image.Put{Manifest: i.manifest, MediaType: i.MediaType, Digest: i.Digest}
	if len(wanted) == 0 && !there {
		if _, _, err := s.Images.Put(ctx, r, put); err != nil {
			return out, err
		}
	}
	for n, tag := range wanted {
		put.Tag = tag
		_, _, err := s.Images.Put(ctx, r, put)
		if errs.Is(err, errs.TagExists) { // immutable, and pushed at the same moment
			out.Elsewhere = append(out.Elsewhere, Elsewhere{Tag: tag, Immutable: true})
			if n == len(wanted)-1 && len(out.Tags) == 0 && !there {
				put.Tag = ""
				_, _, err = s.Images.Put(ctx, r, put)
			} else {
				err = nil
			}
		} else if err == nil {
			out.Tags = append(out.Tags, tag)
		}
		if err != nil {
			return out, err
		}
	}
	return out, s.finish(ctx, r, i.Image, there)
}

// tagsFor says whether the image is there already, and which tags it gets; those
// that it does not get are noted in out.
func (s *Service) tagsFor(ctx context.Context, r repository.Repository, i step, moveTags bool, out *Restored) (there bool, wanted []name.Tag, err error) {
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		wanted, out.Elsewhere = nil, nil
		fresh, err := s.Repositories.GetTx(ctx, tx, r.Registry, r.Name)
		if err != nil {
			return err
		}
		_, err = s.Images.FindTx(ctx, tx, r, image.Ref{Digest: i.Digest})
		if there = err == nil; !there && !errs.Is(err, errs.ImageNotFound) {
			return err
		}
		for _, tag := range i.Tags {
			holder, err := s.Images.FindTx(ctx, tx, r, image.Ref{Tag: tag})
			switch {
			case err != nil && !errs.Is(err, errs.ImageNotFound):
				return err
			case err == nil && holder.Digest != i.Digest && (!moveTags || !fresh.Mutability.Allows(tag)):
				out.Elsewhere = append(out.Elsewhere, Elsewhere{Tag: tag, On: holder.Digest, Immutable: !fresh.Mutability.Allows(tag)})
			default:
				wanted = append(wanted, tag)
			}
		}
		return nil
	})
	return there, wanted, err
}

// finish gives the image its times back, unless it was there before, and takes it
// out of the bin.
func (s *Service) finish(ctx context.Context, r repository.Repository, i Image, there bool) error {
	return s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		locked, err := s.Repositories.Lock(ctx, tx, r)
		if err != nil {
			return err
		}
		d, err := s.Images.FindTx(ctx, tx, locked, image.Ref{Digest: i.Digest})
		if errs.Is(err, errs.ImageNotFound) {
			return errs.New(errs.ImageNotFound, "The image with digest '%s' was deleted again while it was being restored. Try again.", i.Digest)
		}
		if err != nil {
			return err
		}
		if !there {
			if _, err := tx.Exec(ctx, `UPDATE image SET pushed_at = $2 WHERE id = $1`, d.ID, i.PushedAt.UnixMicro()); err != nil {
				return err
			}
			if i.pulledAt > 0 {
				if _, err := tx.Exec(ctx, `INSERT INTO image_pull (image_id, pulled_at) VALUES ($1, $2) ON CONFLICT (image_id) DO NOTHING`, d.ID, i.pulledAt); err != nil {
					return err
				}
			}
		}
		// The image holds the layers now. One that it does not name is released: a
		// foreign layer may have come or gone.
		layers, err := layersTx(ctx, tx, i.ID)
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM deleted_image WHERE id = $1`, i.ID)
		if err != nil || n == 0 {
			return err
		}
		return s.Layers.ReleaseTx(ctx, tx, locked, layers)
	})
}

// Verify opens the manifest of every deleted image that can be restored, compares
// it with its digest and looks for its layers, and reports what is wrong. It may
// run beside a serving registry. The error is that of the walk itself.
func (s *Service) Verify(ctx context.Context, report func(text string)) (done int64, err error) {
	var last int64
	for {
		var page []Image
		missing := map[int64]int64{}
		err := s.Durable.View(ctx, func(tx *sqldb.Tx) error {
			var err error
			page, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (Image, error) {
				var lost int64
				var body []byte
				i, tags, err := scanning(row, &body, &lost)
				if err != nil {
					return Image{}, err
				}
				i.body, missing[i.ID] = body, lost
				return i, json.Unmarshal([]byte(tags), &i.Tags)
			}, `SELECT `+imageColumns+`, d.body, (SELECT count(*) FROM deleted_image_layer l WHERE l.deleted_id = d.id
				AND NOT EXISTS (SELECT 1 FROM layer h WHERE h.repository_id = d.repository_id AND h.digest = l.digest))
				FROM deleted_image d WHERE d.id > $1 ORDER BY d.id LIMIT $2`, last, verifyPage)
			return err
		})
		if err != nil || len(page) == 0 {
			return done, err
		}
		for _, i := range page {
			last = i.ID
			r, err := s.Repositories.Stored(ctx, i.RepositoryID)
			if errs.Is(err, errs.RepositoryNotFound) {
				continue // removed meanwhile
			}
			if err != nil {
				return done, err
			}
			done++
			say := func(format string, args ...any) {
				report(fmt.Sprintf("deleted image %s of repository %s of registry %s: ", i.Digest, r.Name, r.Registry) + fmt.Sprintf(format, args...))
			}
			if n := missing[i.ID]; n > 0 {
				say("%d of its layers are missing", n)
			}
			_, m, err := s.open(ctx, r, i)
			if err != nil {
				say("its manifest cannot be opened: %v", err)
			} else if got := i.Digest.DigestOf(m.Canonical); got != i.Digest {
				say("its manifest has the digest %s", got)
			}
		}
	}
}

// verifyPage is how many manifests Verify holds in memory at once.
const verifyPage = 32
