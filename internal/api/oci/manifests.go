package oci

import (
	"context"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/api/oci/problem"
	"github.com/berth-registry/berth/internal/api/oci/trail"
	"github.com/berth-registry/berth/internal/api/oci/transfer"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Images keeps manifests, tags and referrers; *image.Service is one. All
// methods return errs codes, those of the domain.
type Images interface {
	Put(ctx context.Context, r repository.Repository, p image.Put) (img image.Image, created bool, err error)
	Get(ctx context.Context, r repository.Repository, ref image.Ref, accept []string) (image.Image, error)
	Peek(ctx context.Context, r repository.Repository, ref image.Ref, accept []string) (image.Image, error)
	Stat(ctx context.Context, r repository.Repository, ref image.Ref, accept []string) (image.Image, error)
	Delete(ctx context.Context, r repository.Repository, refs []image.Ref) (removed []image.Ref, failures []image.Failure, err error)
	List(ctx context.Context, r repository.Repository, q image.ListQuery) ([]image.Ref, image.Cursor, error)
	Tags(ctx context.Context, r repository.Repository, after name.Tag, limit int) (tags []name.Tag, more bool, err error)
	Referrers(ctx context.Context, r repository.Repository, subject name.Digest, q image.ReferrersQuery) ([]image.Referrer, image.Cursor, error)
}

// Gate holds images back from pulls; *gate.Service is one.
type Gate interface {
	Check(ctx context.Context, r repository.Repository, img image.Image, who principal.Principal) error
}

// maxTagParameters bounds the tags of one push by digest.
const maxTagParameters = 50

// referenceOf reads what a manifest path ends in. An impossible tag is a tag
// that is not there; ECR refuses it as a parameter.
func (a *API) referenceOf(c *call) (image.Ref, error) {
	if strings.Contains(c.Reference, ":") {
		c.params["imageIds"] = trail.ImageID{Member: "imageDigest", Value: c.Reference}
		d, err := a.digest("imageDigest", c.Reference)
		return image.Ref{Digest: d}, err
	}
	c.params["imageIds"] = trail.ImageID{Member: "imageTag", Value: c.Reference}
	t, err := name.ParseTag(c.Reference)
	if err != nil {
		if a.c.Quirks {
			return image.Ref{}, problem.InvalidTag(a.c.Quirks)
		}
		return image.Ref{}, errs.New(errs.ImageNotFound, "Requested image not found")
	}
	return image.Ref{Tag: t}, nil
}

func (a *API) headManifest(ctx context.Context, c *call) (response, error) {
	if c.cached {
		return a.manifest(ctx, c, a.pull(c, false))
	}
	return a.manifest(ctx, c, a.c.Images.Stat)
}

// getManifest is a pull, whose time is noted unless the registry excludes the
// caller's.
func (a *API) getManifest(ctx context.Context, c *call) (response, error) {
	access, err := a.c.Registries.Access(ctx, c.registry)
	if err != nil {
		return response{}, err
	}
	if c.cached {
		return a.manifest(ctx, c, a.pull(c, !access.ExcludesPull(c.caller)))
	}
	if access.ExcludesPull(c.caller) {
		return a.manifest(ctx, c, a.c.Images.Peek)
	}
	return a.manifest(ctx, c, a.c.Images.Get)
}

func (a *API) manifest(ctx context.Context, c *call, find func(context.Context, repository.Repository, image.Ref, []string) (image.Image, error)) (response, error) {
	ref, err := a.referenceOf(c)
	if err != nil {
		return response{}, err
	}
	accept := c.r.Header.Values("Accept")
	if len(accept) > 0 {
		c.params["acceptedMediaTypes"] = accept
	}
	img, err := find(ctx, c.repository, ref, accept)
	// HEAD is asked before pushes as well, which are what mends an image.
	if err == nil && a.c.Gate != nil && c.r.Method == http.MethodGet {
		err = a.c.Gate.Check(ctx, c.repository, img, c.caller)
	}
	if err != nil {
		return response{}, err
	}
	d := img.Digest
	if ref.Digest != "" { // in the algorithm that was asked for
		d = ref.Digest
	}
	size := img.ManifestSize
	h, tag := c.describe(d, img.MediaType)
	if a.c.Quirks {
		delete(h, "Accept-Ranges")
		if c.r.Method == http.MethodHead { // ECR names the digest here only
			h["Sizes"] = []string{""}
		} else {
			delete(h, "Docker-Content-Digest")
		}
	}
	resp := response{status: http.StatusOK, header: h, body: img.Manifest, size: size}
	if transfer.Matches(c.r.Header, tag) {
		resp.status, resp.body = http.StatusNotModified, nil
		return resp, nil
	}
	if c.r.Method == http.MethodHead {
		return resp, nil
	}
	part, ranged, err := transfer.ReadRange(c.r.Header, size, tag)
	if err != nil {
		return unsatisfiable(size)
	}
	if a.c.Pulled != nil {
		a.c.Pulled(c.repository.ID)
	}
	if ranged {
		resp.status, resp.body, resp.size = http.StatusPartialContent, img.Manifest[part.First:part.Last+1], part.Length()
		h.Set("Content-Range", part.ContentRange(size))
	} else {
		c.pulled = image.Ref{Digest: img.Digest, Tag: ref.Tag}
	}
	return resp, nil
}

func (a *API) putManifest(ctx context.Context, c *call) (response, error) {
	p := image.Put{}
	var tags []name.Tag // those of the query; the path's is p.Tag
	var err error
	if strings.Contains(c.Reference, ":") {
		if p.Digest, err = a.digest("imageDigest", c.Reference); err != nil {
			return response{}, err
		}
		c.params["imageDigest"] = p.Digest
		for _, text := range c.r.URL.Query()["tag"] {
			t, err := problem.NewTag(a.c.Quirks, text)
			if err != nil {
				return response{}, err
			}
			tags = append(tags, t)
		}
		if len(tags) > maxTagParameters {
			return response{}, &problem.Problem{Status: http.StatusRequestURITooLong, Code: problem.Unsupported, Message: "A push by digest can set up to " + strconv.Itoa(maxTagParameters) + " tags"}
		}
	} else {
		if p.Tag, err = problem.NewTag(a.c.Quirks, c.Reference); err != nil {
			return response{}, err
		}
		c.params["imageTag"] = p.Tag
	}
	// Parameters of the type say nothing about a manifest. What cannot be read
	// as a media type is none; image.Put then looks into the manifest.
	p.MediaType, _, err = mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil {
		p.MediaType = ""
	}
	if p.Manifest, err = a.readManifest(c); err != nil {
		return response{}, err
	}
	c.params["imageManifest"] = string(p.Manifest)
	img, err := a.put(ctx, c, p, tags)
	if err != nil {
		return response{}, err
	}
	d := img.Digest
	if p.Digest != "" { // in the algorithm that the client has chosen
		d = p.Digest
	}
	h := http.Header{
		"Location":              {"/v2/" + c.Name + "/manifests/" + string(d)},
		"Docker-Content-Digest": {string(d)},
	}
	if img.Subject != "" {
		h.Set("Oci-Subject", string(img.Subject))
	}
	for _, t := range tags {
		h.Add("Oci-Tag", string(t))
	}
	id := map[string]any{"imageDigest": img.Digest}
	if p.Tag != "" {
		id["imageTag"] = p.Tag
	}
	return response{status: http.StatusCreated, header: h, elements: map[string]any{
		"image": map[string]any{"registryId": c.registry.Account, "repositoryName": c.repo, "imageId": id},
	}}, nil
}

// put stores a manifest, once for each tag of the query. The tags in front of
// one that is refused stay, and the answer then is the refusal.
func (a *API) put(ctx context.Context, c *call, p image.Put, tags []name.Tag) (img image.Image, err error) {
	if len(tags) == 0 {
		img, _, err = a.c.Images.Put(ctx, c.repository, p)
		return img, err
	}
	c.params["imageTags"] = tags
	for _, t := range tags {
		p.Tag = t
		if img, _, err = a.c.Images.Put(ctx, c.repository, p); err != nil {
			return img, err
		}
	}
	return img, nil
}

// readManifest reads the body, which is the one kind of body that is kept in
// memory whole; its limit is what bounds that.
func (a *API) readManifest(c *call) ([]byte, error) {
	limit := int64(a.c.ManifestBytes)
	tooLarge := errs.New(errs.ManifestTooLarge, "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Member must have length less than or equal to %d'", limit)
	if c.r.ContentLength > limit {
		return nil, tooLarge
	}
	b, err := transfer.ReadAll(c.body, c.r.ContentLength, limit)
	switch {
	case err != nil:
		return nil, errs.Wrap(err, errs.ManifestInvalid, "The manifest could not be read")
	case int64(len(b)) > limit:
		return nil, tooLarge
	}
	return b, nil
}

func (a *API) deleteManifest(ctx context.Context, c *call) (response, error) {
	ref, err := a.referenceOf(c)
	if err != nil {
		return response{}, err
	}
	removed, failures, err := a.c.Images.Delete(ctx, c.repository, []image.Ref{ref})
	if err != nil {
		return response{}, err
	}
	if len(failures) > 0 {
		return response{}, problem.OfDeletion(failures[0])
	}
	ids := make([]map[string]any, 0, len(removed))
	for _, r := range removed {
		ids = append(ids, map[string]any{"imageDigest": r.Digest, "imageTag": r.Tag})
	}
	return response{status: http.StatusAccepted, elements: map[string]any{"imageIds": ids}}, nil
}
