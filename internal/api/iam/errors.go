package iam

import "github.com/berth-registry/berth/internal/domain/errs"

// errorOf is the one table from a failure to IAM's error and its status (IAM API
// reference, "common errors" and each operation's). The registry's own failures
// cannot reach IAM and would be faults of ours.
func errorOf(code errs.Code) (string, int) {
	switch code {
	case errs.EntityNotFound:
		return "NoSuchEntity", 404
	case errs.EntityExists:
		return "EntityAlreadyExists", 409
	case errs.EntityInUse:
		return "DeleteConflict", 409
	case errs.EntityUnmodifiable:
		return "UnmodifiableEntity", 400
	case errs.EntityLimit, errs.LimitExceeded:
		return "LimitExceeded", 409
	case errs.InvalidInput:
		return "InvalidInput", 400
	case errs.InvalidUserType:
		return "InvalidUserType", 400
	case errs.PolicyMalformed:
		return "MalformedPolicyDocument", 400
	case errs.PolicyNotAttachable:
		return "PolicyNotAttachable", 400
	case errs.PasswordRefused:
		return "PasswordPolicyViolation", 400
	case errs.AuthenticationCode:
		return "InvalidAuthenticationCode", 403
	case errs.ProviderUnreachable:
		return "OpenIdIdpCommunicationError", 400
	case errs.InvalidParameter, errs.Validation:
		return "ValidationError", 400
	case errs.AccessDenied:
		return "AccessDenied", 403
	case errs.TokenExpired:
		return "ExpiredToken", 403
	case errs.Throttled:
		return "Throttling", 400
	case errs.Unavailable:
		return "ServiceUnavailable", 503
	case errs.Internal, errs.StorageFull,
		errs.RepositoryNotFound, errs.RepositoryExists, errs.RepositoryNotEmpty, errs.RepositoryPolicyNotFound, errs.RegistryPolicyNotFound,
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
		errs.InvalidResourceTag, errs.TooManyResourceTags, errs.KeyFailure,
		errs.IdentityTokenInvalid, errs.IdentityTokenExpired, errs.IdentityTokenRejected, errs.SessionPolicyTooLarge, errs.AuthorizationMessage:
		return "ServiceFailure", 500
	}
	return "ServiceFailure", 500
}
