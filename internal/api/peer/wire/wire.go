// Package wire is what two deployments say to each other, as both sides of the
// connection need it: the paths, the JSON, the headers, what is signed, and the words
// that failures cross in.
//
// It opens and answers no connection: api/peer does one, api/peer/client the other.
// Whose keys are whose is domain/peer's.
package wire

import (
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
)

// Prefix begins the path of all requests between deployments.
const Prefix = "/peer/v1/"

// The requests, under Prefix. Those that are about a repository have its Place in
// the query.
const (
	PathPing    = Prefix + "ping"
	PathKey     = Prefix + "key"
	PathPrepare = Prefix + "prepare"
	PathLacking = Prefix + "blobs/lacking"
	PathBlob    = Prefix + "blobs"
	PathHeld    = Prefix + "images/held"
	PathImage   = Prefix + "images"
	PathFailed  = Prefix + "images/failed"
	PathRemove  = Prefix + "remove"
)

// The members of a query.
const (
	QueryAccount    = "account" // of the destination
	QueryRegion     = "region"
	QueryRepository = "repository"
	QueryDigest     = "digest"
	QuerySize       = "size"
	QueryOffset     = "offset"
	QueryMediaType  = "mediaType"
	QueryTag        = "tag"
	QuerySeq        = "seq"
	QueryFailure    = "failure"
)

// Bounds on what is sent.
const (
	// MaxJSON bounds a body of JSON, in bytes.
	MaxJSON = 1 << 20
	// MaxManifest bounds a manifest, in bytes: what a registry can be set to take.
	MaxManifest = 30 << 20
	// MaxList is how many digests one request asks about; more are asked in several.
	MaxList = 1000
	// MaxText bounds the text of a failure, in bytes.
	MaxText = 4 << 10
	// MaxSkew is how far the clocks may be apart.
	MaxSkew = 5 * time.Minute
)

// Pong answers a ping.
type Pong struct {
	// Accounts are those that the asking peer may speak for, or "*" alone.
	Accounts []name.AccountID `json:"accounts"`
}

// NewKey tells that a peer will sign with another key.
type NewKey struct {
	// Key is the new public key in its text form.
	Key string `json:"key"`
	// Generation is the peer's count of its keys.
	Generation int64 `json:"generation"`
	// Proof is ProofText signed with the new key: nobody announces a key that is not
	// his own.
	Proof []byte `json:"proof"`
}

// Blob is a blob, and in an answer how much of it is there.
type Blob struct {
	Digest name.Digest `json:"digest"`
	Size   int64       `json:"size"`
	Offset int64       `json:"offset,omitempty"`
}

// Blobs asks which blobs are lacking, and answers it.
type Blobs struct {
	Blobs []Blob `json:"blobs"`
}

// Digests asks which images are there, and answers it.
type Digests struct {
	Digests []name.Digest `json:"digests"`
}

// Removal is what to remove.
type Removal struct {
	Digest name.Digest `json:"digest"`
	Tag    name.Tag    `json:"tag,omitempty"`
	Seq    int64       `json:"seq"`
}

// Stored answers that an image is stored, and whether its tag is on it.
type Stored struct {
	Tagged bool `json:"tagged"`
}

// Failure is the body of an answer whose status is not 200.
type Failure struct {
	// Word is a failure of Word, or one of the Refused words.
	Word    string `json:"word"`
	Message string `json:"message"`
}
