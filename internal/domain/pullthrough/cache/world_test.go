package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
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
	"github.com/berth-registry/berth/internal/infra/upstream"
	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...), sqldbtest.Migrated("schema_version_volatile", schema.Volatile()...))
}

var testRegistry = name.Registry{Account: "123456789012", Region: "eu-west-1"}

var _ Rules = (*pullthrough.Service)(nil)

// patience is how long a test waits for what has to happen.
const patience = time.Minute

// world is a registry, the upstream of its rule for the prefix hub, and a clock, on
// which any number of nodes can stand.
type world struct {
	testing.TB
	db       *sqldb.DB
	clk      *clock.Fake
	store    blobstore.Store
	limits   quota.Limits
	up       *upstreamtest.Registry
	client   *upstream.Client
	dir      string
	endpoint error // what Endpoint fails with

	mu     sync.Mutex
	events []event.Event
	logged bytes.Buffer
}

// node is one process.
type node struct {
	*Service
	w            *world
	queue        *jobs.Queue
	repositories *repository.Service
}

func newWorld(t testing.TB, db *sqldb.DB) *world {
	t.Helper()
	w := &world{
		TB: t, db: db, clk: clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), store: memory.New(), limits: quota.Default(),
		up: upstreamtest.New(t), dir: t.TempDir(),
	}
	w.client = upstream.New(upstream.Config{Hosts: map[string]upstream.Host{w.up.Host(): {PlainHTTP: true, AllowPrivate: true}}})
	t.Cleanup(w.client.Close)
	w.must(db.Migrate(t.Context(), "schema_version", schema.Durable()...))
	w.must(db.Migrate(t.Context(), "schema_version_volatile", schema.Volatile()...))
	w.exec(`INSERT INTO account (id, name, created_at) VALUES ($1, 'test', 0)`, string(testRegistry.Account))
	w.exec(`INSERT INTO registry (account_id, region, repositories, created_at) VALUES ($1, $2, 0, 0)`, string(testRegistry.Account), string(testRegistry.Region))
	return w
}

// Covering implements Rules: hub/ comes from the upstream.
func (w *world) Covering(_ context.Context, reg name.Registry, repo name.Repository) (pullthrough.Rule, bool, error) {
	rule := pullthrough.Rule{Registry: testRegistry, Prefix: "hub", URL: w.up.Host(), UpstreamPrefix: pullthrough.Root}
	return rule, reg == testRegistry && strings.HasPrefix(string(repo), "hub/"), nil
}

// Endpoint implements Rules.
func (w *world) Endpoint(context.Context, pullthrough.Rule) (upstream.Endpoint, error) {
	return upstream.Endpoint{Host: w.up.Host()}, w.endpoint
}

// Limits implements quota.Source.
func (w *world) Limits(context.Context, name.AccountID) (quota.Limits, error) { return w.limits, nil }

// RepositoryLimits implements quota.Source.
func (w *world) RepositoryLimits(context.Context, name.AccountID, name.Repository) (quota.Limits, error) {
	return w.limits, nil
}

// Write takes the log.
func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.Write(p)
}

// node starts one more process, which is stopped at the end of the test.
func (w *world) node(change ...func(*Config)) *node {
	w.Helper()
	log := slog.New(slog.NewTextHandler(w, nil))
	n := &node{w: w, queue: jobs.New(w.db, w.clk, log, jobs.Options{})}
	n.repositories = repository.New(repository.Config{DB: w.db, Clock: w.clk, Quotas: w, Registries: registry.New(w.db, w.clk, []name.Region{testRegistry.Region})})
	layers := layer.New(layer.Config{
		Durable: w.db, Volatile: w.db, Repositories: n.repositories, Clock: w.clk, Log: log, Quotas: w,
		Store:   func(name.Region) (blobstore.Store, bool) { return w.store, true },
		Archive: func(name.Region) (blobstore.Store, bool) { return w.store, true },
	})
	outbox := event.NewOutbox(func(_ context.Context, tx *sqldb.Tx, e event.Event) error {
		tx.AfterCommit(func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		})
		return nil
	})
	images := image.New(image.Config{Durable: w.db, Repositories: n.repositories, Layers: layers, Outbox: outbox, Clock: w.clk, Log: log, Quotas: w})
	c := Config{
		Durable: w.db, Volatile: w.db, Layers: layers, Images: images, Repositories: n.repositories, Outbox: outbox, Jobs: n.queue,
		Clock: w.clk, Log: log, Quotas: w, Rules: w, Upstream: w.client, Dir: w.dir,
		Limits: Limits{Again: time.Millisecond, Poll: 5 * time.Millisecond, Slow: patience},
	}
	for _, f := range change {
		f(&c)
	}
	n.Service = New(c)
	w.Cleanup(n.Stop)
	return n
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) exec(query string, args ...any) {
	w.Helper()
	w.must(w.db.Update(context.Background(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(context.Background(), query, slices.Clone(args)...)
		return err
	}))
}

