package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/bench/load"
	"github.com/berth-registry/berth/bench/scenario"
)

// measured is a measurement of ops operations of 1 MiB each in a second, which cost the
// server cpu.
func measured(name, rate, target string, clients, round int, ops int64, cpu time.Duration) Measurement {
	return Measurement{Scenario: name, Group: "pull", Rate: rate, Target: target, Clients: clients, Round: round,
		Sample: load.Sample{Ops: ops, Bytes: ops << 20, Elapsed: time.Second, CPU: cpu, Peak: 50 << 20, P50: 2 * time.Millisecond, P99: 9 * time.Millisecond}}
}

// sample is a report of two scenarios, three servers and three rounds.
func sample() *Report {
	r := &Report{
		Machine: Machine{CPU: "Some | CPU", Cores: 2, Memory: 24 << 30, Kernel: "Linux 6.1", FileSystem: "ext4 (rw)", Go: "go1.26"},
		Date:    time.Date(2026, 11, 29, 1, 2, 3, 0, time.UTC), Command: "bench -rounds 3", Rounds: 3, Time: 3 * time.Second,
		Versions: []Version{{"berth", "1.0"}, {"distribution", "3.1.2"}, {"zot", "1.4.3"}},
		Scenarios: []scenario.Scenario{
			{Name: "pull 1 MiB", Rate: "bytes", Bars: []scenario.Bar{
				{Target: "berth", Clients: 16, Figure: scenario.Rate, AtLeast: 3, Of: []scenario.Ref{{Targets: []string{"distribution", "zot"}}}},
				{Target: "berth", Clients: 16, Figure: scenario.Rate, AtLeast: 3, Of: []scenario.Ref{{Targets: []string{"zot"}}}},
				{Target: "berth-plain", Figure: scenario.CPUPerGiB, AtMost: 1},
			}},
			{Name: "HEAD blob", Rate: "ops"},
			{Name: "never", Rate: "ops", Bars: []scenario.Bar{{Target: "berth", Figure: scenario.P99, AtMost: 1}}},
		},
		Notes: []string{"Something was left out."},
	}
	for round := 1; round <= 3; round++ {
		swing := int64(10 * (round - 2)) // -10, 0, 10
		r.Measured = append(r.Measured,
			measured("HEAD blob", "ops", "berth", 1, round, 4000, 200*time.Millisecond),
			measured("pull 1 MiB", "bytes", "zot", 16, round, 100, time.Second),
			measured("pull 1 MiB", "bytes", "distribution", 16, round, 400, time.Second),
			measured("pull 1 MiB", "bytes", "berth", 16, round, 1000+swing, 500*time.Millisecond),
			measured("pull 1 MiB", "bytes", "berth", 1, round, 500, 500*time.Millisecond))
	}
	bad := Measurement{Scenario: "HEAD blob", Rate: "ops", Target: "zot", Clients: 1, Round: 1, Failure: "it died"}
	odd := measured("HEAD blob", "ops", "distribution", 1, 1, 2000, 300*time.Millisecond)
	odd.Sample.Errors, odd.Problem = 2, "status 500"
	r.Measured = append(r.Measured, bad, odd)
	return r
}

