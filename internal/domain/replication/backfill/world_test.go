package backfill

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/replication"
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

const patience = time.Minute

var (
	here  = name.Registry{Account: "123456789012", Region: "eu-west-1"}
	there = name.Registry{Account: "123456789012", Region: "us-east-1"}
)

// end is the queue of replications as far as a backfill sees it: it keeps what it
// is given until the test says what became of it.
type end struct {
	mu            sync.Mutex
	configuration replication.Configuration
	options       replication.Options
	waiting       []replication.Done
	sent          []replication.Done // everything that it was ever given
	most          int                // of what waited at once
}

func (e *end) Get(context.Context, name.Registry) (replication.Configuration, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.configuration, nil
}

func (e *end) Options(context.Context, name.Registry) (map[name.Registry]replication.Options, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return map[name.Registry]replication.Options{there: e.options}, nil
}

func (e *end) EnqueueTx(_ context.Context, tx *sqldb.Tx, r repository.Repository, destination name.Registry, d name.Digest, tag name.Tag, backfill string) error {
	one := replication.Done{Backfill: backfill, Source: r.Registry, Destination: destination, Repository: r.Name, Digest: d, Tag: tag}
	tx.AfterCommit(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.sent = append(e.sent, one)
		if !slices.ContainsFunc(e.waiting, func(w replication.Done) bool { return w.Digest == d && w.Tag == tag && w.Repository == r.Name }) {
			e.waiting = append(e.waiting, one)
		}
		e.most = max(e.most, len(e.waiting))
	})
	return nil
}

// take removes and returns the first that wait.
func (e *end) take(n int) []replication.Done {
	e.mu.Lock()
	defer e.mu.Unlock()
	n = min(n, len(e.waiting))
	taken := slices.Clone(e.waiting[:n])
	e.waiting = e.waiting[n:]
	return taken
}

// world is a registry with repositories, and jobs that run when the test says so.
type world struct {
	*testing.T
	*Service
	db  *sqldb.DB
	clk *clock.Fake
	end *end
	ids map[name.Repository]repository.Repository
}

func onEngines(t *testing.T, fn func(w *world)) {
	t.Helper()
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := &world{
			T: t, db: db, clk: clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), ids: map[name.Repository]repository.Repository{},
			end: &end{configuration: replication.Configuration{Rules: []replication.Rule{{Destinations: []name.Registry{there}}}}},
		}
		w.must(db.Migrate(t.Context(), "schema_version", schema.Durable()...))
		w.exec(`INSERT INTO account (id, name, created_at) VALUES ($1, 'test', 0)`, string(here.Account))
		w.Service, _ = w.node()
		fn(w)
	})
}

// node is another service on the same database, with its queue of jobs.
func (w *world) node() (*Service, *jobs.Queue) {
	log := slog.New(slog.DiscardHandler)
	registries := registry.New(w.db, w.clk, []name.Region{here.Region, there.Region})
	repositories := repository.New(repository.Config{DB: w.db, Clock: w.clk, Quotas: quota.Fixed(quota.Default()), Registries: registries})
	queue := jobs.New(w.db, w.clk, log, jobs.Options{Poll: 10 * time.Millisecond})
	store := memory.New()
	layers := layer.New(layer.Config{
		Durable: w.db, Volatile: w.db, Repositories: repositories, Clock: w.clk, Log: log, Quotas: quota.Fixed(quota.Default()), Jobs: queue,
		Store:   func(name.Region) (blobstore.Store, bool) { return store, true },
		Archive: func(name.Region) (blobstore.Store, bool) { return store, true },
	})
	images := image.New(image.Config{Durable: w.db, Repositories: repositories, Layers: layers, Outbox: event.NewOutbox(), Clock: w.clk, Log: log, Quotas: quota.Fixed(quota.Default())})
	return New(Config{DB: w.db, Clock: w.clk, Log: log, Registries: registries, Repositories: repositories, Images: images, Jobs: queue, Queue: w.end}), queue
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
		_, err := tx.Exec(context.Background(), query, args...)
		return err
	}))
}

func (w *world) count(query string, args ...any) (n int64) {
	w.Helper()
	w.must(w.db.View(context.Background(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(context.Background(), query, args...).Scan(&n)
	}))
	return n
}

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
)

func digest(short string) name.Digest { return name.SHA256([]byte(short)) }

func (w *world) repo(repo name.Repository) repository.Repository {
	w.Helper()
	if r, ok := w.ids[repo]; ok {
		return r
	}
	r, err := w.Repositories.Create(context.Background(), repository.Create{Registry: here, Name: repo, Mutability: repository.Mutability{Setting: repository.Mutable}})
	w.must(err)
	w.ids[repo] = r
	return r
}

// spec is an image as a test writes it.
type spec struct {
	short   string
	tags    []string
	index   bool
	archive bool
	subject string
}

