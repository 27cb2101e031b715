// Package metering says what requests count as in the usage of a deployment: which calls
// they are, of which account, which images were pulled and pushed, and whose bytes were
// moved.
//
// It counts nothing itself (domain/usage does), and it is told of requests by app/observe
// once they are over.
package metering

import (
	"net/http"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/ecr"
	"github.com/berth-registry/berth/internal/api/ecrpublic"
	"github.com/berth-registry/berth/internal/api/oci/observation"
	"github.com/berth-registry/berth/internal/api/oci/path"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Counter counts; *usage.Service is one. None of its methods may wait.
type Counter interface {
	Call(account name.AccountID, region name.Region, service, operation string)
	Pull(reg name.Registry, repo name.Repository)
	Push(reg name.Registry, repo name.Repository)
	Transfer(reg name.Registry, repo name.Repository, sent, received int64)
}

// Metering tells a Counter what requests count as.
type Metering struct{ c Counter }

// New makes a Metering.
func New(c Counter) Metering { return Metering{c} }

// The operations that move images and layers, by the names that both ECR APIs have.
const (
	putImage        = "PutImage"
	batchGetImage   = "BatchGetImage"
	uploadLayerPart = "UploadLayerPart"
)

// AWS counts a call of an AWS API, and the bytes of its answer and of its request. As in
// AWS/Usage a call is its caller's, also where it is refused or fails; calls whose caller
// nobody knows are nobody's.
func (m Metering) AWS(o aws.Observation, sent, received int64) {
	if !o.Known || o.Call.Principal.ARN == "" {
		return
	}
	m.c.Call(o.Call.Principal.Account, o.Call.Region, o.Call.Service, o.Call.Operation)
	if o.Status != http.StatusOK || o.Call.Service != name.ServiceECR && o.Call.Service != name.ServiceECRPublic {
		return
	}
	reg, repo, ok := repositoryOf(o)
	if !ok {
		return
	}
	switch o.Call.Operation {
	case putImage:
		m.c.Push(reg, repo)
		m.c.Transfer(reg, repo, 0, received)
	case batchGetImage:
		out, ok := o.Out.(*ecr.BatchGetImageOutput)
		if !ok {
			return
		}
		for range out.Images {
			m.c.Pull(reg, repo)
		}
		if len(out.Images) > 0 {
			m.c.Transfer(reg, repo, sent, 0)
		}
	case uploadLayerPart: // the layer's bytes, which the request has in base64
		m.c.Transfer(reg, repo, 0, part(o.In))
	}
}

// part is how many bytes of a layer a call has brought.
func part(in any) int64 {
	switch in := in.(type) {
	case *ecr.UploadLayerPartInput:
		return int64(len(in.LayerPartBlob))
	case *ecrpublic.UploadLayerPartInput:
		return int64(len(in.LayerPartBlob))
	}
	return 0
}

// repositoryOf is the repository that a call is about.
func repositoryOf(o aws.Observation) (name.Registry, name.Repository, bool) {
	for _, need := range o.Needs {
		if reg, repo, ok := need.Resource.RepositoryOf(); ok {
			return reg, repo, true
		}
	}
	return name.Registry{}, "", false
}

// Registry counts a request of a registry client, and the bytes of its answer and of its
// body. It counts as the API's operations that it is; those on public registries AWS does
// not count. Bytes that the client was sent to the store for count as if it fetched them
// all.
func (m Metering) Registry(o observation.Request, sent, received int64) {
	if arn, err := name.ParseARN(o.Caller); err == nil && !o.Registry.IsPublic() {
		for _, operation := range o.Actions {
			m.c.Call(arn.Account, o.Registry.Region, name.ServiceECR, operation)
		}
	}
	if o.Status >= http.StatusBadRequest || o.Repository == "" || !content(o.Kind) {
		return
	}
	if o.Digest != "" {
		m.c.Pull(o.Registry, o.Repository)
	}
	if o.Kind == path.Manifest && o.Status == http.StatusCreated {
		m.c.Push(o.Registry, o.Repository)
	}
	m.c.Transfer(o.Registry, o.Repository, sent+o.Elsewhere, received)
}

// content says whether images and layers are moved at a path.
func content(k path.Kind) bool {
	switch k {
	case path.Manifest, path.Blob, path.Uploads, path.Upload:
		return true
	case path.None, path.Base, path.Catalog, path.Tags, path.Referrers:
	}
	return false
}

// Download counts what an address of GetDownloadUrlForLayer has given, by its path and the
// status of its answer. The call that gave the address out has counted already.
func (m Metering) Download(address string, status int, sent int64) {
	if status != http.StatusOK && status != http.StatusPartialContent {
		return // refused: the path may be anybody's
	}
	rest, ok := strings.CutPrefix(address, ecr.DownloadPrefix)
	parts := strings.SplitN(rest, "/", 3) // account, region, and the rest with the digest behind
	if !ok || len(parts) != 3 {
		return
	}
	if end := strings.LastIndexByte(parts[2], '/'); end > 0 {
		m.c.Transfer(name.Registry{Account: name.AccountID(parts[0]), Region: name.Region(parts[1])}, name.Repository(parts[2][:end]), sent, 0)
	}
}
