package ecrpublic

import "github.com/berth-registry/berth/internal/domain/errs"

// errorOf is the one table from a failure to ECR Public's exception and its status
// (API reference; every modelled client error is a 400). What the model has no exception
// for is the nearest one, or one of those that all of AWS's services have.
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
	case errs.RegistryNotFound:
		return "RegistryNotFoundException", 400
	case errs.CatalogDataNotFound:
		return "RepositoryCatalogDataNotFoundException", 400
	case errs.RegionUnsupported:
		return "UnsupportedCommandException", 400
	case errs.ImageNotFound, errs.ManifestUntranslated:
		return "ImageNotFoundException", 400
	case errs.ImageExists:
		return "ImageAlreadyExistsException", 400
	case errs.TagExists:
		return "ImageTagAlreadyExistsException", 400
	case errs.ImageDigestMismatch:
		return "ImageDigestDoesNotMatchException", 400
	case errs.ManifestInvalid, errs.ManifestTypeMissing, errs.ManifestTooLarge, errs.InvalidParameter, errs.RangeInvalid,
		errs.ImageReferenced, errs.LayerReferenced, errs.UploadBusy, errs.DeletionProtected, errs.Validation:
		return "InvalidParameterException", 400
	case errs.ReferencedImagesNotFound:
		return "ReferencedImagesNotFoundException", 400
	case errs.LayersNotFound:
		return "LayersNotFoundException", 400
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
	case errs.AccessDenied:
		return "AccessDeniedException", 400
	case errs.TokenExpired:
		return "ExpiredTokenException", 400
	case errs.Throttled:
		return "ThrottlingException", 400
	case errs.UploadInterrupted:
		return "RequestAbortedException", 400
	case errs.Unavailable:
		return "ServiceUnavailable", 503
	case errs.LayerInaccessible, errs.KeyFailure, errs.PullBlocked, errs.RegistryPolicyNotFound, errs.LifecyclePolicyNotFound, errs.LifecyclePreviewNotFound,
		errs.LifecyclePreviewInProgress, errs.TemplateNotFound, errs.TemplateExists, errs.ExclusionNotFound, errs.ExclusionExists, errs.StorageClassRefused,
		errs.BackfillNotFound, errs.BackfillInProgress, errs.BackfillStatusInvalid, errs.PullThroughRuleNotFound, errs.PullThroughRuleExists,
		errs.UpstreamUnsupported, errs.UpstreamImageFailed, errs.UpstreamLayerFailed, errs.UpstreamReferrersFailed,
		errs.SecretNotFound, errs.SecretInaccessible, errs.SecretUndecryptable, errs.ScanNotFound, errs.ImageTypeUnsupported, errs.ImageArchived:
		return "ServerException", 500 // of what public registries have not
	case errs.EntityNotFound, errs.EntityExists, errs.EntityInUse, errs.EntityUnmodifiable, errs.EntityLimit, errs.InvalidInput, errs.InvalidUserType,
		errs.PolicyMalformed, errs.PolicyNotAttachable, errs.PasswordRefused, errs.AuthenticationCode, errs.ProviderUnreachable,
		errs.IdentityTokenInvalid, errs.IdentityTokenExpired, errs.IdentityTokenRejected, errs.SessionPolicyTooLarge, errs.AuthorizationMessage:
		return "ServerException", 500 // IAM's own; none of them reaches ECR
	case errs.StorageFull, errs.Internal, errs.SecretMissing, errs.SecretExists, errs.SecretInvalid,
		errs.EventResourceNotFound, errs.EventPatternInvalid, errs.TrailNotFound, errs.TrailExists, errs.TrailNameInvalid, errs.TrailBucketMissing, errs.TrailHomeRegion, errs.LookupAttributesInvalid, errs.TimeRangeInvalid, errs.PageSizeInvalid, errs.ParameterConflict, errs.QuotaNotFound, errs.QuotaRequestOpen:
		return "ServerException", 500
	}
	return "ServerException", 500
}
