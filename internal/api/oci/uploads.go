package oci

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/api/oci/problem"
	"github.com/berth-registry/berth/internal/api/oci/transfer"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
)

// startNeeds: a POST that brings the whole blob is three operations in one.
func startNeeds(c *call) []authz.Need {
	if _, whole := c.query("digest"); whole {
		return onRepository("ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload")(c)
	}
	return onRepository("ecr:InitiateLayerUpload")(c)
}

// startAlso says the same for the request rates; a POST that announces a digest
// and brings nothing opens an upload and no more.
func startAlso(c *call) []string {
	if _, whole := c.query("digest"); whole && c.hasBody() {
		return []string{"UploadLayerPart", "CompleteLayerUpload"}
	}
	return nil
}

// finishAlso: a PUT that brings bytes uploads them too.
func finishAlso(c *call) []string {
	if c.hasBody() {
		return []string{"UploadLayerPart"}
	}
	return nil
}

// finishNeeds: a PUT that brings bytes uploads them too.
func finishNeeds(c *call) []authz.Need {
	if c.hasBody() {
		return onRepository("ecr:CompleteLayerUpload", "ecr:UploadLayerPart")(c)
	}
	return onRepository("ecr:CompleteLayerUpload")(c)
}

// findSource finds the repository that the request wants to mount a layer from; only
// one of the same registry can be.
func (a *API) findSource(ctx context.Context, c *call) error {
	_, wanted := c.query("mount")
	from, named := c.query("from")
	if !wanted || !named {
		return nil
	}
	reg, called, err := a.front.Locate(ctx, c.registry, from)
	if err != nil {
		if errs.Is(err, errs.RegistryNotFound) {
			return nil
		}
		return err
	}
	if source, err := name.ParseRepository(called); err == nil && reg == c.registry {
		c.source = source
	}
	return nil
}

// mountNeeds: mounting reads the layer from the other repository.
func mountNeeds(c *call) []authz.Need {
	if c.source == "" {
		return nil
	}
	return []authz.Need{{Action: "ecr:GetDownloadUrlForLayer", Resource: c.registry.RepositoryARN(c.source)}}
}

// startUpload opens an upload, mounts a layer, or takes a whole one.
func (a *API) startUpload(ctx context.Context, c *call) (response, error) {
	if algorithm, ok := c.query("digest-algorithm"); ok && algorithm != "sha256" && algorithm != "sha512" {
		return response{}, problem.Invalid(a.c.Quirks, problem.DigestInvalid, "digest-algorithm", "the digest algorithm has to be sha256 or sha512")
	}
	if text, ok := c.query("mount"); ok {
		resp, mounted, err := a.mount(ctx, c, text)
		if err != nil || mounted {
			return resp, err
		}
	}
	// A digest without bytes comes from clients that announce what they will
	// send; the specification lets a registry answer them with an upload.
	if text, ok := c.query("digest"); ok {
		d, err := a.digest("layerDigest", text)
		if err != nil {
			return response{}, err
		}
		if c.hasBody() || d == d.DigestOf(nil) {
			return a.wholeBlob(ctx, c, d)
		}
	}
	u, err := a.c.Layers.Start(ctx, c.repository)
	if err != nil {
		return response{}, err
	}
	resp := a.uploadResponse(c, u, http.StatusAccepted, -1)
	resp.elements = map[string]any{"uploadId": u.ID}
	return resp, nil
}

// wholeBlob is an upload in one request. Nobody learns its id, so a failure
// takes it away.
func (a *API) wholeBlob(ctx context.Context, c *call, d name.Digest) (response, error) {
	u, err := a.c.Layers.Start(ctx, c.repository)
	if err != nil {
		return response{}, err
	}
	resp, err := a.complete(ctx, c, u.ID, []name.Digest{d})
	if err != nil {
		// The client may be what failed; its leaving must not leave bytes behind.
		if cancelErr := a.c.Layers.Cancel(context.WithoutCancel(ctx), c.repository, u.ID); cancelErr != nil && !errs.Is(cancelErr, errs.UploadNotFound) {
			a.c.Log.Warn("a failed upload stays until it expires", "request_id", c.requestID, "error", cancelErr)
		}
		return response{}, err
	}
	return resp, nil
}

