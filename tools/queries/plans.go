package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
)

// ownName is the application_name of this tool's own connections.
const ownName = "berth-queries"

// node is a node of a plan, as auto_explain writes it.
type node struct {
	Type       string  `json:"Node Type"`
	Operation  string  `json:"Operation"`
	Table      string  `json:"Relation Name"`
	Index      string  `json:"Index Name"`
	Rows       float64 `json:"Actual Rows"` // of one loop
	Loops      float64 `json:"Actual Loops"`
	Removed    float64 `json:"Rows Removed by Filter"`
	Inserted   float64 `json:"Tuples Inserted"`
	Conflicts  float64 `json:"Conflicting Tuples"`
	Resolution string  `json:"Conflict Resolution"`
	Plans      []node  `json:"Plans"`
}

// statement is one execution of a statement.
type statement struct {
	sql  string
	plan node
	tx   string // tells the transaction from all others
	// check says that it is PostgreSQL's own, for a foreign key.
	check bool
}

// observer reads the server's log.
type observer struct {
	file *os.File
	r    *bufio.Reader
	rest string // the beginning of a line whose end is not written yet
}

// logWait bounds the wait for a statement that has been answered to stand in the
// log: the server's logger is a process of its own.
const logWait = time.Minute

func newObserver(path string) (*observer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &observer{file: f, r: bufio.NewReaderSize(f, 1<<20)}, nil
}

// until reads what was executed up to the tool's own statement with the text mark.
func (o *observer) until(ctx context.Context, mark string) ([]statement, error) {
	ctx, cancel := context.WithTimeout(ctx, logWait)
	defer cancel()
	var all []statement
	for {
		line, err := o.r.ReadString('\n')
		o.rest += line
		if errors.Is(err, io.EOF) {
			select {
			case <-ctx.Done():
				return nil, fmt.Errorf("the server's log does not show %q: is it the right file, and auto_explain on?", mark)
			case <-time.After(20 * time.Millisecond):
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		line, o.rest = o.rest, ""
		var entry struct {
			Message     string `json:"message"`
			Application string `json:"application_name"`
			PID         int    `json:"pid"`
			VXID        string `json:"vxid"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			return nil, fmt.Errorf("the server's log is not in JSON form: %w", err)
		}
		_, text, ok := strings.Cut(entry.Message, "plan:\n")
		if !ok || !strings.HasPrefix(entry.Message, "duration: ") {
			continue
		}
		var explained struct {
			Query string `json:"Query Text"`
			Plan  node   `json:"Plan"`
		}
		if err := json.Unmarshal([]byte(text), &explained); err != nil {
			return nil, fmt.Errorf("auto_explain does not write JSON: %w", err)
		}
		if entry.Application == ownName {
			if strings.Contains(explained.Query, mark) {
				return all, nil
			}
			continue
		}
		all = append(all, statement{
			sql: normalize(explained.Query), plan: explained.Plan, tx: fmt.Sprint(entry.PID, " ", entry.VXID),
			check: strings.Contains(explained.Query, `ONLY "public".`),
		})
	}
}

func (o *observer) close() error { return o.file.Close() }

var (
	space = regexp.MustCompile(`\s+`)
	list  = regexp.MustCompile(`IN \(\$\d+(, ?\$\d+)*\)`)
)

// normalize writes a statement on one line, and all lists of values alike.
func normalize(sql string) string {
	sql = strings.TrimSpace(space.ReplaceAllString(sql, " "))
	return list.ReplaceAllString(sql, "IN ($…)")
}

// read is how many rows a node looked at.
func (n node) read() float64 { return (n.Rows + n.Removed) * n.Loops }

// each calls fn with the node and all below it that ran.
func (n node) each(fn func(node)) {
	if n.Loops == 0 {
		return
	}
	fn(n)
	for _, p := range n.Plans {
		p.each(fn)
	}
}

// written is how many rows the plan inserted, changed or deleted.
func (n node) written() (rows float64) {
	n.each(func(n node) {
		if n.Type != "ModifyTable" {
			return
		}
		for _, p := range n.Plans {
			rows += p.Rows * p.Loops
		}
		if n.Resolution == "NOTHING" {
			rows -= n.Conflicts
		}
	})
	return rows
}

// locks says whether the plan locks rows, which writes to them.
func (n node) locks() (found bool) {
	n.each(func(n node) { found = found || n.Type == "LockRows" })
	return found
}

// title is the node alone: "Index Scan image_pkey".
func (n node) title() string {
	switch n.Type {
	case "ModifyTable":
		return n.Operation + " " + n.Table
	case "Index Scan", "Index Only Scan", "Bitmap Index Scan":
		return n.Type + " " + n.Index
	case "Seq Scan", "Bitmap Heap Scan":
		return n.Type + " " + n.Table
	}
	return n.Type
}

// plain are nodes that say nothing where they stand above others.
func (n node) plain() bool {
	switch n.Type {
	case "Result", "Subquery Scan", "Materialize", "Append", "Values Scan", "ProjectSet":
		return true
	}
	return false
}

// shape is the plan without numbers, short is it with the rows that each scan gave.
func (n node) shape() string { return n.text(false) }
func (n node) short() string { return n.text(true) }

func (n node) text(rows bool) string {
	var below []string
	for _, p := range n.Plans {
		if t := p.text(rows); t != "" {
			below = append(below, t)
		}
	}
	inner := strings.Join(below, "; ")
	if n.plain() {
		return inner
	}
	out := n.title()
	if len(n.Plans) == 0 && rows {
		switch {
		case n.Loops == 0:
			out += " (not run)"
		case n.Removed > 0:
			out += fmt.Sprintf(" (%.0f of %.0f)", n.Rows*n.Loops, n.read())
		default:
			out += fmt.Sprintf(" (%.0f)", n.Rows*n.Loops)
		}
	}
	if inner != "" {
		out += " ← " + inner
		if len(below) > 1 {
			out = n.title() + " [" + inner + "]"
		}
	}
	return out
}

// page is the longest page of a listing that a client can ask for, and one row more.
const page = 1001

// fault is a part of a plan that grows with the tables, or with a repository, beyond
// what it gives. An incremental sort is none: it sorts the tags of one image at a time.
func (n node) fault(big map[string]bool) (found string) {
	n.each(func(n node) {
		switch {
		case n.Type == "Seq Scan" && big[n.Table]:
			found = n.title()
		case n.Type == "Sort" && len(n.Plans) > 0 && n.Plans[0].Rows*n.Plans[0].Loops > page && found == "":
			found = "Sort of more than a page"
		case n.Removed*n.Loops > page && found == "":
			found = n.title() + " reads much that is not wanted"
		}
	})
	return found
}

// worst is the scan that looked at the most rows.
func (n node) worst() (text string, rows float64) {
	rows = -1
	n.each(func(n node) {
		if (strings.HasSuffix(n.Type, "Scan") && !n.plain()) && n.read() > rows {
			text, rows = n.title(), n.read()
		}
	})
	return text, rows
}
