package gallery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const (
	us   name.AccountID = "111111111111"
	them name.AccountID = "222222222222"
)

// shelf keeps layers in memory. It is a real, small implementation of what images and the
// gallery need of layers.
type shelf struct {
	mu    sync.Mutex
	blobs map[name.Digest][]byte
}

func (s *shelf) put(content []byte) name.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := name.SHA256(content)
	s.blobs[d] = content
	return d
}

func (s *shelf) RequireTx(_ context.Context, _ *sqldb.Tx, _ repository.Repository, ds []name.Digest) (sizes map[name.Digest]int64, missing []name.Digest, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sizes = map[name.Digest]int64{}
	for _, d := range ds {
		if b, ok := s.blobs[d]; ok {
			sizes[d] = int64(len(b))
		} else {
			missing = append(missing, d)
		}
	}
	return sizes, missing, nil
}

func (s *shelf) ReleaseTx(context.Context, *sqldb.Tx, repository.Repository, []name.Digest) error {
	return nil
}

func (s *shelf) Open(_ context.Context, _ repository.Repository, d name.Digest, _, _ int64) (io.ReadCloser, layer.Layer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.blobs[d]
	if !ok {
		return nil, layer.Layer{}, errs.New(errs.LayersNotFound, "no layer %s", d)
	}
	return io.NopCloser(bytes.NewReader(b)), layer.Layer{Digest: d, Size: int64(len(b))}, nil
}

// world is two nodes on one database: pushes come to here.
type world struct {
	t           testing.TB
	ctx         context.Context
	db          *sqldb.DB
	clk         *clock.Fake
	layers      *shelf
	queue       *jobs.Queue
	repos       *repository.Service
	images      *image.Service
	catalog     *catalog.Service
	here, there *gallery.Service
}

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) { fn(t, open(t, db)) })
}

func open(t testing.TB, db *sqldb.DB) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), db: db, clk: clock.NewFake(time.Now().Truncate(time.Millisecond)), layers: &shelf{blobs: map[name.Digest][]byte{}}}
	w.must(db.Migrate(w.ctx, "schema_version", schema.Durable()...))
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
	w.must(err)
	principals, err := principal.New(db, ring, w.clk)
	w.must(err)
	for _, account := range []name.AccountID{us, them} {
		w.must(principals.EnsureAccount(w.ctx, account))
	}
	log, quotas := slog.New(slog.DiscardHandler), quota.Fixed(quota.Default())
	w.queue = jobs.New(db, w.clk, log, jobs.Options{Poll: 5 * time.Millisecond, Alone: true})
	w.repos = repository.New(repository.Config{DB: db, Clock: w.clk, Keys: ring, Quotas: quotas, Sealing: true, Registries: registry.New(db, w.clk, []name.Region{"us-east-1"})})
	w.catalog = catalog.New(catalog.Config{DB: db, Clock: w.clk, Log: log, Repositories: w.repos})
	outbox := event.NewOutbox(func(ctx context.Context, tx *sqldb.Tx, e event.Event) error { return w.here.Subscribe(ctx, tx, e) })
	w.images = image.New(image.Config{Durable: db, Repositories: w.repos, Layers: w.layers, Outbox: outbox, Clock: w.clk, Log: log, Quotas: quotas})
	c := gallery.Config{DB: db, Clock: w.clk, Log: log, Jobs: w.queue, Repositories: w.repos, Images: w.images, Layers: w.layers, Catalog: w.catalog}
	w.there = gallery.New(c)
	w.here = gallery.New(c) // the one whose jobs are done
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	w.must(w.db.Update(w.ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(w.ctx, query, slices.Clone(args)...)
		return err
	}))
}

func (w *world) number(query string, args ...any) (n int64) {
	w.t.Helper()
	w.must(w.db.View(w.ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(w.ctx, query, slices.Clone(args)...).Scan(&n)
	}))
	return n
}

// work does jobs until there are none.
func (w *world) work() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 2*time.Minute)
	done := make(chan error, 1)
	go func() { done <- w.queue.Run(ctx) }()
	for w.number(`SELECT count(*) FROM job WHERE kind = $1`, gallery.JobPlatforms) > 0 && ctx.Err() == nil {
		time.Sleep(2 * time.Millisecond)
	}
	late := ctx.Err()
	cancel()
	w.must(<-done)
	w.must(late)
}

func (w *world) repo(account name.AccountID, repo name.Repository, data *catalog.DataInput) repository.Repository {
	w.t.Helper()
	r, _, err := w.catalog.CreateRepository(w.ctx, repository.Create{Registry: name.PublicRegistry(account), Name: repo, Mutability: repository.Mutability{Setting: repository.Mutable}}, data)
	w.must(err)
	return r
}

func (w *world) alias(account name.AccountID) string {
	w.t.Helper()
	reg, err := w.catalog.Registry(w.ctx, account)
	w.must(err)
	return string(reg.Primary())
}

const ociConfig = "application/vnd.oci.image.config.v1+json"

// image is the manifest of an image with the configuration.
func (w *world) image(config string, configType string) []byte {
	content := w.layers.put([]byte("a layer"))
	d := w.layers.put([]byte(config))
	return []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"%s","digest":"%s","size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":7}]}`,
		manifest.OCIImage, configType, d, len(config), content))
}

// on is an image of a platform that differs from others by its seed.
func (w *world) on(system, architecture, variant, seed string) []byte {
	config, err := json.Marshal(map[string]string{"os": system, "architecture": architecture, "variant": variant, "seed": seed})
	w.must(err)
	return w.image(string(config), ociConfig)
}

// index is an index of children, each with what stands behind its descriptor.
func index(children ...string) []byte {
	return []byte(`{"schemaVersion":2,"mediaType":"` + manifest.OCIIndex + `","manifests":[` + strings.Join(children, ",") + `]}`)
}

func child(m []byte, more string) string {
	return fmt.Sprintf(`{"mediaType":"%s","digest":"%s","size":%d%s}`, manifest.OCIImage, name.SHA256(m), len(m), more)
}

func (w *world) push(r repository.Repository, m []byte, tag name.Tag) name.Digest {
	w.t.Helper()
	img, _, err := w.images.Put(w.ctx, r, image.Put{Manifest: m, Tag: tag})
	w.must(err)
	return img.Digest
}

func (w *world) remove(r repository.Repository, ref image.Ref) {
	w.t.Helper()
	_, failures, err := w.images.Delete(w.ctx, r, []image.Ref{ref})
	w.must(err)
	if len(failures) > 0 {
		w.t.Fatal(failures)
	}
}

// find is the names that a node finds, and how many it says there are.
func (w *world) find(node *gallery.Service, q gallery.Query) (names []string, total int) {
	w.t.Helper()
	if q.Limit == 0 {
		q.Limit = gallery.MaxLimit
	}
	r, err := node.Search(w.ctx, q)
	w.must(err)
	for _, one := range r.Repositories {
		names = append(names, string(one.Name))
	}
	return names, r.Total
}

func (w *world) expect(node *gallery.Service, text string, want ...string) {
	w.t.Helper()
	if got, total := w.find(node, gallery.Query{Text: text}); !slices.Equal(got, want) || total != len(want) {
		w.t.Errorf("%q: found %v of %d, want %v", text, got, total, want)
	}
}

// eventually waits for a condition.
func (w *world) eventually(what string, condition func() bool) {
	w.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatal("in two minutes it did not come to: " + what)
		}
	}
}
