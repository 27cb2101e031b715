package recovery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/check"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/image/storage"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/recovery"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

var reg = name.Registry{Account: "123456789012", Region: "eu-west-1"}

const day = 24 * time.Hour

// world is a registry with the repository app, which has a recovery window of
// seven days.
type world struct {
	*recovery.Service
	t            testing.TB
	db           *sqldb.DB
	clk          *clock.Fake
	repositories *repository.Service
	images       *image.Service
	layers       *layer.Service
	app          repository.Repository
}

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) { fn(t, open(t, db)) })
}

func open(t testing.TB, db *sqldb.DB) *world {
	t.Helper()
	ctx, log := t.Context(), slog.New(slog.DiscardHandler)
	w := &world{t: t, db: db, clk: clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))}
	w.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	volatile := sqldbtest.SQLite(t)
	w.must(volatile.Migrate(ctx, "schema_version_volatile", schema.Volatile()...))
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
	w.must(err)
	principals, err := principal.New(db, ring, w.clk)
	w.must(err)
	w.must(principals.EnsureAccount(ctx, reg.Account))
	w.repositories = repository.New(repository.Config{
		DB: db, Clock: w.clk, Registries: registry.New(db, w.clk, []name.Region{reg.Region}), Keys: ring, Quotas: quota.Fixed(quota.Default()), Sealing: true,
	})
	store, archive := memory.New(), memory.New()
	w.layers = layer.New(layer.Config{
		Durable: db, Volatile: volatile, Repositories: w.repositories, Clock: w.clk, Log: log, Quotas: quota.Fixed(quota.Default()),
		Store:   func(name.Region) (blobstore.Store, bool) { return store, true },
		Archive: func(name.Region) (blobstore.Store, bool) { return archive, true },
	})
	w.images = image.New(image.Config{
		Durable: db, Repositories: w.repositories, Layers: w.layers, Outbox: event.NewOutbox(), Clock: w.clk, Log: log,
		Quotas: quota.Fixed(quota.Default()), Bin: recovery.Bin{Clock: w.clk},
	})
	w.Service = recovery.New(recovery.Config{Durable: db, Repositories: w.repositories, Images: w.images, Layers: w.layers, Clock: w.clk, Log: log})
	w.app = w.create("app", repository.Mutability{Setting: repository.Mutable})
	w.must(w.repositories.SetSetting(ctx, reg, "app", "recovery-window", "7d"))
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(repo name.Repository, m repository.Mutability) repository.Repository {
	w.t.Helper()
	r, err := w.repositories.Create(w.t.Context(), repository.Create{Registry: reg, Name: repo, Mutability: m})
	w.must(err)
	return r
}

func (w *world) blob(r repository.Repository, content string) name.Digest {
	w.t.Helper()
	ctx, d := w.t.Context(), name.SHA256([]byte(content))
	u, err := w.layers.Start(ctx, r)
	w.must(err)
	_, err = w.layers.Complete(ctx, r, u.ID, []name.Digest{d}, layer.Unannounced(), strings.NewReader(content), layer.CompleteOptions{})
	w.must(err)
	return d
}

