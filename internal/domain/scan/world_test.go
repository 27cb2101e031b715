package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/image/storage"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
	"github.com/berth-registry/berth/internal/domain/scan/worker"
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

var here = name.Registry{Account: "123456789012", Region: "eu-west-1"}

// scanner reads layers that are written in JSON, and matches by a table: what the
// processes of scan/worker do, for a format that a test can write by hand.
type scanner struct {
	mu      sync.Mutex
	read    int               // layers that were read
	matched int               // inventories that were matched
	table   map[string]advice // by package and version
	trouble error             // of the next reads
	losing  error             // of the next matches
	hold    chan struct{}     // a read waits until it is closed
}

// advice is what the table says of a package.
type advice struct {
	id, fixed string
	severity  finding.Severity
}

func (s *scanner) set(db map[string]advice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table = db
}

func (s *scanner) ReadLayer(ctx context.Context, _ string, size int64, r io.Reader) (l inventory.Layer, err error) {
	s.mu.Lock()
	s.read++
	trouble, hold := s.trouble, s.hold
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return l, ctx.Err()
		}
	}
	text, err := io.ReadAll(r)
	if err != nil || trouble != nil {
		return l, errors.Join(err, trouble)
	}
	if int64(len(text)) != size {
		return l, fmt.Errorf("%d bytes came, the manifest says %d", len(text), size)
	}
	if json.Unmarshal(text, &l) != nil {
		return l, &worker.Refused{Reason: "the layer is no archive"}
	}
	return l, nil
}

func (s *scanner) Match(_ context.Context, dir string, img inventory.Image, o match.Options) (finding.Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.matched++
	if s.losing != nil {
		return finding.Report{}, s.losing
	}
	rep := finding.Report{Supported: img.OS.Family != "", OS: img.OS, Architecture: img.Architecture, SourceUpdatedAt: madeAt(dir)}
	for _, p := range img.Packages {
		a, ok := s.table[p.Name+" "+p.Version]
		if !ok || !o.Languages && !p.Type.Distribution() {
			continue
		}
		rep.Matches = append(rep.Matches, finding.Match{Vulnerability: len(rep.Vulnerabilities), Package: p, Severity: a.severity, FixedVersion: a.fixed, Source: "TEST"})
		rep.Vulnerabilities = append(rep.Vulnerabilities, finding.Vulnerability{ID: a.id, Description: "of " + p.Name})
	}
	return rep, nil
}

// databases is which database is the current one.
type databases struct {
	mu  sync.Mutex
	now string // "" for none
}

func (d *databases) Current(context.Context) (vulndb.Database, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return vulndb.Database{Digest: name.SHA256([]byte(d.now)), Dir: d.now, UpdatedAt: madeAt(d.now)}, d.now != "", nil
}

// madeAt is when the database of a name was made: days of March by its letter.
func madeAt(name string) time.Time {
	if name == "" {
		return time.Time{}
	}
	return time.Date(2026, 3, int(name[0]-'a')+1, 0, 0, 0, 0, time.UTC)
}

// world is a registry whose pushes are heard by a Service.
type world struct {
	*testing.T
	*Service
	ctx     context.Context
	db      *sqldb.DB
	clk     *clock.Fake
	scanner *scanner
	vulndb  *databases
	images  *image.Service
	layers  *layer.Service
	storage *storage.Service
	queue   *jobs.Queue
	events  []event.Event
	mu      sync.Mutex
}

func onEngines(t *testing.T, fn func(w *world)) {
	t.Helper()
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := &world{T: t, ctx: t.Context(), db: db, clk: clock.NewFake(time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)), scanner: &scanner{}, vulndb: &databases{now: "a"}}
		w.must(db.Migrate(w.ctx, "schema_version", schema.Durable()...))
		w.must(db.Migrate(w.ctx, "schema_version_volatile", schema.Volatile()...))
		w.exec(`INSERT INTO account (id, name, created_at) VALUES ($1, 'test', 0)`, string(here.Account))
		w.build(Config{})
		fn(w)
	})
}

// build puts a service on the world's database, with what c says beside.
func (w *world) build(c Config) {
	w.Helper()
	log := slog.New(slog.DiscardHandler)
	limits := quota.Fixed(quota.Default())
	ring, err := keyring.Open(w.TempDir()+"/keyring.json", w.clk)
	w.must(err)
	registries := registry.New(w.db, w.clk, []name.Region{here.Region})
	repositories := repository.New(repository.Config{DB: w.db, Clock: w.clk, Quotas: limits, Registries: registries, Keys: ring, Sealing: true})
	w.queue = jobs.New(w.db, w.clk, log, jobs.Options{Poll: 5 * time.Millisecond, Alone: true})
	store := memory.New()
	w.layers = layer.New(layer.Config{
		Durable: w.db, Volatile: w.db, Repositories: repositories, Clock: w.clk, Log: log, Quotas: limits, Jobs: w.queue,
		Store:   func(name.Region) (blobstore.Store, bool) { return store, true },
		Archive: func(name.Region) (blobstore.Store, bool) { return store, true },
	})
	outbox := event.NewOutbox(
		func(ctx context.Context, tx *sqldb.Tx, e event.Event) error { return w.Service.Subscribe(ctx, tx, e) },
		func(_ context.Context, tx *sqldb.Tx, e event.Event) error {
			tx.AfterCommit(func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.events = append(w.events, e)
			})
			return nil
		})
	w.images = image.New(image.Config{Durable: w.db, Repositories: repositories, Layers: w.layers, Outbox: outbox, Clock: w.clk, Log: log, Quotas: limits})
	w.storage = storage.New(storage.Config{Durable: w.db, Repositories: repositories, Images: w.images, Layers: w.layers, Outbox: outbox, Clock: w.clk, Jobs: w.queue})
	c.DB, c.Registries, c.Repositories, c.Images, c.Layers = w.db, registries, repositories, w.images, w.layers
	c.Workers, c.Databases, c.Outbox, c.Jobs, c.Clock, c.Log = w.scanner, w.vulndb, outbox, w.queue, w.clk, log
	w.Service = New(c)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) exec(query string, args ...any) {
	w.Helper()
	w.must(w.db.Update(w.ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(w.ctx, query, args...)
		return err
	}))
}

