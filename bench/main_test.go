package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/bench/load"
	"github.com/berth-registry/berth/bench/report"
	"github.com/berth-registry/berth/bench/scenario"
	"github.com/berth-registry/berth/bench/target"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-run", "^pull/", "-targets", "zot,berth", "-clients", "1,64", "-time", "1s", "-rounds", "2", "-long"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !o.only.MatchString("pull/x") || o.only.MatchString("push/x") || !slices.Equal(o.targets, []string{"zot", "berth"}) || !slices.Equal(o.clients, []int{1, 64}) ||
		o.time != time.Second || o.rounds != 2 || !o.long || o.quick || o.call != "bench -run ^pull/ -targets zot,berth -clients 1,64 -time 1s -rounds 2 -long" {
		t.Errorf("%+v", o)
	}
	if o, err = parse(nil, io.Discard); err != nil || o.rounds != 3 || o.time != 3*time.Second || o.clients != nil || o.targets != nil {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err = parse([]string{"-quick", "-base", "x"}, io.Discard); err != nil || o.rounds != 5 || o.time != 2*time.Second || !slices.Equal(o.clients, []int{16}) {
		t.Errorf("%+v, %v", o, err)
	}
	for _, tc := range []struct{ args, err string }{
		{"-run (", "-run:"}, {"-clients 0", "-clients:"}, {"-clients 1,,2", "-clients:"}, {"-quick", "go together"}, {"-base x", "go together"},
		{"-quick -base x -targets zot", "leave -targets away"}, {"rest", "unexpected argument"}, {"-rounds -1", "above 0"}, {"-time -1s", "above 0"}, {"-nonsense", "not defined"},
	} {
		if _, err := parse(strings.Fields(tc.args), io.Discard); err == nil || !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %v", tc.args, err)
		}
	}
	if _, err := parse([]string{"-help"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Error(err)
	}
}

