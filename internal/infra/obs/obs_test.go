package obs_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/obs"
)

func scrape(t *testing.T, r *obs.Registry) string {
	t.Helper()
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func has(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			t.Errorf("there is no line %q in\n%s", line, berthOnly(text))
		}
	}
}

// berthOnly leaves out the runtime's metrics.
func berthOnly(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, "berth_") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestRegistry(t *testing.T) {
	r := obs.NewRegistry()
	r.Counter("berth_b_total", "Things.", "kind").WithLabelValues("x").Add(2)
	r.Gauge("berth_a", "A level.").WithLabelValues().Set(1.5)
	r.Histogram("berth_c_seconds", "A time.", []float64{1, 2}).WithLabelValues().Observe(1.5)
	text := scrape(t, r)
	has(t, text, `berth_b_total{kind="x"} 2`, "berth_a 1.5", `berth_c_seconds_bucket{le="1"} 0`, `berth_c_seconds_bucket{le="2"} 1`, "berth_c_seconds_sum 1.5",
		"# HELP berth_b_total Things.", "# TYPE berth_c_seconds histogram")
	for _, foreign := range []string{"go_goroutines", "process_open_fds"} {
		if !strings.Contains(text, "\n"+foreign+" ") {
			t.Errorf("there is no %s", foreign)
		}
	}
	if got := r.Metrics(); len(got) != 3 || got[0].Name != "berth_a" || got[1].Kind != obs.Counter || got[1].Labels[0] != "kind" || got[2].Kind != obs.Histogram {
		t.Errorf("metrics are %+v", got)
	}
	r.Counter("berth_a", "A level.")
	if r.Err() == nil {
		t.Error("a name was taken twice")
	}
	silent := obs.NewRegistry()
	silent.Gauge("berth_x", " ")
	if silent.Err() == nil {
		t.Error("a metric without a meaning was taken")
	}
}