// push pushes an image that differs from others by its seed, and returns its
// digest and that of a layer that no other image has.
func (w *world) push(r repository.Repository, seed string, tags ...name.Tag) (digest, own name.Digest) {
	w.t.Helper()
	config, base, top := `{"seed":"`+seed+`"}`, "the base", "the layer of "+seed
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%d},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":%d},{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":%d}]}`,
		manifest.OCIImage, w.blob(r, config), len(config), w.blob(r, base), len(base), w.blob(r, top), len(top))
	return w.put(r, body, tags...), name.SHA256([]byte(top))
}

func (w *world) index(r repository.Repository, children []name.Digest, tags ...name.Tag) name.Digest {
	w.t.Helper()
	var list []string
	for _, c := range children {
		list = append(list, fmt.Sprintf(`{"mediaType":"%s","digest":"%s","size":1}`, manifest.OCIImage, c))
	}
	return w.put(r, `{"schemaVersion":2,"mediaType":"`+manifest.OCIIndex+`","manifests":[`+strings.Join(list, ",")+`]}`, tags...)
}

func (w *world) put(r repository.Repository, body string, tags ...name.Tag) (digest name.Digest) {
	w.t.Helper()
	if len(tags) == 0 {
		tags = []name.Tag{""}
	}
	for _, tag := range tags {
		img, _, err := w.images.Put(w.t.Context(), r, image.Put{Manifest: []byte(body), Tag: tag})
		w.must(err)
		digest = img.Digest
	}
	return digest
}

func (w *world) remove(r repository.Repository, refs ...image.Ref) {
	w.t.Helper()
	if _, failures, err := w.images.Delete(w.t.Context(), r, refs); err != nil || len(failures) > 0 {
		w.t.Fatalf("%v %v", failures, err)
	}
}

func (w *world) detail(r repository.Repository, d name.Digest) (image.Detail, bool) {
	w.t.Helper()
	all, _, err := w.images.Describe(w.t.Context(), r, image.DescribeQuery{Refs: []image.Ref{{Digest: d}}})
	if errs.Is(err, errs.ImageNotFound) {
		return image.Detail{}, false
	}
	w.must(err)
	return all[0], true
}

// tags are those that an image has; "gone" for one that is not there.
func (w *world) tags(r repository.Repository, d name.Digest) string {
	w.t.Helper()
	detail, ok := w.detail(r, d)
	if !ok {
		return "gone"
	}
	return fmt.Sprint(detail.Tags)
}

// holds says whether the bytes of a layer can be read.
func (w *world) holds(r repository.Repository, d name.Digest) bool {
	w.t.Helper()
	body, _, err := w.layers.Open(w.t.Context(), r, d, 0, -1)
	if errs.Is(err, errs.LayersNotFound) {
		return false
	}
	w.must(err)
	content, err := io.ReadAll(body)
	w.must(errors.Join(err, body.Close()))
	if name.SHA256(content) != d {
		w.t.Errorf("layer %s has other bytes", d)
	}
	return true
}

// collect reviews all layers whose grace period is over.
func (w *world) collect() {
	w.t.Helper()
	_, err := w.layers.Collect(context.Background())
	w.must(err)
}

// bin lists what is kept, as "digest [tags]", with digests cut short.
func (w *world) bin(r repository.Repository) []string {
	w.t.Helper()
	all, err := w.Kept(w.t.Context(), r, 0, 100)
	w.must(err)
	out := []string{}
	for _, i := range all {
		out = append(out, fmt.Sprintf("%s %v", i.Digest.Hex()[:8], i.Tags))
	}
	return out
}

// sound checks that fsck finds nothing, and that no layer is without an image, a
// deleted image or a review.
func (w *world) sound() {
	w.t.Helper()
	ctx := context.Background()
	report := func(text string) { w.t.Errorf("fsck: %s", text) }
	_, err := w.Verify(ctx, report)
	w.must(err)
	_, err = check.Service{Durable: w.db, Repositories: w.repositories}.Verify(ctx, func(int64, int64) {}, report)
	w.must(err)
	var wrong int64
	w.must(w.db.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM layer l WHERE NOT EXISTS (SELECT 1 FROM image_layer i WHERE i.repository_id = l.repository_id AND i.digest = l.digest)
			AND NOT EXISTS (SELECT 1 FROM deleted_image_layer d WHERE d.repository_id = l.repository_id AND d.digest = l.digest)
			AND NOT EXISTS (SELECT 1 FROM layer_review v WHERE v.repository_id = l.repository_id AND v.digest = l.digest))
			+ (SELECT count(*) FROM repository r WHERE r.images <> (SELECT count(*) FROM image i WHERE i.repository_id = r.id))`).Scan(&wrong)
	}))
	if wrong != 0 {
		w.t.Errorf("%d rows are inconsistent", wrong)
	}
}

