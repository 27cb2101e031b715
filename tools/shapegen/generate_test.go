package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func readModel(t *testing.T, path string) Source {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return Source{Name: "models/" + filepath.Base(path), JSON: raw}
}

// The golden file is a small model with everything that models hold. After a
// wanted change: go run . -model testdata/harbour.json -package harbour -out testdata/harbour.golden
func TestGolden(t *testing.T) {
	want, err := os.ReadFile("testdata/harbour.golden")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // the same bytes each time
		got, err := Generate(readModel(t, "testdata/harbour.json"), "harbour", nil, true)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("the output differs from testdata/harbour.golden:\n%s", got)
		}
	}
}

// The committed files are what their go:generate lines make of the models.
func TestCommittedFilesAreFresh(t *testing.T) {
	const api = "../../internal/api"
	line := regexp.MustCompile(`(?m)^//go:generate go run (?:../)+tools/shapegen (.*)$`)
	found := 0
	var packages []string
	for _, pattern := range []string{api + "/*/generate.go", api + "/*/*/generate.go"} {
		matching, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, matching...)
	}
	for _, path := range packages {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range line.FindAllStringSubmatch(string(source), -1) {
			found++
			dir, out := filepath.Dir(path), filepath.Join(t.TempDir(), "shapes_gen.go")
			args := strings.Fields(match[1])
			for i, arg := range args {
				switch {
				case strings.HasPrefix(arg, "../"):
					args[i] = filepath.Join(dir, arg)
				case arg == "shapes_gen.go":
					args[i] = out
				}
			}
			if err := run(args); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			committed, err := os.ReadFile(filepath.Join(dir, "shapes_gen.go"))
			if err != nil || !bytes.Equal(got, committed) {
				t.Errorf("%s/shapes_gen.go is not what the model gives; run go generate ./%s (%v)", dir, strings.TrimPrefix(dir, "../../"), err)
			}
		}
	}
	var committed []string
	for _, pattern := range []string{api + "/*/shapes_gen.go", api + "/*/*/shapes_gen.go"} {
		matching, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		committed = append(committed, matching...)
	}
	if found < 4 || found != len(committed) {
		t.Errorf("found %d go:generate lines for %v", found, committed)
	}
}

