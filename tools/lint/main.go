// Command lint holds the analyzers that look at one package at a time, as a
// tool of go vet, which keeps what it found in the build cache and so looks
// only at what has changed. scripts/lint.sh runs it, and beside it staticcheck
// and unparam, which look at the whole program.
//
// What is switched on, off or set differently stands here with its reason; for
// staticcheck it stands in staticcheck.conf.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/gordonklaus/ineffassign/pkg/ineffassign"
	"github.com/kisielk/errcheck/errcheck"
	"github.com/nishanths/exhaustive/passes/exhaustive"
	"github.com/timakin/bodyclose/passes/bodyclose"
	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/unitchecker"
)

// settings are the flags of the analyzers that differ from their defaults.
//
// Not switched on: errcheck's -blank, because an error assigned to the blank
// identifier is a decision somebody wrote down; its -assert, because a type
// assertion that must hold may panic.
var settings = []struct{ name, value string }{
	// Only our own enumerations are closed; those of the standard library grow.
	{"typeonly", `^github\.com/berth-registry/berth/`},
	// A default is a decision too. Where it may not be taken, in the tables from
	// failure codes to a wire, wiretable forbids it.
	{"d", "true"},
	// Switches only, not maps: most maps keyed by an enumeration are meant to be
	// partial. Those from failure codes, which are not, wiretable refuses.
	{"check", "switch"},
}

// printing is what errcheck passes over beside its own exceptions: what prints for a
// person has nobody to tell when that fails; a tabwriter keeps its error for Flush.
var printing = []string{"fmt.Fprint", "fmt.Fprintf", "fmt.Fprintln"}

func main() {
	errcheck.DefaultExcludedSymbols = append(errcheck.DefaultExcludedSymbols, printing...)
	for _, s := range settings {
		if err := exhaustive.Analyzer.Flags.Set(s.name, s.value); err != nil {
			fmt.Fprintln(os.Stderr, "lint: exhaustive:", err)
			os.Exit(1)
		}
	}
	unitchecker.Main(
		withoutTests(bodyclose.Analyzer),
		errcheck.Analyzer,
		exhaustive.Analyzer,
		ineffassign.Analyzer,
		wiretable,
	)
}

// withoutTests keeps an analyzer from reporting on tests and their support.
// bodyclose does not see that a helper in another package has read and closed a
// body, which is what helpers of tests are for.
func withoutTests(a *analysis.Analyzer) *analysis.Analyzer {
	run := a.Run
	a.Run = func(pass *analysis.Pass) (any, error) {
		report := pass.Report
		pass.Report = func(d analysis.Diagnostic) {
			if !inTests(pass.Pkg.Path(), pass.Fset.File(d.Pos).Name()) {
				report(d)
			}
		}
		return run(pass)
	}
	return a
}

// inTests says whether a file is a test, or of a package that serves tests only,
// as internal/arch_test.go tells them.
func inTests(pkg, file string) bool {
	pkg, _, _ = strings.Cut(pkg, " ") // "path [path.test]" for a package with its tests
	return strings.HasSuffix(file, "_test.go") || strings.HasSuffix(pkg, "test") || strings.Contains(pkg, "/test/")
}