func TestPick(t *testing.T) {
	names := func(args ...string) ([]string, error) {
		o, err := parse(args, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		picked, err := o.pickTargets()
		var names []string
		for _, p := range picked {
			names = append(names, p.Name)
		}
		return names, err
	}
	if got, err := names(); err != nil || !slices.Equal(got, []string{"berth", "berth-plain", "berth-pg-s3", "distribution", "docker-registry", "zot", "nginx", "floor"}) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := names("-targets", "zot,berth"); err != nil || !slices.Equal(got, []string{"zot", "berth"}) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := names("-quick", "-base", "x"); err != nil || !slices.Equal(got, []string{"berth", baseName}) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := names("-targets", "harbor"); err == nil || !strings.Contains(err.Error(), `there is no "harbor"; there are berth, berth-plain`) {
		t.Error(err)
	}
	for _, args := range [][]string{{}, {"-long"}, {"-quick", "-base", "x"}, {"-run", "^pull/"}} {
		o, err := parse(args, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		picked, err := o.pickScenarios()
		if err != nil {
			t.Errorf("%q: %v", args, err)
		}
		for _, s := range picked {
			if o.quick && (!s.Quick || s.Bars != nil) || !o.only.MatchString(s.Group+"/") {
				t.Errorf("%q picks %s", args, s.Name)
			}
		}
	}
	o, err := parse([]string{"-run", "nothing like it"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.pickScenarios(); err == nil || !strings.Contains(err.Error(), "no scenario's group/name matches") {
		t.Error(err)
	}
}

func TestCounts(t *testing.T) {
	for _, tc := range []struct{ flag, own, want []int }{
		{nil, nil, []int{1, 16, 128}},
		{[]int{4}, nil, []int{4}},
		{nil, []int{1, 16}, []int{1, 16}},
		{[]int{16, 128}, []int{1, 16}, []int{16}},
		{[]int{16}, []int{1000}, []int{1000}},
	} {
		r := &runner{options: options{clients: tc.flag}}
		if got := r.counts(scenario.Scenario{Clients: tc.own}); !slices.Equal(got, tc.want) {
			t.Errorf("-clients %v with %v: %v, want %v", tc.flag, tc.own, got, tc.want)
		}
	}
}

// machineRunner measures scenarios without a server.
func machineRunner(t *testing.T, scenarios ...scenario.Scenario) *runner {
	t.Helper()
	for i := range scenarios {
		scenarios[i].Group = scenario.Machine
	}
	return &runner{options: options{rounds: 2, time: time.Nanosecond}, dir: t.TempDir(), progress: t.Output(),
		settle: func(context.Context, *subject) {}, report: report.Report{Scenarios: scenarios, Rounds: 2}}
}

// brief shows measurements in their order.
func brief(r *report.Report) []string {
	var out []string
	for _, m := range r.Measured {
		out = append(out, fmt.Sprintf("%s %s %d/%d ops=%d %s%s", m.Target, m.Scenario, m.Clients, m.Round, m.Sample.Ops, m.Failure, m.Problem))
	}
	return out
}

func TestRunner(t *testing.T) {
	prepared := 0
	r := machineRunner(t,
		scenario.Scenario{Name: "measured", Clients: []int{1, 2}, Prepare: func(context.Context, *scenario.World) error { prepared++; return nil },
			Measure: func(_ context.Context, w *scenario.World, clients int) (load.Sample, error) {
				return load.Sample{Ops: int64(10 * clients), Elapsed: time.Second}, os.WriteFile(filepath.Join(w.Dir, "here"), nil, 0o600)
			}},
		scenario.Scenario{Name: "unprepared", Clients: []int{1}, Prepare: func(context.Context, *scenario.World) error { return errors.New("no") },
			Op: func(context.Context, *scenario.World, *load.Worker) (int64, error) { panic("measured all the same") }},
		scenario.Scenario{Name: "repeated", Clients: []int{1}, AtLeast: 7, Op: func(_ context.Context, _ *scenario.World, c *load.Worker) (int64, error) {
			if c.Seq == 3 {
				return 0, errors.New("the fourth")
			}
			return 0, nil
		}},
		scenario.Scenario{Name: "huge", Clients: []int{3}, Room: 1 << 60})
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"machine measured 1/1 ops=10 ", "machine measured 1/2 ops=10 ", "machine measured 2/1 ops=20 ", "machine measured 2/2 ops=20 ",
		"machine unprepared 1/1 ops=0 preparing: no", "machine unprepared 1/2 ops=0 preparing: no",
		"machine repeated 1/1 ops=7 the fourth", "machine repeated 1/2 ops=7 the fourth",
	}
	got := brief(&r.report)
	for i := range got { // one that is fast does more than it has to
		if strings.Contains(got[i], "repeated") && r.report.Measured[i].Sample.Ops >= 7 {
			got[i] = want[min(i, len(want)-1)]
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if prepared != 1 || r.done != len(want) || r.all != len(want) {
		t.Errorf("prepared %d times; %d of %d", prepared, r.done, r.all)
	}
	if len(r.report.Notes) != 1 || !strings.Contains(r.report.Notes[0], "huge with 3 clients was left out") {
		t.Errorf("%q", r.report.Notes)
	}
	if err := verdict(&r.report, options{}); err == nil || !strings.Contains(err.Error(), "2 of 8 measurements failed") {
		t.Error(err)
	}
}

// TestTurns has two servers that do not run: every round asks each of them, and says so.
func TestTurns(t *testing.T) {
	r := machineRunner(t)
	r.report.Scenarios = []scenario.Scenario{{Name: "s", Group: "pull", Clients: []int{1, 2}, Op: func(context.Context, *scenario.World, *load.Worker) (int64, error) { return 0, nil }}}
	for _, name := range []string{"a", "b"} {
		r.targets = append(r.targets, target.Target{Name: name, Registry: true, Start: func(_ context.Context, dir string) (*target.Server, error) {
			return &target.Server{Name: name, Version: "1", Base: "http://127.0.0.1:1"}, os.WriteFile(filepath.Join(dir, "here"), nil, 0o600)
		}})
	}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range r.report.Measured {
		got = append(got, fmt.Sprint(m.Target, m.Clients, m.Round))
		if !strings.Contains(m.Failure, "does not run") {
			t.Errorf("%+v", m)
		}
	}
	if want := []string{"a1 1", "b1 1", "a1 2", "b1 2", "a2 1", "b2 1", "a2 2", "b2 2"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if want := []report.Version{{Target: "a", Text: "1"}, {Target: "b", Text: "1"}}; !reflect.DeepEqual(r.report.Versions, want) {
		t.Errorf("%v", r.report.Versions)
	}
	r.report.Scenarios[0].Own = true
	if err := r.scenario(t.Context(), r.report.Scenarios[0]); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(r.dir, "*-own")); err != nil || len(left) != 0 {
		t.Errorf("stores of single measurements are left: %q, %v", left, err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestStartFails(t *testing.T) {
	r := machineRunner(t)
	r.targets = []target.Target{{Name: "a", Start: func(context.Context, string) (*target.Server, error) { return nil, errors.New("not installed") }}}
	if err := r.run(t.Context()); err == nil || !strings.Contains(err.Error(), "not installed\n-targets can leave a server out") {
		t.Error(err)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := machineRunner(t, scenario.Scenario{Name: "s", Clients: []int{1, 2}, Measure: func(_ context.Context, _ *scenario.World, clients int) (load.Sample, error) {
		if clients == 2 {
			cancel()
		}
		return load.Sample{Ops: 1, Elapsed: 1}, nil
	}})
	if err := r.run(ctx); !errors.Is(err, context.Canceled) || len(r.report.Measured) != 2 {
		t.Errorf("%v after %q", err, brief(&r.report))
	}
}

// TestWrite reads the files that a run leaves.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	o := options{out: filepath.Join(dir, "report.md"), json: filepath.Join(dir, "samples.json")}
	r := machineRunner(t, scenario.Scenario{Name: "the scenario", Clients: []int{1}, Measure: func(context.Context, *scenario.World, int) (load.Sample, error) {
		return load.Sample{Ops: 1, Elapsed: time.Second}, nil
	}})
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := write(&r.report, o, io.Discard); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{o.out: "### the scenario", o.json: `"Scenario": "the scenario"`} {
		if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v\n%s", file, err, text)
		}
	}
	o.out = filepath.Join(dir, "none", "report.md")
	if err := write(&r.report, o, io.Discard); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestVerdict(t *testing.T) {
	one := func(target string, ops int64, problem string) report.Measurement {
		return report.Measurement{Scenario: "s", Rate: "ops", Target: target, Clients: 16, Round: 1, Problem: problem, Sample: load.Sample{Ops: ops, Elapsed: time.Second, CPU: time.Second}}
	}
	for _, tc := range []struct {
		quick bool
		new   report.Measurement
		err   string
	}{
		{true, one("berth", 1000, ""), ""},
		{true, one("berth", 500, ""), "s, 16 clients: rate is 0.50 x that of the base\ns, 16 clients: cpu/op is 2.00 x that of the base"},
		{true, one("berth", 1000, "status 500"), "operations failed in 1 measurements; the reasons stand above"},
		{false, one("berth", 500, "status 500"), ""},
	} {
		r := &report.Report{Rounds: 1, Scenarios: []scenario.Scenario{{Name: "s", Rate: "ops"}}, Measured: []report.Measurement{tc.new, one(baseName, 1000, "")}}
		if err := verdict(r, options{quick: tc.quick}); (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
			t.Errorf("%v, want %s", err, tc.err)
		}
	}
}
