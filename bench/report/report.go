// Package report turns the measurements of a run into what people read: a table of ratios
// for the terminal, and a Markdown document with the machine, the versions, every figure,
// and how the bars stand. Which scenarios and bars there are is the business of package
// scenario; how a run goes, of the program.
package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/berth-registry/berth/bench/load"
	"github.com/berth-registry/berth/bench/scenario"
)

// Measurement is one scenario against one server in one round.
type Measurement struct {
	Scenario string
	Group    string
	Rate     string // what the scenario's throughput is given in, "ops" or "bytes"
	Target   string
	Clients  int
	Round    int         // from 1
	Sample   load.Sample // nothing where Failure says why
	Failure  string      // why there is no sample
	Problem  string      // the first of the operations that failed, when some did
}

// Version is what one server says it is.
type Version struct{ Target, Text string }

// Report is a run.
type Report struct {
	Machine   Machine
	Date      time.Time
	Command   string // how the program was called
	Rounds    int
	Time      time.Duration       // of each measurement, at least
	Versions  []Version           // in the order of columns; the others are compared with the first
	Scenarios []scenario.Scenario `json:"-"`
	Measured  []Measurement
	Notes     []string // what was left out, and why
}

// Row is what all rounds of one scenario against one server came to.
type Row struct {
	Scenario string
	Rate     string
	Target   string
	Clients  int
	Rounds   int // that gave a sample
	// Figures are medians over the rounds; what could not be measured is not there.
	Figures map[scenario.Figure]float64
	// Spread is how far the rounds are apart in throughput: largest minus smallest, as
	// part of the median.
	Spread float64
	// Errors is how many operations failed in all rounds.
	Errors int64
	// Problem is the first failure, "" where there was none.
	Problem string
}

// figures are those of a row.
var figures = []scenario.Figure{scenario.Rate, scenario.CPUPerGiB, scenario.CPUPerOp, scenario.P50, scenario.P99, scenario.Peak}

// Rows are the medians, ordered by scenario, clients and server as in the report.
func (r *Report) Rows() []Row {
	type key struct {
		scenario, target string
		clients          int
	}
	groups := map[key][]Measurement{}
	for _, m := range r.Measured {
		k := key{m.Scenario, m.Target, m.Clients}
		groups[k] = append(groups[k], m)
	}
	rows := make([]Row, 0, len(groups))
	for _, group := range groups {
		rows = append(rows, row(group))
	}
	place := map[string]int{}
	for i, s := range r.Scenarios {
		place["scenario "+s.Name] = i
	}
	for i, v := range r.Versions {
		place["target "+v.Target] = i
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(place["scenario "+a.Scenario], place["scenario "+b.Scenario]), cmp.Compare(a.Clients, b.Clients),
			cmp.Compare(place["target "+a.Target], place["target "+b.Target]))
	})
	return rows
}

// row is the median of measurements of one thing.
func row(of []Measurement) Row {
	out := Row{Scenario: of[0].Scenario, Rate: of[0].Rate, Target: of[0].Target, Clients: of[0].Clients, Figures: map[scenario.Figure]float64{}}
	values := map[scenario.Figure][]float64{}
	for _, m := range of {
		out.Errors += m.Sample.Errors
		out.Problem = cmp.Or(out.Problem, m.Failure, m.Problem)
		if m.Failure != "" {
			continue
		}
		out.Rounds++
		for _, f := range figures {
			if v, ok := f.Of(m.Sample, m.Rate); ok {
				values[f] = append(values[f], v)
			}
		}
	}
	for f, v := range values {
		out.Figures[f] = median(v)
	}
	if rates := values[scenario.Rate]; len(rates) > 0 {
		out.Spread = (slices.Max(rates) - slices.Min(rates)) / out.Figures[scenario.Rate]
	}
	return out
}

// median of at least one value; of an even number the mean of the two in the middle.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// cost is the figure that says what a scenario costs the server.
func cost(rate string) scenario.Figure {
	if rate == "bytes" {
		return scenario.CPUPerGiB
	}
	return scenario.CPUPerOp
}

// lookup finds medians for bars.
func lookup(rows []Row) scenario.Lookup {
	return func(name, target string, clients int, f scenario.Figure) (float64, bool) {
		i := slices.IndexFunc(rows, func(r Row) bool { return r.Scenario == name && r.Target == target && r.Clients == clients })
		if i < 0 {
			return 0, false
		}
		v, ok := rows[i].Figures[f]
		return v, ok
	}
}

// Regression is what is worse in one build than in another.
type Regression struct {
	Scenario string
	Clients  int
	Figure   scenario.Figure
	Ratio    float64 // the figure of the new build as a multiple of the old one's
}

// String says what is worse, and by how much.
func (r Regression) String() string {
	return fmt.Sprintf("%s, %s: %s is %.2f x that of the base", r.Scenario, clients(r.Clients), r.Figure, r.Ratio)
}

const (
	// costlier is how many times as much processor time an operation may cost before it
	// counts as a regression.
	costlier = 1.15
	// slower is what has to be left of the throughput.
	slower = 0.85
)

// Regressions compares two servers: a scenario is worse where the processor time for each
// operation (or GiB) is above 1.15 times that of base, or the throughput is below 0.85 of
// it. Each round is compared by itself, and the median of the ratios counts, so that what
// changes on the machine between rounds does not.
func (r *Report) Regressions(target, base string) []Regression {
	var worse []Regression
	for _, s := range r.Scenarios {
		for _, n := range r.counts(s.Name) {
			for _, f := range []scenario.Figure{scenario.Rate, cost(s.Rate)} {
				var ratios []float64
				for round := 1; round <= r.Rounds; round++ {
					a, measuredA := r.figure(s.Name, target, n, round, f)
					b, measuredB := r.figure(s.Name, base, n, round, f)
					if measuredA && measuredB {
						ratios = append(ratios, a/b)
					}
				}
				if len(ratios) == 0 {
					continue
				}
				ratio := median(ratios)
				if f == scenario.Rate && ratio < slower || f != scenario.Rate && ratio > costlier {
					worse = append(worse, Regression{s.Name, n, f, ratio})
				}
			}
		}
	}
	return worse
}

// counts are the numbers of clients that a scenario was measured with, in order.
func (r *Report) counts(name string) []int {
	var counts []int
	for _, m := range r.Measured {
		if m.Scenario == name && !slices.Contains(counts, m.Clients) {
			counts = append(counts, m.Clients)
		}
	}
	slices.Sort(counts)
	return counts
}

// figure is a figure of a single round.
func (r *Report) figure(name, target string, clients, round int, f scenario.Figure) (float64, bool) {
	for _, m := range r.Measured {
		if m.Scenario == name && m.Target == target && m.Clients == clients && m.Round == round && m.Failure == "" {
			return f.Of(m.Sample, m.Rate)
		}
	}
	return 0, false
}

// clients says how many.
func clients(n int) string {
	if n == 1 {
		return "1 client"
	}
	return fmt.Sprintf("%d clients", n)
}

// number writes a figure with three digits that count, and none that are noise.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.0995:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.2g", v)
}
