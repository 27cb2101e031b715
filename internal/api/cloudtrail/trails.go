package cloudtrail

import (
	"context"
	"strconv"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/audit/trails"
	"github.com/berth-registry/berth/internal/domain/errs"
)

// The limits of tags (API reference, "AddTags" and "Tag").
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func is(b *bool) bool { return b != nil && *b }

func tagsOf(in []Tag) map[string]string {
	tags := map[string]string{}
	for _, t := range in {
		if t.Key != nil {
			tags[*t.Key] = text(t.Value)
		}
	}
	return tags
}

func checkTags(in []Tag) error {
	if len(in) > maxTags {
		return errs.New(errs.TooManyResourceTags, "The number of tags per trail has exceeded the permitted amount. Currently, the limit is %d.", maxTags)
	}
	if len(tagsOf(in)) != len(in) {
		return errs.New(errs.InvalidResourceTag, "The tag keys are not unique, or one is missing.")
	}
	for _, t := range in {
		if n := len(*t.Key); n == 0 || n > maxTagKey || len(text(t.Value)) > maxTagValue {
			return errs.New(errs.InvalidResourceTag, "The tag key %q or its value is not valid. A key has 1 to %d bytes, a value at most %d.", *t.Key, maxTagKey, maxTagValue)
		}
	}
	return nil
}

// elsewhere refuses what a trail of AWS can do and one of ours cannot. errs.InvalidParameter.
func elsewhere(topic, group, role, key *string, organization *bool) error {
	const instead = " Leave it out."
	switch {
	case text(topic) != "":
		return errs.New(errs.InvalidParameter, "SnsTopicName is not served here: nobody is told of new log files."+instead)
	case text(group) != "" || text(role) != "":
		return errs.New(errs.InvalidParameter, "CloudWatchLogsLogGroupArn and CloudWatchLogsRoleArn are not served here: there is no CloudWatch Logs. Leave them out.")
	case text(key) != "":
		return errs.New(errs.InvalidParameter, "KmsKeyId is not served here: whether and how log files are encrypted is a setting of the bucket."+instead)
	case is(organization):
		return errs.New(errs.InvalidParameter, "IsOrganizationTrail is not served here: a trail is of one account. Make one in each."+instead)
	}
	return nil
}

func (a *API) createTrail(ctx context.Context, c *aws.Call, in *CreateTrailInput) (*CreateTrailOutput, error) {
	if err := elsewhere(in.SnsTopicName, in.CloudWatchLogsLogGroupArn, in.CloudWatchLogsRoleArn, in.KmsKeyId, in.IsOrganizationTrail); err != nil {
		return nil, err
	}
	if err := checkTags(in.TagsList); err != nil {
		return nil, err
	}
	t, err := a.Trails.Create(ctx, trails.Create{
		Home: c.Registry, Name: *in.Name, Bucket: *in.S3BucketName, Prefix: text(in.S3KeyPrefix), MultiRegion: is(in.IsMultiRegionTrail),
		GlobalEvents: in.IncludeGlobalServiceEvents == nil || *in.IncludeGlobalServiceEvents, Validation: is(in.EnableLogFileValidation), Tags: tagsOf(in.TagsList),
	})
	if err != nil {
		return nil, err
	}
	return &CreateTrailOutput{
		Name: &t.Name, S3BucketName: &t.Bucket, S3KeyPrefix: optional(t.Prefix), IncludeGlobalServiceEvents: &t.GlobalEvents, IsMultiRegionTrail: &t.MultiRegion,
		TrailARN: arn(t), LogFileValidationEnabled: &t.Validation, IsOrganizationTrail: new(false),
	}, nil
}

func (a *API) updateTrail(ctx context.Context, c *aws.Call, in *UpdateTrailInput) (*UpdateTrailOutput, error) {
	if err := elsewhere(in.SnsTopicName, in.CloudWatchLogsLogGroupArn, in.CloudWatchLogsRoleArn, in.KmsKeyId, in.IsOrganizationTrail); err != nil {
		return nil, err
	}
	t, err := a.Trails.Update(ctx, c.Registry, *in.Name, trails.Change{
		Bucket: in.S3BucketName, Prefix: in.S3KeyPrefix, MultiRegion: in.IsMultiRegionTrail, GlobalEvents: in.IncludeGlobalServiceEvents, Validation: in.EnableLogFileValidation,
	})
	if err != nil {
		return nil, err
	}
	return &UpdateTrailOutput{
		Name: &t.Name, S3BucketName: &t.Bucket, S3KeyPrefix: optional(t.Prefix), IncludeGlobalServiceEvents: &t.GlobalEvents, IsMultiRegionTrail: &t.MultiRegion,
		TrailARN: arn(t), LogFileValidationEnabled: &t.Validation, IsOrganizationTrail: new(false),
	}, nil
}

