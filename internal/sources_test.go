package internal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	maxPackageBytes = 60 << 10
	maxFileLines    = 600
)

// vagueNames say nothing about what a package owns, and so gather everything.
var vagueNames = []string{"common", "util", "utils", "types", "models", "helpers", "core", "misc", "shared", "base"}

// globalLoggers are the functions of log/slog that use its global logger.
var globalLoggers = []string{"Debug", "DebugContext", "Info", "InfoContext", "Warn", "WarnContext", "Error", "ErrorContext", "Log", "LogAttrs", "Default", "SetDefault", "With"}

// quietsTrivy is the file that takes the global logger away from Trivy, whose package puts
// a handler there that keeps every record in memory.
const quietsTrivy = "internal/domain/scan/match/quiet.go"

// TestDecisions makes sure that every decision record is numbered and listed.
func TestDecisions(t *testing.T) {
	const dir = "../docs/decisions"
	list, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob(filepath.Join(dir, "[0-9]*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for i, record := range records { // Glob sorts them
		name := filepath.Base(record)
		text, err := os.ReadFile(record)
		if err != nil {
			t.Fatal(err)
		}
		number, _, _ := strings.Cut(name, "-")
		if number != fmt.Sprintf("%04d", i+1) {
			t.Errorf("%s: the number is taken or one before it is missing", name)
		}
		if title := fmt.Sprintf("# %d. ", i+1); !strings.HasPrefix(string(text), title) {
			t.Errorf("%s does not begin with %q", name, title)
		}
		if !strings.Contains(string(list), "("+name+")") {
			t.Errorf("%s is not listed in docs/decisions/README.md", name)
		}
	}
	if len(records) == 0 {
		t.Error("no decision records were found")
	}
}

// source is a file of a package, without its generated ones.
type source struct {
	name  string // as a person finds it, "internal/domain/name/arn.go"
	text  []byte
	files *token.FileSet
	file  *ast.File
}

func parse(name string, text []byte) (source, error) {
	s := source{name: name, text: text, files: token.NewFileSet()}
	var err error
	s.file, err = parser.ParseFile(s.files, name, text, parser.ParseComments|parser.SkipObjectResolution)
	return s, err
}

// says makes a finding about a place in the file.
func (s source) says(n ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: ", s.name, s.files.Position(n.Pos()).Line) + fmt.Sprintf(format, args...)
}

// TestSources looks at what stands in the files themselves.
func TestSources(t *testing.T) {
	for _, p := range packages(t) {
		var all []source
		for _, name := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			s, err := parse(p.rel()+"/"+name, text)
			if err != nil {
				t.Errorf("%s: %v", s.name, err)
				continue
			}
			all = append(all, s)
		}
		for _, finding := range findings(p.rel(), p.Name, all) {
			t.Error(finding)
		}
	}
}

// findings lists what is wrong with a package in directory dir.
func findings(dir, name string, files []source) []string {
	var found []string
	if slices.Contains(vagueNames, name) {
		found = append(found, dir+": "+name+" is no name for a package, because it does not say what it owns")
	}
	if !slices.ContainsFunc(files, func(s source) bool { return s.file.Doc != nil }) {
		found = append(found, dir+" has no package comment that says what it owns, what it does not, and who does")
	}
	for _, s := range files {
		found = append(found, everywhere(s)...)
	}
	if testSupport(dir) {
		return found
	}
	var size int
	for _, s := range files {
		if strings.HasSuffix(s.name, "_gen.go") {
			continue
		}
		size += len(s.text)
		if lines := strings.Count(string(s.text), "\n"); lines > maxFileLines {
			found = append(found, fmt.Sprintf("%s has %d lines, more than %d: split it by what it is about", s.name, lines, maxFileLines))
		}
		found = append(found, production(dir, s)...)
	}
	if size > maxPackageBytes {
		found = append(found, fmt.Sprintf("%s has %d bytes, more than %d: split it by feature", dir, size, maxPackageBytes))
	}
	return append(found, changedVariables(files)...)
}

// everywhere lists what no file may do.
func everywhere(s source) []string {
	var found []string
	for _, i := range s.file.Imports {
		if i.Name != nil && i.Name.Name == "." {
			found = append(found, s.says(i, "a dot import hides where names come from"))
		}
	}
	for _, d := range s.file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			found = append(found, s.says(fn, "init runs behind everybody's back; make a constructor"))
		}
	}
	return found
}

// production lists what only test support may do.
func production(dir string, s source) []string {
	var found []string
	slog := ""
	for _, i := range s.file.Imports {
		imported, _ := strconv.Unquote(i.Path.Value) // it was parsed
		if imported == "log/slog" {
			slog = "slog"
			if i.Name != nil {
				slog = i.Name.Name
			}
		}
		if i.Name != nil && i.Name.Name == "_" && imported != "embed" && !under(dir, "internal/infra/sqldb") {
			found = append(found, s.says(i, "%s is imported for its effect; wire it by hand in internal/app", imported))
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StructType:
			for _, field := range n.Fields.List {
				if isSelector(field.Type, "context", "Context") {
					found = append(found, s.says(field, "a context is the first parameter, never a field"))
				}
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && slog != "" && s.name != quietsTrivy && isSelector(f, slog, f.Sel.Name) && slices.Contains(globalLoggers, f.Sel.Name) {
				found = append(found, s.says(n, "slog.%s uses the global logger; use one that is handed in", f.Sel.Name))
			}
		}
		return true
	})
	return found
}

