// Package cloudtrail is the part of AWS CloudTrail (2013-11-01, JSON 1.1) that reads the
// audit trail and has it written to files: the table of operations, each with the
// permissions it needs, and the translation between the service's shapes and the domain.
//
// It does not authenticate, validate shapes, authorize or write answers; the pipeline
// in api/aws does. The rules are in domain/audit/trails and domain/audit/lookup.
package cloudtrail

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/audit/trails"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Lookup finds records; *lookup.Index does.
type Lookup interface {
	// Find returns a page of records, the newest first, and where the next page begins; ""
	// for none.
	Find(ctx context.Context, q lookup.Query) ([]lookup.Event, lookup.Cursor, error)
}

// Config is what the API stands on. It may be empty for a description of the service.
type Config struct {
	Trails *trails.Service
	Lookup Lookup
	// SigningKey signs page tokens; 32 bytes.
	SigningKey []byte
	// Regions refuses calls for regions that have no trail; nil: all but those that are
	// served. The calls of public registries are recorded in us-east-1, served or not.
	Regions func(name.Region) error
}

// API holds the operations.
type API struct {
	Config
	tokens paging.Tokens
}

// New returns the API.
func New(c Config) *API { return &API{Config: c, tokens: paging.Tokens{Key: c.SigningKey}} }

// Service describes the API to the pipeline.
func (a *API) Service() aws.Service {
	return aws.Service{
		Name:         "cloudtrail",
		EventSource:  "cloudtrail.amazonaws.com",
		TargetPrefix: "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101",
		SigningNames: []string{"cloudtrail"},
		Host:         name.HostCloudTrail,
		Regions:      a.Regions,
		Protocol:     json11.Protocol{},
		Known:        OperationNames(),
		Errors:       errorOf,
		ErrorShapes:  ErrorShapes(),
		Notes: map[string]string{
			"CreateTrail":  "S3BucketName is one of the setting audit.buckets; SnsTopicName, CloudWatchLogsLogGroupArn, CloudWatchLogsRoleArn, KmsKeyId and IsOrganizationTrail are refused",
			"UpdateTrail":  "as CreateTrail",
			"LookupEvents": "records are found as long as the server keeps them (audit_retention), not 90 days; there are no Insights events, so EventCategory is refused",
		},
		Operations: a.operations(),
	}
}

// operations is the table. What the model has and the table has not is answered as an
// unknown operation and listed as missing in docs/compatibility.md.
func (a *API) operations() []aws.Operation {
	return []aws.Operation{
		aws.Op("CreateTrail", true, createNeeds, a.createTrail),
		aws.Op("DeleteTrail", true, needs(a, "cloudtrail:DeleteTrail", func(in *DeleteTrailInput) *string { return in.Name }), a.deleteTrail),
		aws.Op("DescribeTrails", false, anywhere[DescribeTrailsInput]("cloudtrail:DescribeTrails"), a.describeTrails),
		aws.Op("GetTrail", false, needs(a, "cloudtrail:GetTrail", func(in *GetTrailInput) *string { return in.Name }), a.getTrail),
		aws.Op("GetTrailStatus", false, needs(a, "cloudtrail:GetTrailStatus", func(in *GetTrailStatusInput) *string { return in.Name }), a.getTrailStatus),
		aws.Op("ListTrails", false, anywhere[ListTrailsInput]("cloudtrail:ListTrails"), a.listTrails),
		aws.Op("LookupEvents", false, anywhere[lookupInput]("cloudtrail:LookupEvents"), a.lookupEvents),
		aws.Op("StartLogging", true, needs(a, "cloudtrail:StartLogging", func(in *StartLoggingInput) *string { return in.Name }), a.startLogging),
		aws.Op("StopLogging", true, needs(a, "cloudtrail:StopLogging", func(in *StopLoggingInput) *string { return in.Name }), a.stopLogging),
		aws.Op("UpdateTrail", true, needs(a, "cloudtrail:UpdateTrail", func(in *UpdateTrailInput) *string { return in.Name }), a.updateTrail),
	}
}
