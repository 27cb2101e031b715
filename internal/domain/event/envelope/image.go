package envelope

import (
	"time"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/name"
)

// milliseconds is RFC 3339 as ECR writes it within details: fractions without zeros at
// their end.
const milliseconds = "2006-01-02T15:04:05.999Z07:00"

type imageDetail struct {
	Result     event.Outcome   `json:"result"`
	Repository name.Repository `json:"repository-name"`
	Digest     name.Digest     `json:"image-digest"`
	Action     string          `json:"action-type"`
	Tag        name.Tag        `json:"image-tag,omitempty"`
}

func image(s Stored, action string) (content, error) {
	d, err := read[event.ImageDetail](s)
	return content{source: sourceECR, detailType: imageAction, repository: d.Repository, detail: imageDetail{
		Result: event.Success, Repository: d.Repository, Digest: d.Digest, Action: action, Tag: d.Tag,
	}}, err
}

// pullDetail has no counterpart at AWS, which tells of no pulls.
type pullDetail struct {
	imageDetail
	Count int64  `json:"pull-count"`
	Since string `json:"since"`
}

func pull(s Stored) (content, error) {
	d, err := read[event.PullDetail](s)
	return content{source: sourceECR, detailType: imageAction, repository: d.Repository, detail: pullDetail{
		imageDetail{Result: event.Success, Repository: d.Repository, Digest: d.Digest, Action: "PULL", Tag: d.Tag},
		d.Count, d.Since.UTC().Format(milliseconds),
	}}, err
}

type storageDetail struct {
	Action       string          `json:"action-type"`
	Target       string          `json:"target-storage-class"`
	Digest       name.Digest     `json:"image-digest"`
	Repository   name.Repository `json:"repository-name"`
	Result       event.Outcome   `json:"result"`
	MediaType    string          `json:"manifest-media-type,omitempty"`
	ArtifactType string          `json:"artifact-media-type,omitempty"`
	ActivatedAt  string          `json:"last-activated-at,omitempty"`
}

func storageClass(s Stored) (content, error) {
	d, err := read[event.StorageClassDetail](s)
	out := content{source: sourceECR, detailType: imageAction, repository: d.Repository}
	if d.Referrer {
		out.detailType = referrerAction
	}
	out.detail = storageDetail{
		Action: "UPDATE_STORAGE_CLASS", Target: d.Target, Digest: d.Digest, Repository: d.Repository, Result: event.Success,
		MediaType: d.MediaType, ArtifactType: d.ArtifactType, ActivatedAt: timeText(d.ActivatedAt, milliseconds),
	}
	return out, err
}

// timeText is "" for the zero time.
func timeText(t time.Time, layout string) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(layout)
}

type replicationDetail struct {
	Result        event.Outcome   `json:"result"`
	Repository    name.Repository `json:"repository-name"`
	Digest        name.Digest     `json:"image-digest"`
	SourceAccount name.AccountID  `json:"source-account"`
	Action        string          `json:"action-type"`
	SourceRegion  name.Region     `json:"source-region"`
	Tag           name.Tag        `json:"image-tag,omitempty"`
}

// replication does not say why one has failed: ECR's events do not, as far as they are
// published; DescribeImageReplicationStatus does.
func replication(s Stored) (content, error) {
	d, err := read[event.ReplicationDetail](s)
	return content{
		source: sourceECR, detailType: replicationAction, repository: d.Repository, resources: []string{s.arn(d.Repository)},
		detail: replicationDetail{
			Result: d.Result, Repository: d.Repository, Digest: d.Digest, SourceAccount: d.Source.Account, Action: "REPLICATE", SourceRegion: d.Source.Region, Tag: d.Tag,
		},
	}, err
}

type pullThroughDetail struct {
	RuleVersion string          `json:"rule-version"`
	Status      event.Outcome   `json:"sync-status"`
	Prefix      string          `json:"ecr-repository-prefix"`
	Repository  name.Repository `json:"repository-name"`
	Upstream    string          `json:"upstream-registry-url"`
	Tag         name.Tag        `json:"image-tag,omitempty"`
	Digest      name.Digest     `json:"image-digest,omitempty"`
	// Reason is ours: ECR does not publish what its events of failures have.
	Reason string `json:"failure-reason,omitempty"`
}

func pullThrough(s Stored) (content, error) {
	d, err := read[event.PullThroughDetail](s)
	return content{
		source: sourceECR, detailType: pullThroughAction, repository: d.Repository, resources: []string{s.arn(d.Repository)},
		detail: pullThroughDetail{
			RuleVersion: "1", Status: d.Result, Prefix: d.Prefix, Repository: d.Repository, Upstream: d.UpstreamURL, Tag: d.Tag, Digest: d.Digest, Reason: d.Reason,
		},
	}, err
}