// All operations of all pinned models give a package that type-checks, also of
// those services whose operations are not generated yet.
func TestAllModelsCompile(t *testing.T) {
	imports := importer.ForCompiler(token.NewFileSet(), "gc", compiled)
	models, err := filepath.Glob("../../models/*.json")
	if err != nil || len(models) < 4 {
		t.Fatalf("models %v, %v", models, err)
	}
	for _, path := range append(models, "testdata/harbour.json") {
		src, err := Generate(readModel(t, path), "generated", nil, true)
		if err != nil {
			t.Error(err)
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, filepath.Base(path)+".go", src, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			continue
		}
		config := types.Config{Importer: imports}
		if _, err := config.Check("generated", fset, []*ast.File{file}, nil); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// compiled opens what the compiler says of a package that generated code imports.
func compiled(path string) (io.ReadCloser, error) {
	out, err := exec.Command("go", "list", "-export", "-f", "{{.Export}}", path).Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", path, err)
	}
	return os.Open(strings.TrimSpace(string(out)))
}

func TestOperationsFlag(t *testing.T) {
	src := readModel(t, "testdata/harbour.json")
	for list, want := range map[string][]string{
		"none":               {"func OperationNames", "func ErrorShapes"},
		"Close":              {"func OperationNames", "func ErrorShapes", "type CloseInput struct", "type CloseOutput struct"},
		"ListShips,DockShip": {"type ListShipsInput struct", "type DockShipInput struct", "type Person struct", "type Pilot struct", `"Close",`},
	} {
		got, err := Generate(src, "harbour", splitList(list), true)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range want {
			if !bytes.Contains(got, []byte(part)) {
				t.Errorf("-operations %s: no %q in\n%s", list, part, got)
			}
		}
		if list != "ListShips,DockShip" && bytes.Contains(got, []byte("type Person")) {
			t.Errorf("-operations %s: types that no operation reaches", list)
		}
		if list == "none" && bytes.Contains(got, []byte("Input")) {
			t.Error("-operations none: types")
		}
		bare, err := Generate(src, "harbour", splitList(list), false)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(bare, []byte("OperationNames")) || bytes.Contains(bare, []byte("ErrorShapes")) || bytes.Contains(got, []byte("Input struct")) != bytes.Contains(bare, []byte("Input struct")) {
			t.Errorf("-operations %s -names=false:\n%s", list, bare)
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	const head = `{"metadata":{"protocol":"json","serviceId":"X"},"operations":{"Op":{"input":{"shape":"In"}}},"shapes":{"In":{"type":"structure","members":{"a":{"shape":"A"}}},`
	for _, tt := range []struct{ name, model, want string }{
		{"no JSON", `{`, "unexpected end"},
		{"another protocol", `{"metadata":{"protocol":"rest-json"}}`, `protocol "rest-json" is not supported`},
		{"an unknown member shape", head + `"B":{"type":"string"}}}`, "member a of In has the unknown shape A"},
		{"an unknown element shape", head + `"A":{"type":"list","member":{"shape":"B"}}}}`, "A refers to the unknown shape B"},
		{"an unknown type", head + `"A":{"type":"document"}}}`, "unsupported type document"},
		{"a pattern that cannot be translated", head + `"A":{"type":"string","pattern":"a(?=b)"}}}`, "add its translation to lookaheads"},
		{"limits on a flag", head + `"A":{"type":"boolean","min":1}}}`, "limits on the boolean A are not supported"},
		{"a limit that is no integer", head + `"A":{"type":"string","max":1.5}}}`, "invalid syntax"},
		{"two names that are one", head + `"A":{"type":"structure","members":{"b":{"shape":"S"},"B":{"shape":"S"}}},"S":{"type":"string"}}}`, "two members for the field B"},
		{"two types that are one", head + `"A":{"type":"structure","members":{"b":{"shape":"a"}}},"a":{"type":"string","enum":["X"]}}}`, "would both be named A"},
		{"two constants that are one", head + `"A":{"type":"string","enum":["ON","on"]}}}`, "would both be named AOn"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if out, err := Generate(Source{Name: "models/x.json", JSON: []byte(tt.model)}, "x", nil, true); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q\n%s", err, tt.want, out)
			}
		})
	}
	if _, err := Generate(readModel(t, "testdata/harbour.json"), "x", []string{"Sink"}, true); err == nil || !strings.Contains(err.Error(), "no operation Sink") {
		t.Errorf("got %v", err)
	}
}

func TestRunRefuses(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.go")
	for _, args := range [][]string{
		{},
		{"-model", "testdata/harbour.json", "-package", "x"},
		{"-model", "testdata/harbour.json", "-package", "x", "-out", out, "more"},
		{"-model", "testdata/none.json", "-package", "x", "-out", out},
	} {
		if err := run(args); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a refused run wrote a file")
	}
}

// Patterns mean the same after their translation.
func TestTranslate(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		yes, no []string
	}{
		{`[a-z]+(\/[a-z]+)*`, []string{"a", "a/b"}, []string{"", "a/", `a\/b`}},
		{`[\u0009\u000A\u000D\u0020-\u00FF]+`, []string{"a\t\n\r é"}, []string{"", "\u0100", "\x00"}},
		{`[\u0020-\u007E\u0085\u00A0-\uD7FF\uE000-\uFFFD\u10000-\u10FFFF]+`, []string{"a\u0085", "\uFFFD", "😀"}, []string{"\x00", "\uFFFE"}},
		{`^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$`, []string{"abc", "a-b", "a-b-c", "0-0"}, []string{"a--b", "-ab", "ab-", "aB"}},
		{`[\p{L}\p{Z}\p{N}_.:/=+\-@]*`, []string{"", "aé 1_.:/=+-@"}, []string{"#", "a\n"}},
		{`^$|arn:aws[a-z0-9-]*:kms:x`, []string{"", "arn:aws:kms:x"}, []string{"arn:aws:kms:xy", "x"}},
	} {
		expression, err := translate(tt.pattern)
		if err != nil {
			t.Error(err)
			continue
		}
		re := regexp.MustCompile(`\A(?:` + expression + `)\z`)
		for _, s := range tt.yes {
			if !re.MatchString(s) {
				t.Errorf("%s as %s does not match %q", tt.pattern, expression, s)
			}
		}
		for _, s := range tt.no {
			if re.MatchString(s) {
				t.Errorf("%s as %s matches %q", tt.pattern, expression, s)
			}
		}
	}
}
