package main

import (
	"go/ast"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// wiretable makes the tables from failure codes to a wire such that exhaustive
// holds them complete: a switch, since it does not look at maps, and without a
// default, since a new code would fall into it unseen.
var wiretable = &analysis.Analyzer{
	Name: "wiretable",
	Doc:  "tables over errs.Code under internal/api and internal/web are switches without a default",
	Run:  runWiretable,
}

func runWiretable(pass *analysis.Pass) (any, error) {
	path := pass.Pkg.Path()
	if !strings.Contains(path, "/internal/api/") && !strings.Contains(path, "/internal/web/") {
		return nil, nil
	}
	for _, file := range pass.Files {
		if inTests(path, pass.Fset.File(file.Pos()).Name()) {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SwitchStmt:
				if n.Tag == nil || !isFailureCode(pass.TypesInfo.TypeOf(n.Tag)) {
					return true
				}
				for _, clause := range n.Body.List {
					if c, ok := clause.(*ast.CaseClause); ok && c.List == nil {
						pass.Reportf(c.Pos(), "default in a switch over failure codes: name them all, so that a new one is noticed")
					}
				}
			case *ast.CompositeLit:
				t := pass.TypesInfo.TypeOf(n)
				if t == nil {
					return true
				}
				if m, ok := t.Underlying().(*types.Map); ok && isFailureCode(m.Key()) {
					pass.Reportf(n.Pos(), "map from failure codes: write a switch, which is held complete")
				}
			}
			return true
		})
	}
	return nil, nil
}

func isFailureCode(t types.Type) bool {
	named, ok := t.(*types.Named)
	if !ok || named.Obj().Pkg() == nil {
		return false
	}
	return named.Obj().Name() == "Code" && strings.HasSuffix(named.Obj().Pkg().Path(), "/internal/domain/errs")
}
