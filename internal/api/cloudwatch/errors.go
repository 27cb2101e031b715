package cloudwatch

import (
	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/errs"
)

// errorTable is the one table from a failure to CloudWatch's error, in the names of the
// Query protocol, and its status (API reference, the operations' errors and "Common
// Errors"). Failures of the registry cannot reach it and would be faults of ours.
func errorTable() aws.ErrorTable {
	return aws.ErrorTable{
		errs.Internal:          {Name: "InternalServiceError", Status: 500},
		errs.InvalidParameter:  {Name: "InvalidParameterValue", Status: 400},
		errs.ParameterConflict: {Name: "InvalidParameterCombination", Status: 400},
		errs.Validation:        {Name: "ValidationError", Status: 400},
		errs.InvalidInput:      {Name: "InvalidNextToken", Status: 400}, // a page token that is none
		errs.AccessDenied:      {Name: "AccessDenied", Status: 403},
		errs.TokenExpired:      {Name: "ExpiredToken", Status: 403},
		errs.Throttled:         {Name: "Throttling", Status: 400},
		errs.Unavailable:       {Name: "ServiceUnavailable", Status: 503},
	}
}