func (w *world) restored(ref image.Ref, move bool, want string) {
	w.t.Helper()
	all, err := w.Restore(w.t.Context(), w.app, ref, move)
	w.must(err)
	var out []string
	for _, r := range all {
		line := fmt.Sprintf("%s %v", r.Digest.Hex()[:8], r.Tags)
		for _, e := range r.Elsewhere {
			line += fmt.Sprintf(" %s:%s:%v", e.Tag, e.On.Hex()[:8], e.Immutable)
		}
		out = append(out, line)
	}
	if got := strings.Join(out, "; "); got != want {
		w.t.Errorf("restored %q, want %q", got, want)
	}
}

func short(d name.Digest) string { return d.Hex()[:8] }

func TestImage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		d, own := w.push(w.app, "one", "v1", "latest")
		other, _ := w.push(w.app, "two", "v2")
		pushed, _ := w.detail(w.app, d)
		_, err := w.images.Get(ctx, w.app, image.Ref{Digest: d}, nil)
		w.must(err)
		w.must(func() error {
			run, cancel := context.WithCancel(ctx)
			cancel()
			return w.images.Run(run) // writes the pull's time
		}())
		w.clk.Advance(time.Hour)

		// A tag alone is not kept.
		w.remove(w.app, image.Ref{Tag: "latest"})
		if got := w.bin(w.app); len(got) != 0 {
			t.Errorf("the bin has %v", got)
		}
		w.put(w.app, body(t, w, d), "latest")

		w.remove(w.app, image.Ref{Digest: d})
		if got := w.bin(w.app); !slices.Equal(got, []string{short(d) + " [latest v1]"}) {
			t.Errorf("the bin has %v", got)
		}
		if got := w.tags(w.app, d); got != "gone" {
			t.Error(got)
		}
		if _, _, err := w.images.Put(ctx, w.app, image.Put{Manifest: []byte("{}")}); err == nil {
			t.Error("no manifest was taken")
		}
		w.clk.Advance(6 * day)
		w.collect()
		w.sound()
		if !w.holds(w.app, own) {
			t.Fatal("the layer is gone")
		}
		if err := w.layers.Delete(ctx, w.app, own); !errs.Is(err, errs.LayerReferenced) {
			t.Errorf("deleting its layer: %v", err)
		}
		w.restored(image.Ref{Digest: d}, false, short(d)+" [latest v1]")
		back, ok := w.detail(w.app, d)
		if !ok || fmt.Sprint(back.Tags) != "[latest v1]" || !back.PushedAt.Equal(pushed.PushedAt) || back.LastPulledAt.IsZero() || back.Size != pushed.Size {
			t.Errorf("%+v", back)
		}
		if got := w.bin(w.app); len(got) != 0 {
			t.Errorf("the bin has %v", got)
		}
		w.clk.Advance(30 * day)
		if gone, err := w.Expire(ctx); err != nil || gone != (recovery.Expired{}) {
			t.Errorf("%+v %v", gone, err)
		}
		w.collect()
		w.sound()
		if !w.holds(w.app, own) || w.tags(w.app, other) != "[v2]" {
			t.Error("something is gone")
		}

		// To the end of the window.
		w.remove(w.app, image.Ref{Tag: "v1"}, image.Ref{Tag: "latest"})
		w.clk.Advance(7*day - time.Second)
		if gone, err := w.Expire(ctx); err != nil || gone != (recovery.Expired{}) {
			t.Errorf("%+v %v", gone, err)
		}
		w.clk.Advance(time.Second)
		if gone, err := w.Expire(ctx); err != nil || gone != (recovery.Expired{Images: 1}) {
			t.Errorf("%+v %v", gone, err)
		}
		w.sound()
		w.clk.Advance(day)
		w.collect()
		if w.holds(w.app, own) {
			t.Error("the layer is still there")
		}
		if !w.holds(w.app, name.SHA256([]byte("the base"))) {
			t.Error("the other image's layer is gone")
		}
		if _, err := w.Restore(ctx, w.app, image.Ref{Digest: d}, false); !errs.Is(err, errs.ImageNotFound) {
			t.Errorf("%v", err)
		}
		w.sound()
	})
}

// body reads the manifest of an image that is there.
func body(t *testing.T, w *world, d name.Digest) string {
	t.Helper()
	img, err := w.images.Peek(t.Context(), w.app, image.Ref{Digest: d}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.Clone(img.Manifest))
}

