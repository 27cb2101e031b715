// Package observation is what api/oci says of a request to whoever counts, logs
// or traces requests. It counts nothing itself (app/observe does).
package observation

import (
	"github.com/berth-registry/berth/internal/api/oci/path"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Request is what became of one request.
type Request struct {
	ID string
	// Kind is what the path points at.
	Kind path.Kind
	// Actions are the operations of the ECR API that the request is; none where
	// there is no such route, or where it was refused before the route was known.
	// They are none for the version check, too.
	Actions    []string
	Registry   name.Registry
	Repository name.Repository
	// Digest and Tag are of the manifest that a pull was answered with: a GET whose
	// status is 200. The tag is the one that was asked for, "" for a pull by digest;
	// both are "" for everything else. An upstream image that the cache answered with
	// is a pull as well, whether or not Repository is there already.
	Digest name.Digest
	Tag    name.Tag
	// Elsewhere is how many bytes of a layer the client was sent to the store for.
	// They do not pass this server, so that nobody sees whether they are fetched; 0
	// where the answer is no redirect.
	Elsewhere int64
	// Caller is the ARN of who asked, "" where nobody is known to have.
	Caller string
	Status int
	// Code is the error's code in the document, "" for none.
	Code string
	// Err is the error itself, nil for none. It may hold what nobody outside is to
	// read.
	Err error
}
