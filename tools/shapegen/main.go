// Shapegen writes the Go types of one AWS service from its pinned service
// model: inputs and outputs of the operations, the structures and enums that
// they reach, Validate methods for the inputs, and the names of all operations
// and errors.
//
// It does not own the models (models/, pinned), nor the decoding of the types
// (internal/api/aws/json11 and query) or their meaning.
//
// Usage, from the package that receives the file:
//
//	go run ../../../tools/shapegen -model ../../../models/ecr.json -package ecr -out shapes_gen.go
//
// The flag -operations limits the types to a comma-separated list of
// operations; "none" writes no types, only the names. -names=false leaves the
// names out, for a package that has a part of a service's types.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "shapegen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("shapegen", flag.ContinueOnError)
	modelPath := flags.String("model", "", "the service `model`, a JSON file")
	pkg := flags.String("package", "", "the `name` of the Go package")
	out := flags.String("out", "", "the `file` to write")
	list := flags.String("operations", "", "the `operations` to write types for, separated by commas; all when empty, \"none\" for names only")
	names := flags.Bool("names", true, "write the names of all operations and errors of the model")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *modelPath == "" || *pkg == "" || *out == "" || flags.NArg() > 0 {
		return fmt.Errorf("give -model, -package and -out, and nothing else but -operations and -names")
	}
	raw, err := os.ReadFile(*modelPath)
	if err != nil {
		return err
	}
	src, err := Generate(Source{Name: "models/" + filepath.Base(*modelPath), JSON: raw}, *pkg, splitList(*list), *names)
	if err != nil {
		return err
	}
	return os.WriteFile(*out, src, 0o644)
}

// splitList reads the -operations flag: nil for all, empty for none.
func splitList(s string) []string {
	switch s {
	case "":
		return nil
	case "none":
		return []string{}
	}
	return strings.Split(s, ",")
}
