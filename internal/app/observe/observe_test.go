package observe_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/oci/observation"
	"github.com/berth-registry/berth/internal/api/oci/path"
	"github.com/berth-registry/berth/internal/app/observe"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer/collect"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/obs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

func fmtFloat(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func newObserver(t testing.TB, c observe.Config) *observe.Observer {
	t.Helper()
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	o, err := observe.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func nothing(http.ResponseWriter, *http.Request) {}

func metrics(t *testing.T, o *observe.Observer) string {
	t.Helper()
	return settled(t, o.Handler(nothing, nothing))
}

// serve has a handler answer one request behind the middleware.
func serve(o *observe.Observer, r *http.Request, h http.HandlerFunc) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	func() {
		defer func() { _ = recover() }() // as net/http does
		o.Middleware(h).ServeHTTP(w, r)
	}()
	return w
}

func TestRefusals(t *testing.T) {
	o := newObserver(t, observe.Config{})
	for _, code := range []errs.Code{errs.Throttled, errs.LimitExceeded, errs.StorageFull, errs.AccessDenied, errs.TokenExpired, errs.ImageNotFound} {
		serve(o, httptest.NewRequest(http.MethodPut, "/v2/a/manifests/b", nil), func(w http.ResponseWriter, _ *http.Request) {
			o.Registry(w, observation.Request{Kind: path.Manifest, Actions: []string{"PutImage"}, Caller: "arn", Err: errs.New(code, "no"), Status: 400})
			w.WriteHeader(http.StatusBadRequest)
		})
		serve(o, httptest.NewRequest(http.MethodPost, "/", nil), func(w http.ResponseWriter, _ *http.Request) {
			o.AWS(w, aws.Observation{Call: &aws.Call{Service: "ecr", Operation: "PutImage"}, Known: true, Code: "SomeException", Err: errs.New(code, "no"), Status: 400})
			w.WriteHeader(http.StatusBadRequest)
		})
	}
	text := metrics(t, o)
	expect(t, text, "berth_quota_refusals_total", `{kind="limit",operation="PutImage"} 2`, `{kind="rate",operation="PutImage"} 2`, `{kind="storage",operation="PutImage"} 2`)
	expect(t, text, "berth_denials_total", `{api="aws",operation="PutImage"} 1`, `{api="registry",operation="PutImage"} 1`)
	expect(t, text, "berth_authentication_failures_total", `{api="aws",kind="expired"} 1`, `{api="registry",kind="expired"} 1`)
	expect(t, text, "berth_aws_requests_total", `{code="SomeException",operation="PutImage",service="ecr"} 6`)
	expect(t, text, "berth_usage_call_count", `{class="None",resource="PutImage",service="ECR",type="API"} 6`) // whose caller is known
}

// TestAnswers: what becomes of answers that end early, fail, or redirect.
func TestAnswers(t *testing.T) {
	o := newObserver(t, observe.Config{})
	pull := func(h http.HandlerFunc) {
		serve(o, httptest.NewRequest(http.MethodGet, "/", nil), func(w http.ResponseWriter, r *http.Request) {
			o.Registry(w, observation.Request{Kind: path.Blob, Actions: []string{"GetDownloadUrlForLayer"}, Caller: "arn"})
			h(w, r)
		})
	}
	pull(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, "12345") // the rest does not come
	})
	pull(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTemporaryRedirect) })
	pull(func(http.ResponseWriter, *http.Request) { panic("on purpose") })
	pull(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusContinue)
		w.WriteHeader(http.StatusPartialContent)
	})
	text := metrics(t, o)
	expect(t, text, "berth_registry_requests_total", `{route="blob_get",status="200"} 1`, `{route="blob_get",status="206"} 1`, `{route="blob_get",status="307"} 1`, `{route="blob_get",status="500"} 1`)
	expect(t, text, "berth_layer_downloads_total", `{how="redirect",source="registry"} 1`, `{how="stream",source="registry"} 2`)
	expect(t, text, "berth_answers_cut_total", `{content="layer"} 1`)
	expect(t, text, "berth_sent_bytes_total", `{content="layer"} 5`)
	expect(t, text, "berth_first_byte_seconds_count", `{content="layer"} 2`)

	// The body is counted as far as it was read, and the connection is within reach.
	serve(o, httptest.NewRequest(http.MethodPatch, "/", strings.NewReader("123456")), func(w http.ResponseWriter, r *http.Request) {
		o.Registry(w, observation.Request{Kind: path.Upload})
		_, _ = io.ReadFull(r.Body, make([]byte, 4))
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flush: %v", err)
		}
	})
	expect(t, metrics(t, o), "berth_received_bytes_total", `{content="layer"} 4`)
}

