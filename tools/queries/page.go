package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// bigTable is from how many rows on a table is big: its sequential scan is a fault.
const bigTable = 1000

type table struct {
	name string
	rows int64
}

// query is a statement of the catalogue.
type query struct {
	number int
	sql    string
	check  bool
	plans  map[string]*seen // by shape
}

// seen is a plan that was used.
type seen struct {
	plan  node // of the execution that looked at the most rows
	pass  [len(passes)]bool
	fault string
}

// operation is a line of the summary.
type operation struct {
	group, name string
	pull        bool
	// times is how often each statement ran: in all, or in one transaction at
	// the most.
	times     map[int]int
	order     []int // of the statements
	txs       int   // transactions of the first pass
	written   float64
	locks     bool
	worst     string
	worstRows float64
	faults    map[string]bool
}

// report is all that was measured.
type report struct {
	version    int64
	tables     []table
	big        map[string]bool
	queries    map[string]*query
	numbered   []*query
	operations []*operation
}

func newReport() *report { return &report{big: map[string]bool{}, queries: map[string]*query{}} }

// add notes what an operation executed. perTransaction says that it was one of
// many transactions alike.
func (r *report) add(group, name string, pull bool, pass int, did []statement, perTransaction bool) {
	i := slices.IndexFunc(r.operations, func(o *operation) bool { return o.group == group && o.name == name })
	if i < 0 {
		i = len(r.operations)
		r.operations = append(r.operations, &operation{group: group, name: name, pull: pull, times: map[int]int{}, faults: map[string]bool{}, worstRows: -1})
	}
	o := r.operations[i]
	if pass == 0 {
		o.txs++
	}
	counts := map[int]int{}
	var written float64
	for _, s := range did {
		q := r.note(s, pass)
		counts[q.number]++
		written += s.plan.written()
		if !s.check {
			o.locks = o.locks || s.plan.locks()
			if text, rows := s.plan.worst(); rows > o.worstRows {
				o.worst, o.worstRows = text, rows
			}
		}
		if f := s.plan.fault(r.big); f != "" {
			o.faults[f] = true
		}
		if o.times[q.number] == 0 && !slices.Contains(o.order, q.number) {
			o.order = append(o.order, q.number)
		}
	}
	for n, count := range counts {
		if perTransaction || pass > 0 {
			count = max(count, o.times[n])
		}
		o.times[n] = count
	}
	o.written = max(o.written, written)
}

func (r *report) note(s statement, pass int) *query {
	q, ok := r.queries[s.sql]
	if !ok {
		q = &query{number: len(r.numbered) + 1, sql: s.sql, check: s.check, plans: map[string]*seen{}}
		r.queries[s.sql] = q
		r.numbered = append(r.numbered, q)
	}
	shape := s.plan.shape()
	p, ok := q.plans[shape]
	if !ok {
		p = &seen{plan: s.plan}
		q.plans[shape] = p
	}
	_, rows := s.plan.worst()
	if _, most := p.plan.worst(); rows > most {
		p.plan = s.plan
	}
	p.pass[pass] = true
	if f := s.plan.fault(r.big); f != "" {
		p.fault = f
	}
	return q
}

// verdict fails when an operation has a fault that the page has no word for, or a pull
// has written.
func (r *report) verdict() error {
	var wrong []error
	for _, o := range r.operations {
		if o.pull && (o.written > 0 || o.locks) {
			wrong = append(wrong, fmt.Errorf("%s writes %.0f rows", o.name, o.written))
		}
		for _, f := range slices.Sorted(maps.Keys(o.faults)) {
			if _, known := accepted[o.name]; !known {
				wrong = append(wrong, fmt.Errorf("%s: %s", o.name, f))
			}
		}
	}
	return errors.Join(wrong...)
}

func (r *report) page() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, head, r.version)
	r.sizes(&b)
	r.summary(&b)
	r.pulls(&b)
	r.each(&b)
	r.catalogue(&b)
	return b.Bytes()
}

