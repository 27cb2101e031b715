package replication_test

import (
	"bytes"
	"context"
	"encoding/json"
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

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/image/storage"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/replication/receive"
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
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...), sqldbtest.Migrated("schema_version_volatile", schema.Volatile()...))
}

const (
	ours   = name.AccountID("111111111111")
	theirs = name.AccountID("222222222222")
)

var (
	home    = name.Registry{Account: ours, Region: "eu-west-1"}
	away    = name.Registry{Account: ours, Region: "us-east-1"}
	third   = name.Registry{Account: ours, Region: "us-west-2"}
	foreign = name.Registry{Account: theirs, Region: "us-east-1"}
)

// world is a deployment of three regions with two accounts, whose jobs run.
type world struct {
	t testing.TB
	*replication.Service
	db           *sqldb.DB
	clk          *clock.Fake
	queue        *jobs.Queue
	registries   *registry.Service
	repositories *repository.Service
	layers       *layer.Service
	images       *image.Service
	storage      *storage.Service
	entities     *entity.Service
	receiver     *receive.Receiver
	stores       map[name.Region]*memory.Store

	mu     sync.Mutex
	events []event.Event
	trail  []audit.Entry
	done   []replication.Done
	// between, if it is set, stands in front of the receiver.
	between func(replication.Destination) replication.Destination
	// template are the resource tags of the template for replication; nil for none.
	template map[string]string
	mounts   bool
	complete func(context.Context, repository.Repository, name.Digest) error
	logs     bytes.Buffer
	limits   quota.Limits
}

// Limits implements quota.Source.
func (w *world) Limits(context.Context, name.AccountID) (quota.Limits, error) { return w.limits, nil }

// RepositoryLimits implements quota.Source.
func (w *world) RepositoryLimits(context.Context, name.AccountID, name.Repository) (quota.Limits, error) {
	return w.limits, nil
}

// Record implements receive.Trail.
func (w *world) Record(_ context.Context, e audit.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trail = append(w.trail, e)
}

// Write implements io.Writer for the log.
func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logs.Write(p)
}