// TestNothingIsKeptWithoutAWindow: without the setting a deletion is one.
func TestNothingIsKeptWithoutAWindow(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := w.create("plain", repository.Mutability{Setting: repository.Mutable})
		d, own := w.push(r, "one", "v1")
		w.remove(r, image.Ref{Digest: d})
		if got := w.bin(r); len(got) != 0 {
			t.Errorf("the bin has %v", got)
		}
		w.clk.Advance(day)
		w.collect()
		if w.holds(r, own) {
			t.Error("the layer is still there")
		}
		w.sound()
	})
}

func TestIndex(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		a, own := w.push(w.app, "amd64", "amd64")
		b, _ := w.push(w.app, "arm64")
		c, _ := w.push(w.app, "s390x")
		index := w.index(w.app, []name.Digest{a, b, c}, "v1")
		outer := w.index(w.app, []name.Digest{index}, "all")
		for _, d := range []name.Digest{outer, index, a, b} {
			w.remove(w.app, image.Ref{Digest: d})
		}
		w.clk.Advance(2 * day)
		w.collect()
		w.sound()
		w.restored(image.Ref{Tag: "all"}, false, fmt.Sprintf("%s [amd64]; %s []; %s [v1]; %s [all]", short(a), short(b), short(index), short(outer)))
		for d, want := range map[name.Digest]string{a: "[amd64]", b: "[]", c: "[]", index: "[v1]", outer: "[all]"} {
			if got := w.tags(w.app, d); got != want {
				t.Errorf("%s has %s, want %s", short(d), got, want)
			}
		}
		if got := w.bin(w.app); len(got) != 0 || !w.holds(w.app, own) {
			t.Errorf("the bin has %v", got)
		}
		w.sound()

		// A child that is gone for good: nothing comes back.
		for _, d := range []name.Digest{outer, index, a} {
			w.remove(w.app, image.Ref{Digest: d})
		}
		if purged, err := w.Purge(ctx, w.app, image.Ref{Digest: a}); err != nil || len(purged) != 1 {
			t.Fatalf("%v %v", purged, err)
		}
		if _, err := w.Restore(ctx, w.app, image.Ref{Digest: outer}, false); !errs.Is(err, errs.ReferencedImagesNotFound) || !strings.Contains(err.Error(), string(a)) {
			t.Errorf("%v", err)
		}
		if got := w.bin(w.app); len(got) != 2 || w.tags(w.app, index) != "gone" {
			t.Errorf("the bin has %v", got)
		}
		w.sound()
	})
}

func TestTagsElsewhere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		d, _ := w.push(w.app, "one", "a", "b", "stable-1")
		w.remove(w.app, image.Ref{Digest: d})
		next, _ := w.push(w.app, "two", "b", "stable-1")
		_, err := w.repositories.SetMutability(ctx, reg, "app", repository.Mutability{Setting: repository.MutableWithExclusion, Filters: []string{"stable-*"}})
		w.must(err)

		w.restored(image.Ref{Tag: "b"}, false, fmt.Sprintf("%s [a] b:%s:false stable-1:%s:true", short(d), short(next), short(next)))
		if got := w.tags(w.app, next); got != "[b stable-1]" {
			t.Error(got)
		}
		w.remove(w.app, image.Ref{Digest: d})
		w.put(w.app, body(t, w, next), "a")
		// None of its tags is free: it comes back without one.
		w.restored(image.Ref{Digest: d}, false, fmt.Sprintf("%s [] a:%s:false", short(d), short(next)))
		w.remove(w.app, image.Ref{Digest: d})

		// Deleted with a tag that moved on, and brought back with it.
		w.put(w.app, body(t, w, next), "c")
		d2, _ := w.push(w.app, "three", "c", "stable-1x")
		w.remove(w.app, image.Ref{Digest: d2})
		w.put(w.app, body(t, w, next), "c", "stable-1x")
		w.restored(image.Ref{Digest: d2}, true, fmt.Sprintf("%s [c] stable-1x:%s:true", short(d2), short(next)))
		if got := w.tags(w.app, next); got != "[a b stable-1 stable-1x]" {
			t.Error(got)
		}
		w.sound()
	})
}

func TestPushedAgainMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		d, own := w.push(w.app, "one", "v1")
		w.remove(w.app, image.Ref{Digest: d})
		w.clk.Advance(2 * day)
		w.collect()
		again, _ := w.push(w.app, "one", "v2")
		if again != d {
			t.Fatal("another image")
		}
		fresh, _ := w.detail(w.app, d)
		w.restored(image.Ref{Tag: "v1"}, false, short(d)+" [v1]")
		if got, _ := w.detail(w.app, d); fmt.Sprint(got.Tags) != "[v1 v2]" || !got.PushedAt.Equal(fresh.PushedAt) {
			t.Errorf("%+v", got)
		}

		// In the bin, pushed, deleted: one entry, and its time runs anew.
		w.remove(w.app, image.Ref{Digest: d})
		w.clk.Advance(5 * day)
		w.push(w.app, "one", "v3")
		w.remove(w.app, image.Ref{Digest: d})
		if got := w.bin(w.app); !slices.Equal(got, []string{short(d) + " [v3]"}) {
			t.Errorf("the bin has %v", got)
		}
		w.clk.Advance(5 * day)
		if gone, err := w.Expire(ctx); err != nil || gone.Images != 0 {
			t.Errorf("%+v %v", gone, err)
		}
		// There again when the window ends: the layers stay.
		w.push(w.app, "one", "v4")
		w.clk.Advance(2 * day)
		if gone, err := w.Expire(ctx); err != nil || gone.Images != 1 {
			t.Errorf("%+v %v", gone, err)
		}
		w.clk.Advance(2 * day)
		w.collect()
		if !w.holds(w.app, own) || w.tags(w.app, d) != "[v4]" {
			t.Error("the image has lost something")
		}
		w.sound()

		// A window that is taken away ends no other's time.
		w.remove(w.app, image.Ref{Digest: d})
		w.must(w.repositories.UnsetSetting(ctx, reg, "app", "recovery-window"))
		w.clk.Advance(6 * day)
		w.restored(image.Ref{Digest: d}, false, short(d)+" [v4]")
		w.remove(w.app, image.Ref{Digest: d})
		if got := w.bin(w.app); len(got) != 0 {
			t.Errorf("the bin has %v", got)
		}
		w.sound()
	})
}

func TestPurge(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		a, ownA := w.push(w.app, "one", "v")
		w.remove(w.app, image.Ref{Digest: a})
		b, ownB := w.push(w.app, "two", "v")
		w.remove(w.app, image.Ref{Digest: b})
		if _, err := w.Purge(ctx, w.app, image.Ref{Tag: "v"}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%v", err)
		}
		if _, err := w.Purge(ctx, w.app, image.Ref{Tag: "w"}); !errs.Is(err, errs.ImageNotFound) {
			t.Errorf("%v", err)
		}
		w.clk.Advance(2 * day)
		w.collect()
		if purged, err := w.Purge(ctx, w.app, image.Ref{Digest: a}); err != nil || len(purged) != 1 || purged[0].Digest != a {
			t.Fatalf("%v %v", purged, err)
		}
		w.collect() // without a grace period
		if w.holds(w.app, ownA) || !w.holds(w.app, ownB) {
			t.Error("not the layer of the purged image, and only that one, is gone")
		}
		w.sound()
		if purged, err := w.Purge(ctx, w.app, image.Ref{}); err != nil || len(purged) != 1 {
			t.Fatalf("%v %v", purged, err)
		}
		if _, err := w.Purge(ctx, w.app, image.Ref{}); !errs.Is(err, errs.ImageNotFound) {
			t.Errorf("%v", err)
		}
		w.collect()
		if w.holds(w.app, ownB) {
			t.Error("the layer is still there")
		}

		// Purged at once: the layer has the time that its deletion gave it.
		a, ownA = w.push(w.app, "one", "v")
		w.remove(w.app, image.Ref{Digest: a})
		w.clk.Advance(23 * time.Hour)
		_, err := w.Purge(ctx, w.app, image.Ref{Tag: "v"})
		w.must(err)
		w.collect()
		if !w.holds(w.app, ownA) {
			t.Error("the layer has gone before its time")
		}
		w.clk.Advance(time.Hour)
		w.collect()
		if w.holds(w.app, ownA) {
			t.Error("the layer is still there")
		}
		w.sound()
	})
}