func (r *report) sizes(b *bytes.Buffer) {
	var all []string
	for _, t := range r.tables {
		all = append(all, fmt.Sprintf("`%s` %s", t.name, about(float64(t.rows))))
	}
	fmt.Fprintf(b, "Rows: %s. A table with fewer than %d is small: PostgreSQL reads it whole, and should.\n", strings.Join(all, ", "), bigTable)
}

// about is a number in words that do not change with a few rows.
func about(n float64) string {
	switch {
	case n >= 950_000:
		return fmt.Sprintf("%.1f million", n/1e6)
	case n >= 10_000:
		return fmt.Sprintf("%.0f,000", n/1000)
	}
	return fmt.Sprintf("%.0f", n)
}

// counted is how many statements an operation runs, those of foreign keys apart.
func (r *report) counted(o *operation) (own, checks int) {
	for n, times := range o.times {
		if r.numbered[n-1].check {
			checks += times
		} else {
			own += times
		}
	}
	return own, checks
}

func (r *report) summary(b *bytes.Buffer) {
	fmt.Fprint(b, summaryHead)
	last := ""
	for _, o := range r.operations {
		if o.group != last {
			fmt.Fprintf(b, "| **%s** | | | | |\n", o.group)
			last = o.group
		}
		own, checks := r.counted(o)
		served := "yes"
		if len(o.faults) > 0 {
			served = "no: " + strings.Join(slices.Sorted(maps.Keys(o.faults)), ", ")
			if _, ok := accepted[o.name]; ok {
				served += " (see below)"
			}
		}
		statements := fmt.Sprint(own)
		if checks > 0 {
			statements += fmt.Sprintf(" + %d", checks)
		}
		worst := "none"
		if o.worst != "" {
			worst = fmt.Sprintf("%s, %s", o.worst, about(o.worstRows))
		}
		fmt.Fprintf(b, "| %s | %s | %.0f | %s | %s |\n", o.name, statements, o.written, worst, served)
	}
}

func (r *report) pulls(b *bytes.Buffer) {
	wrote := 0
	n := 0
	for _, o := range r.operations {
		if o.pull {
			n++
			if o.written > 0 || o.locks {
				wrote++
			}
		}
	}
	if wrote == 0 {
		fmt.Fprintf(b, pullsText, n)
		return
	}
	fmt.Fprintf(b, "\n## A pull writes\n\n%d of %d operations that only read wrote or locked rows: see the table.\n", wrote, n)
}

func (r *report) each(b *bytes.Buffer) {
	fmt.Fprint(b, eachHead)
	last := ""
	for _, o := range r.operations {
		if o.group != last {
			fmt.Fprintf(b, "\n**%s**\n\n", o.group)
			last = o.group
		}
		var own, checks []string
		for _, n := range o.order {
			t := fmt.Sprint(n)
			if times := o.times[n]; times > 1 {
				t += fmt.Sprintf("×%d", times)
			}
			if r.numbered[n-1].check {
				checks = append(checks, t)
			} else {
				own = append(own, t)
			}
		}
		line := strings.Join(own, ", ")
		if line == "" {
			line = "no statement"
		}
		if len(checks) > 0 {
			line += "; foreign keys " + strings.Join(checks, ", ")
		}
		fmt.Fprintf(b, "- %s: %s\n", o.name, line)
		if why, ok := accepted[o.name]; ok {
			fmt.Fprintf(b, "  %s\n", why)
		}
	}
}

func (r *report) catalogue(b *bytes.Buffer) {
	fmt.Fprint(b, catalogueHead)
	for _, q := range r.numbered {
		fmt.Fprintf(b, "- **%d** `%s`\n", q.number, q.sql)
		var lines []string
		for _, p := range q.plans {
			line := p.plan.short()
			if line == "" {
				line = "no table"
			}
			if len(q.plans) > 1 && !(p.pass[0] && p.pass[1]) {
				for i, used := range p.pass {
					if used {
						line += " — " + passes[i].says
					}
				}
			}
			if p.fault != "" {
				line += " — **" + p.fault + "**"
			}
			lines = append(lines, line)
		}
		slices.Sort(lines)
		for _, l := range lines {
			fmt.Fprintf(b, "  - %s\n", l)
		}
	}
}