// mount tries to mount a layer from another repository. Where that cannot be
// done, for whatever reason, the client gets an upload instead: mounted is false.
func (a *API) mount(ctx context.Context, c *call, text string) (resp response, mounted bool, err error) {
	d, err := a.digest("layerDigest", text)
	if err != nil {
		return response{}, false, err
	}
	access, err := a.c.Registries.Access(ctx, c.registry)
	if err != nil {
		return response{}, false, err
	}
	if !c.alsoAllowed || !access.Mounts(a.c.Mounting) {
		return response{}, false, nil
	}
	source, err := a.c.Repositories.Get(ctx, c.registry, c.source)
	switch {
	case errs.Is(err, errs.RepositoryNotFound):
		return response{}, false, nil
	case err != nil:
		return response{}, false, err
	}
	if _, mounted, err = a.c.Layers.Mount(ctx, source, c.repository, d); err != nil || !mounted {
		return response{}, false, err
	}
	c.params["layerDigest"], c.params["sourceRepositoryName"] = d, source.Name
	resp = a.blobCreated(c, d)
	resp.event = "MountLayer"
	return resp, true, nil
}

// uploadStatus says how far an upload has come.
func (a *API) uploadStatus(ctx context.Context, c *call) (response, error) {
	id, first := a.uploadOf(c)
	u, err := a.c.Layers.Status(ctx, c.repository, id)
	if err != nil {
		return response{}, err
	}
	return a.uploadResponse(c, u, http.StatusNoContent, first), nil
}

func (a *API) patchUpload(ctx context.Context, c *call) (response, error) {
	id, first := a.uploadOf(c)
	chunk, err := a.chunkOf(c)
	if err != nil {
		return a.whereItStands(ctx, c, id, first), err
	}
	u, err := a.c.Layers.Append(ctx, c.repository, id, chunk, c.body)
	if err != nil {
		return a.whereItStands(ctx, c, id, first), err
	}
	if first < 0 {
		first = u.Received - 1
	}
	if c.r.ContentLength >= 0 {
		c.params["partFirstByte"] = u.Received - c.r.ContentLength
	}
	status := http.StatusAccepted
	if a.c.Quirks {
		status = http.StatusCreated
	}
	resp := a.uploadResponse(c, u, status, first)
	resp.elements = map[string]any{"uploadId": u.ID, "lastByteReceived": u.Received - 1}
	return resp, nil
}

// finishUpload ends an upload; its body may be the last chunk, or the whole.
func (a *API) finishUpload(ctx context.Context, c *call) (response, error) {
	id, first := a.uploadOf(c)
	texts := c.r.URL.Query()["digest"]
	if len(texts) == 0 {
		return response{}, problem.Invalid(a.c.Quirks, problem.DigestInvalid, "layerDigests", "the query has to name the layer's digest")
	}
	var digests []name.Digest
	for _, text := range texts {
		d, err := a.digest("layerDigests", text)
		if err != nil {
			return response{}, err
		}
		digests = append(digests, d)
	}
	resp, err := a.complete(ctx, c, id, digests)
	if err != nil {
		return a.whereItStands(ctx, c, id, first), err
	}
	return resp, nil
}

