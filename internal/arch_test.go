// Package internal_test holds the tree to ARCHITECTURE.md: which way the imports
// point, and what no package may do. Each ban says why.
package internal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/berth-registry/berth"

// order is the order of the features inside internal/domain: each imports only
// what stands before it.
var order = []string{
	"name", "errs", "schema",
	"policy",
	"event", "audit", "quota",
	"principal", "peer", "registry",
	"repository",
	"authz",
	"secret",
	"layer",
	"image",
	"lifecycle", "template", "recovery", "scan", "replication", "pullthrough", "signing", "catalog", "usage",
}

// lastGroup never import each other, so that each can be understood, changed and
// left out alone.
var lastGroup = order[slices.Index(order, "lifecycle"):]

// ban forbids production packages an import, except under some directories.
type ban struct {
	imported string   // the import path, and all under it
	under    string   // only packages under this directory; "" all
	except   []string // directories that may
	why      string
}

var bans = []ban{
	{imported: "net/http", under: "internal/domain", why: "the domain speaks no wire; errors, headers and statuses belong to the edges"},
	{imported: "github.com/aws", under: "internal/domain", why: "the domain knows AWS's rules, not AWS's client types"},
	{imported: "database/sql", except: []string{"internal/infra/sqldb"}, why: "only sqldb knows about connections and transactions; everyone else uses View and Update"},
	{imported: "github.com/jackc/pgx", except: []string{"internal/infra/sqldb"}, why: "no package but sqldb knows which database it stands on"},
	{imported: "modernc.org/sqlite", except: []string{"internal/infra/sqldb"}, why: "no package but sqldb knows which database it stands on"},
	{imported: module + "/internal/config", except: []string{"internal/app", "cmd", "tools/queries"}, why: "configuration is resolved once and stays at the top; below, constructors take what they need; tools/queries runs the whole program"},
	{imported: "testing", why: "test support belongs into a package whose name ends in test"},
	{imported: "log", why: "logging is a *slog.Logger that is handed in"},
	{imported: "unsafe", except: []string{"internal/infra/confine"}, why: "nothing is worth it but the system calls that lock a process in, which take pointers and which no library makes"},
	{imported: "plugin", why: "everything is wired by hand in internal/app"},
	{imported: "expvar", why: "it registers itself; metrics belong to internal/infra/obs"},
	{imported: "net/http/pprof", except: []string{"internal/app/observe"}, why: "it registers itself with the default mux, which nobody serves; the operators' listener has its handlers one by one"},
}

// pkg is a package of the module, as go list tells it.
type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	GoFiles    []string
	Imports    []string
}

// rel is the package's directory inside the module, "internal/domain/name".
func (p pkg) rel() string { return rel(p.ImportPath) }

func rel(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

// testSupport says whether a package only serves tests: a suite that all
// implementations pass, a program started in-process, a contract test.
func testSupport(rel string) bool {
	return under(rel, "test") || strings.HasSuffix(path.Base(rel), "test")
}

func under(rel, dir string) bool {
	return rel == dir || strings.HasPrefix(rel, dir+"/")
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Dir,Name,GoFiles,Imports", "./...")
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 { // else it holds tests only
			all = append(all, p)
		}
	}
	if len(all) < 10 {
		t.Fatalf("go list found %d packages", len(all))
	}
	return all
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if why := refused(p.rel(), imported); why != "" {
				t.Errorf("%s imports %s: %s", p.rel(), imported, why)
			}
		}
	}
}

// refused says why the package in directory from may not import a package, "" if
// it may.
func refused(from, imported string) string {
	support := testSupport(from)
	for _, b := range bans {
		if (support && b.imported == "testing") || !under(imported, b.imported) || (b.under != "" && !under(from, b.under)) {
			continue
		}
		if b.imported == "log" && imported != "log" {
			continue // log/slog
		}
		if !slices.ContainsFunc(b.except, func(dir string) bool { return under(from, dir) }) {
			return b.why
		}
	}
	if imported != module && !strings.HasPrefix(imported, module+"/") {
		return ""
	}
	to := rel(imported)
	if testSupport(to) && !support {
		return "production code does not import test support"
	}
	if support {
		return "" // a suite may look at everything that it tests
	}
	return wrongWay(from, to)
}

