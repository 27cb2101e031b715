package oci

import (
	"context"
	"net/url"

	"github.com/berth-registry/berth/internal/api/oci/document"
	"github.com/berth-registry/berth/internal/api/oci/paging"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/repository"
)

const (
	// referrersPage is how many referrers a page has at most, where they are
	// small: domain/image ends a page early that would not fit the 4 MiB which
	// clients take for an index.
	referrersPage = 100
	// filterArtifactType is the query parameter and the name of its filter.
	filterArtifactType = "artifactType"
)

// listReferrers lists what refers to a digest, whether that is there or not.
func (a *API) listReferrers(ctx context.Context, c *call) (response, error) {
	subject, err := a.digest("imageDigest", c.Reference)
	if err != nil {
		return response{}, err
	}
	c.params["subjectId"] = map[string]any{"imageDigest": subject}
	if c.cached {
		if c.repository.ID == 0 {
			return response{}, repository.NotFound(c.registry, c.repo)
		}
		if err := a.c.Cache.Referrers(ctx, c.repository, subject); err != nil { // the list is what is here
			a.c.Log.WarnContext(ctx, "the referrers of a cached image cannot be had from its upstream", "repository", c.repo, "subject", subject, "error", err)
		}
	}
	types := c.r.URL.Query()[filterArtifactType]
	if len(types) > 0 {
		c.params["filter"] = map[string]any{"artifactTypes": types}
	}
	if last, ok := c.query("last"); ok {
		c.params["nextToken"] = last
	}
	after, err := paging.Cursor(c.r.URL.Query())
	if err != nil {
		return response{}, err
	}
	found, next, err := a.c.Images.Referrers(ctx, c.repository, subject, image.ReferrersQuery{ArtifactTypes: types, After: after, Limit: referrersPage})
	if err != nil {
		return response{}, err
	}
	resp, err := jsonResponse(document.IndexType, document.Referrers(found))
	if err != nil {
		return response{}, err
	}
	if len(types) > 0 {
		resp.header["Oci-Filters-Applied"] = []string{filterArtifactType}
	}
	if next != "" {
		query := url.Values{"last": {paging.Token(next)}}
		if len(types) > 0 {
			query[filterArtifactType] = types
		}
		resp.header["Link"] = a.pages().Link(c.base, "/v2/"+c.Name+"/referrers/"+string(subject), query)
	}
	return resp, nil
}
