package scenario

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/bench/load"
	"github.com/berth-registry/berth/bench/target"
)

func TestFigures(t *testing.T) {
	s := load.Sample{Ops: 200, Bytes: 1 << 30, Elapsed: 2 * time.Second, CPU: time.Second, Peak: 3 << 20, P50: 1500 * time.Microsecond, P99: 2 * time.Millisecond}
	for _, c := range []struct {
		figure Figure
		rate   string
		want   float64
	}{{Rate, "ops", 100}, {Rate, "bytes", 512}, {CPUPerGiB, "bytes", 1}, {CPUPerOp, "ops", 5000}, {P50, "ops", 1.5}, {P99, "ops", 2}, {Peak, "ops", 3}} {
		if got, ok := c.figure.Of(s, c.rate); !ok || math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s in %s is %g, %t, want %g", c.figure, c.rate, got, ok, c.want)
		}
		if got, ok := c.figure.Of(load.Sample{}, c.rate); ok {
			t.Errorf("%s of an empty sample is %g", c.figure, got)
		}
	}
	if _, ok := Figure("none").Of(s, "ops"); ok {
		t.Error("an unknown figure has a value")
	}
}

// run is a Lookup over a list.
type entry struct {
	scenario, target string
	clients          int
	figure           Figure
}

func lookup(values map[entry]float64) Lookup {
	return func(scenario, target string, clients int, f Figure) (float64, bool) {
		v, ok := values[entry{scenario, target, clients, f}]
		return v, ok
	}
}

func TestJudge(t *testing.T) {
	at := lookup(map[entry]float64{
		{"s", berth, 1, Rate}: 90, {"s", berth, 16, Rate}: 300, {"s", berth, 16, P99}: 8,
		{"s", distribution, 1, Rate}: 50, {"s", distribution, 16, Rate}: 100, {"s", zot, 16, Rate}: 150,
		{"s", distribution, 16, CPUPerGiB}: 1.5, {"s", zot, 16, CPUPerGiB}: 1, {"s", berth, 16, CPUPerGiB}: 1.2,
		{"s", berth, 1, Peak}: 50, {"s", berth, 16, Peak}: 120,
		{"m", Machine, 1, Rate}: 100, {"m", Machine, 16, CPUPerGiB}: 0.25,
		{"s", berthPlain, 16, CPUPerGiB}: 0.75,
	})
	better := []Ref{{Targets: []string{distribution, zot}}}
	sum := &Bar{Target: berth, Clients: 16, Figure: CPUPerGiB, AtMost: 1.25, Of: []Ref{{Targets: []string{berthPlain}}, {Scenario: "m", Targets: []string{Machine}}}}
	for _, c := range []struct {
		name string
		bar  Bar
		want Verdict
	}{
		{"a bound from below", Bar{Target: berth, Clients: 16, Figure: Rate, AtLeast: 300}, Verdict{Known: true, Reached: true, Value: 300, Bound: 300, Clients: 16}},
		{"missed", Bar{Target: berth, Clients: 16, Figure: Rate, AtLeast: 301}, Verdict{Known: true, Value: 300, Bound: 301, Clients: 16}},
		{"a bound from above", Bar{Target: berth, Clients: 16, Figure: P99, AtMost: 10}, Verdict{Known: true, Reached: true, Value: 8, Bound: 10, Clients: 16}},
		{"exceeded", Bar{Target: berth, Clients: 16, Figure: P99, AtMost: 7}, Verdict{Known: true, Value: 8, Bound: 7, Clients: 16}},
		{"the faster of two", Bar{Target: berth, Clients: 16, Figure: Rate, AtLeast: 2, Of: better}, Verdict{Known: true, Reached: true, Value: 300, Bound: 300, Clients: 16}},
		{"the cheaper of two", Bar{Target: berth, Clients: 16, Figure: CPUPerGiB, AtMost: 1, Of: better}, Verdict{Known: true, Value: 1.2, Bound: 1, Clients: 16}},
		{"one of two was measured", Bar{Target: berth, Clients: 1, Figure: Rate, AtLeast: 1.5, Of: better}, Verdict{Known: true, Reached: true, Value: 90, Bound: 75, Clients: 1}},
		{"another scenario", Bar{Target: berth, Clients: 16, Figure: Rate, AtLeast: 0.5, Of: []Ref{{Scenario: "m", Targets: []string{Machine}, Clients: 1}}}, Verdict{Known: true, Reached: true, Value: 300, Bound: 50, Clients: 16}},
		{"the worst of all", Bar{Target: berth, Figure: Peak, AtMost: 100}, Verdict{Known: true, Value: 120, Bound: 100, Clients: 16}},
		{"the worst of ratios", Bar{Target: berth, Figure: Rate, AtLeast: 1.7, Of: []Ref{{Targets: []string{distribution}}}}, Verdict{Known: true, Reached: true, Value: 90, Bound: 85, Clients: 1}},
		{"not measured", Bar{Target: berth, Clients: 128, Figure: Rate, AtLeast: 1}, Verdict{}},
		{"nothing to compare with", Bar{Target: berth, Clients: 16, Figure: Rate, AtLeast: 1, Of: []Ref{{Targets: []string{nginx}}}}, Verdict{}},
		{"a sum", *sum, Verdict{Known: true, Reached: true, Value: 1.2, Bound: 1.25, Clients: 16}},
		{"the other one", Bar{Target: berth, Clients: 16, Figure: Rate, AtLeast: 3, Of: better, Or: sum}, Verdict{Known: true, Reached: true, Value: 1.2, Bound: 1.25, Clients: 16, Alternative: true}},
		{"not the other one", Bar{Target: berth, Clients: 16, Figure: Rate, AtLeast: 2, Of: better, Or: sum}, Verdict{Known: true, Reached: true, Value: 300, Bound: 300, Clients: 16}},
		{"neither", Bar{Target: berth, Clients: 16, Figure: Rate, AtLeast: 3, Of: better, Or: &Bar{Target: berth, Clients: 16, Figure: P99, AtMost: 1}}, Verdict{Known: true, Value: 300, Bound: 450, Clients: 16}},
	} {
		if got := c.bar.Judge("s", []int{1, 16, 128}, at); got != c.want {
			t.Errorf("%s: %+v, want %+v (%s)", c.name, got, c.want, c.bar)
		}
	}
}