func (w *world) count(query string, args ...any) (n int64) {
	w.Helper()
	w.must(w.db.View(w.ctx, func(tx *sqldb.Tx) error { return tx.QueryRow(w.ctx, query, args...).Scan(&n) }))
	return n
}

// settle runs the jobs until none is due. Jobs that were put off for a failure count
// as due.
func (w *world) settle() {
	w.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- w.queue.Run(ctx) }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		if w.count(`SELECT count(*) FROM job WHERE kind LIKE 'scan.%' AND state <> 2 OR kind = 'image.restore'`) == 0 {
			break
		}
		if time.Now().After(deadline) {
			w.Fatal("the jobs do not come to an end")
		}
		w.exec(`UPDATE job SET run_at = 0 WHERE state = 0`)
		w.clk.Advance(time.Millisecond)
	}
	cancel()
	w.must(<-done)
}

func (w *world) repo(repo name.Repository, onPush bool) repository.Repository {
	w.Helper()
	r, err := w.Repositories.Create(w.ctx, repository.Create{Registry: here, Name: repo, Mutability: repository.Mutability{Setting: repository.Mutable}, ScanOnPush: onPush})
	w.must(err)
	return r
}

// holds is the layer of a Debian with packages, "name version" each, those of Go with a
// slash in their name.
func holds(packages ...string) inventory.Layer {
	l := inventory.Layer{Version: inventory.Version, Files: []inventory.File{{Path: "etc/os-release", OS: &inventory.OS{Family: "debian", Name: "12"}}}}
	f := inventory.File{Path: "var/lib/dpkg/status"}
	for _, p := range packages {
		var one inventory.Package
		if _, err := fmt.Sscan(p, &one.Name, &one.Version); err != nil {
			panic(err)
		}
		one.Type = inventory.Dpkg
		f.Packages = append(f.Packages, one)
	}
	l.Files = append(l.Files, f)
	return l
}

func (w *world) blob(r repository.Repository, content []byte) name.Digest {
	w.Helper()
	d := name.SHA256(content)
	if _, err := w.layers.Stat(w.ctx, r, d); err == nil {
		return d
	} else if !errs.Is(err, errs.LayersNotFound) {
		w.Fatal(err)
	}
	u, err := w.layers.Start(w.ctx, r)
	w.must(err)
	_, err = w.layers.Complete(w.ctx, r, u.ID, []name.Digest{d}, layer.Unannounced(), bytes.NewReader(content), layer.CompleteOptions{})
	w.must(err)
	return d
}

// push pushes an image with a layer for each inventory.
func (w *world) push(r repository.Repository, tag name.Tag, layers ...inventory.Layer) name.Digest {
	w.Helper()
	var contents [][]byte
	for _, l := range layers {
		text, err := json.Marshal(l)
		w.must(err)
		contents = append(contents, text)
	}
	return w.pushRaw(r, tag, `{"architecture":"amd64","os":"linux","author":"a"}`, contents...)
}

func (w *world) pushRaw(r repository.Repository, tag name.Tag, config string, layers ...[]byte) name.Digest {
	w.Helper()
	type descriptor struct {
		MediaType string      `json:"mediaType"`
		Digest    name.Digest `json:"digest"`
		Size      int         `json:"size"`
	}
	m := map[string]any{"schemaVersion": 2, "mediaType": manifest.OCIImage, "config": descriptor{ociConfig, w.blob(r, []byte(config)), len(config)}}
	all := []descriptor{}
	for _, l := range layers {
		all = append(all, descriptor{"application/vnd.oci.image.layer.v1.tar+gzip", w.blob(r, l), len(l)})
	}
	m["layers"] = all
	body, err := json.Marshal(m)
	w.must(err)
	img, _, err := w.images.Put(w.ctx, r, image.Put{Manifest: body, MediaType: manifest.OCIImage, Tag: tag})
	w.must(err)
	return img.Digest
}

// page reads the findings of an image.
// described is an image as its package describes it.
func (w *world) described(r repository.Repository, d name.Digest) image.Detail {
	w.Helper()
	all, _, err := w.images.Describe(w.ctx, r, image.DescribeQuery{Refs: []image.Ref{{Digest: d}}})
	w.must(err)
	return all[0]
}

func (w *world) page(r repository.Repository, d name.Digest) Page {
	w.Helper()
	p, err := w.Findings(w.ctx, r, image.Ref{Digest: d}, 0, 100)
	w.must(err)
	return p
}

// heard returns the events of a kind, and forgets them all.
func (w *world) heard(kind event.Kind) (out []event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	w.events = nil
	return out
}

func (w *world) configure(kind rules.ScanType, all ...rules.Rule) {
	w.Helper()
	_, err := w.PutConfiguration(w.ctx, here, rules.Configuration{Type: kind, Rules: all})
	w.must(err)
}

func rule(f rules.Frequency, filters ...string) rules.Rule {
	r := rules.Rule{Frequency: f}
	for _, one := range filters {
		r.Filters = append(r.Filters, rules.Filter{Value: one, Type: "WILDCARD"})
	}
	return r
}

func (w *world) refused(what string, err error, code errs.Code) {
	w.Helper()
	if !errs.Is(err, code) {
		w.Errorf("%s: %v", what, err)
	}
}