func (a *API) deleteTrail(ctx context.Context, c *aws.Call, in *DeleteTrailInput) (*DeleteTrailOutput, error) {
	return &DeleteTrailOutput{}, a.Trails.Delete(ctx, c.Registry, *in.Name)
}

func (a *API) startLogging(ctx context.Context, c *aws.Call, in *StartLoggingInput) (*StartLoggingOutput, error) {
	return &StartLoggingOutput{}, a.Trails.Start(ctx, c.Registry, *in.Name)
}

func (a *API) stopLogging(ctx context.Context, c *aws.Call, in *StopLoggingInput) (*StopLoggingOutput, error) {
	return &StopLoggingOutput{}, a.Trails.Stop(ctx, c.Registry, *in.Name)
}

func arn(t trails.Trail) *string { return new(t.ARN().String()) }

func trailShape(t trails.Trail) Trail {
	return Trail{
		Name: &t.Name, S3BucketName: &t.Bucket, S3KeyPrefix: optional(t.Prefix), IncludeGlobalServiceEvents: &t.GlobalEvents, IsMultiRegionTrail: &t.MultiRegion,
		HomeRegion: new(string(t.HomeRegion)), TrailARN: arn(t), LogFileValidationEnabled: &t.Validation,
		HasCustomEventSelectors: new(false), HasInsightSelectors: new(false), IsOrganizationTrail: new(false),
	}
}

func (a *API) getTrail(ctx context.Context, c *aws.Call, in *GetTrailInput) (*GetTrailOutput, error) {
	t, err := a.Trails.Find(ctx, c.Registry, *in.Name)
	if err != nil {
		return nil, err
	}
	return &GetTrailOutput{Trail: new(trailShape(t))}, nil
}

// describeTrails leaves out the names that no trail has, as CloudTrail does.
func (a *API) describeTrails(ctx context.Context, c *aws.Call, in *DescribeTrailsInput) (*DescribeTrailsOutput, error) {
	shadows := in.IncludeShadowTrails == nil || *in.IncludeShadowTrails
	out := &DescribeTrailsOutput{TrailList: []Trail{}}
	add := func(t trails.Trail) {
		if t.HomeRegion == c.Region || shadows && t.MultiRegion {
			out.TrailList = append(out.TrailList, trailShape(t))
		}
	}
	if len(in.TrailNameList) == 0 {
		all, err := a.Trails.List(ctx, c.Registry.Account)
		for _, t := range all {
			add(t)
		}
		return out, err
	}
	for _, called := range in.TrailNameList {
		t, err := a.Trails.Find(ctx, c.Registry, called)
		if errs.Is(err, errs.TrailNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		add(t)
	}
	return out, nil
}

// listTrails has one page: an account has a few trails in each region.
func (a *API) listTrails(ctx context.Context, c *aws.Call, in *ListTrailsInput) (*ListTrailsOutput, error) {
	if text(in.NextToken) != "" {
		return nil, invalidToken()
	}
	all, err := a.Trails.List(ctx, c.Registry.Account)
	out := &ListTrailsOutput{Trails: []TrailInfo{}}
	for _, t := range all {
		out.Trails = append(out.Trails, TrailInfo{TrailARN: arn(t), Name: &t.Name, HomeRegion: new(string(t.HomeRegion))})
	}
	return out, err
}

func (a *API) getTrailStatus(ctx context.Context, c *aws.Call, in *GetTrailStatusInput) (*GetTrailStatusOutput, error) {
	t, err := a.Trails.Find(ctx, c.Registry, *in.Name)
	if err != nil {
		return nil, err
	}
	written := func(at time.Time) *string {
		if at.IsZero() {
			return new("")
		}
		return new(at.Format(time.RFC3339))
	}
	out := &GetTrailStatusOutput{
		IsLogging: &t.Logging, LatestDeliveryError: optional(t.DeliveryError), LatestDeliveryTime: shape.AtNonZero(t.DeliveredAt),
		StartLoggingTime: shape.AtNonZero(t.StartedAt), StopLoggingTime: shape.AtNonZero(t.StoppedAt),
		LatestDigestDeliveryTime: shape.AtNonZero(t.DigestedAt), LatestDigestDeliveryError: optional(t.DigestError),
		LatestDeliveryAttemptTime: written(t.AttemptedAt), TimeLoggingStarted: written(t.StartedAt), TimeLoggingStopped: written(t.StoppedAt),
		LatestNotificationAttemptTime: new(""), LatestNotificationAttemptSucceeded: new(""), LatestDeliveryAttemptSucceeded: new(""),
	}
	if !t.AttemptedAt.IsZero() {
		out.LatestDeliveryAttemptSucceeded = new(strconv.FormatBool(t.DeliveryError == ""))
	}
	return out, nil
}
