package receive

import (
	"context"
	"errors"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Why a push is not made as it was asked for.
var (
	errOlder   = errors.New("receive: a newer change of the tag was there")
	errApplied = errors.New("receive: this very change of the tag was made before")
	errGone    = errors.New("receive: the image was deleted after this change")
)

// guard is the last change of a tag or an image that has come from a source.
type guard struct {
	seq     int64
	removed bool
}

func guardTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, source name.Registry, ref string) (g guard, found bool, err error) {
	err = tx.QueryRow(ctx, `SELECT seq, removed FROM replication_guard WHERE repository_id = $1 AND ref = $2 AND from_account = $3 AND from_region = $4`,
		r.ID, ref, string(source.Account), string(source.Region)).Scan(&g.seq, &g.removed)
	if errors.Is(err, sqldb.ErrNoRows) {
		return guard{}, false, nil
	}
	return g, err == nil, err
}

// noteTx remembers a change, unless a newer one is there.
func noteTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, source name.Registry, ref string, g guard) error {
	_, err := tx.Exec(ctx, `INSERT INTO replication_guard (repository_id, ref, from_account, from_region, seq, removed, removing) VALUES ($1, $2, $3, $4, $5, $6, $6)
		ON CONFLICT (repository_id, ref, from_account, from_region) DO UPDATE SET seq = excluded.seq, removed = excluded.removed, removing = excluded.removing
		WHERE replication_guard.seq <= excluded.seq`, r.ID, ref, string(source.Account), string(source.Region), g.seq, g.removed)
	return err
}

// PutImage implements replication.Destination.
func (r *Receiver) PutImage(ctx context.Context, p replication.Place, m replication.Manifest) (bool, error) {
	repo, err := r.repository(ctx, p, m.Digest, m.Tag)
	if err != nil {
		return false, err
	}
	tagged := m.Tag != ""
	for {
		changed := false
		_, _, err := r.c.Images.Put(ctx, repo, image.Put{
			Manifest: m.Body, MediaType: m.MediaType, Tag: m.Tag, Digest: m.Digest, Origin: event.OriginReplication,
			Before: func(ctx context.Context, tx *sqldb.Tx, locked repository.Repository) (err error) {
				if err := guardPut(ctx, tx, locked, p.Source, m); err != nil {
					return err
				}
				// Here, since nobody knows afterwards what was there before.
				if changed, err = changes(ctx, tx, locked, m); err != nil || !changed {
					return err
				}
				return r.tell(ctx, tx, p, m, event.Success, "")
			},
		})
		switch {
		case err == nil:
			if changed {
				r.record(ctx, p, replicateImage, m.Digest, m.Tag, nil)
			}
			return tagged, nil
		case errors.Is(err, errGone):
			return false, nil
		case m.Tag != "" && errors.Is(err, errApplied):
			m.Tag = ""
		case m.Tag != "" && (errors.Is(err, errOlder) || errs.Is(err, errs.TagExists)):
			m.Tag, tagged = "", false
		default:
			return false, err
		}
	}
}

// guardPut refuses what a newer change has overtaken, and remembers the rest.
func guardPut(ctx context.Context, tx *sqldb.Tx, r repository.Repository, source name.Registry, m replication.Manifest) error {
	g, _, err := guardTx(ctx, tx, r, source, string(m.Digest))
	if err != nil {
		return err
	}
	if g.removed && g.seq > m.Seq {
		return errGone
	}
	if m.Tag != "" {
		g, found, err := guardTx(ctx, tx, r, source, string(m.Tag))
		switch {
		case err != nil:
			return err
		case g.seq > m.Seq:
			return errOlder
		case found && g.seq == m.Seq:
			return errApplied
		}
		if err := noteTx(ctx, tx, r, source, string(m.Tag), guard{seq: m.Seq}); err != nil {
			return err
		}
	}
	return noteTx(ctx, tx, r, source, string(m.Digest), guard{seq: m.Seq})
}

// changes says whether a push of the image changes anything.
func changes(ctx context.Context, tx *sqldb.Tx, r repository.Repository, m replication.Manifest) (bool, error) {
	var there bool
	query := `SELECT EXISTS (SELECT 1 FROM image i WHERE i.repository_id = $1 AND i.digest = $2 AND i.status = 0)`
	args := []any{r.ID, string(m.Digest)}
	if m.Tag != "" {
		query = `SELECT EXISTS (SELECT 1 FROM image i JOIN image_tag t ON t.image_id = i.id WHERE i.repository_id = $1 AND i.digest = $2 AND i.status = 0
			AND t.repository_id = $1 AND t.tag = $3)`
		args = append(args, string(m.Tag))
	}
	err := tx.QueryRow(ctx, query, args...).Scan(&there)
	return !there, err
}

// Remove implements replication.Destination. errs.ImageReferenced for an image that
// an index here needs.
func (r *Receiver) Remove(ctx context.Context, p replication.Place, rm replication.Removal) error {
	needs := []authz.Need{need(p, replicateImage, nil)}
	if p.Source.Account != p.Destination.Account {
		needs = append(needs, need(p, deleteImage, nil))
	}
	if err := r.may(ctx, p, rm.Digest, rm.Tag, needs...); err != nil {
		return err
	}
	repo, err := r.c.Repositories.Get(ctx, p.Destination, p.Repository)
	if err != nil {
		return err
	}
	ref := string(rm.Tag)
	if ref == "" {
		ref = string(rm.Digest)
	}
	removed := false
	err = r.c.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		removed = false
		locked, err := r.c.Repositories.Lock(ctx, tx, repo)
		if err != nil {
			return err
		}
		g, found, err := guardTx(ctx, tx, locked, p.Source, ref)
		if err != nil || !found || g.seq > rm.Seq || g.seq == rm.Seq && g.removed {
			return err
		}
		// While the row says so, the events of the deletion are nobody's to copy.
		if err := noteTx(ctx, tx, locked, p.Source, ref, guard{seq: rm.Seq, removed: true}); err != nil {
			return err
		}
		if removed, err = r.removeTx(ctx, tx, locked, rm); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE replication_guard SET removing = FALSE WHERE repository_id = $1 AND ref = $2`, locked.ID, ref)
		return err
	})
	if err == nil && removed {
		r.record(ctx, p, deleteImage, rm.Digest, rm.Tag, nil)
	}
	return err
}

// removeTx deletes what is there of it.
func (r *Receiver) removeTx(ctx context.Context, tx *sqldb.Tx, repo repository.Repository, rm replication.Removal) (bool, error) {
	if rm.Tag != "" {
		err := r.c.Images.UntagTx(ctx, tx, repo, rm.Digest, []name.Tag{rm.Tag})
		if errs.Is(err, errs.ImageNotFound) {
			return false, nil
		}
		return err == nil, err
	}
	_, failures, err := r.c.Images.DeleteTx(ctx, tx, repo, []image.Ref{{Digest: rm.Digest}})
	if err != nil || len(failures) == 0 {
		return err == nil, err
	}
	if failures[0].Code == image.NotFound {
		return false, nil
	}
	return false, errs.Wrap(failures[0], errs.ImageReferenced, "%s", failures[0].Reason)
}