// changedVariables finds package variables that functions assign to. It goes by
// names: a local of the same name hides the variable for the whole function.
func changedVariables(files []source) []string {
	variables := map[string]bool{}
	for _, s := range files {
		for _, d := range s.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					variables[name.Name] = name.Name != "_"
				}
			}
		}
	}
	var found []string
	for _, s := range files {
		for _, d := range s.file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			for _, target := range assigned(fn) {
				if variables[target.Name] && !slices.Contains(declared(fn), target.Name) {
					found = append(found, s.says(target, "%s is a variable of the package and is changed; give it to a type", target.Name))
				}
			}
		}
	}
	return found
}

// declared lists the names that are declared anywhere inside a node.
func declared(n ast.Node) []string {
	var names []string
	add := func(e ast.Expr) {
		if id, ok := e.(*ast.Ident); ok {
			names = append(names, id.Name)
		}
	}
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for _, name := range n.Names {
				add(name)
			}
		case *ast.Field:
			for _, name := range n.Names {
				add(name)
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, e := range n.Lhs {
					add(e)
				}
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				add(n.Key)
				add(n.Value)
			}
		}
		return true
	})
	return names
}

// assigned lists what a function assigns to, without the indexes, fields and
// dereferences behind it.
func assigned(fn *ast.FuncDecl) []*ast.Ident {
	var targets []*ast.Ident
	add := func(e ast.Expr) {
		for {
			switch x := e.(type) {
			case *ast.Ident:
				targets = append(targets, x)
				return
			case *ast.IndexExpr:
				e = x.X
			case *ast.SelectorExpr:
				e = x.X
			case *ast.StarExpr:
				e = x.X
			case *ast.ParenExpr:
				e = x.X
			default:
				return
			}
		}
	}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					add(e)
				}
			}
		case *ast.IncDecStmt:
			add(n.X)
		}
		return true
	})
	return targets
}

func isSelector(e ast.Expr, x, sel string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != sel {
		return false
	}
	id, ok := s.X.(*ast.Ident)
	return ok && id.Name == x
}

// TestTheSourceRules makes sure that the rules above find what they are for.
func TestTheSourceRules(t *testing.T) {
	const comment = "// Package p does things.\n"
	for _, c := range []struct{ dir, text, want string }{
		{"internal/domain/name", comment + "package name", ""},
		{"internal/domain/name", "package name", "no package comment"},
		{"internal/domain/util", comment + "package util", "no name for a package"},
		{"internal/domain/name", comment + "package name\nfunc init() {}", "constructor"},
		{"internal/domain/name", comment + "package name\ntype T struct{}\nfunc (T) init() {}", ""},
		{"internal/domain/name", comment + "package name\nimport _ \"net/http/pprof\"", "for its effect"},
		{"internal/domain/name", comment + "package name\nimport _ \"embed\"", ""},
		{"internal/infra/sqldb", comment + "package sqldb\nimport _ \"modernc.org/sqlite\"", ""},
		{"internal/domain/name", comment + "package name\nimport . \"strings\"", "dot import"},
		{"internal/domain/name", comment + "package name\nimport \"context\"\ntype T struct{ ctx context.Context }", "never a field"},
		{"internal/app/apptest", comment + "package apptest\nimport \"context\"\ntype T struct{ ctx context.Context }", ""},
		{"internal/domain/name", comment + "package name\nimport \"log/slog\"\nfunc f() { slog.Info(\"\") }", "global logger"},
		{"internal/domain/name", comment + "package name\nimport l \"log/slog\"\nfunc f() { l.Info(\"\") }", "global logger"},
		{"internal/domain/name", comment + "package name\nimport \"log/slog\"\nfunc f(l *slog.Logger) { l.Info(\"\") }", ""},
		{"internal/domain/name", comment + "package name\nvar n int\nfunc f() { n++ }", "is changed"},
		{"internal/domain/name", comment + "package name\nvar m map[string]int\nfunc f() { m[\"\"] = 1 }", "is changed"},
		{"internal/domain/name", comment + "package name\nvar n int\nfunc f() { n := 0; n++; _ = n }", ""},
		{"internal/domain/name", comment + "package name\nvar _ = 0\nfunc f() { _ = 1 }", ""},
		{"internal/domain/name", comment + "package name\n" + strings.Repeat("\n", maxFileLines), "lines, more than"},
		{"internal/domain/name", comment + "package name\n//" + strings.Repeat("x", maxPackageBytes), "bytes, more than"},
		{"internal/app/apptest", comment + "package apptest\n//" + strings.Repeat("x", maxPackageBytes), ""},
	} {
		s, err := parse(c.dir+"/x.go", []byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(findings(c.dir, s.file.Name.Name, []source{s}), "\n")
		if !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%.200q: found %q, want %q", c.text, got, c.want)
		}
	}
}
