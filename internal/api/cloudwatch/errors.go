package cloudwatch

import "github.com/berth-registry/berth/internal/domain/errs"

// errorOf is the one table from a failure to CloudWatch's error, in the names of the
// Query protocol, and its status (API reference, the operations' errors and "Common
// Errors"). Failures of the registry cannot reach it and would be faults of ours.
func errorOf(code errs.Code) (string, int) {
	switch code {
	case errs.InvalidParameter:
		return "InvalidParameterValue", 400
	case errs.ParameterConflict:
		return "InvalidParameterCombination", 400
	case errs.Validation:
		return "ValidationError", 400
	case errs.InvalidInput: // a page token that is none
		return "InvalidNextToken", 400
	case errs.AccessDenied:
		return "AccessDenied", 403
	case errs.TokenExpired:
		return "ExpiredToken", 403
	case errs.Throttled:
		return "Throttling", 400
	case errs.Unavailable:
		return "ServiceUnavailable", 503
	case errs.SecretMissing, errs.SecretExists, errs.SecretInvalid, errs.SecretUndecryptable, errs.KeyFailure,
		errs.LimitExceeded, errs.Internal, errs.StorageFull, errs.RepositoryNotFound, errs.RepositoryExists,
		errs.RepositoryNotEmpty, errs.ImageNotFound, errs.ImageExists, errs.TagExists, errs.ImageDigestMismatch,
		errs.ManifestInvalid, errs.ManifestTypeMissing, errs.ManifestTooLarge, errs.ManifestUntranslated, errs.ReferencedImagesNotFound,
		errs.ImageReferenced, errs.LayersNotFound, errs.LayerInaccessible, errs.LayerExists, errs.LayerReferenced,
		errs.LayerPartTooSmall, errs.LayerPartInvalid, errs.LayerDigestMismatch, errs.LayerTooLarge, errs.UploadNotFound,
		errs.UploadEmpty, errs.UploadBusy, errs.UploadInterrupted, errs.RangeInvalid, errs.LifecyclePolicyNotFound,
		errs.LifecyclePreviewNotFound, errs.LifecyclePreviewInProgress, errs.TemplateNotFound, errs.TemplateExists, errs.ScanNotFound,
		errs.ImageTypeUnsupported, errs.ImageArchived, errs.PullBlocked, errs.RegistryNotFound, errs.CatalogDataNotFound,
		errs.RegionUnsupported, errs.EventResourceNotFound, errs.EventPatternInvalid, errs.TrailNotFound, errs.TrailExists,
		errs.TrailNameInvalid, errs.TrailBucketMissing, errs.TrailHomeRegion, errs.LookupAttributesInvalid, errs.TimeRangeInvalid,
		errs.PageSizeInvalid, errs.QuotaNotFound, errs.QuotaRequestOpen, errs.BackfillNotFound, errs.BackfillInProgress,
		errs.BackfillStatusInvalid, errs.PullThroughRuleNotFound, errs.PullThroughRuleExists, errs.UpstreamUnsupported, errs.UpstreamImageFailed,
		errs.UpstreamLayerFailed, errs.UpstreamReferrersFailed, errs.SecretNotFound, errs.SecretInaccessible, errs.ExclusionNotFound,
		errs.ExclusionExists, errs.StorageClassRefused, errs.DeletionProtected, errs.InvalidResourceTag, errs.TooManyResourceTags,
		errs.RepositoryPolicyNotFound, errs.RegistryPolicyNotFound, errs.EntityNotFound, errs.EntityExists, errs.EntityInUse,
		errs.EntityUnmodifiable, errs.EntityLimit, errs.InvalidUserType, errs.PolicyMalformed, errs.PolicyNotAttachable,
		errs.PasswordRefused, errs.AuthenticationCode, errs.ProviderUnreachable, errs.IdentityTokenInvalid, errs.IdentityTokenExpired,
		errs.IdentityTokenRejected, errs.SessionPolicyTooLarge, errs.AuthorizationMessage:
		return "InternalServiceError", 500
	}
	return "InternalServiceError", 500
}
