package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/storage"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
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

var testRegistry = name.Registry{Account: "123456789012", Region: "eu-west-1"}

// world is a registry with one repository, and the jobs that wait in it.
type world struct {
	testing.TB
	*Service
	db     *sqldb.DB
	clk    *clock.Fake
	app    repository.Repository
	set    Options
	events []event.Event
}

func newWorld(t testing.TB, db *sqldb.DB) *world {
	ctx := context.Background()
	w := &world{TB: t, db: db, clk: clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))}
	w.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	log := slog.New(slog.DiscardHandler)
	repositories := repository.New(repository.Config{DB: db, Clock: w.clk, Quotas: quota.Fixed(quota.Default())})
	w.exec(`INSERT INTO account (id, name, created_at) VALUES ($1, 'test', 0)`, string(testRegistry.Account))
	w.exec(`INSERT INTO registry (account_id, region, repositories, created_at) VALUES ($1, $2, 0, 0)`, string(testRegistry.Account), string(testRegistry.Region))
	w.exec(`INSERT INTO repository (id, account_id, region, name, created_at, tag_mutability, mutability_filters, scan_on_push, encryption, kms_key, key_id, data_key, images)
		VALUES ($1, $2, $3, 'app', 0, 'MUTABLE', '', $4, 'AES256', '', '', $5, 0)`, sqldb.NewID(), string(testRegistry.Account), string(testRegistry.Region), false, []byte{})
	var err error
	w.app, err = repositories.Get(ctx, testRegistry, "app")
	w.must(err)
	queue := jobs.New(db, w.clk, log, jobs.Options{})
	store, archive := memory.New(), memory.New()
	layers := layer.New(layer.Config{
		Durable: db, Volatile: db, Repositories: repositories, Clock: w.clk, Log: log, Quotas: quota.Fixed(quota.Default()), Jobs: queue,
		Store:   func(name.Region) (blobstore.Store, bool) { return store, true },
		Archive: func(name.Region) (blobstore.Store, bool) { return archive, true },
	})
	outbox := event.NewOutbox(
		func(ctx context.Context, tx *sqldb.Tx, e event.Event) error { return w.Subscribe(ctx, tx, e) },
		func(_ context.Context, tx *sqldb.Tx, e event.Event) error {
			tx.AfterCommit(func() { w.events = append(w.events, e) })
			return nil
		},
	)
	images := image.New(image.Config{Durable: db, Repositories: repositories, Layers: layers, Outbox: outbox, Clock: w.clk, Log: log, Quotas: quota.Fixed(quota.Default())})
	w.Service = New(Config{
		Durable: db, Repositories: repositories, Images: images, Outbox: outbox, Clock: w.clk, Log: log, Jobs: queue, Quotas: quota.Fixed(quota.Default()),
		Storage:   storage.New(storage.Config{Durable: db, Repositories: repositories, Images: images, Layers: layers, Outbox: outbox, Clock: w.clk, Jobs: queue}),
		OptionsTx: func(context.Context, *sqldb.Tx, int64) (Options, error) { return w.set, nil },
	})
	return w
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

// digest is the digest of the image that a test calls by a short name.
func digest(short string) name.Digest { return name.SHA256([]byte(short)) }

// spec is an image as a test writes it.
type spec struct {
	short    string
	tags     []string
	days     float64 // since its push
	subject  string
	children []string
}

// put makes an image's rows, as they are after a push some days ago.
func (w *world) put(specs ...spec) {
	w.Helper()
	ctx := context.Background()
	w.must(w.db.Update(ctx, func(tx *sqldb.Tx) error {
		for _, s := range specs {
			id := sqldb.NewID()
			subject := ""
			if s.subject != "" {
				subject = string(digest(s.subject))
			}
			pushed := w.clk.Now().Add(-time.Duration(s.days * 24 * float64(time.Hour)))
			if _, err := tx.Exec(ctx, `INSERT INTO image (id, repository_id, digest, media_type, artifact_type, size, manifest_size, pushed_at, tags, subject, annotations)
				VALUES ($1, $2, $3, 'type', '', 1, 1, $4, $5, $6, '')`, id, w.app.ID, string(digest(s.short)), pushed.UnixMicro(), len(s.tags), subject); err != nil {
				return err
			}
			for _, t := range s.tags {
				if _, err := tx.Exec(ctx, `INSERT INTO image_tag (repository_id, tag, image_id, updated_at) VALUES ($1, $2, $3, $4)`, w.app.ID, t, id, pushed.UnixMicro()); err != nil {
					return err
				}
			}
			for _, c := range s.children {
				if _, err := tx.Exec(ctx, `INSERT INTO image_child (image_id, digest, repository_id) VALUES ($1, $2, $3)`, id, string(digest(c)), w.app.ID); err != nil {
					return err
				}
			}
			if _, err := tx.Exec(ctx, `UPDATE repository SET images = images + 1 WHERE id = $1`, w.app.ID); err != nil {
				return err
			}
		}
		return nil
	}))
}

// left lists which of the images are still there, with their status where it is
// not active.
func (w *world) left(shorts string) string {
	w.Helper()
	var out []string
	for _, s := range strings.Fields(shorts) {
		ds, _, err := w.Images.Describe(context.Background(), w.app, image.DescribeQuery{Refs: []image.Ref{{Digest: digest(s)}}})
		if err != nil {
			continue
		}
		if ds[0].Status != image.Active {
			s += ":" + ds[0].Status.String()
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// policy is a policy of rules, as JSON members each.
func policy(rules ...string) string {
	for n, r := range rules {
		rules[n] = fmt.Sprintf(`{"rulePriority": %d, %s}`, n+1, r)
	}
	return `{"rules": [` + strings.Join(rules, ", ") + `]}` + strings.Repeat(" ", 100)
}

const untaggedAfter14 = `"selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14}, "action": {"type": "expire"}`

func keep(n int, pattern string) string {
	return fmt.Sprintf(`"selection": {"tagStatus": "tagged", "tagPatternList": [%q], "countType": "imageCountMoreThan", "countNumber": %d}, "action": {"type": "expire"}`, pattern, n)
}

// due runs the jobs of a kind that wait, at their time, until none is left.
func (w *world) due(kind string, run func(context.Context, jobs.Task) error) {
	w.Helper()
	ctx := context.Background()
	for range 20 {
		type waiting struct {
			id      int64
			payload string
			at      int64
		}
		var all []waiting
		w.must(w.db.View(ctx, func(tx *sqldb.Tx) error {
			var err error
			all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (j waiting, err error) { return j, row.Scan(&j.id, &j.payload, &j.at) },
				`SELECT id, payload, run_at FROM job WHERE kind = $1 ORDER BY id`, kind)
			return err
		}))
		if len(all) == 0 {
			return
		}
		for _, j := range all {
			if at := time.UnixMicro(j.at); at.After(w.clk.Now()) {
				w.clk.Advance(at.Sub(w.clk.Now()))
			}
			w.exec(`DELETE FROM job WHERE id = $1`, j.id)
			w.must(run(ctx, jobs.Task{ID: j.id, Kind: kind, Payload: json.RawMessage(j.payload), Attempt: 1}))
		}
	}
	w.Fatalf("jobs of the kind %s enqueue themselves again and again", kind)
}

func (w *world) runs() { w.Helper(); w.due(JobRun, w.run) }

// executions are the details of the events of a kind.
func (w *world) executions(kind event.Kind) (all []*Execution) {
	for _, e := range w.events {
		if e.Kind == kind {
			all = append(all, e.Detail.(*Execution))
		}
	}
	return all
}