// wrongWay says why an arrow between two production packages of ours points the
// wrong way: cmd -> app -> {api, web} -> domain -> infra.
func wrongWay(from, to string) string {
	a, b := layer(from), layer(to)
	switch {
	case a < 0:
		return "no place in ARCHITECTURE.md is known for " + from
	case b < 0:
		return "no place in ARCHITECTURE.md is known for " + to
	case a < b:
		return fmt.Sprintf("the arrow points back: cmd -> app -> {api, web} -> domain -> infra, and %s stands above", to)
	}
	switch x, y := feature(from), feature(to); {
	case x == y:
		return ""
	case a == layerEdge && b == layerEdge:
		if y == "internal/api/aws" && under(x, "internal/api") {
			return ""
		}
		return "the edges do not know each other; they meet in the domain, and AWS's share internal/api/aws"
	case a == layerDomain && b == layerDomain:
		return domainOrder(path.Base(x), path.Base(y))
	}
	return ""
}

func domainOrder(from, to string) string {
	i, j := slices.Index(order, from), slices.Index(order, to)
	switch {
	case i < 0:
		return "the feature " + from + " has no place in the order of the domain"
	case j < 0:
		return "the feature " + to + " has no place in the order of the domain"
	case slices.Contains(lastGroup, from) && slices.Contains(lastGroup, to):
		return "these features never import each other; events, jobs and wrappers connect them in internal/app"
	case i < j:
		return "in the order of the domain " + from + " stands before " + to
	}
	return ""
}

const (
	layerInfra = iota
	layerDomain
	layerConfig
	layerEdge
	layerApp
	layerCmd
)

func layer(rel string) int {
	for dir, l := range map[string]int{
		"internal/infra": layerInfra, "internal/domain": layerDomain, "internal/config": layerConfig,
		"internal/api": layerEdge, "internal/web": layerEdge, "internal/app": layerApp, "cmd": layerCmd, "tools": layerCmd,
	} {
		if under(rel, dir) {
			return l
		}
	}
	return -1
}

// feature is the directory that a package and those under it make up together:
// the third element under api, web, domain and infra.
func feature(rel string) string {
	parts := strings.SplitN(rel, "/", 4)
	return strings.Join(parts[:min(len(parts), 3)], "/")
}

// TestTheRules makes sure that the rules above forbid what they are for.
func TestTheRules(t *testing.T) {
	ours := func(rel string) string { return module + "/" + rel }
	for _, c := range []struct {
		from, imported string
		ok             bool
	}{
		{"cmd/berth", ours("internal/app"), true},
		{"cmd/berth", ours("internal/config"), true},
		{"internal/app", ours("cmd/berth"), false},
		{"internal/app", ours("internal/api/ecr"), true},
		{"internal/api/ecr", ours("internal/app"), false},
		{"internal/api/ecr", ours("internal/api/aws"), true},
		{"internal/api/ecr", ours("internal/api/aws/json11"), true},
		{"internal/api/aws", ours("internal/api/ecr"), false},
		{"internal/api/oci", ours("internal/api/ecr"), false},
		{"internal/api/oci/path", ours("internal/api/oci"), true},
		{"internal/web/console", ours("internal/api/aws"), false},
		{"internal/web/console", ours("internal/domain/image"), true},
		{"internal/api/oci", ours("internal/config"), false},
		{"internal/domain/image", ours("internal/api/aws"), false},
		{"internal/domain/image", ours("internal/domain/layer"), true},
		{"internal/domain/layer", ours("internal/domain/image"), false},
		{"internal/domain/layer", ours("internal/domain/image/manifest"), false},
		{"internal/domain/image", ours("internal/domain/image/manifest"), true},
		{"internal/domain/scan", ours("internal/domain/lifecycle"), false},
		{"internal/domain/scan", ours("internal/domain/image"), true},
		{"internal/domain/novelty", ours("internal/domain/name"), false},
		{"internal/novelty", ours("internal/domain/name"), false},
		{"internal/domain/image", ours("internal/infra/sqldb"), true},
		{"internal/infra/sqldb", ours("internal/domain/name"), false},
		{"internal/infra/blobstore/encrypted", ours("internal/infra/keys"), true},
		{"internal/domain/image", "net/http", false},
		{"internal/domain/image", "net/netip", true},
		{"internal/api/oci", "net/http", true},
		{"internal/domain/image", "database/sql", false},
		{"internal/infra/sqldb", "database/sql", true},
		{"internal/infra/sqldb/sqldbtest", "testing", true},
		{"internal/infra/sqldb", "testing", false},
		{"internal/infra/sqldb", "log", false},
		{"internal/infra/sqldb", "log/slog", true},
		{"internal/app", ours("internal/infra/sqldb/sqldbtest"), false},
		{"internal/app/apptest", ours("internal/infra/sqldb/sqldbtest"), true},
		{"test/contract/oci", "testing", true},
	} {
		if why := refused(c.from, c.imported); (why == "") != c.ok {
			t.Errorf("%s imports %s: %q", c.from, c.imported, why)
		}
	}
}