// fakeLayers gives numbers that a test chooses.
type fakeLayers struct {
	stats collect.Stats
	err   error
}

func (f *fakeLayers) OpenUploads(context.Context) (int64, error) { return 3, f.err }

func (f *fakeLayers) CollectionStats(context.Context) (collect.Stats, error) { return f.stats, f.err }

// TestSources reads a real queue and database, and numbers of a collection.
func TestSources(t *testing.T) {
	ctx := t.Context()
	clk := clock.NewFake(time.Unix(1_800_000_000, 0))
	o := newObserver(t, observe.Config{Clock: clk, Version: "v1"})
	db, err := sqldb.OpenSQLite(ctx, sqldb.SQLiteOptions{Path: filepath.Join(t.TempDir(), "db"), Readers: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	o.Database("durable", db)
	o.Database("volatile", db) // one database for both, as PostgreSQL is
	dir, err := fs.Sub(jobs.Migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(ctx, "jobs_version", dir); err != nil {
		t.Fatal(err)
	}
	ran := make(chan struct{}, 10)
	q := jobs.New(db, clk, slog.New(slog.DiscardHandler), jobs.Options{Around: o.Job, Poll: 5 * time.Millisecond})
	for kind, failure := range map[string]error{"good": nil, "bad": jobs.Permanent(errors.New("no"))} {
		q.Handle(kind, jobs.Handler{Run: func(context.Context, jobs.Task) error { ran <- struct{}{}; return failure }})
	}
	enqueue := func(all ...jobs.Job) {
		t.Helper()
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			for _, j := range all {
				if err := q.Enqueue(ctx, tx, j); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	enqueue(jobs.Job{Kind: "good"}, jobs.Job{Kind: "bad"}, jobs.Job{Kind: "nobody's"})
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- q.Run(running) }()
	<-ran
	<-ran
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	clk.Advance(90 * time.Second)

	layers := &fakeLayers{stats: collect.Stats{
		Reviews: 5, Due: 2, OldestDue: clk.Now().Add(-time.Hour), Garbage: 7, GarbageBytes: 700, Holds: 1, Missing: 4, Total: collect.Collected{Freed: 123},
	}}
	o.Jobs(q)
	o.Layers(layers)
	o.Certificate(func() time.Time { return clk.Now().Add(48 * time.Hour) })
	text := metrics(t, o)
	expect(t, text, "berth_jobs", `{kind="bad",state="dead"} 1`, `{kind="nobody's",state="waiting"} 1`)
	expect(t, text, "berth_jobs_overdue_seconds", `{kind="nobody's"} 90`)
	expect(t, text, "berth_job_runs_total", `{kind="bad",result="failed"} 1`, `{kind="good",result="ok"} 1`)
	expect(t, text, "berth_job_duration_seconds_count", `{kind="bad"} 1`, `{kind="good"} 1`)
	expect(t, text, "berth_uploads_open", "3")
	expect(t, text, "berth_gc_reviews", `{state="due"} 2`, `{state="waiting"} 3`)
	expect(t, text, "berth_gc_overdue_seconds", "3600")
	expect(t, text, "berth_gc_objects", "7")
	expect(t, text, "berth_gc_objects_bytes", "700")
	expect(t, text, "berth_gc_holds", "1")
	expect(t, text, "berth_gc_missing_blobs", "4")
	expect(t, text, "berth_gc_freed_bytes_total", "123")
	expect(t, text, "berth_certificate_expiry_seconds", "172800")
	expect(t, text, "berth_db_connections_max", `{db="durable"} 3`)
	expect(t, text, "berth_build_info", samples(text, "berth_build_info"))
	if !strings.Contains(samples(text, "berth_build_info"), `version="v1"`) || samples(text, "berth_db_grouped_updates_total") == "" {
		t.Error("numbers are missing")
	}

	// What cannot be read is missing, counted, and nothing else suffers.
	layers.err = errors.New("no database")
	clk.Advance(15 * time.Second)
	_ = metrics(t, o)
	text = metrics(t, o)
	expect(t, text, "berth_uploads_open")
	expect(t, text, "berth_gc_objects")
	if !strings.Contains(samples(text, "berth_scrape_errors_total"), `{source="uploads"}`) || samples(text, "berth_jobs") == "" {
		t.Errorf("errors: %s", samples(text, "berth_scrape_errors_total"))
	}
}

// TestTransactions: a refusal of the program's is none of the database's failures.
func TestTransactions(t *testing.T) {
	ctx := t.Context()
	o := newObserver(t, observe.Config{})
	db, err := sqldb.OpenSQLite(ctx, sqldb.SQLiteOptions{Path: filepath.Join(t.TempDir(), "db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // the test is over
	o.Database("durable", db)
	exec := func(query string) func(*sqldb.Tx) error {
		return func(tx *sqldb.Tx) error { _, err := tx.Exec(ctx, query); return err }
	}
	if err := db.Update(ctx, exec(`CREATE TABLE a (b BIGINT NOT NULL PRIMARY KEY)`)); err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(ctx)
	for _, fn := range []func(*sqldb.Tx) error{
		func(*sqldb.Tx) error { return errs.New(errs.ImageNotFound, "no") },
		exec(`INSERT INTO a (b) VALUES (NULL)`),
		func(*sqldb.Tx) error { cancel(); return canceled.Err() },
	} {
		if err := db.Update(ctx, fn); err == nil {
			t.Error("a transaction went through")
		}
	}
	if err := db.View(ctx, func(*sqldb.Tx) error { return nil }); err != nil {
		t.Error(err)
	}
	expect(t, metrics(t, o), "berth_db_transactions_total",
		`{db="durable",kind="update",result="canceled"} 1`, `{db="durable",kind="update",result="failed"} 1`, `{db="durable",kind="update",result="ok"} 1`,
		`{db="durable",kind="update",result="rolled_back"} 1`, `{db="durable",kind="view",result="ok"} 1`)
}

// TestStores counts by what came of it.
func TestStores(t *testing.T) {
	ctx := t.Context()
	o := newObserver(t, observe.Config{})
	s := o.Store(memory.New(), "archive", "eu-west-1")
	w, err := s.Create(ctx, "a", blobstore.Placement{})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte("12345"))
	object, err := w.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(ctx, object, 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); err != nil {
		t.Error(err)
	}
	_ = r.Close() // of a memory store
	if _, err := s.Open(ctx, blobstore.Object{Key: "none"}, 0, -1); err == nil {
		t.Error("an object was found")
	}
	text := metrics(t, o)
	label := func(op, result string) string {
		return `{operation="` + op + `",region="eu-west-1",result="` + result + `",store="archive"} 1`
	}
	expect(t, text, "berth_blobstore_operations_total", label("commit", "ok"), label("create", "ok"), label("first_byte", "ok"), label("open", "not_found"), label("open", "ok"), label("read", "ok"), label("write", "ok"))
	expect(t, text, "berth_blobstore_written_bytes_total", `{region="eu-west-1",store="archive"} 5`)
	expect(t, text, "berth_blobstore_read_bytes_total", `{region="eu-west-1",store="archive"} 3`)
}

// quiet is a writer that keeps nothing, so that a benchmark sees the observer only.
type quiet struct{ h http.Header }

func (q quiet) Header() http.Header         { return q.h }
func (q quiet) Write(p []byte) (int, error) { return len(p), nil }
func (q quiet) WriteHeader(int)             {}

// pullOf is a handler that answers as a pull does.
func pullOf(o *observe.Observer) http.HandlerFunc {
	actions, part := []string{"GetDownloadUrlForLayer"}, make([]byte, 1024)
	return func(w http.ResponseWriter, _ *http.Request) {
		o.Registry(w, observation.Request{Kind: path.Blob, Actions: actions, Caller: "arn"})
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(part)
	}
}

// TestCost: a request costs two allocations at the most.
func TestCost(t *testing.T) {
	o := newObserver(t, observe.Config{Requests: obs.LogErrors})
	h := o.Middleware(pullOf(o))
	w, r := quiet{http.Header{}}, httptest.NewRequest(http.MethodGet, "/", nil)
	if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }); n > 2 {
		t.Errorf("a request allocates %v times", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	o := newObserver(b, observe.Config{Requests: obs.LogErrors})
	h := o.Middleware(pullOf(o))
	w, r := quiet{http.Header{}}, httptest.NewRequest(http.MethodGet, "/", nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.ServeHTTP(w, r)
		}
	})
}