func TestRows(t *testing.T) {
	rows := sample().Rows()
	var order []string
	for _, r := range rows {
		order = append(order, r.Scenario+" "+r.Target+" "+clients(r.Clients))
	}
	want := []string{"pull 1 MiB berth 1 client", "pull 1 MiB berth 16 clients", "pull 1 MiB distribution 16 clients", "pull 1 MiB zot 16 clients",
		"HEAD blob berth 1 client", "HEAD blob distribution 1 client", "HEAD blob zot 1 client"}
	if !slices.Equal(order, want) {
		t.Fatalf("got %q\nwant %q", order, want)
	}
	r := rows[1]
	if r.Rounds != 3 || math.Abs(r.Spread-0.02) > 1e-9 || r.Errors != 0 || r.Problem != "" {
		t.Errorf("%+v", r)
	}
	for f, want := range map[scenario.Figure]float64{scenario.Rate: 1000, scenario.CPUPerGiB: 0.512, scenario.CPUPerOp: 500, scenario.P50: 2, scenario.P99: 9, scenario.Peak: 50} {
		if got := r.Figures[f]; math.Abs(got-want) > want/1e6 {
			t.Errorf("%s is %v, want %v", f, got, want)
		}
	}
	if r := rows[5]; r.Errors != 2 || r.Problem != "status 500" || r.Rounds != 1 {
		t.Errorf("%+v", r)
	}
	if r := rows[6]; r.Rounds != 0 || r.Problem != "it died" || len(r.Figures) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestMedian(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 1, 20).Draw(t, "values")
		before := slices.Clone(v)
		m, below, above := median(v), 0, 0
		for _, x := range v {
			if x < m {
				below++
			}
			if x > m {
				above++
			}
		}
		if below > len(v)/2 || above > len(v)/2 || !slices.Equal(v, before) {
			t.Fatalf("the median of %v is %v", v, m)
		}
	})
	if m := median([]float64{4, 1, 2, 3}); m != 2.5 {
		t.Error(m)
	}
}