func TestRepository(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		d, own := w.push(w.app, "one", "v1")
		binned, ownBinned := w.push(w.app, "two", "v2")
		w.remove(w.app, image.Ref{Digest: binned})
		w.clk.Advance(day)
		before := func(context.Context, *sqldb.Tx, repository.Repository) error { return errors.New("released") }
		_, err := w.repositories.Delete(ctx, reg, "app", true, before)
		w.must(err)
		if _, _, err := w.images.Put(ctx, w.app, image.Put{Manifest: []byte(`{}`)}); err == nil {
			t.Error("a push to a deleted repository")
		}
		u, err := w.layers.Start(ctx, w.app) // of a client that had begun before
		w.must(err)
		content := "late"
		if _, err := w.layers.Complete(ctx, w.app, u.ID, []name.Digest{name.SHA256([]byte(content))}, layer.Unannounced(), strings.NewReader(content), layer.CompleteOptions{}); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("a layer for a deleted repository: %v", err)
		}
		if all, _, err := w.KeptIn(ctx, reg, 0, 10); err != nil || len(all) != 0 {
			t.Errorf("%v %v", all, err)
		}
		w.clk.Advance(5 * day)
		w.collect()
		w.sound()
		r, err := w.repositories.Undelete(ctx, w.app.ID, "")
		w.must(err)
		if got := w.tags(r, d); got != "[v1]" || !w.holds(r, own) || !w.holds(r, ownBinned) {
			t.Error(got)
		}
		if all, repos, err := w.KeptIn(ctx, reg, 0, 10); err != nil || len(all) != 1 || repos[0] != "app" {
			t.Errorf("%v %v", all, err)
		}

		// The image's window ends while its repository is deleted, then the repository's.
		_, err = w.repositories.Delete(ctx, reg, "app", true, before)
		w.must(err)
		w.clk.Advance(2 * day)
		if gone, err := w.Expire(ctx); err != nil || gone != (recovery.Expired{Images: 1}) {
			t.Errorf("%+v %v", gone, err)
		}
		w.clk.Advance(day)
		w.collect()
		if w.holds(w.app, ownBinned) || !w.holds(w.app, own) {
			t.Error("not the layer of the image that expired, and only that one, is gone")
		}
		w.sound()
		w.clk.Advance(4 * day)
		if gone, err := w.Expire(ctx); err != nil || gone != (recovery.Expired{Repositories: 1}) {
			t.Errorf("%+v %v", gone, err)
		}
		w.clk.Advance(day)
		w.collect()
		var blobs int64
		w.must(w.db.View(ctx, func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM blob) + (SELECT count(*) FROM image) + (SELECT count(*) FROM repository) + (SELECT count(*) FROM deleted_image_layer)`).Scan(&blobs)
		}))
		if blobs != 0 {
			t.Errorf("%d rows are left", blobs)
		}
	})
}

func TestPurgeRepository(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		_, own := w.push(w.app, "one", "v1")
		w.clk.Advance(2 * day)
		w.collect()
		_, err := w.repositories.Delete(ctx, reg, "app", true, nil)
		w.must(err)
		r, err := w.repositories.Stored(ctx, w.app.ID)
		w.must(err)
		for n, want := range []bool{true, false} {
			if removed, err := w.PurgeRepository(ctx, r); err != nil || removed != want {
				t.Errorf("%d: %v %v", n, removed, err)
			}
		}
		w.collect()
		if w.holds(w.app, own) {
			t.Error("the layer is still there")
		}
		w.sound()
	})
}

// TestVerifyFinds: fsck sees what a deleted image has lost.
func TestVerifyFinds(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		d, own := w.push(w.app, "one", "v1")
		w.remove(w.app, image.Ref{Digest: d})
		var found []string
		verify := func() {
			found = nil
			n, err := w.Verify(ctx, func(text string) { found = append(found, text) })
			if err != nil || n != 1 {
				t.Errorf("%d %v", n, err)
			}
		}
		if verify(); len(found) != 0 {
			t.Error(found)
		}
		w.must(w.db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM layer WHERE digest = $1`, string(own))
			return err
		}))
		if verify(); len(found) != 1 || !strings.Contains(found[0], "1 of its layers are missing") {
			t.Error(found)
		}
		w.must(w.db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE deleted_image SET body = $1`, []byte("damaged"))
			return err
		}))
		if verify(); len(found) != 2 || !strings.Contains(found[1], "its manifest cannot be opened") {
			t.Error(found)
		}
	})
}

// TestRolledBack: what fails after the image was put into the bin takes it out of
// it again.
func TestRolledBack(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		d, _ := w.push(w.app, "one", "v1")
		stop := errors.New("stop")
		err := w.db.Update(ctx, func(tx *sqldb.Tx) error {
			r, err := w.repositories.Lock(ctx, tx, w.app)
			if err != nil {
				return err
			}
			if _, _, err := w.images.DeleteTx(ctx, tx, r, []image.Ref{{Digest: d}}); err != nil {
				return err
			}
			return stop
		})
		if !errors.Is(err, stop) {
			t.Fatal(err)
		}
		if got := w.bin(w.app); len(got) != 0 || w.tags(w.app, d) != "[v1]" {
			t.Errorf("the bin has %v", got)
		}
		w.sound()
	})
}

// TestArchived: an archived image is kept as any other, and comes back active.
func TestArchived(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s := storage.New(storage.Config{Durable: w.db, Repositories: w.repositories, Images: w.images, Layers: w.layers, Outbox: event.NewOutbox(), Clock: w.clk,
			Jobs: jobs.New(w.db, w.clk, slog.New(slog.DiscardHandler), jobs.Options{}),
		})
		d, own := w.push(w.app, "one", "v1")
		w.clk.Advance(day)
		_, err := s.Archive(ctx, w.app, image.Ref{Digest: d})
		w.must(err)
		w.remove(w.app, image.Ref{Digest: d})
		w.clk.Advance(2 * day)
		w.collect()
		w.restored(image.Ref{Tag: "v1"}, false, short(d)+" [v1]")
		if got, ok := w.detail(w.app, d); !ok || got.Status != image.Active || fmt.Sprint(got.Tags) != "[v1]" || !w.holds(w.app, own) {
			t.Errorf("%+v", got)
		}
		w.sound()
	})
}

// TestManyAtOnce: deletions, pushes, restorations and the collector side by side
// lose nothing.
func TestManyAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		d, own := w.push(w.app, "one", "v1")
		body := body(t, w, d)
		var all sync.WaitGroup
		for n := range 4 {
			all.Add(1)
			go func() {
				defer all.Done()
				for range 10 {
					switch n {
					case 0:
						_, _, err := w.images.Delete(ctx, w.app, []image.Ref{{Digest: d}})
						w.check(err)
					case 1:
						_, err := w.Restore(ctx, w.app, image.Ref{Digest: d}, false)
						w.check(err)
					case 2:
						_, _, err := w.images.Put(ctx, w.app, image.Put{Manifest: []byte(body), Tag: "v2"})
						w.check(err)
					case 3:
						w.clk.Advance(time.Hour)
						_, err := w.layers.Collect(ctx)
						w.check(err)
					}
				}
			}()
		}
		all.Wait()
		if w.tags(w.app, d) == "gone" && len(w.bin(w.app)) == 0 {
			t.Error("the image is nowhere")
		}
		w.clk.Advance(2 * day)
		w.collect()
		w.sound()
		if !w.holds(w.app, own) {
			t.Error("the layer is gone")
		}
	})
}

// check lets only what a race may answer pass.
func (w *world) check(err error) {
	if err != nil && !errs.Is(err, errs.ImageNotFound) {
		w.t.Errorf("%v", err)
	}
}