func newWorld(t *testing.T, durable, volatile *sqldb.DB, change ...func(*replication.Config)) *world {
	ctx := t.Context()
	w := &world{t: t, db: durable, clk: clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), limits: quota.Default(), stores: map[name.Region]*memory.Store{}}
	w.must(durable.Migrate(ctx, "schema_version", schema.Durable()...))
	w.must(volatile.Migrate(ctx, "schema_version_volatile", schema.Volatile()...))
	log := slog.New(slog.NewTextHandler(w, nil))
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
	w.must(err)
	principals, err := principal.New(durable, ring, w.clk)
	w.must(err)
	w.must(principals.EnsureAccount(ctx, ours))
	w.must(principals.EnsureAccount(ctx, theirs))
	regions := []name.Region{home.Region, away.Region, third.Region}
	archives := map[name.Region]*memory.Store{}
	for _, r := range regions {
		w.stores[r], archives[r] = memory.New(), memory.New()
	}
	w.registries = registry.New(durable, w.clk, regions)
	w.repositories = repository.New(repository.Config{DB: durable, Clock: w.clk, Registries: w.registries, Keys: ring, Quotas: w, Sealing: true})
	w.entities = entity.New(principals)
	access, err := authz.New(authz.Config{Principals: principals, Entities: w.entities, Registries: w.registries, Repositories: w.repositories, Keys: ring, Clock: w.clk})
	w.must(err)
	w.queue = jobs.New(durable, w.clk, log, jobs.Options{Poll: 2 * time.Millisecond, Lease: 1000 * time.Hour, DrainTimeout: 100 * time.Millisecond})
	in := func(all map[name.Region]*memory.Store) func(name.Region) (blobstore.Store, bool) {
		return func(r name.Region) (blobstore.Store, bool) { s, ok := all[r]; return s, ok }
	}
	w.layers = layer.New(layer.Config{Durable: durable, Volatile: volatile, Repositories: w.repositories, Clock: w.clk, Log: log, Quotas: w, Store: in(w.stores), Archive: in(archives), Jobs: w.queue})
	outbox := event.NewOutbox(
		func(ctx context.Context, tx *sqldb.Tx, e event.Event) error { return w.Subscribe(ctx, tx, e) },
		func(_ context.Context, tx *sqldb.Tx, e event.Event) error {
			tx.AfterCommit(func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.events = append(w.events, e)
			})
			return nil
		},
	)
	w.images = image.New(image.Config{Durable: durable, Repositories: w.repositories, Layers: w.layers, Outbox: outbox, Clock: w.clk, Log: log, Quotas: w})
	w.storage = storage.New(storage.Config{Durable: durable, Repositories: w.repositories, Images: w.images, Layers: w.layers, Outbox: outbox, Clock: w.clk, Jobs: w.queue})
	w.receiver = receive.New(receive.Config{
		Durable: durable, Volatile: volatile, Repositories: w.repositories, Layers: w.layers, Images: w.images, Outbox: outbox, Trail: w, Clock: w.clk, Log: log, Jobs: w.queue,
		Authorize: access.AuthorizeReplication,
		TemplateTags: func(context.Context, name.Registry, name.Repository) (map[string]string, error) {
			return w.template, nil
		},
		Template: func(ctx context.Context, reg name.Registry, repo name.Repository) (repository.Repository, error) {
			if w.template == nil {
				return repository.Repository{}, errs.New(errs.TemplateNotFound, "no template")
			}
			return w.repositories.Create(ctx, repository.Create{Registry: reg, Name: repo, Mutability: repository.Mutability{Setting: repository.Immutable}, Tags: w.template})
		},
		Mounts: func(context.Context, name.Registry) (bool, error) { return w.mounts, nil },
	})
	c := replication.Config{
		Durable: durable, Registries: w.registries, Repositories: w.repositories, Images: w.images, Layers: w.layers, Entities: w.entities, Outbox: outbox, Clock: w.clk, Log: log, Jobs: w.queue,
		Served: func(r name.Region) bool { return w.registries.Enabled(r) },
		Destination: func(r name.Region) (replication.Destination, bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.between != nil {
				return w.between(w.receiver), true
			}
			return w.receiver, w.registries.Enabled(r)
		},
		Complete: func(ctx context.Context, r repository.Repository, d name.Digest) error {
			if w.complete == nil {
				return errs.New(errs.ImageNotFound, "no upstream has it")
			}
			return w.complete(ctx, r, d)
		},
		Wanted: func(_ context.Context, backfill string) (string, error) {
			if backfill == "stopped" {
				return "NotSent", nil
			}
			return "", nil
		},
		Done: func(_ context.Context, tx *sqldb.Tx, d replication.Done) error {
			tx.AfterCommit(func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.done = append(w.done, d)
			})
			return nil
		},
	}
	for _, fn := range change {
		fn(&c)
	}
	w.Service = replication.New(c)
	return w
}

// run has the jobs run until the test ends, or stop is called.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.queue.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	w.t.Cleanup(stop)
	return stop
}

func on(t *testing.T, fn func(w *world), change ...func(*replication.Config)) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db, sqldbtest.SQLite(t), change...)
		w.run()
		fn(w)
	})
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) count(query string, args ...any) (n int64) {
	w.t.Helper()
	w.must(w.db.View(context.Background(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(context.Background(), query, slices.Clone(args)...).Scan(&n)
	}))
	return n
}

// patience is how long a test waits for what has to come.
const patience = 90 * time.Second

// eventually waits for a condition. While no job runs, the clock goes on.
func (w *world) eventually(what string, fn func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !fn(); time.Sleep(3 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.t.Fatalf("waited in vain for %s\n%s", what, w.logs.String())
		}
		if w.count(`SELECT count(*) FROM job WHERE state = 1`) == 0 && w.count(`SELECT count(*) FROM job WHERE state = 0 AND run_at <= $1 AND kind LIKE 'replication%'`, w.clk.Now().UnixMicro()) == 0 {
			w.clk.Advance(200 * time.Millisecond)
		}
	}
}

// settle waits until nothing is left in the queue.
func (w *world) settle() {
	w.t.Helper()
	w.eventually("the queue to be empty", func() bool {
		return w.count(`SELECT count(*) FROM replication_item`) == 0 && w.count(`SELECT count(*) FROM job WHERE kind LIKE 'replication.send%' OR kind LIKE 'storage%' OR kind LIKE 'image%'`) == 0
	})
}

