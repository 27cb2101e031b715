package oci

import (
	"context"
	"io"
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/internal/api/oci/problem"
	"github.com/berth-registry/berth/internal/api/oci/transfer"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Layers keeps layers and their uploads; *layer.Service is one. All methods
// return errs codes, those of the domain.
type Layers interface {
	Start(ctx context.Context, r repository.Repository) (layer.Upload, error)
	Status(ctx context.Context, r repository.Repository, id string) (layer.Upload, error)
	Append(ctx context.Context, r repository.Repository, id string, c layer.Chunk, body io.Reader) (layer.Upload, error)
	Complete(ctx context.Context, r repository.Repository, id string, digests []name.Digest, c layer.Chunk, body io.Reader, o layer.CompleteOptions) (layer.Layer, error)
	Cancel(ctx context.Context, r repository.Repository, id string) error
	Mount(ctx context.Context, from, to repository.Repository, d name.Digest) (layer.Layer, bool, error)
	Stat(ctx context.Context, r repository.Repository, d name.Digest) (layer.Layer, error)
	Open(ctx context.Context, r repository.Repository, d name.Digest, offset, length int64) (io.ReadCloser, layer.Layer, error)
	Redirect(ctx context.Context, r repository.Repository, d name.Digest) (address string, ok bool)
	Delete(ctx context.Context, r repository.Repository, d name.Digest) error
}

// digest reads a digest out of a path or a query.
func (a *API) digest(parameter, text string) (name.Digest, error) {
	return problem.Digest(a.c.Quirks, parameter, text)
}

// etag is the validator of content that its digest names.
func etag(d name.Digest) string { return `"` + string(d) + `"` }

// describe begins the header of content that a digest names, in the room that the call has for
// it, and returns the validator too.
func (c *call) describe(d name.Digest, mediaType string) (h http.Header, tag string) {
	h, tag = c.header, etag(d)
	values := []string{"bytes", mediaType, string(d), tag}
	h["Accept-Ranges"], h["Content-Type"], h["Docker-Content-Digest"], h["Etag"] = values[0:1:1], values[1:2:2], values[2:3:3], values[3:4:4]
	return h, tag
}

// describeBlob is what GET and HEAD have in common.
func (c *call) describeBlob(d name.Digest, l layer.Layer) (h http.Header, tag string) {
	return c.describe(d, transfer.SafeMediaType(l.MediaType))
}

func (a *API) headBlob(ctx context.Context, c *call) (response, error) {
	d, err := a.blobOf(c)
	if err != nil {
		return response{}, err
	}
	l, err := a.c.Layers.Stat(ctx, c.repository, d)
	if err != nil {
		return response{}, err
	}
	h, tag := c.describeBlob(d, l)
	resp := response{status: http.StatusOK, header: h, size: l.Size}
	if transfer.Matches(c.r.Header, tag) {
		resp.status = http.StatusNotModified
	}
	return resp, nil
}

func (a *API) getBlob(ctx context.Context, c *call) (response, error) {
	d, err := a.blobOf(c)
	if err != nil {
		return response{}, err
	}
	if address, ok := a.c.Layers.Redirect(ctx, c.repository, d); ok {
		resp := response{status: http.StatusTemporaryRedirect, header: http.Header{"Location": {address}, "Docker-Content-Digest": {string(d)}}}
		if c.meter != nil || a.c.Observe != nil { // as if the client will fetch all of it
			l, err := a.c.Layers.Stat(ctx, c.repository, d)
			if err != nil {
				return response{}, err
			}
			resp.elsewhere = l.Size
		}
		return resp, nil
	}
	conditional := c.r.Header.Get("Range") != "" || c.r.Header.Get("If-None-Match") != ""
	if !conditional { // what nearly every client asks: one look-up
		content, l, err := a.c.Layers.Open(ctx, c.repository, d, 0, -1)
		if err != nil {
			return response{}, err
		}
		h, _ := c.describeBlob(d, l)
		return response{status: http.StatusOK, header: h, content: content, size: l.Size}, nil
	}
	l, err := a.c.Layers.Stat(ctx, c.repository, d)
	if err != nil {
		return response{}, err
	}
	h, tag := c.describeBlob(d, l)
	if transfer.Matches(c.r.Header, tag) {
		return response{status: http.StatusNotModified, header: h}, nil
	}
	part, ranged, err := transfer.ReadRange(c.r.Header, l.Size, tag)
	if err != nil {
		return unsatisfiable(l.Size)
	}
	resp := response{status: http.StatusOK, header: h, size: l.Size}
	offset, length := int64(0), int64(-1)
	if ranged {
		resp.status, resp.size = http.StatusPartialContent, part.Length()
		offset, length = part.First, part.Length()
		h.Set("Content-Range", part.ContentRange(l.Size))
	}
	if resp.content, _, err = a.c.Layers.Open(ctx, c.repository, d, offset, length); err != nil {
		return response{}, err // its headers speak of content that does not come
	}
	return resp, nil
}

// unsatisfiable refuses a Range and says how much there is.
func unsatisfiable(size int64) (response, error) {
	return response{header: http.Header{"Content-Range": {"bytes */" + strconv.FormatInt(size, 10)}}}, problem.OutOfRange(size)
}

func (a *API) deleteBlob(ctx context.Context, c *call) (response, error) {
	d, err := a.blobOf(c)
	if err != nil {
		return response{}, err
	}
	if a.c.Quirks {
		return response{}, &problem.Problem{Status: http.StatusMethodNotAllowed, Code: problem.Unsupported, Message: "The operation is unsupported.", Allow: "GET, HEAD"}
	}
	if err := a.c.Layers.Delete(ctx, c.repository, d); err != nil {
		return response{}, err
	}
	return response{status: http.StatusAccepted, event: "DeleteLayer"}, nil
}

// blobOf reads the digest of a blob path and notes it for the trail.
func (a *API) blobOf(c *call) (name.Digest, error) {
	d, err := a.digest("layerDigest", c.Reference)
	if err == nil {
		c.params["layerDigest"] = d
	}
	return d, err
}
