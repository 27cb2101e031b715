// Package translated remembers the digests of docker schema 1 manifests that were made
// for a pull by tag, so that they can be asked for by their digest. They depend on
// the tag, so the push cannot know them, and a pull must not write: they are written
// down in batches. Until then the node that made one knows it.
//
// It writes the rows of image_translation that are of schema 1. It does not
// translate, nor decide when to write; domain/image does, its only user.
package translated

import (
	"context"
	"sync"

	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Manifests are those that this node made. The zero value is ready.
type Manifests struct {
	mu    sync.Mutex
	known map[key]Origin
	// fresh are those of known that are not written yet.
	fresh map[key]Origin
}

type key struct {
	repository int64
	digest     name.Digest
}

// Origin is what a translation was made of.
type Origin struct {
	// Image is the number of the image.
	Image int64
	// Tag is the one that the manifest names.
	Tag name.Tag
}

// most bounds the memory. What is forgotten is made anew by the next pull by tag.
const most = 10_000

// Note remembers a translation in a repository.
func (m *Manifests) Note(repositoryID int64, d name.Digest, of Origin) {
	k := key{repositoryID, d}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.known[k]; ok {
		return
	}
	if m.known == nil || len(m.known) >= most {
		m.known = map[key]Origin{}
	}
	if m.fresh == nil || len(m.fresh) >= most {
		m.fresh = map[key]Origin{}
	}
	m.known[k], m.fresh[k] = of, of
}

// Find says what this node has made a translation of; false where it made none.
func (m *Manifests) Find(repositoryID int64, d name.Digest) (Origin, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	of, ok := m.known[key{repositoryID, d}]
	return of, ok
}

// Flush writes what is not written yet; after a failure it stays so.
func (m *Manifests) Flush(ctx context.Context, db *sqldb.DB) error {
	m.mu.Lock()
	taken := m.fresh
	m.fresh = nil
	m.mu.Unlock()
	if len(taken) == 0 {
		return nil
	}
	err := db.Update(ctx, func(tx *sqldb.Tx) error {
		for k, of := range taken {
			// An image that is gone is passed over, and none goes meanwhile.
			_, err := tx.Exec(ctx, `INSERT INTO image_translation (repository_id, digest, image_id, media_type, tag)
				SELECT i.repository_id, CAST($3 AS TEXT), i.id, CAST($4 AS TEXT), CAST($5 AS TEXT) FROM image i WHERE i.repository_id = $1 AND i.id = $2`+tx.ForShare()+
				` ON CONFLICT DO NOTHING`,
				k.repository, of.Image, string(k.digest), manifest.DockerSchema1Signed, string(of.Tag))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		for k, of := range m.fresh {
			taken[k] = of
		}
		m.fresh = taken
	}
	return err
}
