package secretsmanager

import "github.com/berth-registry/berth/internal/domain/errs"

// errorOf is the one table from a failure to Secrets Manager's error and its status
// (API reference; its client errors are 400). The registry's own failures, and IAM's,
// cannot reach it and would be faults of ours.
func errorOf(code errs.Code) (string, int) {
	switch code {
	case errs.SecretMissing:
		return "ResourceNotFoundException", 400
	case errs.SecretExists:
		return "ResourceExistsException", 400
	case errs.SecretInvalid:
		return "InvalidRequestException", 400
	case errs.SecretUndecryptable: // a key that cannot be used for reading
		return "DecryptionFailure", 400
	case errs.KeyFailure: // and for writing
		return "EncryptionFailure", 400
	case errs.InvalidParameter:
		return "InvalidParameterException", 400
	case errs.Validation:
		return "ValidationException", 400
	case errs.InvalidInput: // a page token that is none
		return "InvalidNextTokenException", 400
	case errs.LimitExceeded:
		return "LimitExceededException", 400
	case errs.AccessDenied:
		return "AccessDeniedException", 400
	case errs.TokenExpired:
		return "ExpiredTokenException", 400
	case errs.Throttled:
		return "ThrottlingException", 400
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
		errs.UpstreamImageFailed, errs.UpstreamLayerFailed, errs.UpstreamReferrersFailed, errs.SecretNotFound, errs.SecretInaccessible,
		errs.ExclusionNotFound, errs.ExclusionExists, errs.StorageClassRefused, errs.DeletionProtected,
		errs.InvalidResourceTag, errs.TooManyResourceTags,
		errs.RepositoryPolicyNotFound, errs.RegistryPolicyNotFound,
		errs.EntityNotFound, errs.EntityExists, errs.EntityInUse, errs.EntityUnmodifiable, errs.EntityLimit,
		errs.InvalidUserType, errs.PolicyMalformed, errs.PolicyNotAttachable, errs.PasswordRefused, errs.AuthenticationCode, errs.ProviderUnreachable,
		errs.IdentityTokenInvalid, errs.IdentityTokenExpired, errs.IdentityTokenRejected, errs.SessionPolicyTooLarge, errs.AuthorizationMessage:
		return "InternalServiceError", 500
	}
	return "InternalServiceError", 500
}