func TestCells(t *testing.T) {
	var mu sync.Mutex
	made := map[int]int{}
	c := obs.NewCells(func(k int) *int {
		mu.Lock()
		defer mu.Unlock()
		made[k]++
		return &k
	})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 1000 {
				if v := c.Of(i % 50); *v != i%50 || v != c.Of(i%50) {
					t.Errorf("the cell of %d is %d", i%50, *v)
					return
				}
			}
		})
	}
	all.Wait()
	for k, n := range made {
		if n != 1 {
			t.Errorf("the cell of %d was made %d times", k, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { c.Of(7) }); n != 0 {
		t.Errorf("a look-up allocates %v times", n)
	}
}

func TestSource(t *testing.T) {
	clk := clock.NewFake(time.Unix(1_800_000_000, 0))
	r := obs.NewRegistry()
	reads, value, failure := 0, 1.0, error(nil)
	var failed []string
	r.Source(obs.Source{
		Name: "things", Hold: 15 * time.Second, Clock: clk,
		Metrics: []obs.Metric{{Name: "berth_level", Kind: obs.Gauge, Help: "A level.", Labels: []string{"of"}}, {Name: "berth_sum_total", Kind: obs.Counter, Help: "A sum."}},
		Read: func(_ context.Context, set func(string, float64, ...string)) error {
			reads++
			set("berth_level", value, "x")
			set("berth_sum_total", 10*value)
			return failure
		},
		Failed: func(source string, err error) { failed = append(failed, source+": "+err.Error()) },
	})
	has(t, scrape(t, r), `berth_level{of="x"} 1`, "berth_sum_total 10", "# TYPE berth_sum_total counter", "# TYPE berth_level gauge")
	value = 2
	clk.Advance(14 * time.Second)
	has(t, scrape(t, r), `berth_level{of="x"} 1`)
	clk.Advance(time.Second)
	has(t, scrape(t, r), `berth_level{of="x"} 2`)
	if reads != 2 {
		t.Errorf("the source was read %d times", reads)
	}
	failure = errors.New("no database")
	clk.Advance(15 * time.Second)
	if text := scrape(t, r); strings.Contains(text, "berth_level{") {
		t.Error("values that could not be read are given")
	}
	if len(failed) != 1 || failed[0] != "things: no database" {
		t.Errorf("failures: %q", failed)
	}
	failure, value = nil, 3
	has(t, scrape(t, r), `berth_level{of="x"} 3`) // a failure is not held
	clk.Advance(-time.Hour)                       // a clock that goes back does not hold for an hour
	value = 4
	has(t, scrape(t, r), `berth_level{of="x"} 4`)
}

// TestSourceThatErrs: what a source gives wrongly is reported, and breaks nothing
// else.
func TestSourceThatErrs(t *testing.T) {
	for named, give := range map[string]func(set func(string, float64, ...string)){
		"an unknown metric": func(set func(string, float64, ...string)) { set("berth_other", 1) },
		"too many labels":   func(set func(string, float64, ...string)) { set("berth_level", 1, "x") },
		"a value twice":     func(set func(string, float64, ...string)) { set("berth_level", 1); set("berth_level", 2) },
	} {
		r := obs.NewRegistry()
		r.Gauge("berth_good", "A level.").WithLabelValues().Set(1)
		failures := 0
		r.Source(obs.Source{
			Name: "bad", Metrics: []obs.Metric{{Name: "berth_level", Kind: obs.Gauge, Help: "A level."}},
			Read:   func(_ context.Context, set func(string, float64, ...string)) error { give(set); return nil },
			Failed: func(string, error) { failures++ },
		})
		text := scrape(t, r)
		has(t, text, "berth_good 1")
		if failures != 1 || strings.Contains(text, "\nberth_level") {
			t.Errorf("%s: %d failures and %s", named, failures, berthOnly(text))
		}
	}
}

func TestRequestLog(t *testing.T) {
	for _, c := range []struct {
		mode           string
		level          slog.Level
		errors, others bool
	}{
		{"off", slog.LevelDebug, false, false},
		{"errors", slog.LevelDebug, true, false},
		{"", slog.LevelInfo, true, false},
		{"errors", slog.LevelWarn, false, false},
		{"all", slog.LevelDebug, true, true},
		{"all", slog.LevelInfo, true, false},
	} {
		mode, err := obs.ParseLogMode(c.mode)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		l := obs.NewRequestLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: c.level})), mode)
		if got := l.Wants(t.Context(), 500); got != c.errors {
			t.Errorf("%+v: a failure is wanted: %t", c, got)
		}
		if got := l.Wants(t.Context(), 404); got != c.others {
			t.Errorf("%+v: a refusal is wanted: %t", c, got)
		}
	}
	if _, err := obs.ParseLogMode("some"); err == nil {
		t.Error("a mode that does not exist was taken")
	}

	var out bytes.Buffer
	l := obs.NewRequestLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})), obs.LogAll)
	l.Write(t.Context(), obs.Entry{
		RequestID: "id", API: "aws", Operation: "ecr:PutImage", Account: "000000000000", Principal: "arn:aws:iam::000000000000:root", Repository: "app",
		Status: 400, Code: "ImageAlreadyExistsException", Received: 7, Sent: 8, Took: 1500 * time.Millisecond, Client: netip.MustParseAddr("192.0.2.1"),
	})
	l.Write(t.Context(), obs.Entry{API: "other", Operation: "unknown", Status: 503})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{
		`level=DEBUG msg=request requestId=id api=aws operation=ecr:PutImage status=400 bytesIn=7 bytesOut=8 seconds=1.5 code=ImageAlreadyExistsException account=000000000000 principal=arn:aws:iam::000000000000:root repository=app sourceIp=192.0.2.1`,
		`level=INFO msg=request requestId="" api=other operation=unknown status=503 bytesIn=0 bytesOut=0 seconds=0`,
	} {
		if i >= len(lines) || !strings.HasSuffix(lines[i], want) {
			t.Errorf("the log is\n%s\nwant\n%s", out.String(), want)
		}
	}
}

func BenchmarkCells(b *testing.B) {
	type key struct{ service, operation string }
	c := obs.NewCells(func(key) *int { return new(int) })
	k := key{"ecr", "BatchGetImage"}
	b.ReportAllocs()
	for b.Loop() {
		c.Of(k)
	}
}
