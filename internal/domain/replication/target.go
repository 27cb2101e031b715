package replication

import (
	"context"
	"io"

	"github.com/berth-registry/berth/internal/domain/name"
)

// Place is a repository at a destination, and whose image comes to it.
type Place struct {
	// Source is the registry that sends, Destination the one that receives.
	Source, Destination name.Registry
	// Repository has the same name on both sides.
	Repository name.Repository
}

// Blob is a layer or a configuration that an image needs.
type Blob struct {
	Digest name.Digest
	// Size is the whole blob's, in bytes.
	Size int64
}

// Part is a blob that the destination lacks, and how much of it is there from an
// earlier try.
type Part struct {
	Blob
	// Offset is how many bytes the destination has, 0 to Size.
	Offset int64
}

// Manifest is an image as it is handed to a destination.
type Manifest struct {
	Digest    name.Digest
	MediaType string
	// Body is the manifest byte by byte as it was pushed.
	Body []byte
	// Tag is to be put on the image, "" for none.
	Tag name.Tag
	// Seq orders the changes of one tag at the source. It ascends for ever.
	Seq int64
}

// Removal is the deletion of an image, or of a tag.
type Removal struct {
	// Digest is the image's.
	Digest name.Digest
	// Tag is what goes, "" for the image with everything that it has.
	Tag name.Tag
	// Seq is as Manifest has it.
	Seq int64
}

// Destination is where images go: a registry that is served here, or one behind a
// peer. Every method authorizes, as the service-linked role of the source's
// account, ecr:ReplicateImage on the repository. Failures are errs codes:
// AccessDenied, RepositoryNotFound, LimitExceeded, KeyFailure, StorageFull,
// Unavailable and what the method names. Everything may be called again after a
// failure, or after an answer that was lost.
type Destination interface {
	// Prepare makes the repository where it is missing: by the template for
	// replication that holds for it, or else with ECR's defaults.
	Prepare(ctx context.Context, p Place) error
	// Lacking says which of the blobs the destination needs still. What is there,
	// or could be taken from another repository of the registry, is not in the
	// answer.
	Lacking(ctx context.Context, p Place, blobs []Blob) ([]Part, error)
	// PutBlob takes a blob's bytes from part.Offset on, all of them. What arrived
	// before a failure stays for the next try; ask Lacking where that begins.
	// errs.LayerPartInvalid when part.Offset is not where the bytes go on,
	// errs.UploadBusy while somebody else sends the same blob.
	PutBlob(ctx context.Context, p Place, part Part, body io.Reader) error
	// Images says which of these images are there and active.
	Images(ctx context.Context, p Place, ds []name.Digest) ([]name.Digest, error)
	// PutImage stores an image whose blobs and children are there. tagged=false
	// for one with a tag says that the image is stored without it: an immutable tag
	// kept its image, or a newer change of the tag was there.
	// errs.LayersNotFound, errs.ReferencedImagesNotFound.
	PutImage(ctx context.Context, p Place, m Manifest) (tagged bool, err error)
	// Remove deletes what is there of it; nothing is no failure.
	Remove(ctx context.Context, p Place, r Removal) error
	// Failed tells the destination that the source has given up, and why: one of
	// the failure codes. It records the event and the audit record there.
	Failed(ctx context.Context, p Place, m Manifest, code string) error
}
