package oci

import (
	"context"

	"github.com/berth-registry/berth/internal/api/oci/document"
	"github.com/berth-registry/berth/internal/api/oci/paging"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
)

func (a *API) tagsPath(c *call) string { return "/v2/" + c.Name + "/tags/list" }

// listTags lists a page of tags, in byte order; `last` is the tag in front of
// the page.
func (a *API) listTags(ctx context.Context, c *call) (response, error) {
	n, err := a.pages().Size(c.r.URL.Query())
	if err != nil {
		return response{}, err
	}
	doc := document.Tags{Name: c.Name, Tags: []name.Tag{}}
	if n == 0 {
		return a.list(doc, nil)
	}
	if a.c.Quirks {
		return a.listTagsAsStored(ctx, c, n)
	}
	last, _ := c.query("last")
	tags, more, err := a.c.Images.Tags(ctx, c.repository, name.Tag(last), n)
	if err != nil {
		return response{}, err
	}
	doc.Tags = append(doc.Tags, tags...)
	if !more || len(tags) == 0 {
		return a.list(doc, nil)
	}
	return a.list(doc, a.pages().Next(c.base, a.tagsPath(c), c.r.URL.Query(), n, string(tags[len(tags)-1])))
}

// listTagsAsStored is ECR's listing: in the order of storage, with an opaque
// `last`.
func (a *API) listTagsAsStored(ctx context.Context, c *call, n int) (response, error) {
	after, err := paging.Cursor(c.r.URL.Query())
	if err != nil {
		return response{}, err
	}
	refs, next, err := a.c.Images.List(ctx, c.repository, image.ListQuery{TagStatus: image.Tagged, After: after, Limit: n})
	if err != nil {
		return response{}, err
	}
	doc := document.Tags{Name: c.Name, Tags: make([]name.Tag, len(refs))}
	for i, r := range refs {
		doc.Tags[i] = r.Tag
	}
	if next == "" {
		return a.list(doc, nil)
	}
	return a.list(doc, a.pages().Next(c.base, a.tagsPath(c), c.r.URL.Query(), n, paging.Token(next)))
}