// complete finishes an upload with the request's body, if it has one.
func (a *API) complete(ctx context.Context, c *call, id string, digests []name.Digest) (response, error) {
	chunk, body := layer.Unannounced(), io.Reader(nil)
	if c.hasBody() {
		var err error
		if chunk, err = a.chunkOf(c); err != nil {
			return response{}, err
		}
		body = c.body
	}
	c.params["uploadId"], c.params["layerDigests"] = id, digests
	l, err := a.c.Layers.Complete(ctx, c.repository, id, digests, chunk, body, layer.CompleteOptions{
		RefuseEmpty: a.c.Quirks, RefuseSmallParts: a.c.Quirks,
	})
	if err != nil {
		return response{}, err
	}
	d := l.Digest
	if len(digests) == 1 { // in the algorithm that the client has chosen
		d = digests[0]
	}
	return a.blobCreated(c, d), nil
}

func (a *API) cancelUpload(ctx context.Context, c *call) (response, error) {
	id, _ := a.uploadOf(c)
	if err := a.c.Layers.Cancel(ctx, c.repository, id); err != nil {
		return response{}, err
	}
	return response{status: http.StatusNoContent, event: "CancelLayerUpload"}, nil
}

// chunkOf reads which bytes of the upload the body announces to be.
func (a *API) chunkOf(c *call) (layer.Chunk, error) {
	s, ok, err := transfer.ReadContentRange(c.r.Header)
	switch {
	case err != nil:
		return layer.Chunk{}, &problem.Problem{Status: http.StatusRequestedRangeNotSatisfiable, Code: problem.BlobUploadInvalid, Message: "Content-Range has to be <first>-<last>, both inclusive"}
	case !ok:
		return layer.Unannounced(), nil
	case c.r.ContentLength >= 0 && c.r.ContentLength != s.Length():
		return layer.Chunk{}, &problem.Problem{Status: http.StatusBadRequest, Code: problem.SizeInvalid, Message: "Content-Length and Content-Range announce different lengths"}
	}
	return layer.Chunk{First: s.First, Last: s.Last}, nil
}

// uploadOf reads the upload's id and, behind a dot, the end of its first
// chunk, which only ECR's stuck Range needs (see uploadLocation). first is -1
// where it is not there.
func (a *API) uploadOf(c *call) (id string, first int64) {
	id, tail, _ := strings.Cut(c.Reference, ".")
	first, err := transfer.Number(tail)
	if err != nil || !a.c.Quirks {
		first = -1
	}
	c.params["uploadId"] = id
	return id, first
}

// uploadLocation is where an upload goes on. Everything stands in the path,
// for clients that lose the query.
func (a *API) uploadLocation(c *call, id string, first int64) string {
	location := "/v2/" + c.Name + "/blobs/uploads/" + id
	if a.c.Quirks && first >= 0 {
		location += "." + strconv.FormatInt(first, 10)
	}
	return location
}

// uploadHeader says where an upload stands. Under quirks its Range stays at
// the end of the first chunk, as ECR's does.
func (a *API) uploadHeader(c *call, u layer.Upload, first int64) http.Header {
	last := max(u.Received-1, 0)
	h := http.Header{"Location": {a.uploadLocation(c, u.ID, first)}}
	if a.c.Quirks {
		if first >= 0 {
			last = min(last, first)
		}
	} else {
		h["Docker-Upload-Uuid"] = []string{u.ID}
	}
	h["Range"] = []string{"0-" + strconv.FormatInt(last, 10)}
	return h
}

func (a *API) uploadResponse(c *call, u layer.Upload, status int, first int64) response {
	return response{status: status, header: a.uploadHeader(c, u, first)}
}

// whereItStands gives a refused chunk's answer the headers to go on from. An
// upload that is over has none.
func (a *API) whereItStands(ctx context.Context, c *call, id string, first int64) response {
	u, err := a.c.Layers.Status(ctx, c.repository, id)
	if err != nil {
		return response{}
	}
	return response{header: a.uploadHeader(c, u, first)}
}

func (a *API) blobCreated(c *call, d name.Digest) response {
	return response{
		status: http.StatusCreated,
		header: http.Header{
			"Location":              {"/v2/" + c.Name + "/blobs/" + string(d)},
			"Docker-Content-Digest": {string(d)},
		},
		elements: map[string]any{"layerDigest": d},
	}
}
