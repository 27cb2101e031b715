package storage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/storage"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
)

// world is a registry with one repository, and a queue that runs.
type world struct {
	*testing.T
	*storage.Service
	images         *image.Service
	layers         *layer.Service
	db             *sqldb.DB
	clk            *clock.Fake
	app            repository.Repository
	store, archive blobstore.Store
}

func onEngines(t *testing.T, fn func(w *world)) {
	t.Helper()
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		w := &world{T: t, db: db, clk: clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), store: memory.New(), archive: memory.New()}
		w.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
		volatile := sqldbtest.SQLite(t)
		w.must(volatile.Migrate(ctx, "schema_version_volatile", schema.Volatile()...))
		log := slog.New(slog.DiscardHandler)
		reg := name.Registry{Account: "123456789012", Region: "eu-west-1"}
		w.must(db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO account (id, name, created_at) VALUES ($1, 'test', 0)`, string(reg.Account))
			return err
		}))
		repositories := repository.New(repository.Config{DB: db, Clock: w.clk, Quotas: quota.Fixed(quota.Default()), Registries: registry.New(db, w.clk, []name.Region{reg.Region})})
		var err error
		w.app, err = repositories.Create(ctx, repository.Create{Registry: reg, Name: "app", Mutability: repository.Mutability{Setting: repository.Immutable}})
		w.must(err)
		queue := jobs.New(db, w.clk, log, jobs.Options{Poll: 10 * time.Millisecond})
		w.layers = layer.New(layer.Config{
			Durable: db, Volatile: volatile, Repositories: repositories, Clock: w.clk, Log: log, Quotas: quota.Fixed(quota.Default()), Jobs: queue,
			Store:   func(name.Region) (blobstore.Store, bool) { return w.store, true },
			Archive: func(name.Region) (blobstore.Store, bool) { return w.archive, true },
		})
		outbox := event.NewOutbox()
		w.images = image.New(image.Config{Durable: db, Repositories: repositories, Layers: w.layers, Outbox: outbox, Clock: w.clk, Log: log, Quotas: quota.Fixed(quota.Default())})
		w.Service = storage.New(storage.Config{Durable: db, Repositories: repositories, Images: w.images, Layers: w.layers, Outbox: outbox, Clock: w.clk, Jobs: queue})
		running, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- queue.Run(running) }()
		t.Cleanup(func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		fn(w)
	})
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// blob uploads a layer and returns its descriptor.
func (w *world) blob(mediaType, content string) map[string]any {
	w.Helper()
	ctx := context.Background()
	d := name.SHA256([]byte(content))
	u, err := w.layers.Start(ctx, w.app)
	w.must(err)
	_, err = w.layers.Complete(ctx, w.app, u.ID, []name.Digest{d}, layer.Unannounced(), bytes.NewReader([]byte(content)), layer.CompleteOptions{})
	w.must(err)
	return map[string]any{"mediaType": mediaType, "digest": d, "size": len(content)}
}

// push makes an image with a layer of its own and one that all share.
func (w *world) push(what string, tag name.Tag) image.Image {
	w.Helper()
	m := map[string]any{
		"schemaVersion": 2, "mediaType": ociManifest, "config": w.blob("application/vnd.oci.image.config.v1+json", `{"what":"`+what+`"}`),
		"layers": []any{w.blob("application/vnd.oci.image.layer.v1.tar", "shared"), w.blob("application/vnd.oci.image.layer.v1.tar", what)},
	}
	return w.put(m, ociManifest, tag)
}

func (w *world) put(m map[string]any, mediaType string, tag name.Tag) image.Image {
	w.Helper()
	b, err := json.Marshal(m)
	w.must(err)
	img, created, err := w.images.Put(context.Background(), w.app, image.Put{Manifest: b, MediaType: mediaType, Tag: tag})
	w.must(err)
	if !created {
		w.Errorf("pushing %s changed nothing", tag)
	}
	return img
}

// stands waits until so many objects stand in the store and in the archive.
func (w *world) stands(store, archive int) {
	w.Helper()
	count := func(s blobstore.Store) (n int) {
		for _, err := range s.List(context.Background(), "") {
			w.must(err)
			n++
		}
		return n
	}
	var got [2]int
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got = [2]int{count(w.store), count(w.archive)}; got == [2]int{store, archive} {
			return
		}
	}
	w.Errorf("%d objects in the store and %d in the archive, want %d and %d", got[0], got[1], store, archive)
}

// becomes waits until an image has a status.
func (w *world) becomes(ref image.Ref, want image.Status) image.Detail {
	w.Helper()
	var ds []image.Detail
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var err error
		ds, _, err = w.images.Describe(context.Background(), w.app, image.DescribeQuery{Refs: []image.Ref{ref}})
		w.must(err)
		if ds[0].Status == want {
			return ds[0]
		}
	}
	w.Fatalf("the image is %v, want %v", ds[0].Status, want)
	return image.Detail{}
}

func (w *world) pull(tag name.Tag) error {
	_, err := w.images.Get(context.Background(), w.app, image.Ref{Tag: tag}, nil)
	return err
}

func (w *world) reads(content string) error {
	body, _, err := w.layers.Open(context.Background(), w.app, name.SHA256([]byte(content)), 0, -1)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(body)
	if err == nil && string(got) != content {
		err = fmt.Errorf("read %q, want %q", got, content)
	}
	return err
}

func TestArchiveAndRestore(t *testing.T) {
	onEngines(t, func(w *world) {
		ctx := w.Context()
		one := w.push("one", "v1")
		w.push("two", "v2")
		w.stands(5, 0)

		d, err := w.Archive(ctx, w.app, image.Ref{Digest: one.Digest})
		if err != nil || d.Status != image.Archived || !d.ArchivedAt.Equal(w.clk.Now()) || !d.ActivatedAt.IsZero() || fmt.Sprint(d.Tags) != "[v1]" {
			w.Fatalf("%+v %v", d, err)
		}
		if err := w.pull("v1"); !errs.Is(err, errs.ImageNotFound) {
			w.Errorf("an archived image was pulled: %v", err)
		}
		if _, err := w.images.Stat(ctx, w.app, image.Ref{Tag: "v1"}, nil); !errs.Is(err, errs.ImageNotFound) {
			w.Errorf("an archived image was found: %v", err)
		}
		w.stands(3, 2) // the shared layer is needed by the other image
		if err := w.reads("one"); !errs.Is(err, errs.LayerInaccessible) {
			w.Errorf("an archived layer was read: %v", err)
		}
		w.must(w.pull("v2"))
		w.must(w.reads("shared"))

		for filter, want := range map[image.StatusFilter]string{image.ActiveOnly: "[v2]", image.ArchivedOnly: "[v1]", image.ActivatingOnly: "[]", image.AnyStatus: "[v1 v2]"} {
			refs, _, err := w.images.List(ctx, w.app, image.ListQuery{Status: filter, Limit: 10})
			w.must(err)
			details, _, err := w.images.Describe(ctx, w.app, image.DescribeQuery{Status: filter, Limit: 10})
			w.must(err)
			listed, described := []name.Tag{}, []name.Tag{}
			for _, r := range refs {
				listed = append(listed, r.Tag)
			}
			for _, d := range details {
				described = append(described, d.Tags...)
			}
			if fmt.Sprint(listed) != want || fmt.Sprint(described) != want {
				w.Errorf("filter %q: listed %v, described %v, want %s", filter, listed, described, want)
			}
		}
		if tags, _, err := w.images.Tags(ctx, w.app, "", 10); err != nil || fmt.Sprint(tags) != "[v2]" {
			w.Errorf("tags %v %v", tags, err)
		}
		// Archived again it stays as it is; so does an active one that is restored.
		if again, err := w.Archive(ctx, w.app, image.Ref{Tag: "v1"}); err != nil || !again.ArchivedAt.Equal(d.ArchivedAt) {
			w.Errorf("%+v %v", again, err)
		}
		if other, err := w.Restore(ctx, w.app, image.Ref{Tag: "v2"}); err != nil || other.Status != image.Active {
			w.Errorf("%+v %v", other, err)
		}

		w.clk.Advance(time.Hour)
		if d, err = w.Restore(ctx, w.app, image.Ref{Tag: "v1"}); err != nil || d.Status != image.Activating {
			w.Fatalf("%+v %v", d, err)
		}
		d = w.becomes(image.Ref{Tag: "v1"}, image.Active)
		if !d.ActivatedAt.Equal(w.clk.Now()) || !d.ArchivedAt.Equal(w.clk.Now().Add(-time.Hour)) {
			w.Errorf("%+v", d)
		}
		w.stands(5, 0)
		w.must(w.pull("v1"))
		w.must(w.reads("one"))
	})
}

// An archived image that is pushed again is there at once, although its tag is
// immutable: it does not move.
func TestPushedAgain(t *testing.T) {
	onEngines(t, func(w *world) {
		ctx := w.Context()
		w.push("one", "v1")
		_, err := w.Archive(ctx, w.app, image.Ref{Tag: "v1"})
		w.must(err)
		w.stands(0, 3)
		w.clk.Advance(time.Minute)
		w.push("one", "v1")
		w.must(w.pull("v1"))
		w.must(w.reads("one"))
		d := w.becomes(image.Ref{Tag: "v1"}, image.Active)
		if !d.ActivatedAt.Equal(w.clk.Now()) {
			w.Errorf("%+v", d)
		}
	})
}

func TestIndexes(t *testing.T) {
	onEngines(t, func(w *world) {
		ctx := w.Context()
		child := w.push("child", "")
		index := w.put(map[string]any{
			"schemaVersion": 2, "mediaType": ociIndex,
			"manifests": []any{map[string]any{"mediaType": ociManifest, "digest": child.Digest, "size": child.ManifestSize, "platform": map[string]any{"os": "linux", "architecture": "amd64"}}},
		}, ociIndex, "multi")

		_, err := w.Archive(ctx, w.app, image.Ref{Digest: child.Digest})
		if !errs.Is(err, errs.StorageClassRefused) {
			w.Errorf("a child was archived before its index: %v", err)
		}
		_, err = w.Archive(ctx, w.app, image.Ref{Digest: index.Digest})
		w.must(err)
		_, err = w.Archive(ctx, w.app, image.Ref{Digest: child.Digest})
		w.must(err)
		// Pushed again without its child, the index could not be pulled.
		_, _, err = w.images.Put(ctx, w.app, image.Put{Manifest: index.Manifest, MediaType: ociIndex, Tag: "multi"})
		if !errs.Is(err, errs.ReferencedImagesNotFound) {
			w.Errorf("an index came back without its child: %v", err)
		}
		_, err = w.Restore(ctx, w.app, image.Ref{Tag: "multi"})
		w.must(err)
		w.becomes(image.Ref{Tag: "multi"}, image.Active)
		if d := w.becomes(image.Ref{Digest: child.Digest}, image.Active); d.ActivatedAt.IsZero() {
			w.Errorf("%+v", d)
		}
		w.must(w.reads("child"))
	})
}

func TestRefusals(t *testing.T) {
	onEngines(t, func(w *world) {
		ctx := w.Context()
		for _, change := range []func(context.Context, repository.Repository, image.Ref) (image.Detail, error){w.Archive, w.Restore} {
			if _, err := change(ctx, w.app, image.Ref{Tag: "none"}); !errs.Is(err, errs.ImageNotFound) {
				w.Errorf("a missing image: %v", err)
			}
			if _, err := change(ctx, w.app, image.Ref{}); !errs.Is(err, errs.InvalidParameter) {
				w.Errorf("no image: %v", err)
			}
			gone := w.app
			gone.ID++
			if _, err := change(ctx, gone, image.Ref{Tag: "none"}); !errs.Is(err, errs.RepositoryNotFound) {
				w.Errorf("a missing repository: %v", err)
			}
		}
	})
}
