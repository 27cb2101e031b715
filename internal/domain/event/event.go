// Package event is the outbox: what happened, recorded in the transaction that
// made it happen, for others to deliver or to act on.
//
// It does not deliver; and which event starts which job is app's table.
package event

import (
	"context"
	"encoding/json"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Kind names a fact.
type Kind string

// The facts that features record.
const (
	ImagePushed  Kind = "ImagePushed"
	ImageDeleted Kind = "ImageDeleted"
	// StorageClassChanged: an image was archived, or is active again.
	StorageClassChanged Kind = "StorageClassChanged"
	// PolicyExecuted: a lifecycle policy has acted on images.
	PolicyExecuted Kind = "PolicyExecuted"
	// PolicyPreviewed: a preview of a lifecycle policy is complete.
	PolicyPreviewed Kind = "PolicyPreviewed"
	// ImageReplicated: an image has come from another registry, or could not.
	ImageReplicated Kind = "ImageReplicated"
	// ImagePulledThrough: the pull-through cache has asked its upstream for an image.
	ImagePulledThrough Kind = "ImagePulledThrough"
	// ImageScanned: a basic scan has ended, well or not.
	ImageScanned Kind = "ImageScanned"
	// ImageScanInitial: the first scan of an image under enhanced scanning is complete.
	ImageScanInitial Kind = "ImageScanInitial"
	// FindingChanged: a finding of enhanced scanning is new, has changed or is closed.
	FindingChanged Kind = "FindingChanged"
	// ScanFrequencyChanged: repositories are scanned otherwise under enhanced scanning.
	ScanFrequencyChanged Kind = "ScanFrequencyChanged"
	// ImagePulled: an image was pulled, once or often; only where operators ask for it.
	ImagePulled Kind = "ImagePulled"
)

// Event is one fact about a registry.
type Event struct {
	Registry   name.Registry
	Kind       Kind
	OccurredAt time.Time
	// Repository is what the event is about, and what events are in order by. It may be
	// absent where Detail is of a type of this package, which tells it.
	Repository name.Repository
	// Detail is stored as JSON; ImageDetail for pushes and deletions,
	// StorageClassDetail, and domain/lifecycle's own for the events of policies.
	Detail any
}

// ImageDetail is the detail of ImagePushed and ImageDeleted: one event for each
// tag that came or went, and one without a tag for an untagged image.
type ImageDetail struct {
	Repository   name.Repository `json:"repository"`
	Digest       name.Digest     `json:"digest"`
	Tag          name.Tag        `json:"tag,omitempty"`
	MediaType    string          `json:"mediaType,omitempty"`
	ArtifactType string          `json:"artifactType,omitempty"`
	// Origin says how an image came that was pushed by no client.
	Origin Origin `json:"origin,omitempty"`
}

// Origin says how an image came into its repository; "" is a client's push.
type Origin string

// The other ways for an image to come.
const (
	OriginReplication Origin = "replication"
	OriginPullThrough Origin = "pull-through"
)

// Outcome is how something ended, by ECR's words for it in events.
type Outcome string

// The outcomes.
const (
	Success Outcome = "SUCCESS"
	Failed  Outcome = "FAILED"
)

// ReplicationDetail is the detail of ImageReplicated, whose Registry is the
// destination, or, where the destination could not be told, the source.
type ReplicationDetail struct {
	Repository  name.Repository `json:"repository"`
	Digest      name.Digest     `json:"digest"`
	Tag         name.Tag        `json:"tag,omitempty"`
	Source      name.Registry   `json:"source"`
	Destination name.Registry   `json:"destination"`
	Result      Outcome         `json:"result"`
	// FailureCode says why it failed, "" where it did not.
	FailureCode string `json:"failureCode,omitempty"`
}

// PullThroughDetail is the detail of ImagePulledThrough.
type PullThroughDetail struct {
	Repository  name.Repository `json:"repository"`
	Digest      name.Digest     `json:"digest,omitempty"`
	Tag         name.Tag        `json:"tag,omitempty"`
	Prefix      string          `json:"prefix"`
	UpstreamURL string          `json:"upstreamUrl"`
	Result      Outcome         `json:"result"`
	// Reason says why it failed, "" where it did not.
	Reason string `json:"reason,omitempty"`
}

// ScanDetail is the detail of ImageScanned and ImageScanInitial.
type ScanDetail struct {
	Repository name.Repository `json:"repository"`
	Digest     name.Digest     `json:"digest"`
	Tags       []name.Tag      `json:"tags"`
	// Status is ECR's: COMPLETE, FAILED, or INITIAL_SCAN_COMPLETE.
	Status string `json:"status"`
	// Counts are findings by ECR's severities; only those that occur.
	Counts map[string]int64 `json:"counts"`
}

// FrequencyDetail is the detail of ScanFrequencyChanged.
type FrequencyDetail struct {
	Repositories []FrequencyChange `json:"repositories"`
	ScanType     string            `json:"scanType"`
}

// FrequencyChange is how often the images of a repository are scanned, and were, in
// ECR's words.
type FrequencyChange struct {
	Repository name.Repository `json:"repository"`
	Now        string          `json:"now"`
	Before     string          `json:"before"`
}

// PullDetail is the detail of ImagePulled.
type PullDetail struct {
	Repository name.Repository `json:"repository"`
	Digest     name.Digest     `json:"digest"`
	Tag        name.Tag        `json:"tag,omitempty"`
	// Count is how many pulls the event stands for, Since when the first of them was.
	Count int64     `json:"count"`
	Since time.Time `json:"since"`
}

// StorageClassDetail is the detail of StorageClassChanged.
type StorageClassDetail struct {
	ImageDetail
	// Target is the storage class that the image is in now, by ECR's name.
	Target string `json:"target"`
	// ActivatedAt is when the image became active again; zero when it was archived.
	ActivatedAt time.Time `json:"activatedAt,omitzero"`
	// Referrer says that the image followed its subject.
	Referrer bool `json:"referrer,omitempty"`
}

// The storage classes by ECR's names.
const (
	StandardClass = "STANDARD"
	ArchiveClass  = "ARCHIVE"
)

// Outbox writes events. Subscribers hear of an event inside the transaction
// that records it, which is how a fact starts its jobs.
type Outbox struct {
	subscribers []Subscriber
	wanted      func(ctx context.Context, tx *sqldb.Tx, reg name.Registry) (bool, error)
}

// Subscriber is called with every event, in the transaction that records it.
// An error undoes the transaction.
type Subscriber func(ctx context.Context, tx *sqldb.Tx, e Event) error

// NewOutbox returns an outbox with its subscribers, which cannot change later.
func NewOutbox(subscribers ...Subscriber) *Outbox {
	return &Outbox{subscribers: subscribers}
}

// WantedBy has the outbox ask, in the transaction of an event, whether rules of its
// registry may want it: one that none wants is recorded as routed, and costs the
// router nothing. Without it, all are for the router. It is called before the
// outbox is used.
func (o *Outbox) WantedBy(wanted func(ctx context.Context, tx *sqldb.Tx, reg name.Registry) (bool, error)) {
	o.wanted = wanted
}

// idStep is how far apart ids are at most that Record makes for a clock that is behind:
// what a millisecond has of them (see sqldb.NewID).
const idStep = 1 << 22

// Record writes the event in the caller's transaction. Its id is larger than those of all
// events of the repository before it: whoever records locks the repository, and the
// clocks of nodes do not say who came first.
func (o *Outbox) Record(ctx context.Context, tx *sqldb.Tx, e Event) error {
	detail, err := json.Marshal(e.Detail)
	if err != nil {
		return err
	}
	wanted := true
	if o.wanted != nil {
		if wanted, err = o.wanted(ctx, tx, e.Registry); err != nil {
			return err
		}
	}
	id := sqldb.NewID()
	// The step is random, as ids are: two transactions that lock nothing in common see the same last one.
	_, err = tx.Exec(ctx, `INSERT INTO event (id, account_id, region, kind, occurred_at, detail, ordering, routed) VALUES (
			(SELECT CASE WHEN last >= $1 THEN last + $2 ELSE $1 END FROM (SELECT COALESCE(max(id), 0) AS last FROM event WHERE ordering = $3) AS before),
			$4, $5, $6, $7, $8, $3, $9)`,
		id, id%idStep+1, e.Ordering(), string(e.Registry.Account), string(e.Registry.Region), string(e.Kind), e.OccurredAt.UnixMicro(), string(detail), !wanted)
	if err != nil {
		return err
	}
	for _, s := range o.subscribers {
		if err := s(ctx, tx, e); err != nil {
			return err
		}
	}
	return nil
}

// Ordering is what the event is in order by: the ARN of its repository, "" without one.
func (e Event) Ordering() string {
	repo := e.Repository
	if repo == "" {
		switch d := e.Detail.(type) {
		case ImageDetail:
			repo = d.Repository
		case StorageClassDetail:
			repo = d.Repository
		case ReplicationDetail:
			repo = d.Repository
		case PullThroughDetail:
			repo = d.Repository
		case ScanDetail:
			repo = d.Repository
		case PullDetail:
			repo = d.Repository
		}
	}
	if repo == "" {
		return ""
	}
	return e.Registry.RepositoryARN(repo).String()
}
