package events

import "github.com/berth-registry/berth/internal/domain/errs"

// errorOf is the one table from a failure to EventBridge's error and its status (API
// reference; its client errors are 400). Failures of other features cannot reach it and
// would be faults of ours.
func errorOf(code errs.Code) (string, int) {
	switch code {
	case errs.EventResourceNotFound:
		return "ResourceNotFoundException", 400
	case errs.EventPatternInvalid:
		return "InvalidEventPatternException", 400
	case errs.LimitExceeded:
		return "LimitExceededException", 400
	case errs.Validation, errs.InvalidParameter, errs.InvalidInput: // and a page token that is none
		return "ValidationException", 400
	case errs.AccessDenied:
		return "AccessDeniedException", 400
	case errs.TokenExpired:
		return "ExpiredTokenException", 400
	case errs.Throttled:
		return "ThrottlingException", 400
	case errs.Unavailable:
		return "ServiceUnavailable", 503
	case errs.Internal, errs.RepositoryNotFound, errs.RepositoryExists, errs.RepositoryNotEmpty, errs.ImageNotFound,
		errs.ImageExists, errs.TagExists, errs.ImageDigestMismatch, errs.ManifestInvalid, errs.ManifestTypeMissing,
		errs.ManifestTooLarge, errs.ManifestUntranslated, errs.ReferencedImagesNotFound, errs.ImageReferenced, errs.LayersNotFound,
		errs.LayerInaccessible, errs.LayerExists, errs.LayerReferenced, errs.LayerPartTooSmall, errs.LayerPartInvalid,
		errs.LayerDigestMismatch, errs.LayerTooLarge, errs.UploadNotFound, errs.UploadEmpty, errs.UploadBusy,
		errs.UploadInterrupted, errs.RangeInvalid, errs.InvalidResourceTag, errs.TooManyResourceTags, errs.KeyFailure,
		errs.RepositoryPolicyNotFound, errs.RegistryPolicyNotFound, errs.EntityNotFound, errs.EntityExists, errs.EntityInUse,
		errs.EntityUnmodifiable, errs.EntityLimit, errs.InvalidUserType, errs.PolicyMalformed, errs.PolicyNotAttachable,
		errs.PasswordRefused, errs.AuthenticationCode, errs.ProviderUnreachable, errs.IdentityTokenInvalid, errs.IdentityTokenExpired,
		errs.IdentityTokenRejected, errs.SessionPolicyTooLarge, errs.AuthorizationMessage, errs.LifecyclePolicyNotFound, errs.LifecyclePreviewNotFound,
		errs.LifecyclePreviewInProgress, errs.TemplateNotFound, errs.TemplateExists, errs.ExclusionNotFound, errs.ExclusionExists,
		errs.StorageClassRefused, errs.DeletionProtected, errs.BackfillNotFound, errs.BackfillInProgress, errs.BackfillStatusInvalid,
		errs.PullThroughRuleNotFound, errs.PullThroughRuleExists, errs.UpstreamUnsupported, errs.UpstreamImageFailed, errs.UpstreamLayerFailed,
		errs.UpstreamReferrersFailed, errs.SecretNotFound, errs.SecretInaccessible, errs.SecretUndecryptable, errs.SecretMissing,
		errs.SecretExists, errs.SecretInvalid, errs.ScanNotFound, errs.ImageTypeUnsupported, errs.ImageArchived,
		errs.PullBlocked, errs.RegistryNotFound, errs.CatalogDataNotFound, errs.RegionUnsupported, errs.TrailNotFound,
		errs.TrailExists, errs.TrailNameInvalid, errs.TrailBucketMissing, errs.TrailHomeRegion, errs.LookupAttributesInvalid,
		errs.TimeRangeInvalid, errs.PageSizeInvalid, errs.ParameterConflict, errs.QuotaNotFound, errs.QuotaRequestOpen,
		errs.StorageFull:
		return "InternalException", 500
	}
	return "InternalException", 500
}
