package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/berth-registry/berth/bench/scenario"
)

// Markdown writes the whole report.
func (r *Report) Markdown(w io.Writer) error {
	rows := r.Rows()
	var out strings.Builder
	out.WriteString("# Benchmark\n\n")
	r.conditions(&out)
	if header, lines := r.ratios(rows); len(lines) > 0 {
		out.WriteString("\n## Ratios\n\n")
		if len(header) > 4 {
			fmt.Fprintf(&out, ratiosLegend+"\n\n", header[2])
		}
		grid(&out, header, lines)
	}
	if header, lines := r.verdicts(rows); len(lines) > 0 {
		out.WriteString("\n## Bars\n\nRates are in operations or MiB per second, cpu/GiB in seconds, cpu/op in microseconds, p50 and p99 in milliseconds, peak in MiB.\n\n")
		grid(&out, header, lines)
	}
	out.WriteString("\n## Figures\n\nMedians over the rounds. Spread is the distance between the fastest and the slowest round as part of the median; " +
		"CPU is the server's, in user and system mode, with all of its processes; peak is the most that they had in memory.\n")
	for _, s := range r.Scenarios {
		var lines [][]string
		for _, row := range rows {
			if row.Scenario == s.Name {
				lines = append(lines, figureLine(row))
			}
		}
		if len(lines) == 0 {
			continue
		}
		throughput, cost := "operations/s", "CPU us/operation"
		if s.Rate == "bytes" {
			throughput, cost = "MiB/s", "CPU s/GiB"
		}
		fmt.Fprintf(&out, "\n### %s\n\n", s.Name)
		grid(&out, []string{"server", "clients", throughput, "spread", "p50 ms", "p99 ms", cost, "peak MiB", "failed"}, lines)
	}
	r.remarks(&out, rows)
	_, err := io.WriteString(w, out.String())
	return err
}

// conditions writes what the run was done on and with.
func (r *Report) conditions(out *strings.Builder) {
	m := r.Machine
	grid(out, []string{"", ""}, [][]string{
		{"date", r.Date.UTC().Format("2006-01-02 15:04 MST")},
		{"processor", fmt.Sprintf("%s, %d cores, shared by the servers and the clients", m.CPU, m.Cores)},
		{"memory", number(float64(m.Memory)/(1<<30)) + " GiB"},
		{"kernel", m.Kernel},
		{"file system", m.FileSystem},
		{"Go", m.Go},
		{"measurement", fmt.Sprintf("%d rounds in turn over all servers, %s each or longer; loopback, fresh stores", r.Rounds, r.Time)},
		{"command", "`" + r.Command + "`"},
	})
	var lines [][]string
	for _, v := range r.Versions {
		lines = append(lines, []string{v.Target, v.Text})
	}
	out.WriteByte('\n')
	grid(out, []string{"server", "version"}, lines)
}

// figureLine is a row as the table of its scenario has it.
func figureLine(row Row) []string {
	cell := func(f scenario.Figure) string {
		if v, ok := row.Figures[f]; ok {
			return number(v)
		}
		return "-"
	}
	spread := "-"
	if row.Rounds > 1 {
		spread = fmt.Sprintf("%.0f %%", 100*row.Spread)
	}
	failed := fmt.Sprint(row.Errors)
	if row.Rounds == 0 {
		failed = "not measured"
	}
	return []string{row.Target, fmt.Sprint(row.Clients), cell(scenario.Rate), spread, cell(scenario.P50), cell(scenario.P99), cell(cost(row.Rate)), cell(scenario.Peak), failed}
}

// remarks writes what failed and what was left out.
func (r *Report) remarks(out *strings.Builder, rows []Row) {
	var lines []string
	for _, row := range rows {
		if row.Problem != "" {
			lines = append(lines, fmt.Sprintf("- %s, %s, %s: %s", row.Target, row.Scenario, clients(row.Clients), problem(row)))
		}
	}
	for _, n := range r.Notes {
		lines = append(lines, "- "+n)
	}
	if len(lines) > 0 {
		out.WriteString("\n## Remarks\n\n" + strings.Join(lines, "\n") + "\n")
	}
}

// grid writes a Markdown table.
func grid(out *strings.Builder, header []string, lines [][]string) {
	clean := strings.NewReplacer("|", `\|`, "\n", " ")
	write := func(line []string) {
		for _, cell := range line {
			out.WriteString("| " + clean.Replace(cell) + " ")
		}
		out.WriteString("|\n")
	}
	write(header)
	out.WriteString(strings.Repeat("|---", len(header)) + "|\n")
	for _, line := range lines {
		write(line)
	}
}