func to(all ...name.Registry) replication.Configuration {
	return replication.Configuration{Rules: []replication.Rule{{Destinations: all}}}
}

func (w *world) put(reg name.Registry, c replication.Configuration) {
	w.t.Helper()
	w.must(w.Put(w.t.Context(), reg, c))
}

// repo finds a repository, or makes it.
func (w *world) repo(reg name.Registry, repo name.Repository) repository.Repository {
	w.t.Helper()
	r, err := w.repositories.Get(context.Background(), reg, repo)
	if errs.Is(err, errs.RepositoryNotFound) {
		r, err = w.repositories.Create(context.Background(), repository.Create{Registry: reg, Name: repo, Mutability: repository.Mutability{Setting: repository.Mutable}})
	}
	w.must(err)
	return r
}

// blob brings a blob into a repository and describes it.
func (w *world) blob(r repository.Repository, mediaType string, content []byte) map[string]any {
	w.t.Helper()
	ctx, d := context.Background(), name.SHA256(content)
	u, err := w.layers.Start(ctx, r)
	w.must(err)
	_, err = w.layers.Complete(ctx, r, u.ID, []name.Digest{d}, layer.Unannounced(), bytes.NewReader(content), layer.CompleteOptions{})
	w.must(err)
	return map[string]any{"mediaType": mediaType, "digest": d, "size": len(content)}
}

// manifestOf is the manifest of an image with the texts as its layers, the blobs of
// which are brought into the repository.
func (w *world) manifestOf(r repository.Repository, subject *image.Image, layers ...string) []byte {
	w.t.Helper()
	m := map[string]any{
		"schemaVersion": 2, "mediaType": manifest.OCIImage,
		"config": w.blob(r, "application/vnd.oci.image.config.v1+json", []byte(`{"of":"`+strings.Join(layers, ",")[:min(20, len(strings.Join(layers, ",")))]+`"}`)),
	}
	var all []any
	for _, l := range layers {
		all = append(all, w.blob(r, "application/vnd.oci.image.layer.v1.tar", []byte(l)))
	}
	m["layers"] = all
	if subject != nil {
		m["subject"] = map[string]any{"mediaType": subject.MediaType, "digest": subject.Digest, "size": subject.ManifestSize}
	}
	text, err := json.Marshal(m)
	w.must(err)
	return text
}

func (w *world) store(r repository.Repository, body []byte, tag name.Tag) image.Image {
	w.t.Helper()
	img, _, err := w.images.Put(context.Background(), r, image.Put{Manifest: body, Tag: tag})
	w.must(err)
	return img
}

// push pushes an image to a repository at home.
func (w *world) push(repo name.Repository, tag name.Tag, layers ...string) image.Image {
	w.t.Helper()
	r := w.repo(home, repo)
	return w.store(r, w.manifestOf(r, nil, layers...), tag)
}

// indexOf is an index of images.
func (w *world) indexOf(children ...image.Image) []byte {
	w.t.Helper()
	var all []any
	for _, c := range children {
		all = append(all, map[string]any{"mediaType": c.MediaType, "digest": c.Digest, "size": c.ManifestSize})
	}
	text, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": manifest.OCIIndex, "manifests": all})
	w.must(err)
	return text
}

// tagsIn are a repository's tags with their images, and its untagged images.
func (w *world) tagsIn(reg name.Registry, repo name.Repository) map[string]bool {
	w.t.Helper()
	r, err := w.repositories.Get(context.Background(), reg, repo)
	if errs.Is(err, errs.RepositoryNotFound) {
		return nil
	}
	w.must(err)
	all := map[string]bool{}
	for after := image.Cursor(""); ; {
		refs, next, err := w.images.List(context.Background(), r, image.ListQuery{Status: image.AnyStatus, After: after, Limit: 100})
		w.must(err)
		for _, f := range refs {
			all[string(f.Tag)+"@"+string(f.Digest)] = true
		}
		if after = next; next == "" {
			return all
		}
	}
}

// has fails unless the repository has exactly these.
func (w *world) has(reg name.Registry, repo name.Repository, want ...string) {
	w.t.Helper()
	got := w.tagsIn(reg, repo)
	ok := len(got) == len(want)
	for _, one := range want {
		ok = ok && got[one]
	}
	if !ok {
		w.t.Errorf("%s of %s has %v, want %v", repo, reg, got, want)
	}
}

