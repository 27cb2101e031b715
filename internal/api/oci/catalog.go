package oci

import (
	"context"

	"github.com/berth-registry/berth/internal/api/oci/document"
	"github.com/berth-registry/berth/internal/api/oci/paging"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
)

// catalogNeeds: listing a registry is DescribeRepositories on all of them.
func catalogNeeds(c *call) []authz.Need {
	return []authz.Need{{Action: "ecr:DescribeRepositories", Resource: c.registry.RepositoryARN("*")}}
}

// catalog lists a page of the registry's repositories, in byte order; `last` is
// the repository in front of the page.
func (a *API) catalog(ctx context.Context, c *call) (response, error) {
	n, err := a.pages().Size(c.r.URL.Query())
	if err != nil {
		return response{}, err
	}
	doc := document.Catalog{Repositories: []name.Repository{}}
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
	return a.list(doc, a.pages().Next(c.base, "/v2/_catalog", c.r.URL.Query(), n, string(doc.Repositories[n-1])))
}

// list answers one page of tags/list or _catalog, with the link to the next.
func (a *API) list(doc any, link []string) (response, error) {
	contentType := "application/json"
	if a.c.Quirks {
		contentType = "text/plain; charset=utf-8"
	}
	resp, err := jsonResponse(contentType, doc)
	if err == nil && link != nil {
		resp.header["Link"] = link
	}
	return resp, err
}

// pages cuts the lists of this API.
func (a *API) pages() paging.Pages { return paging.Pages{Quirks: a.c.Quirks} }