func TestBarSaysWhatItAsks(t *testing.T) {
	for want, b := range map[string]Bar{
		"berth, 16 clients: cpu/op at most 100": {Target: berth, Clients: 16, Figure: CPUPerOp, AtMost: 100},
		"berth: peak at most 100":               memoryBar(100),
		"berth, 1 client: rate at least 1.5 x the best of distribution, docker-registry, zot": {Target: berth, Clients: 1, Figure: Rate, AtLeast: 1.5, Of: []Ref{{Targets: peers}}},
		"berth, 16 clients: rate at least 1 x zot; or berth, 16 clients: cpu/GiB at most 1 x berth-plain + machine in AES-GCM of 64 MiB": {
			Target: berth, Clients: 16, Figure: Rate, AtLeast: 1, Of: []Ref{{Targets: []string{zot}}},
			Or: &Bar{Target: berth, Clients: 16, Figure: CPUPerGiB, AtMost: 1, Of: []Ref{{Targets: []string{berthPlain}}, {Targets: []string{Machine}, Scenario: sealAlone}}},
		},
	} {
		if got := b.String(); got != want {
			t.Errorf("a bar says %q, want %q", got, want)
		}
	}
}

// TestAll holds the list of scenarios together: what a run selects by, what bars refer to,
// and that each of them can be measured.
func TestAll(t *testing.T) {
	groups := []string{"pull", "push", "manifest", "mixed", "tags", "api", "delete", "start", "memory", Machine}
	for _, long := range []bool{false, true} {
		all := All(long)
		byName := map[string]*Scenario{}
		for i := range all {
			s := &all[i]
			if byName[s.Name] != nil {
				t.Errorf("%q is there twice", s.Name)
			}
			byName[s.Name] = s
		}
		for name, s := range byName {
			if !slices.Contains(groups, s.Group) || s.Rate != "ops" && s.Rate != "bytes" {
				t.Errorf("%s has the group %q and the rate %q", name, s.Group, s.Rate)
			}
			if (s.Op == nil) == (s.Measure == nil) {
				t.Errorf("%s has both of Op and Measure, or none", name)
			}
			if s.Quick && (s.Own || s.Measure != nil) && s.Group != "push" {
				t.Errorf("%s is part of the short form and takes long", name)
			}
			for _, b := range s.Bars {
				checkBar(t, s, b, byName)
			}
		}
	}
	if len(All(true)) <= len(All(false)) {
		t.Error("the long run has no more scenarios")
	}
}

func checkBar(t *testing.T, s *Scenario, b Bar, byName map[string]*Scenario) {
	t.Helper()
	if (b.AtLeast == 0) == (b.AtMost == 0) {
		t.Errorf("%s: %+v has both bounds, or none", s.Name, b)
	}
	if (b.Figure == Rate) != (b.AtLeast != 0) {
		t.Errorf("%s: %s is bounded from the wrong side", s.Name, b)
	}
	if b.Clients != 0 && !slices.Contains(s.Counts(), b.Clients) {
		t.Errorf("%s: %s is about a number of clients that is not measured", s.Name, b)
	}
	for _, r := range b.Of {
		other := s
		if r.Scenario != "" {
			other = byName[r.Scenario]
		}
		if other == nil {
			t.Errorf("%s: %s refers to no scenario", s.Name, b)
			continue
		}
		if slices.Contains(r.Targets, Machine) != (other.Group == Machine) {
			t.Errorf("%s: %s asks the wrong one", s.Name, b)
		}
		if n := max(b.Clients, 1); r.Clients == 0 && !slices.Contains(other.Counts(), n) {
			t.Errorf("%s: %s refers to %d clients, which %s is not measured with", s.Name, b, n, other.Name)
		}
	}
	if b.Or != nil {
		checkBar(t, s, *b.Or, byName)
	}
}

func TestRuns(t *testing.T) {
	files, peer, own := &target.Server{Root: "/srv"}, &target.Server{}, &target.Server{API: &target.API{}}
	floor := &target.Server{Blobs: true}
	for _, s := range All(true) {
		if got := s.Runs(nil); got != (s.Group == Machine) {
			t.Errorf("%s runs without a server: %t", s.Name, got)
		}
		if s.Group == Machine {
			if s.Runs(own) || s.Runs(files) {
				t.Errorf("%s runs on a server", s.Name)
			}
			continue
		}
		if !s.Runs(own) {
			t.Errorf("%s does not run on Berth", s.Name)
		}
		if s.Runs(files) && s.Group != "pull" && s.Name != "idle memory" {
			t.Errorf("%s runs on a file server", s.Name)
		}
		if single := (s.Group == "pull" || s.Group == "push") && !strings.Contains(s.Name, "image"); s.Runs(floor) != (single || s.Name == "idle memory") {
			t.Errorf("%s runs on what knows blobs alone: %t", s.Name, s.Runs(floor))
		}
		if s.Group == "api" && s.Runs(peer) {
			t.Errorf("%s runs on a peer, which has no such API", s.Name)
		}
	}
}