func at(tag string, img image.Image) string { return tag + "@" + string(img.Digest) }

// whole fails unless an image can be pulled from a repository with every byte.
func (w *world) whole(reg name.Registry, repo name.Repository, d name.Digest) {
	w.t.Helper()
	r, err := w.repositories.Get(context.Background(), reg, repo)
	w.must(err)
	w.must(w.broken(r, d))
}

// broken says what is wrong with an image.
func (w *world) broken(r repository.Repository, d name.Digest) error {
	img, err := w.images.Peek(context.Background(), r, image.Ref{Digest: d}, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	if name.SHA256(img.Manifest) != d {
		return fmt.Errorf("%s has other bytes", d)
	}
	m, err := manifest.Parse(img.Manifest, img.MediaType, manifest.Limits{})
	if err != nil {
		return err
	}
	for _, c := range m.ChildManifests() {
		if err := w.broken(r, c.Digest); err != nil {
			return fmt.Errorf("child of %s: %w", d, err)
		}
	}
	for _, b := range m.Blobs() {
		if b.Foreign {
			continue
		}
		body, _, err := w.layers.Open(context.Background(), r, b.Digest, 0, -1)
		if err != nil {
			return fmt.Errorf("blob %s of %s: %w", b.Digest, d, err)
		}
		content, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil {
			return err
		}
		if name.SHA256(content) != b.Digest {
			return fmt.Errorf("blob %s of %s has other bytes", b.Digest, d)
		}
	}
	return nil
}

// nothingPartial fails if any image of the registry cannot be pulled.
func (w *world) nothingPartial(reg name.Registry) error {
	repos, err := w.repositories.List(context.Background(), reg, "", 100)
	if err != nil {
		return err
	}
	for _, r := range repos {
		refs, _, err := w.images.List(context.Background(), r, image.ListQuery{Limit: 1000})
		if err != nil {
			return err
		}
		for _, f := range refs {
			if err := w.broken(r, f.Digest); err != nil {
				return err
			}
		}
	}
	return nil
}

// statuses are those of an image at home, as text.
func (w *world) statuses(repo name.Repository, d name.Digest) string {
	w.t.Helper()
	_, all, err := w.Statuses(context.Background(), w.repo(home, repo), image.Ref{Digest: d})
	w.must(err)
	var out []string
	for _, s := range all {
		out = append(out, strings.TrimSpace(s.Destination.String()+" "+string(s.Status)+" "+s.FailureCode))
	}
	return strings.Join(out, ", ")
}

func (w *world) status(repo name.Repository, d name.Digest, want string) {
	w.t.Helper()
	if got := w.statuses(repo, d); got != want {
		w.t.Errorf("statuses %q, want %q", got, want)
	}
}

// replicated are the events of replication, as text.
func (w *world) replicated() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if d, ok := e.Detail.(event.ReplicationDetail); ok {
			all = append(all, fmt.Sprintf("%s %s %s:%s %s %s", e.Registry, d.Source, d.Repository, d.Tag, d.Result, d.FailureCode))
		}
	}
	slices.Sort(all)
	return all
}

// recorded are the records of the trail, as text.
func (w *world) recorded() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.trail {
		all = append(all, strings.TrimSpace(string(e.Account)+" "+string(e.Region)+" "+e.EventName+" "+e.ErrorCode))
	}
	slices.Sort(all)
	return all
}

func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n%q, want\n%q", what, got, want)
	}
}

// allow sets the policy of a registry: what the account may.
func (w *world) allow(reg name.Registry, account name.AccountID, actions ...string) {
	w.t.Helper()
	d, err := policy.Parse(`{"Version":"2012-10-17","Statement":[{"Sid":"x","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+string(account)+`:root"},"Action":["`+
		strings.Join(actions, `","`)+`"],"Resource":["arn:aws:ecr:`+string(reg.Region)+`:`+string(reg.Account)+`:repository/*"]}]}`, policy.Registry)
	w.must(err)
	w.must(w.registries.SetPolicy(context.Background(), reg, d, w.entities.PinPrincipals))
}
