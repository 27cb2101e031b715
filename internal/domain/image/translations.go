package image

import (
	"context"
	"sync"

	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// translations remembers the digests of schema 1 manifests that were made for a
// pull by tag, so that they can be asked for by their digest. They depend on the
// tag, so the push cannot know them, and a pull must not write: Run writes them
// with the pulls. Until then the node that made one knows it.
type translations struct {
	mu    sync.Mutex
	known map[translationKey]translation
	// fresh are those of known that are not written yet.
	fresh map[translationKey]translation
}

type translationKey struct {
	repository int64
	digest     name.Digest
}

type translation struct {
	image int64
	tag   name.Tag
}

// maxTranslations bounds the memory. What is forgotten is made anew by the next
// pull by tag.
const maxTranslations = 10_000

func (t *translations) note(repositoryID int64, d name.Digest, made translation) {
	key := translationKey{repositoryID, d}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.known[key]; ok {
		return
	}
	if t.known == nil || len(t.known) >= maxTranslations {
		t.known = map[translationKey]translation{}
	}
	if t.fresh == nil || len(t.fresh) >= maxTranslations {
		t.fresh = map[translationKey]translation{}
	}
	t.known[key], t.fresh[key] = made, made
}

const imageByID = `SELECT ` + rowColumns + ` FROM image i WHERE i.repository_id = $1 AND i.id = $2`

// find looks up the image of a translation that this node has made; ErrNoRows
// where it made none, or the image is gone.
func (t *translations) find(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d name.Digest) (row, form, error) {
	t.mu.Lock()
	made, ok := t.known[translationKey{r.ID, d}]
	t.mu.Unlock()
	if !ok {
		return row{}, form{}, sqldb.ErrNoRows
	}
	i, err := scanRow(tx.QueryRow(ctx, imageByID, r.ID, made.image))
	return i, form{manifest.DockerSchema1Signed, made.tag}, err
}

// flush writes what is fresh; after a failure it stays so.
func (t *translations) flush(ctx context.Context, db *sqldb.DB) error {
	t.mu.Lock()
	taken := t.fresh
	t.fresh = nil
	t.mu.Unlock()
	if len(taken) == 0 {
		return nil
	}
	err := db.Update(ctx, func(tx *sqldb.Tx) error {
		for key, made := range taken {
			// An image that is gone is passed over, and none goes meanwhile.
			_, err := tx.Exec(ctx, `INSERT INTO image_translation (repository_id, digest, image_id, media_type, tag)
				SELECT i.repository_id, CAST($3 AS TEXT), i.id, CAST($4 AS TEXT), CAST($5 AS TEXT) FROM image i WHERE i.repository_id = $1 AND i.id = $2`+tx.ForShare()+
				` ON CONFLICT DO NOTHING`,
				key.repository, made.image, string(key.digest), manifest.DockerSchema1Signed, string(made.tag))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		for key, made := range t.fresh {
			taken[key] = made
		}
		t.fresh = taken
	}
	return err
}
