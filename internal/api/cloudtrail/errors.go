package cloudtrail

import (
	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/errs"
)

// errorTable is from a failure to CloudTrail's error and its status (API reference; its
// client errors are 400). Other failures cannot reach it and would be faults of ours.
func errorTable() aws.ErrorTable {
	bad := func(named string) aws.NamedError { return aws.NamedError{Name: named, Status: 400} }
	return aws.ErrorTable{
		errs.TrailNotFound:           bad("TrailNotFoundException"),
		errs.TrailExists:             bad("TrailAlreadyExistsException"),
		errs.TrailNameInvalid:        bad("InvalidTrailNameException"),
		errs.TrailBucketMissing:      bad("S3BucketDoesNotExistException"),
		errs.TrailHomeRegion:         bad("InvalidHomeRegionException"),
		errs.LookupAttributesInvalid: bad("InvalidLookupAttributesException"),
		errs.TimeRangeInvalid:        bad("InvalidTimeRangeException"),
		errs.PageSizeInvalid:         bad("InvalidMaxResultsException"),
		errs.InvalidInput:            bad("InvalidNextTokenException"), // a page token that is none
		errs.ParameterConflict:       bad("InvalidParameterCombinationException"),
		errs.LimitExceeded:           bad("MaximumNumberOfTrailsExceededException"),
		errs.InvalidResourceTag:      bad("InvalidTagParameterException"),
		errs.TooManyResourceTags:     bad("TagsLimitExceededException"),
		errs.InvalidParameter:        bad("InvalidParameterException"),
		errs.Validation:              bad("ValidationException"),
		errs.AccessDenied:            bad("AccessDeniedException"),
		errs.TokenExpired:            bad("ExpiredTokenException"),
		errs.Throttled:               bad("ThrottlingException"),
		errs.Unavailable:             {Name: "ServiceUnavailable", Status: 503},
		errs.Internal:                {Name: "InternalFailure", Status: 500},
	}
}
