package image_test

import (
	"bytes"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// TestWithRealLayers goes once through the life of an image on the layers of
// domain/layer instead of the shelf.
func TestWithRealLayers(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		volatile, store := sqldbtest.SQLite(t), memory.New()
		w.must(volatile.Migrate(ctx, "schema_version_volatile", schema.Volatile()...))
		layers := layer.New(layer.Config{
			Durable: db, Volatile: volatile, Repositories: w.repositories, Clock: w.clk, Log: w.config.Log, Quotas: w.config.Quotas,
			Store: func(name.Region) (blobstore.Store, bool) { return store, true },
		})
		w.config.Layers = layers
		w.Service = image.New(w.config)

		p := w.oci(w.app, "one", "")
		put := image.Put{Manifest: []byte(p.body), Tag: "v1"}
		_, _, err := w.Put(ctx, w.app, put)
		expect(t, err, errs.LayersNotFound, "")
		for digest, content := range w.layers.blobs[w.app.ID] {
			u, err := layers.Start(ctx, w.app)
			w.must(err)
			_, err = layers.Complete(ctx, w.app, u.ID, []name.Digest{digest}, layer.Unannounced(), bytes.NewReader(content), layer.CompleteOptions{})
			w.must(err)
		}
		w.push(w.app, p, "v1")
		l, err := layers.Stat(ctx, w.app, p.layers[0])
		if err != nil || !l.Referenced || l.MediaType != "application/vnd.oci.image.layer.v1.tar+gzip" {
			t.Errorf("%+v %v", l, err)
		}
		expect(t, layers.Delete(ctx, w.app, p.config), errs.LayerReferenced, "")
		old, err := w.Get(ctx, w.app, image.Ref{Tag: "v1"}, []string{manifest.DockerSchema1Signed})
		if err != nil || old.MediaType != manifest.DockerSchema1Signed {
			t.Errorf("%+v %v", old, err)
		}
		_, failures, err := w.Delete(ctx, w.app, []image.Ref{{Tag: "v1"}})
		if err != nil || len(failures) != 0 {
			t.Errorf("%v %v", failures, err)
		}
		if l, err := layers.Stat(ctx, w.app, p.layers[0]); err != nil || l.Referenced {
			t.Errorf("%+v %v", l, err)
		}
		if queued := w.texts(`SELECT digest FROM layer_review`); len(queued) != 3 {
			t.Errorf("queued for review: %v", queued)
		}
	})
}