// put makes the rows of images, as they are after a push.
func (w *world) put(repo name.Repository, specs ...spec) {
	w.Helper()
	r := w.repo(repo)
	ctx := context.Background()
	w.must(w.db.Update(ctx, func(tx *sqldb.Tx) error {
		for _, s := range specs {
			id, mediaType, status := sqldb.NewID(), ociManifest, 0
			if s.index {
				mediaType = ociIndex
			}
			if s.archive {
				status = 1
			}
			subject := ""
			if s.subject != "" {
				subject = string(digest(s.subject))
			}
			if _, err := tx.Exec(ctx, `INSERT INTO image (id, repository_id, digest, media_type, artifact_type, size, manifest_size, pushed_at, tags, subject, annotations, status)
				VALUES ($1, $2, $3, $4, '', 1, 1, $5, $6, $8, '', $7)`, id, r.ID, string(digest(s.short)), mediaType, w.clk.Now().UnixMicro(), len(s.tags), status, subject); err != nil {
				return err
			}
			for _, t := range s.tags {
				if _, err := tx.Exec(ctx, `INSERT INTO image_tag (repository_id, tag, image_id, updated_at) VALUES ($1, $2, $3, 0)`, r.ID, t, id); err != nil {
					return err
				}
			}
			if _, err := tx.Exec(ctx, `UPDATE repository SET images = images + 1 WHERE id = $1`, r.ID); err != nil {
				return err
			}
		}
		return nil
	}))
}

// retag moves a tag to another image.
func (w *world) retag(repo name.Repository, tag, to string) {
	w.Helper()
	r := w.repo(repo)
	w.exec(`UPDATE image SET tags = tags - 1 WHERE id = (SELECT image_id FROM image_tag WHERE repository_id = $1 AND tag = $2)`, r.ID, tag)
	w.exec(`UPDATE image_tag SET image_id = (SELECT id FROM image WHERE repository_id = $1 AND digest = $3) WHERE repository_id = $1 AND tag = $2`, r.ID, tag, string(digest(to)))
	w.exec(`UPDATE image SET tags = tags + 1 WHERE repository_id = $1 AND digest = $2`, r.ID, string(digest(to)))
}

func (w *world) begin() Backfill {
	w.Helper()
	b, err := w.Start(w.Context(), here, there)
	w.must(err)
	if b.Status != Preparing || b.Progress != nil || !b.EndedAt.IsZero() {
		w.Fatalf("a new backfill is %+v", b)
	}
	return b
}

// work does what the jobs do, until nothing is left to do for now.
func (w *world) work(b Backfill) {
	w.Helper()
	w.must(w.run(w.Context(), jobs.Task{}, payload{b.number}))
}

// ends tells what became of images of the queue.
func (w *world) ends(code string, done ...replication.Done) {
	w.Helper()
	for _, d := range done {
		d.Code = code
		w.must(w.db.Update(w.Context(), func(tx *sqldb.Tx) error { return w.DoneTx(w.Context(), tx, d) }))
	}
}

func (w *world) now(b Backfill) Backfill {
	w.Helper()
	b, _, _, err := w.Describe(w.Context(), here, b.ID, ResultQuery{Limit: 1})
	w.must(err)
	return b
}

// is fails unless the backfill has the status and the counts.
func (w *world) is(b Backfill, status Status, total, completed, failed int64) Backfill {
	w.Helper()
	b = w.now(b)
	if b.Status != status || b.EndedAt.IsZero() == status.Terminal() {
		w.Fatalf("the backfill is %s, ended %s, want %s", b.Status, b.EndedAt, status)
	}
	if b.Progress == nil || b.Progress.Total != total || b.Progress.Completed != completed || b.Progress.Failed != failed {
		w.Fatalf("the progress is %+v, want %d, %d, %d", b.Progress, total, completed, failed)
	}
	return b
}

// results reads all results, in pages of the size, as texts.
func (w *world) results(b Backfill, o Outcome, size int) (all []string) {
	w.Helper()
	for after := int64(0); ; {
		_, page, next, err := w.Describe(w.Context(), here, b.ID, ResultQuery{Outcome: o, After: after, Limit: size})
		w.must(err)
		if len(page) > size || next != 0 && len(page) != size {
			w.Fatalf("a page of %d results, next %d", len(page), next)
		}
		for _, r := range page {
			all = append(all, fmt.Sprintf("%s@%s:%s %s", r.Repository, r.Digest[:15], r.Tag, r.Code))
		}
		if next == 0 {
			return all
		}
		after = next
	}
}

func line(repo, short, tag, code string) string {
	return fmt.Sprintf("%s@%s:%s %s", repo, digest(short)[:15], tag, code)
}

// refs are what the queue was given, as texts.
func (e *end) refs() (all []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range e.sent {
		all = append(all, line2(d))
	}
	slices.Sort(all)
	return all
}

func line2(d replication.Done) string {
	return fmt.Sprintf("%s@%s:%s", d.Repository, d.Digest[:15], d.Tag)
}
