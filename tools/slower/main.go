// Command slower says which benchmarks have become slower by more than -over percent. It
// reads what benchstat says of two runs of them, the one before first, in its form csv,
// out of the files that it is given: where these are several, a benchmark has to be slower
// in each, and the last one has the figures. The names go to standard output, a line
// each, and what else is to be known to standard error.
//
// Whether a difference is more than chance is benchstat's to say: it writes "~" in place
// of one that is not. A benchmark that only one of the runs has is counted and no more.
// The module also holds the version of benchstat that scripts/bench-micro.sh runs.
package main

import (
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

func main() {
	over := flag.Float64("over", 10, "how many percent more time is too much")
	flag.Parse()
	if err := run(*over, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "slower:", err)
		os.Exit(1)
	}
}

func run(over float64, files []string) error {
	var all []result
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		r, err := read(f, over)
		_ = f.Close() // only read
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		return errors.New("give it a table of benchstat's")
	}
	last := all[len(all)-1]
	fmt.Fprintf(os.Stderr, "%d benchmarks compared, %d on one side only\n", last.compared, last.single)
	if last.unsteady > 0 {
		fmt.Fprintf(os.Stderr, "%d of them vary by more than %g %% by themselves, where a difference of that size may go unseen: it takes a quieter machine or more rounds\n", last.unsteady, over)
	}
	for _, c := range slower(all, over) {
		fmt.Printf("%s: %+.1f %% (%s)\n", c.name, c.percent, c.chance)
	}
	return nil
}

// change is a benchmark whose time differs by more than chance.
type change struct {
	name string
	// percent is how much more time it takes than before; below 0 it is less.
	percent float64
	// chance is benchstat's text, "p=0.001 n=8".
	chance string
}

// result is what the tables of times say.
type result struct {
	compared, single int
	// unsteady counts those of the compared whose median is not certain to over percent,
	// on one of the sides.
	unsteady int
	changes  []change
}

// Columns of benchstat's tables that are looked for, and the name of the row that sums up.
const (
	unit     = "sec/op"
	interval = "CI"
	delta    = "vs base"
	summary  = "geomean"
)

// read reads benchstat's tables, of which there is one for each unit, and keeps those of
// times. Each has a row of units above its benchmarks, in which the column of names is
// empty:
//
//	,base,,this,,,
//	,sec/op,CI,sec/op,CI,vs base,P
//	Decide-2,1.7e-06,1%,1.4e-06,1%,-17.20%,p=0.000 n=8
//
// A median that is not certain to over percent makes a benchmark unsteady.
func read(in io.Reader, over float64) (result, error) {
	var r result
	rows := csv.NewReader(in)
	rows.FieldsPerRecord = -1
	times, column := false, -1
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			if r.compared+r.single == 0 {
				return result{}, errors.New("there is no benchmark in it: neither run had one of that name")
			}
			return r, nil
		}
		if err != nil {
			return result{}, fmt.Errorf("reading benchstat's table: %w", err)
		}
		switch {
		case row[0] == "" && slices.Contains(row, interval):
			times, column = slices.Contains(row, unit), slices.Index(row, delta)
		case row[0] == "" || row[0] == summary || len(row) == 1 || !times:
		case column < 0 || len(row) < column+2:
			r.single++
		default:
			r.compared++
			if wide(row[2], over) || wide(row[column-1], over) {
				r.unsteady++
			}
			c := change{name: row[0], chance: row[column+1]}
			if row[column] == "~" {
				continue
			}
			c.percent, err = strconv.ParseFloat(strings.TrimSuffix(row[column], "%"), 64)
			if err != nil {
				return result{}, fmt.Errorf("%s differs by %q, which is no percentage", c.name, row[column])
			}
			r.changes = append(r.changes, c)
		}
	}
}

// wide says whether an interval, which is a percentage or "∞", reaches beyond over percent.
func wide(interval string, over float64) bool {
	percent, err := strconv.ParseFloat(strings.TrimSuffix(interval, "%"), 64)
	return err != nil || percent > over
}

// slower lists what takes more than over percent more time in all of the results, as the
// last of them has it.
func slower(all []result, over float64) []change {
	too := func(c change) bool { return c.percent > over }
	var found []change
	for _, c := range all[len(all)-1].changes {
		again := func(r result) bool {
			return slices.ContainsFunc(r.changes, func(o change) bool { return o.name == c.name && too(o) })
		}
		if !slices.ContainsFunc(all, func(r result) bool { return !again(r) }) {
			found = append(found, c)
		}
	}
	return found
}
