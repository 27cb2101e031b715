package ecr

import "github.com/berth-registry/berth/internal/domain/errs"

// errorOf is the one table from a failure to ECR's exception and its status
// (API reference; every modelled client error is a 400). Failures that only
// the registry protocol knows fall to the nearest exception.
func errorOf(code errs.Code) (string, int) {
	switch code {
	case errs.RepositoryNotFound:
		return "RepositoryNotFoundException", 400
	case errs.RepositoryExists:
		return "RepositoryAlreadyExistsException", 400
	case errs.RepositoryNotEmpty:
		return "RepositoryNotEmptyException", 400
	case errs.RepositoryPolicyNotFound:
		return "RepositoryPolicyNotFoundException", 400
	case errs.RegistryPolicyNotFound:
		return "RegistryPolicyNotFoundException", 400
	case errs.LifecyclePolicyNotFound:
		return "LifecyclePolicyNotFoundException", 400
	case errs.LifecyclePreviewNotFound:
		return "LifecyclePolicyPreviewNotFoundException", 400
	case errs.LifecyclePreviewInProgress:
		return "LifecyclePolicyPreviewInProgressException", 400
	case errs.TemplateNotFound:
		return "TemplateNotFoundException", 400
	case errs.TemplateExists:
		return "TemplateAlreadyExistsException", 400
	case errs.ExclusionNotFound:
		return "ExclusionNotFoundException", 400
	case errs.ExclusionExists:
		return "ExclusionAlreadyExistsException", 400
	case errs.StorageClassRefused:
		return "ImageStorageClassUpdateNotSupportedException", 400
	case errs.BackfillNotFound:
		return "ReplicationBackfillNotFoundException", 400
	case errs.BackfillInProgress:
		return "ReplicationBackfillInProgressException", 400
	case errs.BackfillStatusInvalid:
		return "ReplicationBackfillInvalidStatusException", 400
	case errs.PullThroughRuleNotFound:
		return "PullThroughCacheRuleNotFoundException", 400
	case errs.PullThroughRuleExists:
		return "PullThroughCacheRuleAlreadyExistsException", 400
	case errs.UpstreamUnsupported:
		return "UnsupportedUpstreamRegistryException", 400
	case errs.UpstreamImageFailed:
		return "UnableToGetUpstreamImageException", 400
	case errs.UpstreamLayerFailed:
		return "UnableToGetUpstreamLayerException", 400
	case errs.UpstreamReferrersFailed:
		return "UnableToListUpstreamImageReferrersException", 400
	case errs.SecretNotFound:
		return "SecretNotFoundException", 400
	case errs.SecretInaccessible:
		return "UnableToAccessSecretException", 400
	case errs.SecretUndecryptable:
		return "UnableToDecryptSecretValueException", 400
	case errs.ImageNotFound, errs.ManifestUntranslated:
		return "ImageNotFoundException", 400
	case errs.ImageExists:
		return "ImageAlreadyExistsException", 400
	case errs.TagExists:
		return "ImageTagAlreadyExistsException", 400
	case errs.ImageDigestMismatch:
		return "ImageDigestDoesNotMatchException", 400
	case errs.ManifestInvalid, errs.ManifestTypeMissing, errs.ManifestTooLarge, errs.InvalidParameter, errs.RangeInvalid,
		errs.ImageReferenced, errs.LayerReferenced, errs.UploadBusy, errs.DeletionProtected:
		return "InvalidParameterException", 400
	case errs.ReferencedImagesNotFound:
		return "ReferencedImagesNotFoundException", 400
	case errs.LayersNotFound:
		return "LayersNotFoundException", 400
	case errs.LayerInaccessible:
		return "LayerInaccessibleException", 400
	case errs.LayerExists:
		return "LayerAlreadyExistsException", 400
	case errs.LayerPartTooSmall:
		return "LayerPartTooSmallException", 400
	case errs.LayerPartInvalid:
		return "InvalidLayerPartException", 400
	case errs.LayerDigestMismatch:
		return "InvalidLayerException", 400
	case errs.UploadNotFound:
		return "UploadNotFoundException", 400
	case errs.UploadEmpty:
		return "EmptyUploadException", 400
	case errs.InvalidResourceTag:
		return "InvalidTagParameterException", 400
	case errs.TooManyResourceTags:
		return "TooManyTagsException", 400
	case errs.LimitExceeded, errs.LayerTooLarge:
		return "LimitExceededException", 400
	case errs.KeyFailure:
		return "KmsException", 400
	case errs.Validation:
		return "ValidationException", 400
	case errs.AccessDenied, errs.PullBlocked:
		return "AccessDeniedException", 400
	case errs.TokenExpired:
		return "ExpiredTokenException", 400
	case errs.ScanNotFound:
		return "ScanNotFoundException", 400
	case errs.ImageTypeUnsupported:
		return "UnsupportedImageTypeException", 400
	case errs.ImageArchived:
		return "ImageArchivedException", 400
	case errs.Throttled:
		return "ThrottlingException", 400
	case errs.UploadInterrupted:
		return "RequestAbortedException", 400
	case errs.Unavailable:
		return "ServiceUnavailable", 503
	case errs.EntityNotFound, errs.EntityExists, errs.EntityInUse, errs.EntityUnmodifiable, errs.EntityLimit, errs.InvalidInput, errs.InvalidUserType,
		errs.PolicyMalformed, errs.PolicyNotAttachable, errs.PasswordRefused, errs.AuthenticationCode, errs.ProviderUnreachable,
		errs.IdentityTokenInvalid, errs.IdentityTokenExpired, errs.IdentityTokenRejected, errs.SessionPolicyTooLarge, errs.AuthorizationMessage:
		return "ServerException", 500 // IAM's own
	case errs.StorageFull, errs.Internal, errs.SecretMissing, errs.SecretExists, errs.SecretInvalid,
		errs.RegistryNotFound, errs.CatalogDataNotFound, errs.RegionUnsupported,
		errs.EventResourceNotFound, errs.EventPatternInvalid, errs.TrailNotFound, errs.TrailExists, errs.TrailNameInvalid, errs.TrailBucketMissing, errs.TrailHomeRegion, errs.LookupAttributesInvalid, errs.TimeRangeInvalid, errs.PageSizeInvalid, errs.ParameterConflict, errs.QuotaNotFound, errs.QuotaRequestOpen: // other services' own
		return "ServerException", 500
	}
	return "ServerException", 500
}
