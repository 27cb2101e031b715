package replication

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/replication/rules"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// What a registry copies is replication/rules' business.
type (
	// Configuration is what a registry copies, and where to.
	Configuration = rules.Configuration
	// Rule says which repositories go to which registries.
	Rule = rules.Rule
	// Options are Berth's own settings for a destination.
	Options = rules.Options
)

// State is how far the replication of an image to one destination is, by ECR's
// words.
type State string

// The states.
const (
	InProgress State = "IN_PROGRESS"
	Complete   State = "COMPLETE"
	Failed     State = "FAILED"
)

// Status is the replication of an image to one destination.
type Status struct {
	Destination name.Registry
	Status      State
	// FailureCode is one of the failure codes, "" unless it has failed.
	FailureCode string
}

// The failure codes: why an image was not copied, for good. ECR does not publish
// its own list; these are its exceptions' names where there is one.
const (
	AccessDenied             = "AccessDenied"             // the destination's policy does not allow it
	RepositoryNotFound       = "RepositoryNotFound"       // the repository is not there (any more), on either side
	ImageNotFound            = "ImageNotFound"            // the image was deleted or archived before it was copied
	LimitExceeded            = "LimitExceeded"            // a quota of the destination
	KmsError                 = "KmsError"                 // a key of either side cannot be used
	ReferencedImagesNotFound = "ReferencedImagesNotFound" // an image that an index names cannot be had
	ManifestInvalid          = "ManifestInvalid"          // the destination does not take the manifest, its size for one
	InternalFailure          = "InternalFailure"          // a fault of either side that did not pass
	DestinationUnavailable   = "DestinationUnavailable"   // the destination could not be reached for too long
	// DestinationRemoved is told to backfills only: the destination was taken out of
	// the configuration.
	DestinationRemoved = "DestinationRemoved"
)

// Backlog is what waits for one destination.
type Backlog struct {
	Destination name.Registry
	// Items are the copies, deletions and tag removals that wait, those under way
	// among them; counted up to MaxBacklog.
	Items int64
	// Oldest is since when the oldest of them waits.
	Oldest time.Time
}

// MaxBacklog is how far Backlog counts.
const MaxBacklog = 100_000

// Done tells how an item of a backfill has ended.
type Done struct {
	// Backfill is what EnqueueTx was given.
	Backfill string
	// Source is where the image stands, Destination where it went.
	Source, Destination name.Registry
	Repository          name.Repository
	Digest              name.Digest
	Tag                 name.Tag
	// Code is a failure code, "" when the image is there.
	Code string
	// Sub are the distinct failure codes of images that an index names.
	Sub []string
}

// DoneFunc is called in the transaction that ends an item of a backfill.
type DoneFunc func(ctx context.Context, tx *sqldb.Tx, d Done) error
