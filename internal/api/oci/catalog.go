package oci

import (
	"context"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
)

// catalogDocument is the document of _catalog.
type catalogDocument struct {
	Repositories []name.Repository `json:"repositories"`
}

// catalogNeeds: listing a registry is DescribeRepositories on all of them.
func catalogNeeds(c *call) []authz.Need {
	return []authz.Need{{Action: "ecr:DescribeRepositories", Resource: c.registry.RepositoryARN("*")}}
}

// catalog lists a page of the registry's repositories, in byte order; `last` is
// the repository in front of the page.
func (a *API) catalog(ctx context.Context, c *call) (response, error) {
	n, err := a.pageSize(c)
	if err != nil {
		return response{}, err
	}
	doc := catalogDocument{Repositories: []name.Repository{}}
	if n == 0 {
		return a.list(doc, nil)
	}
	last, _ := c.query("last")
	found, err := a.c.Repositories.List(ctx, c.registry, name.Repository(last), n+1)
	if err != nil {
		return response{}, err
	}
	for _, r := range found[:min(n, len(found))] {
		doc.Repositories = append(doc.Repositories, r.Name)
	}
	if len(found) <= n {
		return a.list(doc, nil)
	}
	return a.list(doc, a.nextPage(c, "/v2/_catalog", n, string(doc.Repositories[n-1])))
}
