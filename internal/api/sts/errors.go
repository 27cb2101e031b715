package sts

import "github.com/berth-registry/berth/internal/domain/errs"

// errorOf is the one table from a failure to STS's error and its status. The
// registry's own failures cannot reach STS and would be faults of ours.
func errorOf(code errs.Code) (string, int) {
	switch code {
	case errs.AccessDenied:
		return "AccessDenied", 403
	case errs.TokenExpired:
		return "ExpiredToken", 403
	case errs.InvalidParameter:
		return "InvalidParameterValue", 400
	case errs.Validation, errs.InvalidInput:
		return "ValidationError", 400
	case errs.EntityNotFound:
		return "NoSuchEntity", 404
	case errs.PolicyMalformed:
		return "MalformedPolicyDocument", 400
	case errs.SessionPolicyTooLarge:
		return "PackedPolicyTooLarge", 400
	case errs.ProviderUnreachable:
		return "IDPCommunicationError", 400
	case errs.IdentityTokenInvalid:
		return "InvalidIdentityToken", 400
	case errs.IdentityTokenExpired:
		return "ExpiredTokenException", 400
	case errs.IdentityTokenRejected:
		return "IDPRejectedClaim", 403
	case errs.AuthorizationMessage:
		return "InvalidAuthorizationMessageException", 400
	case errs.AuthenticationCode:
		return "AccessDenied", 403
	case errs.Throttled:
		return "Throttling", 400
	case errs.Unavailable:
		return "ServiceUnavailable", 503
	case errs.Internal, errs.StorageFull,
		errs.RepositoryNotFound, errs.RepositoryExists, errs.RepositoryNotEmpty,
		errs.ImageNotFound, errs.ImageExists, errs.TagExists, errs.ImageDigestMismatch,
		errs.ManifestInvalid, errs.ManifestTypeMissing, errs.ManifestTooLarge, errs.ManifestUntranslated,
		errs.ReferencedImagesNotFound, errs.ImageReferenced,
		errs.LayersNotFound, errs.LayerInaccessible, errs.LayerExists, errs.LayerReferenced,
		errs.LayerPartTooSmall, errs.LayerPartInvalid, errs.LayerDigestMismatch, errs.LayerTooLarge,
		errs.UploadNotFound, errs.UploadEmpty, errs.UploadBusy, errs.UploadInterrupted, errs.RangeInvalid,
		errs.LifecyclePolicyNotFound, errs.LifecyclePreviewNotFound, errs.LifecyclePreviewInProgress, errs.TemplateNotFound, errs.TemplateExists,
		errs.ScanNotFound, errs.ImageTypeUnsupported, errs.ImageArchived, errs.PullBlocked, errs.RegistryNotFound, errs.CatalogDataNotFound, errs.RegionUnsupported,
		errs.EventResourceNotFound, errs.EventPatternInvalid, errs.TrailNotFound, errs.TrailExists, errs.TrailNameInvalid, errs.TrailBucketMissing, errs.TrailHomeRegion, errs.LookupAttributesInvalid, errs.TimeRangeInvalid, errs.PageSizeInvalid, errs.ParameterConflict, errs.QuotaNotFound, errs.QuotaRequestOpen,
		errs.BackfillNotFound, errs.BackfillInProgress, errs.BackfillStatusInvalid, errs.PullThroughRuleNotFound, errs.PullThroughRuleExists, errs.UpstreamUnsupported,
		errs.UpstreamImageFailed, errs.UpstreamLayerFailed, errs.UpstreamReferrersFailed, errs.SecretNotFound, errs.SecretInaccessible, errs.SecretUndecryptable,
		errs.SecretMissing, errs.SecretExists, errs.SecretInvalid,
		errs.ExclusionNotFound, errs.ExclusionExists, errs.StorageClassRefused, errs.DeletionProtected,
		errs.InvalidResourceTag, errs.TooManyResourceTags, errs.LimitExceeded, errs.KeyFailure,
		errs.RepositoryPolicyNotFound, errs.RegistryPolicyNotFound, errs.EntityExists, errs.EntityInUse, errs.EntityUnmodifiable, errs.EntityLimit,
		errs.InvalidUserType, errs.PolicyNotAttachable, errs.PasswordRefused:
		return "InternalFailure", 500
	}
	return "InternalFailure", 500
}