func TestTerminal(t *testing.T) {
	var out strings.Builder
	if err := sample().Terminal(&out); err != nil {
		t.Fatal(err)
	}
	const want = `scenario    clients       berth     its CPU  distribution          zot
pull 1 MiB        1   500 MiB/s  1.02 s/GiB             -            -
pull 1 MiB       16  1000 MiB/s  0.51 s/GiB   2.50x 5.00x  10.0x 20.0x
HEAD blob         1     4000 /s     50.0 us   2.00x 3.00x            -

A ratio such as "3.1x 2.5x" says that berth has 3.1 times the throughput, and that the other server uses 2.5 times the
processor time of berth for the same work: above 1, berth is better.

verdict       measured  bound  clients  scenario    bar
MISSED            1000   1200       16  pull 1 MiB  berth, 16 clients: rate at least 3 x the best of distribution, zot
reached           1000    300       16  pull 1 MiB  berth, 16 clients: rate at least 3 x zot
not measured         -      -        -  pull 1 MiB  berth-plain: cpu/GiB at most 1

distribution, HEAD blob, 1 client: 2 operations failed, the first one: status 500
zot, HEAD blob, 1 client: not measured: it died
Something was left out.
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMarkdown(t *testing.T) {
	var out strings.Builder
	if err := sample().Markdown(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"| processor | Some \\| CPU, 2 cores, shared by the servers and the clients |\n", "| memory | 24.0 GiB |\n", "| kernel | Linux 6.1 |\n",
		"| file system | ext4 (rw) |\n", "| date | 2026-11-29 01:02 UTC |\n", "| command | `bench -rounds 3` |\n", "| distribution | 3.1.2 |\n",
		"| pull 1 MiB | 16 | 1000 MiB/s | 0.51 s/GiB | 2.50x 5.00x | 10.0x 20.0x |\n",
		"| reached | 1000 | 300 | 16 | pull 1 MiB | berth, 16 clients: rate at least 3 x zot |\n",
		"\n### pull 1 MiB\n\n| server | clients | MiB/s | spread | p50 ms | p99 ms | CPU s/GiB | peak MiB | failed |\n|---|---|---|---|---|---|---|---|---|\n",
		"| berth | 16 | 1000 | 2 % | 2.00 | 9.00 | 0.51 | 50.0 | 0 |\n",
		"| zot | 1 | - | - | - | - | - | - | not measured |\n",
		"- distribution, HEAD blob, 1 client: 2 operations failed, the first one: status 500\n", "- Something was left out.\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "never") {
		t.Error("a scenario that was not measured is shown")
	}
	// Every line of a table has the columns of its header.
	columns := 0
	for line := range strings.Lines(text) {
		n := strings.Count(line, "|") - strings.Count(line, `\|`)
		if n > 0 && columns > 0 && n != columns {
			t.Errorf("%d columns instead of %d: %s", n, columns, line)
		}
		columns = n
	}
}

func TestEmpty(t *testing.T) {
	for _, r := range []*Report{{}, {Versions: []Version{{"berth", "1"}}, Scenarios: sample().Scenarios}} {
		var out bytes.Buffer
		if err := errors.Join(r.Terminal(&out), r.Markdown(&out)); err != nil {
			t.Error(err)
		}
	}
}

func TestJSON(t *testing.T) {
	text, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	back.Scenarios = sample().Scenarios
	var a, b strings.Builder
	if err := errors.Join(back.Markdown(&a), sample().Markdown(&b)); err != nil || a.String() != b.String() {
		t.Errorf("the samples do not give the report again: %v", err)
	}
}

func TestRegressions(t *testing.T) {
	for _, tc := range []struct {
		name   string
		rate   string
		ops    [3]int64 // of the new build; the base has 1000
		cpu    [3]time.Duration
		figure scenario.Figure
	}{
		{"the same", "ops", [3]int64{1000, 1000, 1000}, [3]time.Duration{1e9, 1e9, 1e9}, ""},
		{"one bad round", "ops", [3]int64{1000, 100, 1000}, [3]time.Duration{1e9, 1e9, 1e9}, ""},
		{"within bounds", "ops", [3]int64{860, 860, 860}, [3]time.Duration{98e7, 98e7, 98e7}, ""},
		{"slower", "ops", [3]int64{840, 840, 1000}, [3]time.Duration{84e7, 84e7, 1e9}, scenario.Rate},
		{"costlier", "ops", [3]int64{1000, 1000, 1000}, [3]time.Duration{116e7, 9e8, 12e8}, scenario.CPUPerOp},
		{"costlier for each GiB", "bytes", [3]int64{1000, 1000, 1000}, [3]time.Duration{116e7, 9e8, 12e8}, scenario.CPUPerGiB},
	} {
		r := &Report{Rounds: 3, Scenarios: []scenario.Scenario{{Name: "s", Rate: tc.rate}}}
		for i := range 3 {
			r.Measured = append(r.Measured, measured("s", tc.rate, "new", 16, i+1, tc.ops[i], tc.cpu[i]), measured("s", tc.rate, "old", 16, i+1, 1000, 1e9))
		}
		got := r.Regressions("new", "old")
		if tc.figure == "" && len(got) != 0 || tc.figure != "" && (len(got) != 1 || got[0].Figure != tc.figure) {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	r := Regression{"pull", 1, scenario.Rate, 0.5}
	if got, want := r.String(), "pull, 1 client: rate is 0.50 x that of the base"; got != want {
		t.Errorf("%q", got)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 12345.6: "12346", 99.96: "100", 99.94: "99.9", 9.996: "10.0", 9.994: "9.99", 0.1: "0.10", 0.0123: "0.012"} {
		if got := number(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
}

func TestMachine(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	m, err := ThisMachine(link)
	if err != nil || m.CPU == "" || m.Cores < 1 || m.Memory < 64<<20 || !strings.HasPrefix(m.Kernel, "Linux ") || m.FileSystem == "unknown" || m.Go == "" {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := ThisMachine(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there has a file system")
	}
}

func TestFileSystem(t *testing.T) {
	const mounts = "overlay / overlay rw 0 0\ntmpfs /tmp tmpfs rw,a 0 0\n/dev/a /tmp/data ext4 rw,b 0 0\n/dev/b /tmp/data xfs rw,c 0 0\n"
	for dir, want := range map[string]string{"/": "overlay (rw)", "/home": "overlay (rw)", "/tmp": "tmpfs (rw,a)", "/tmp/database": "tmpfs (rw,a)", "/tmp/data/x": "xfs (rw,c)"} {
		if got := fileSystem(mounts, dir); got != want {
			t.Errorf("%s is on %s, want %s", dir, got, want)
		}
	}
}
