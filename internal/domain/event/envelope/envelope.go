// Package envelope writes recorded events as EventBridge hands them out, member by member
// in the order of the events that the Amazon ECR and the Amazon Inspector user guide
// publish. It is pure.
//
// It does not record events (event does) nor choose who gets them (event/rule). The details
// are those of package event, and of findings what domain/scan records; this package reads
// their JSON, since it stands before the features.
package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Stored is an event as the outbox keeps it.
type Stored struct {
	ID         int64
	Registry   name.Registry
	Kind       event.Kind
	OccurredAt time.Time
	// Detail is the event's detail as JSON.
	Detail json.RawMessage
}

// Envelope is an event as EventBridge hands it out.
type Envelope struct {
	// ID is a UUID, and the same whenever the event is written.
	ID string
	// Source and DetailType are what most patterns ask for: "aws.ecr", "ECR Image Action".
	Source, DetailType string
	// Group is what events are in order by: the repository's ARN, "" for those that are
	// about several.
	Group string
	// Body is the event as JSON, without white space.
	Body []byte
}

// The sources of events.
const (
	sourceECR       = "aws.ecr"
	sourceInspector = "aws.inspector2"
)

// The types of events' details.
const (
	imageAction       = "ECR Image Action"
	referrerAction    = "ECR Referrer Action"
	imageScan         = "ECR Image Scan"
	scanChange        = "ECR Scan Resource Change"
	replicationAction = "ECR Replication Action"
	pullThroughAction = "ECR Pull Through Cache Action"
	inspectorScan     = "Inspector2 Scan"
	inspectorFinding  = "Inspector2 Finding"
)

// body is the envelope itself (AWS events reference, "Event structure").
type body struct {
	Version    string   `json:"version"`
	ID         string   `json:"id"`
	DetailType string   `json:"detail-type"`
	Source     string   `json:"source"`
	Account    string   `json:"account"`
	Time       string   `json:"time"`
	Region     string   `json:"region"`
	Resources  []string `json:"resources"`
	Detail     any      `json:"detail"`
}

// content is what differs from kind to kind.
type content struct {
	source, detailType string
	repository         name.Repository // "" for several
	resources          []string
	detail             any
}

// Of writes an event. It is false for those that EventBridge does not know: what lifecycle
// policies have done, and everything that happens in public registries. An error says that
// the detail is not of the event's kind.
func Of(s Stored) (Envelope, bool, error) {
	if s.Registry.IsPublic() {
		return Envelope{}, false, nil
	}
	write := writer(s.Kind)
	if write == nil {
		return Envelope{}, false, nil
	}
	c, err := write(s)
	if err == nil && c.repository == "" && s.Kind != event.ScanFrequencyChanged {
		err = errors.New("it names no repository")
	}
	if err != nil {
		return Envelope{}, false, fmt.Errorf("the detail of the event %d (%s) cannot be read: %w", s.ID, s.Kind, err)
	}
	out := Envelope{ID: id(s), Source: c.source, DetailType: c.detailType}
	if c.repository != "" {
		out.Group = s.arn(c.repository)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // AWS writes < as it is
	err = e.Encode(body{
		Version: "0", ID: out.ID, DetailType: c.detailType, Source: c.source, Account: string(s.Registry.Account),
		Time: s.OccurredAt.UTC().Format("2006-01-02T15:04:05Z"), Region: string(s.Registry.Region),
		Resources: append([]string{}, c.resources...), Detail: c.detail,
	})
	out.Body = bytes.TrimSpace(b.Bytes())
	return out, err == nil, err
}

// writer knows a kind of events; nil for those that have no envelope.
func writer(k event.Kind) func(Stored) (content, error) {
	switch k {
	case event.ImagePushed:
		return func(s Stored) (content, error) { return image(s, "PUSH") }
	case event.ImageDeleted:
		return func(s Stored) (content, error) { return image(s, "DELETE") }
	case event.StorageClassChanged:
		return storageClass
	case event.ImageReplicated:
		return replication
	case event.ImagePulledThrough:
		return pullThrough
	case event.ImageScanned:
		return basicScan
	case event.ImageScanInitial:
		return enhancedScan
	case event.FindingChanged:
		return finding
	case event.ScanFrequencyChanged:
		return frequency
	case event.ImagePulled:
		return pull
	case event.PolicyExecuted, event.PolicyPreviewed:
	}
	return nil
}

// namespace is where the ids of events are unique (RFC 9562, version 5).
func namespace() uuid.UUID { return uuid.MustParse("7b1f3c52-1d0a-4a0e-9d57-64c7b3f5a2e1") }

// id is made of what never changes of an event.
func id(s Stored) string {
	return uuid.NewSHA1(namespace(), fmt.Appendf(nil, "%s/%s/%d", s.Registry.Account, s.Registry.Region, s.ID)).String()
}

func (s Stored) arn(r name.Repository) string { return s.Registry.RepositoryARN(r).String() }

// read is the detail of an event, as the type T.
func read[T any](s Stored) (d T, err error) { return d, json.Unmarshal(s.Detail, &d) }
