package main

import (
	"go/ast"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// wiretable refuses a default in a switch over failure codes at the edges: a new
// code would fall into it unseen, while exhaustive names the table that lacks it.
var wiretable = &analysis.Analyzer{
	Name: "wiretable",
	Doc:  "no default in a switch over errs.Code under internal/api and internal/web",
	Run: func(pass *analysis.Pass) (any, error) {
		path := pass.Pkg.Path()
		if !strings.Contains(path, "/internal/api/") && !strings.Contains(path, "/internal/web/") {
			return nil, nil
		}
		for _, file := range pass.Files {
			if strings.HasSuffix(pass.Fset.File(file.Pos()).Name(), "_test.go") {
				continue
			}
			ast.Inspect(file, func(n ast.Node) bool {
				s, ok := n.(*ast.SwitchStmt)
				if !ok || s.Tag == nil || !isFailureCode(pass.TypesInfo.TypeOf(s.Tag)) {
					return true
				}
				for _, clause := range s.Body.List {
					if c, ok := clause.(*ast.CaseClause); ok && c.List == nil {
						pass.Reportf(c.Pos(), "default in a switch over failure codes: name them all, so that a new one is noticed")
					}
				}
				return true
			})
		}
		return nil, nil
	},
}

func isFailureCode(t types.Type) bool {
	named, ok := t.(*types.Named)
	if !ok || named.Obj().Pkg() == nil {
		return false
	}
	return named.Obj().Name() == "Code" && strings.HasSuffix(named.Obj().Pkg().Path(), "/internal/domain/errs")
}