func (w *world) count(query string, args ...any) (n int64) {
	w.Helper()
	w.must(w.db.View(context.Background(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(context.Background(), query, slices.Clone(args)...).Scan(&n)
	}))
	return n
}

// eventually waits until the condition holds.
func (w *world) eventually(what string, condition func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("it never came true that %s\n%s", what, w.log())
		}
	}
}

func (w *world) log() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.String()
}

// imports is how many images are on their way.
func (w *world) imports() int64 { return w.count(`SELECT count(*) FROM pullthrough_import`) }

// arrived waits until nothing is on its way any more.
func (w *world) arrived() {
	w.Helper()
	w.eventually("all imports are over", func() bool { return w.imports() == 0 })
}

// attempts lists the events of the cache, as "SUCCESS tag".
func (w *world) attempts() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, e := range w.events {
		if d, ok := e.Detail.(event.PullThroughDetail); ok {
			all = append(all, strings.TrimSpace(string(d.Result)+" "+string(d.Tag)))
		}
	}
	return all
}

func yes(context.Context) (bool, error) { return true, nil }

func yesWith(context.Context, map[string]string) (bool, error) { return true, nil }

// pull is a pull by somebody who may do everything. ref is a tag or a digest.
func pull(repo name.Repository, ref string) Pull {
	p := Pull{Registry: testRegistry, Repository: repo, Note: true, MayImport: yes, MayCreate: yesWith}
	if strings.Contains(ref, ":") {
		p.Ref.Digest = name.Digest(ref)
	} else {
		p.Ref.Tag = name.Tag(ref)
	}
	return p
}

// pull gets an image that has to be there.
func (n *node) pull(repo name.Repository, ref string) (image.Image, repository.Repository) {
	n.w.Helper()
	img, r, err := n.Image(context.Background(), pull(repo, ref))
	n.w.must(err)
	return img, r
}

// read reads a whole blob.
func (n *node) read(r repository.Repository, d string) ([]byte, error) {
	return n.readPart(r, d, 0, -1)
}

func (n *node) readPart(r repository.Repository, d string, offset, length int64) ([]byte, error) {
	body, _, err := n.Open(context.Background(), r, name.Digest(d), offset, length)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}

// is compares an image's layers with the upstream's.
func (n *node) is(r repository.Repository, want upstreamtest.Image, contents ...[]byte) {
	n.w.Helper()
	for i, l := range want.Layers {
		got, err := n.read(r, l.Digest.String())
		if err != nil || !bytes.Equal(got, contents[i]) {
			n.w.Errorf("layer %d: got %d bytes, %v; want %d", i, len(got), err, len(contents[i]))
		}
	}
	if got, err := n.read(r, want.Config.Digest.String()); err != nil || int64(len(got)) != want.Config.Size {
		n.w.Errorf("the configuration: got %d bytes, %v", len(got), err)
	}
}

// whole fails the test unless the repository has the image, stored, with the tags.
func (n *node) whole(r repository.Repository, want upstreamtest.Image, tags ...name.Tag) {
	n.w.Helper()
	details, _, err := n.Images.Describe(context.Background(), r, image.DescribeQuery{Refs: []image.Ref{{Digest: name.Digest(want.Digest())}}, Limit: 1})
	if err != nil || len(details) != 1 || !slices.Equal(details[0].Tags, tags) {
		n.w.Errorf("the repository has %+v, %v; want tags %v", details, err, tags)
	}
}

// runJobs runs the jobs of all imports once, as the queue does when they are due.
func (n *node) runJobs() error {
	var ids []int64
	n.w.must(n.w.db.View(context.Background(), func(tx *sqldb.Tx) (err error) {
		ids, err = sqldb.Collect(context.Background(), tx, sqldb.One[int64], `SELECT id FROM pullthrough_import ORDER BY id`)
		return err
	}))
	var all error
	for _, id := range ids {
		payload, err := json.Marshal(task{Import: id})
		n.w.must(err)
		all = errors.Join(all, n.runJob(context.Background(), jobs.Task{Payload: payload}))
	}
	return all
}

func random(n int) []byte {
	b := make([]byte, n)
	seed := rand.NewChaCha8([32]byte{byte(n), byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32())})
	_, _ = seed.Read(b) // never fails
	return b
}

func (w *world) code(err error, code errs.Code) {
	w.Helper()
	if err == nil || errs.CodeOf(err) != code {
		w.Errorf("got %v (code %d), want code %d", err, errs.CodeOf(err), code)
	}
}

// newWorldOn is newWorld for the nth time on the same database.
func newWorldOn(t testing.TB, db *sqldb.DB, n int) *world {
	if n == 1 {
		return newWorld(t, db)
	}
	if !db.Shared() {
		db = sqldbtest.SQLite(t)
		return newWorld(t, db)
	}
	return newWorld(t, sqldbtest.Postgres(t))
}

// descriptor is what the upstream's image of a digest is called by.
func descriptor(img image.Image) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: img.MediaType, Digest: digest.Digest(img.Digest), Size: img.ManifestSize}
}
