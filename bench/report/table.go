package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/bench/scenario"
)

// ratios is the table of ratios: a line for each scenario and number of clients, with what
// the first server reaches and what it is as a multiple of the others.
func (r *Report) ratios(rows []Row) (header []string, lines [][]string) {
	if len(r.Versions) == 0 {
		return nil, nil
	}
	first := r.Versions[0].Target
	header = []string{scenarioHeader, "clients", first, "its CPU"}
	for _, v := range r.Versions[1:] {
		header = append(header, v.Target)
	}
	at := lookup(rows)
	for _, s := range r.Scenarios {
		for _, n := range r.counts(s.Name) {
			if line := r.ratioLine(s, n, at); line != nil {
				lines = append(lines, line)
			}
		}
	}
	return header, lines
}

// ratioLine is nil for what the first server does not do.
func (r *Report) ratioLine(s scenario.Scenario, n int, at scenario.Lookup) []string {
	first, f := r.Versions[0].Target, cost(s.Rate)
	rate, ok := at(s.Name, first, n, scenario.Rate)
	if !ok {
		return nil
	}
	unit, costUnit := units(s.Rate)
	line := []string{s.Name, fmt.Sprint(n), number(rate) + " " + unit, "-"}
	used, measured := at(s.Name, first, n, f)
	if measured {
		line[3] = number(used) + " " + costUnit
	}
	for _, v := range r.Versions[1:] {
		cell := "-"
		if other, ok := at(s.Name, v.Target, n, scenario.Rate); ok {
			cell = number(rate/other) + "x"
			if other, ok := at(s.Name, v.Target, n, f); ok && measured {
				cell += " " + number(other/used) + "x"
			}
		}
		line = append(line, cell)
	}
	return line
}

// units of throughput and of what it costs.
func units(rate string) (throughput, cost string) {
	if rate == "bytes" {
		return "MiB/s", "s/GiB"
	}
	return "/s", "us"
}

const ratiosLegend = `A ratio such as "3.1x 2.5x" says that %[1]s has 3.1 times the throughput, and that the other server uses 2.5 times the
processor time of %[1]s for the same work: above 1, %[1]s is better.`

// Terminal writes the table of ratios and the bars.
func (r *Report) Terminal(w io.Writer) error {
	rows := r.Rows()
	var out strings.Builder
	if header, lines := r.ratios(rows); len(lines) > 0 {
		align(&out, header, lines)
		if len(header) > 4 {
			fmt.Fprintf(&out, "\n"+ratiosLegend+"\n", header[2])
		}
	}
	if header, lines := r.verdicts(rows); len(lines) > 0 {
		out.WriteByte('\n')
		align(&out, header, lines)
	}
	for _, row := range rows {
		if row.Problem != "" {
			fmt.Fprintf(&out, "\n%s, %s, %s: %s", row.Target, row.Scenario, clients(row.Clients), problem(row))
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&out, "\n%s", n)
	}
	_, err := io.WriteString(w, strings.TrimRight(out.String(), "\n")+"\n")
	return err
}

// problem says what failed.
func problem(row Row) string {
	switch {
	case row.Errors == 0:
		return "not measured: " + row.Problem
	case row.Errors == 1:
		return "an operation failed: " + row.Problem
	}
	return fmt.Sprintf("%d operations failed, the first one: %s", row.Errors, row.Problem)
}

// align writes columns, text to the left and figures to the right.
func align(out *strings.Builder, header []string, lines [][]string) {
	width := make([]int, len(header))
	all := append([][]string{header}, lines...)
	for _, line := range all {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	text := func(i int) bool { return i == 0 || header[i] == scenarioHeader || header[i] == barHeader }
	for _, line := range all {
		var row strings.Builder
		for i, cell := range line {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if text(i) {
				cell += pad
			} else {
				cell = pad + cell
			}
			row.WriteString(cell + "  ")
		}
		out.WriteString(strings.TrimRight(row.String(), " ") + "\n")
	}
}

// Headers of columns that hold text.
const (
	scenarioHeader = "scenario"
	barHeader      = "bar"
)

// verdicts is the table of bars.
func (r *Report) verdicts(rows []Row) (header []string, lines [][]string) {
	header = []string{"verdict", "measured", "bound", "clients", scenarioHeader, barHeader}
	at := lookup(rows)
	for _, s := range r.Scenarios {
		counts := r.counts(s.Name)
		if len(counts) == 0 {
			continue
		}
		for _, b := range s.Bars {
			v := b.Judge(s.Name, counts, at)
			if !v.Known {
				lines = append(lines, []string{"not measured", "-", "-", "-", s.Name, b.String()})
				continue
			}
			verdict := "MISSED"
			if v.Reached {
				verdict = "reached"
			}
			if v.Alternative {
				verdict += " (the second)"
			}
			lines = append(lines, []string{verdict, number(v.Value), number(v.Bound), fmt.Sprint(v.Clients), s.Name, b.String()})
		}
	}
	return header, lines
}
