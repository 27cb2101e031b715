package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/berth-registry/berth/bench/load"
	"github.com/berth-registry/berth/bench/report"
	"github.com/berth-registry/berth/bench/scenario"
	"github.com/berth-registry/berth/bench/target"
)

// runner does a run and keeps what it finds in report.
type runner struct {
	options
	dir      string // where the stores are
	targets  []target.Target
	progress io.Writer
	report   report.Report
	// settle waits, before a measurement, until what came before is over.
	settle func(ctx context.Context, next *subject)

	subjects []*subject
	began    time.Time
	done     int // measurements
	all      int
}

// subject is a server that runs, or the machine.
type subject struct {
	name   string
	target target.Target // not for the machine
	server *target.Server
	world  *scenario.World
	dir    string
}

// run starts all servers and measures all scenarios. An error ends the run; what was
// measured until then stands in the report.
func (r *runner) run(ctx context.Context) error {
	for _, t := range r.targets {
		r.say("starting %s\n", t.Name)
		s, err := r.start(ctx, t, t.Name)
		if err != nil {
			return fmt.Errorf("%w\n-targets can leave a server out", err)
		}
		r.subjects = append(r.subjects, s)
		r.report.Versions = append(r.report.Versions, report.Version{Target: t.Name, Text: s.server.Version})
	}
	machine, err := r.machine()
	if err != nil {
		return err
	}
	r.subjects = append(r.subjects, machine)
	for _, s := range r.report.Scenarios {
		r.all += len(r.counts(s)) * r.times(r.able(s))
	}
	r.began = time.Now()
	r.say("%d measurements of %s or longer each: %s at least\n", r.all, r.time, duration(time.Duration(r.all)*r.time))
	for _, s := range r.report.Scenarios {
		if err := r.scenario(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// say tells who waits.
func (r *runner) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.progress, format, args...) // it is only for who watches
}

// start starts a server in a directory of its own.
func (r *runner) start(ctx context.Context, t target.Target, name string) (*subject, error) {
	s := &subject{name: t.Name, target: t, dir: filepath.Join(r.dir, name)}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if s.server, err = t.Start(ctx, s.dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	s.world = scenario.NewWorld(s.server, s.dir)
	s.world.Progress = r.progress
	return s, nil
}

// machine is the subject of what is measured without a server.
func (r *runner) machine() (*subject, error) {
	s := &subject{name: scenario.Machine, dir: filepath.Join(r.dir, scenario.Machine)}
	s.world = scenario.NewWorld(nil, s.dir)
	s.world.Progress = r.progress
	return s, os.Mkdir(s.dir, 0o755)
}

// stop stops all servers.
func (r *runner) stop() error {
	var all []error
	for _, s := range r.subjects {
		if s.server != nil {
			all = append(all, s.server.Stop())
		}
	}
	return errors.Join(all...)
}

// counts are the numbers of clients for a scenario: those of -clients, and where the
// scenario has its own, those of them that -clients names, or all when it names none.
func (r *runner) counts(s scenario.Scenario) []int {
	own := s.Counts()
	switch {
	case r.clients == nil:
		return own
	case s.Clients == nil:
		return r.clients
	}
	both := slices.DeleteFunc(slices.Clone(own), func(n int) bool { return !slices.Contains(r.clients, n) })
	if len(both) == 0 {
		return own
	}
	return both
}

// able are the subjects that can do a scenario.
func (r *runner) able(s scenario.Scenario) []*subject {
	return slices.DeleteFunc(slices.Clone(r.subjects), func(on *subject) bool { return !s.Runs(on.server) })
}

// times is how many measurements servers get with one number of clients: one in each
// round, and one more where there is a profile.
func (r *runner) times(able []*subject) int {
	n := r.rounds * len(able)
	for _, on := range able {
		if r.profiled(on) {
			n++
		}
	}
	return n
}

// profiled says whether a subject is a Berth, and profiles are wanted.
func (r *runner) profiled(on *subject) bool {
	return r.profiles != "" && on.server != nil && on.server.Admin != ""
}

// scenario measures a scenario on all servers in turn, round by round.
func (r *runner) scenario(ctx context.Context, s scenario.Scenario) error {
	able, counts := r.able(s), r.counts(s)
	failed := map[string]error{} // what could not be prepared
	if s.Prepare != nil && !s.Own {
		for _, on := range able {
			r.say("%s: preparing %s\n", on.name, s.Name)
			if err := s.Prepare(ctx, on.world); err != nil {
				failed[on.name] = fmt.Errorf("preparing: %w", err)
			}
		}
	}
	for _, n := range counts {
		if short := r.room(s, n); short != nil {
			r.report.Notes = append(r.report.Notes, short.Error())
			r.all -= r.times(able)
			continue
		}
		for round := 1; round <= r.rounds; round++ {
			for _, on := range able {
				m := report.Measurement{Scenario: s.Name, Group: s.Group, Rate: s.Rate, Target: on.name, Clients: n, Round: round}
				err := failed[on.name]
				if err == nil {
					m.Sample, err = r.measure(ctx, s, on, n, fmt.Sprintf("round %d of %d", round, r.rounds), "")
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				r.done++
				r.record(m, err)
			}
		}
		if err := r.profile(ctx, s, able, n); err != nil {
			return err
		}
	}
	return nil
}

// record puts a measurement into the report.
func (r *runner) record(m report.Measurement, err error) {
	if m.Sample.FirstError != nil {
		m.Problem = m.Sample.FirstError.Error()
	}
	if err != nil {
		m.Failure, m.Problem = err.Error(), ""
		r.say("failed: %s\n", m.Failure)
	}
	r.report.Measured = append(r.report.Measured, m)
}

// room says whether the disk has room for a scenario with n clients, and what is lacking.
func (r *runner) room(s scenario.Scenario, n int) error {
	if s.Room == 0 {
		return nil
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(r.dir, &fs); err != nil {
		return fmt.Errorf("%s: how much room there is on the disk is not known: %w", s.Name, err)
	}
	free, need := int64(fs.Bavail)*fs.Bsize, s.Room*int64(n)
	if free >= need {
		return nil
	}
	return fmt.Errorf("%s with %d clients was left out: it needs %d GiB of disk, and %d GiB are free in %s", s.Name, n, need>>30+1, free>>30, r.options.dir)
}

// measure does one measurement. A scenario that wants a server of its own gets one. The
// path is where a CPU profile goes, "" for none.
func (r *runner) measure(ctx context.Context, s scenario.Scenario, on *subject, n int, what, path string) (_ load.Sample, err error) {
	if s.Own && on.server != nil {
		if on, err = r.start(ctx, on.target, on.name+"-own"); err != nil {
			return load.Sample{}, err
		}
		defer func() { err = errors.Join(err, on.server.Stop(), os.RemoveAll(on.dir)) }()
		if s.Prepare != nil {
			r.say("%s: preparing %s\n", on.name, s.Name)
			if err := s.Prepare(ctx, on.world); err != nil {
				return load.Sample{}, fmt.Errorf("preparing: %w", err)
			}
		}
	}
	r.settle(ctx, on)
	r.say("[%d of %d, %s left] %s: %s, clients: %d, %s ... ", r.done+1, r.all, r.left(), on.name, s.Name, n, what)
	profiled := make(chan error, 1)
	if path != "" {
		go func() { profiled <- fetchProfile(ctx, on.server.Admin, r.time, path) }()
	} else {
		profiled <- nil
	}
	sample, err := r.sample(ctx, s, on, n)
	if err := errors.Join(err, <-profiled); err != nil {
		return sample, err
	}
	rate, _ := scenario.Rate.Of(sample, s.Rate)
	r.say("%.4g %s\n", rate, map[bool]string{true: "MiB/s", false: "/s"}[s.Rate == "bytes"])
	return sample, nil
}

// sample runs the operations, and reads the server's counters before and after.
func (r *runner) sample(ctx context.Context, s scenario.Scenario, on *subject, n int) (load.Sample, error) {
	var before time.Duration
	if on.server != nil {
		if err := on.server.ResetPeak(); err != nil {
			return load.Sample{}, err
		}
		var err error
		if before, err = on.server.CPU(); err != nil {
			return load.Sample{}, err
		}
	}
	var sample load.Sample
	var err error
	if s.Measure != nil {
		sample, err = s.Measure(ctx, on.world, n)
	} else {
		sample, err = load.Run(ctx, on.world.Addr, n, r.time, max(s.AtLeast, int64(n)), func(ctx context.Context, w *load.Worker) (int64, error) {
			return s.Op(ctx, on.world, w)
		})
	}
	if err != nil || on.server == nil {
		return sample, err
	}
	if sample.CPU == 0 {
		after, err := on.server.CPU()
		if err != nil {
			return sample, err
		}
		if sample.CPU = after - before; sample.CPU < 0 { // it was started again
			sample.CPU = after
		}
	}
	if sample.Peak == 0 {
		sample.Peak, err = on.server.Peak()
	}
	return sample, err
}

const (
	// quiet is how much processor time all servers together may use in a look before a
	// measurement begins.
	quiet = 5 * time.Millisecond
	look  = 100 * time.Millisecond
	looks = 50 // after which it begins all the same
)

// awaitQuiet waits until what was written is on the disk, so that no server waits for
// another one's bytes, and until no server works in the background. A server that does not
// come to rest is measured as it is.
func (r *runner) awaitQuiet(ctx context.Context, next *subject) {
	syscall.Sync()
	last := r.used(next)
	for range looks {
		select {
		case <-ctx.Done():
			return
		case <-time.After(look):
		}
		now := r.used(next)
		if now-last < quiet {
			return
		}
		last = now
	}
}

// used is the processor time of all servers that run, the one to be measured included.
func (r *runner) used(next *subject) time.Duration {
	var sum time.Duration
	all := r.subjects
	if !slices.Contains(all, next) {
		all = append(slices.Clip(all), next)
	}
	for _, s := range all {
		if s.server != nil {
			used, _ := s.server.CPU() // one that has died uses nothing; measuring it says so
			sum += used
		}
	}
	return sum
}

// profile measures once more, with a CPU profile of each Berth, whose samples do not count.
func (r *runner) profile(ctx context.Context, s scenario.Scenario, able []*subject, n int) error {
	for _, on := range able {
		if !r.profiled(on) {
			continue
		}
		name := notInNames.ReplaceAllString(fmt.Sprintf("%s-%s-%d", on.name, s.Name, n), "-") + ".pprof"
		_, err := r.measure(ctx, s, on, n, "profile", filepath.Join(r.profiles, name))
		if err := ctx.Err(); err != nil {
			return err
		}
		r.done++
		if err != nil {
			r.report.Notes = append(r.report.Notes, fmt.Sprintf("There is no %s: %v", name, err))
			r.say("failed: %v\n", err)
		}
	}
	return nil
}

// notInNames is what does not belong into a file's name.
var notInNames = regexp.MustCompile(`[^A-Za-z0-9._]+`)

// fetchProfile writes a CPU profile over a time, a second at least, to a file.
func fetchProfile(ctx context.Context, admin string, d time.Duration, path string) error {
	url := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", admin, max(1, int(d.Seconds())))
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // it was read to its end, or that is the error
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return toFile(path, func(w io.Writer) error {
		_, err := io.Copy(w, answer.Body)
		return err
	})
}

// left is how long the rest of the run may take, after what has been until now.
func (r *runner) left() string {
	each := r.time
	if r.done > 0 {
		each = max(each, time.Since(r.began)/time.Duration(r.done))
	}
	return duration(time.Duration(r.all-r.done) * each)
}

// duration is in minutes, or in seconds when there are few.
func duration(d time.Duration) string {
	if d < 2*time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return fmt.Sprintf("%d min", int(d.Minutes()))
}
