package scenario

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/bench/load"
)

// Figure is a number that a measurement gives.
type Figure string

// The figures, with their units.
const (
	Rate      Figure = "rate"    // operations per second, or MiB per second where a scenario counts bytes
	CPUPerGiB Figure = "cpu/GiB" // CPU seconds of the server for each GiB moved
	CPUPerOp  Figure = "cpu/op"  // CPU microseconds of the server for each operation
	P50       Figure = "p50"     // milliseconds
	P99       Figure = "p99"     // milliseconds
	Peak      Figure = "peak"    // MiB of memory of the server, at most
)

// Of is the figure of a sample; rate is the scenario's Rate. It is false where the sample
// does not have it.
func (f Figure) Of(s load.Sample, rate string) (float64, bool) {
	milliseconds := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	switch f {
	case Rate:
		if rate == "bytes" {
			return float64(s.Bytes) / (1 << 20) / s.Elapsed.Seconds(), s.Elapsed > 0 && s.Bytes > 0
		}
		return float64(s.Ops) / s.Elapsed.Seconds(), s.Elapsed > 0 && s.Ops > 0
	case CPUPerGiB:
		return s.CPU.Seconds() * (1 << 30) / float64(s.Bytes), s.Bytes > 0 && s.CPU > 0
	case CPUPerOp:
		return float64(s.CPU) / float64(time.Microsecond) / float64(s.Ops), s.Ops > 0 && s.CPU > 0
	case P50:
		return milliseconds(s.P50), s.P50 > 0
	case P99:
		return milliseconds(s.P99), s.P99 > 0
	case Peak:
		return float64(s.Peak) / (1 << 20), s.Peak > 0
	}
	return 0, false
}

// Bar is what one figure of Berth has to reach: a number, or a multiple of what others
// reach in the same run. One of AtLeast and AtMost is set.
type Bar struct {
	// Target is whose figure it is.
	Target string
	// Clients is the number of clients at which it holds; 0 is all that were measured,
	// of which the worst decides.
	Clients int
	// Figure is which figure.
	Figure Figure
	// AtLeast and AtMost are the bound in the figure's unit, or without one where Of
	// says of what it is a multiple.
	AtLeast, AtMost float64
	// Of are figures whose sum the bound is multiplied with.
	Of []Ref
	// Or is another bar that will do in place of this one.
	Or *Bar
}

// Ref is another figure of the same run. What is not set is the bar's.
type Ref struct {
	Scenario string
	// Targets are those whose best figure counts.
	Targets []string
	Clients int
	Figure  Figure
}

// Lookup finds a figure of the run: the median of its rounds. It is false for what was
// not measured.
type Lookup func(scenario, target string, clients int, f Figure) (float64, bool)

// Verdict is how a bar stands.
type Verdict struct {
	// Known says that everything the bar needs was measured.
	Known bool
	// Reached says that the bar is reached.
	Reached bool
	// Value is the figure and Bound what it is held to, in the figure's unit.
	Value, Bound float64
	// Clients is the number of clients that decided.
	Clients int
	// Alternative says that Bar.Or decided; Value and Bound are of that one then.
	Alternative bool
}

// Judge compares the bar of a scenario with a run. counts are the numbers of clients that
// the scenario was measured with.
func (b Bar) Judge(scenario string, counts []int, at Lookup) Verdict {
	if b.Clients != 0 {
		counts = []int{b.Clients}
	}
	var worst Verdict
	for _, n := range counts {
		v := b.judge(scenario, n, at)
		if v.Known && (!worst.Known || b.margin(v) < b.margin(worst)) {
			worst = v
		}
	}
	if b.Or != nil && !worst.Reached {
		if other := b.Or.Judge(scenario, counts, at); other.Reached || !worst.Known && other.Known {
			other.Alternative = true
			return other
		}
	}
	return worst
}

// judge is Judge at one number of clients.
func (b Bar) judge(scenario string, clients int, at Lookup) Verdict {
	v := Verdict{Clients: clients, Bound: max(b.AtLeast, b.AtMost)}
	var ok bool
	if v.Value, ok = at(scenario, b.Target, clients, b.Figure); !ok {
		return Verdict{}
	}
	if len(b.Of) > 0 {
		sum := 0.0
		for _, r := range b.Of {
			value, ok := b.look(r, scenario, clients, at)
			if !ok {
				return Verdict{}
			}
			sum += value
		}
		v.Bound *= sum
	}
	v.Known, v.Reached = true, v.Value >= v.Bound
	if b.AtMost != 0 {
		v.Reached = v.Value <= v.Bound
	}
	return v
}

// margin is above 1 for a bar that is reached, and the larger the easier.
func (b Bar) margin(v Verdict) float64 {
	if b.AtMost != 0 {
		return v.Bound / v.Value
	}
	return v.Value / v.Bound
}

// look finds what a Ref names. Of several targets the best one that was measured counts.
func (b Bar) look(r Ref, scenario string, clients int, at Lookup) (float64, bool) {
	if r.Scenario != "" {
		scenario = r.Scenario
	}
	if r.Clients != 0 {
		clients = r.Clients
	}
	if r.Figure == "" {
		r.Figure = b.Figure
	}
	if r.Targets == nil {
		r.Targets = []string{b.Target}
	}
	best := math.NaN()
	for _, t := range r.Targets {
		value, ok := at(scenario, t, clients, r.Figure)
		if ok && (math.IsNaN(best) || (r.Figure == Rate) == (value > best)) {
			best = value
		}
	}
	return best, !math.IsNaN(best)
}

// String says what is asked, such as "berth, 16 clients: rate at least 3 x the best of
// distribution, zot".
func (b Bar) String() string {
	var out strings.Builder
	out.WriteString(b.Target)
	switch b.Clients {
	case 0:
	case 1:
		out.WriteString(", 1 client")
	default:
		fmt.Fprintf(&out, ", %d clients", b.Clients)
	}
	fmt.Fprintf(&out, ": %s ", b.Figure)
	if b.AtMost != 0 {
		fmt.Fprintf(&out, "at most %g", b.AtMost)
	} else {
		fmt.Fprintf(&out, "at least %g", b.AtLeast)
	}
	for i, r := range b.Of {
		out.WriteString([]string{" x ", " + "}[min(i, 1)])
		var what []string
		switch {
		case len(r.Targets) > 1:
			what = append(what, "the best of "+strings.Join(r.Targets, ", "))
		case len(r.Targets) == 1:
			what = append(what, r.Targets[0])
		}
		if r.Figure != "" && r.Figure != b.Figure {
			what = append(what, string(r.Figure))
		}
		if r.Scenario != "" {
			what = append(what, "in "+r.Scenario)
		}
		if r.Clients == 1 && b.Clients != 1 {
			what = append(what, "at 1 client")
		}
		out.WriteString(strings.Join(what, " "))
	}
	if b.Or != nil {
		out.WriteString("; or " + b.Or.String())
	}
	return out.String()
}

// Peers are the registries that Berth is compared with.
func Peers() []string { return slices.Clone(peers) }

var peers = []string{"distribution", "docker-registry", "zot"}

// Names of targets that bars speak of.
const (
	berth        = "berth"
	berthPlain   = "berth-plain"
	distribution = "distribution"
	zot          = "zot"
	nginx        = "nginx"
)

// memoryBar bounds the memory of Berth under a load, at every number of clients.
func memoryBar(mib float64) Bar { return Bar{Target: berth, Figure: Peak, AtMost: mib} }
