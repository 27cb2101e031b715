package scan

import (
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
)

// Status is ECR's word for how the scan of an image stands (ECR API reference,
// ImageScanStatus).
type Status string

// The states.
const (
	InProgress          Status = "IN_PROGRESS"
	Complete            Status = "COMPLETE"
	Failed              Status = "FAILED"
	UnsupportedImage    Status = "UNSUPPORTED_IMAGE"
	Active              Status = "ACTIVE"
	Pending             Status = "PENDING"
	EligibilityExpired  Status = "SCAN_ELIGIBILITY_EXPIRED"
	FindingsUnavailable Status = "FINDINGS_UNAVAILABLE"
	LimitExceeded       Status = "LIMIT_EXCEEDED"
	ImageArchived       Status = "IMAGE_ARCHIVED"
)

// State is how the scan of an image stands.
type State struct {
	Digest name.Digest
	// Tag is the tag that was asked for, "" for none.
	Tag         name.Tag
	Status      Status
	Description string
}

// Summary is the state of a basic scan and what it counted.
type Summary struct {
	State
	// CompletedAt is when the last completed scan ended; zero: none has.
	CompletedAt time.Time
	// SourceUpdatedAt is when the database was made that it used.
	SourceUpdatedAt time.Time
	// Counts has only severities that occur.
	Counts map[finding.Severity]int64
}

// Page is a page of the findings of an image.
type Page struct {
	Summary
	// Type is the registry's scan type: Basic or Enhanced is filled.
	Type     rules.ScanType
	Basic    []finding.Basic
	Enhanced []finding.Enhanced
	// Next is where the next page begins, 0 for none.
	Next int
}

// RepositoryConfiguration is how one repository is scanned.
type RepositoryConfiguration struct {
	Repository name.Repository
	ARN        name.ARN
	Applied    rules.Applied
	// Missing says that there is no such repository.
	Missing bool
}
