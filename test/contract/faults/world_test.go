package faults

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore/s3/s3test"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// memoryBound is what the server may have held at once, over all faults of its
// life. It takes up to 100 MiB with this load.
const memoryBound = 200 << 20

// world is a server with the ways to its database and its object storage in the
// test's hands. It is never restarted.
type world struct {
	*harness.Server
	database *sqldbtest.Private // nil unless it is private
	line     *sqldbtest.Line
	store    *s3test.Faults
	all      map[string]string // what was acknowledged: repository:tag to digest
}

// newWorld starts a server on a database and a bucket of its own. A private
// database has a whole PostgreSQL server for itself, which may be killed.
func newWorld(t *testing.T, private bool, env ...string) *world {
	t.Helper()
	w := &world{all: map[string]string{}}
	direct := ""
	if private {
		w.database = sqldbtest.NewPrivate(t)
		direct = w.database.URL
	} else {
		direct = sqldbtest.PostgresURL(t)
	}
	w.line = sqldbtest.NewLine(t, direct)
	backing := harness.NewBacking(t, harness.SQLiteS3)
	backing.Shape, backing.DatabaseURL = harness.ScaleOut, w.line.URL
	w.store = s3test.NewFaults(t, backing.Store)
	// The last entry of a name holds.
	backing.Env = append(backing.Env, "BERTH_DATABASE="+w.line.URL, "BERTH_MASTER_KEY="+harness.MasterKey, "BERTH_S3_ENDPOINT="+w.store.URL)
	w.Server = harness.Start(t, harness.Options{Backing: backing, Env: env})
	return w
}

// run disturbs clients by a fault and holds what they saw and what is left
// against what the fault's row says.
func (w *world) run(t *testing.T, n int, f fault) {
	repo := fmt.Sprintf("faults/n%d", n)
	w.CreateRepository(t, repo)
	wait := patience
	if f.patience > 0 {
		wait = f.patience
	}
	l := startLoad(t.Context(), w.Registry(t), repo, uint64(10*n), wait)
	defer l.finish()
	eventually(t, "every client has begun", func() bool { return l.images() >= clients })
	began := time.Now()
	f.produce(t, w, l)
	over := time.Now()
	l.recovered(t)
	l.finish()
	t.Logf("the fault took %s, and after %s more all worked again; the slowest push or pull took %s, %d uploads went on; clients saw %s",
		over.Sub(began).Round(time.Millisecond), time.Since(over).Round(time.Millisecond), l.slowest.Round(time.Millisecond), l.resumed, l.report())
	w.judge(t, f, l)
	for tag, digest := range l.acknowledged {
		place := repo + ":" + tag
		w.all[place] = digest
		w.pulls(t, map[string]string{place: digest})
	}
}

// report is what clients saw, and one text of each kind of failure.
func (l *load) report() string {
	var counts, texts []string
	for _, k := range slices.Sorted(maps.Keys(l.seen)) {
		counts = append(counts, fmt.Sprintf("%s ×%d", k, l.seen[k]))
		if text := l.example[k]; text != "" {
			texts = append(texts, "\n\t"+k+", such as "+text)
		}
	}
	return strings.Join(counts, ", ") + strings.Join(texts, "")
}

// judge compares what clients saw with what they may and have to see.
func (w *world) judge(t *testing.T, f fault, l *load) {
	t.Helper()
	for kind, n := range l.seen {
		_, what, _ := strings.Cut(kind, ": ")
		if what != "ok" && !slices.Contains(f.answers, kind) {
			t.Errorf("clients saw %s ×%d, such as %s", kind, n, l.example[kind])
		}
	}
	for _, kind := range f.has {
		if l.seen[kind] == 0 {
			t.Errorf("no client saw %s: the fault was not met", kind)
		}
	}
}

// pulls fetches images, repository:tag to digest, and compares them.
func (w *world) pulls(t *testing.T, images map[string]string) {
	t.Helper()
	registry := w.Registry(t)
	for place, digest := range images {
		repo, tag, _ := strings.Cut(place, ":")
		if got := registry.Verify(t, repo, tag).Digest; got != digest {
			t.Errorf("%s is %s now; %s was acknowledged", place, got, digest)
		}
	}
}

// whole pulls everything that was acknowledged, and looks at all that is stored.
// An object that no row names is not counted where a fault may leave some: it takes
// room until the comparison of rows and objects comes by.
func (w *world) whole(t *testing.T, strays bool) {
	t.Helper()
	w.pulls(t, w.all)
	out, err := w.Fsck(t.Context())
	if err != nil && (!strays || strings.Count(out, "problem: ") != strings.Count(out, "problem: unreferenced object: ")) {
		t.Errorf("berth fsck: %v\n%s", err, out)
	}
	peak := w.PeakMemory(t)
	if peak > memoryBound {
		t.Errorf("the server held %d MiB at once, more than %d", peak>>20, int64(memoryBound)>>20)
	}
	t.Logf("%d images in all are whole; the server's peak memory is %d MiB; fsck says\n%s", len(w.all), peak>>20, out)
}

// ready is the status of /readyz.
func (w *world) ready(t *testing.T) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.Endpoint+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close() // the status is all
	return answer.StatusCode
}

// becomes waits until /readyz answers with a status.
func (w *world) becomes(t *testing.T, status int) {
	t.Helper()
	eventually(t, fmt.Sprintf("/readyz answers %d", status), func() bool { return w.ready(t) == status })
}
