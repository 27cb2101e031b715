// Command bench compares Berth with other registries, and with a server of static files,
// on this machine: it starts each on loopback with a fresh store, runs the same scenarios
// against each of them in turn, several rounds, and prints a table of ratios and a report.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/berth-registry/berth/bench/floor"
	"github.com/berth-registry/berth/bench/report"
	"github.com/berth-registry/berth/bench/scenario"
	"github.com/berth-registry/berth/bench/target"
)

// baseName is the second Berth of the short form.
const baseName = "berth-base"

// options are what the flags say.
type options struct {
	only    *regexp.Regexp // scenarios, by group/name
	targets []string
	clients []int
	rounds  int
	time    time.Duration
	long    bool
	quick   bool

	dir, tools, berth, base   string
	out, json, profiles, call string
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == target.FloorCommand {
		fmt.Fprintln(os.Stderr, "bench:", floor.Serve(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// parse reads the flags.
func parse(args []string, stderr io.Writer) (options, error) {
	o := options{call: strings.Join(append([]string{"bench"}, args...), " ")}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	run := f.String("run", "", "only the scenarios whose group/name this `regexp` matches, such as ^pull/ or 'HEAD'")
	targets := f.String("targets", "", "only these servers, a `list` with commas; the others are compared with the first one")
	clients := f.String("clients", "", "these `numbers` of clients, with commas, where a scenario does not have its own (1,16,128; 16 with -quick)")
	f.IntVar(&o.rounds, "rounds", 0, "how often everything is measured (3; 5 with -quick)")
	f.DurationVar(&o.time, "time", 0, "how long each measurement takes at least (3s; 2s with -quick)")
	f.BoolVar(&o.long, "long", false, "also what takes many minutes to prepare")
	f.StringVar(&o.out, "out", "", "write the report to this `file`, as Markdown")
	f.StringVar(&o.json, "json", "", "write all samples to this `file`")
	f.StringVar(&o.dir, "dir", os.TempDir(), "where the stores are made, and removed again; its file system is measured too")
	f.StringVar(&o.tools, "tools", "../.tools/bench", "where scripts/install-bench-peers.sh has put the other servers")
	f.StringVar(&o.berth, "berth", "../bin/berth", "the `path` of the program to measure")
	f.StringVar(&o.profiles, "profile", "", "write a CPU profile of Berth for each scenario into this `directory`")
	f.BoolVar(&o.quick, "quick", false, "compare -berth with -base in a few scenarios, and fail if it is worse")
	f.StringVar(&o.base, "base", "", "with -quick, the `path` of the program to compare with")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	return o, o.check(f.Args(), *run, *targets, *clients)
}

// check completes the options with defaults, and says what cannot be meant.
func (o *options) check(rest []string, run, targets, clients string) error {
	var err error
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q; see -help", rest[0])
	}
	if o.only, err = regexp.Compile(run); err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if o.quick != (o.base != "") {
		return errors.New("-quick and -base PATH go together")
	}
	if o.quick && targets != "" {
		return errors.New("-quick measures two programs; leave -targets away")
	}
	if targets != "" {
		o.targets = strings.Split(targets, ",")
	}
	rounds, length := 3, 3*time.Second
	if o.quick {
		rounds, length = 5, 2*time.Second
		o.clients = []int{16}
	}
	if o.rounds == 0 {
		o.rounds = rounds
	}
	if o.time == 0 {
		o.time = length
	}
	if o.rounds < 0 || o.time < 0 {
		return errors.New("-rounds and -time have to be above 0")
	}
	if clients == "" {
		return nil
	}
	o.clients = nil
	for text := range strings.SplitSeq(clients, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-clients: %q is not a number of clients", text)
		}
		o.clients = append(o.clients, n)
	}
	return nil
}

// pickTargets are the servers to start.
func (o *options) pickTargets() ([]target.Target, error) {
	if o.quick {
		return []target.Target{target.Berth("berth", o.berth), target.Berth(baseName, o.base)}, nil
	}
	all := target.Targets(o.tools, o.berth)
	if o.targets == nil {
		return all, nil
	}
	var names []string
	for _, t := range all {
		names = append(names, t.Name)
	}
	var picked []target.Target
	for _, name := range o.targets {
		i := slices.Index(names, name)
		if i < 0 {
			return nil, fmt.Errorf("-targets: there is no %q; there are %s", name, strings.Join(names, ", "))
		}
		picked = append(picked, all[i])
	}
	return picked, nil
}

// pickScenarios are the scenarios to run.
func (o *options) pickScenarios() ([]scenario.Scenario, error) {
	picked := slices.DeleteFunc(scenario.All(o.long), func(s scenario.Scenario) bool {
		return !o.only.MatchString(s.Group+"/"+s.Name) || o.quick && !s.Quick
	})
	for i := range picked {
		if o.quick { // bars are for whole runs, beside the peers
			picked[i].Bars = nil
		}
	}
	if len(picked) == 0 {
		return nil, fmt.Errorf("-run: no scenario's group/name matches %q", o.only)
	}
	return picked, nil
}

// bench does a whole run.
func bench(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	targets, err := o.pickTargets()
	if err != nil {
		return err
	}
	scenarios, err := o.pickScenarios()
	if err != nil {
		return err
	}
	machine, err := report.ThisMachine(o.dir)
	if err != nil {
		return err
	}
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp(o.dir, "berth-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// Servers run as other users below it.
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	r := &runner{
		options: o, dir: dir, targets: targets, progress: stderr,
		report: report.Report{Machine: machine, Date: time.Now(), Command: o.call, Rounds: o.rounds, Time: o.time, Scenarios: scenarios},
	}
	if strings.HasPrefix(machine.FileSystem, "tmpfs") {
		r.report.Notes = append(r.report.Notes, "The stores are in memory, where durable writes cost nothing: -dir DIR puts them on a disk.")
	}
	r.settle = r.awaitQuiet
	defer func() { err = errors.Join(err, r.stop()) }()
	interrupted := r.run(ctx)
	if len(r.report.Measured) == 0 && interrupted != nil {
		return interrupted
	}
	if interrupted != nil {
		r.report.Notes = append(r.report.Notes, "The run ended early: "+interrupted.Error())
	}
	return errors.Join(interrupted, write(&r.report, o, stdout), verdict(&r.report, o))
}

// write puts the report where it was asked for.
func write(r *report.Report, o options, stdout io.Writer) error {
	err := r.Terminal(stdout)
	if o.out != "" {
		err = errors.Join(err, toFile(o.out, r.Markdown))
	}
	if o.json != "" {
		err = errors.Join(err, toFile(o.json, func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(r)
		}))
	}
	return err
}

func toFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// verdict is an error for what could not be measured, and in the short form for what has
// become worse.
func verdict(r *report.Report, o options) error {
	var failed, problems int
	for _, m := range r.Measured {
		switch {
		case m.Failure != "":
			failed++
		case m.Problem != "":
			problems++
		}
	}
	var all []error
	if failed > 0 {
		all = append(all, fmt.Errorf("%d of %d measurements failed; the reasons stand above", failed, len(r.Measured)))
	}
	if !o.quick {
		return errors.Join(all...)
	}
	if problems > 0 {
		all = append(all, fmt.Errorf("operations failed in %d measurements; the reasons stand above", problems))
	}
	for _, worse := range r.Regressions("berth", baseName) {
		all = append(all, errors.New(worse.String()))
	}
	return errors.Join(all...)
}
