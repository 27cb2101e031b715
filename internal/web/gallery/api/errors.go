package api

import (
	"net/http"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// ErrorOf is the gallery's one table from a failure to the error of the API, with its
// status, and to the status of a page. What cannot happen to somebody who only reads what is public
// would be a fault of ours.
func ErrorOf(code errs.Code) (kind string, status, page int) {
	switch code {
	case errs.RepositoryNotFound, errs.CatalogDataNotFound, errs.ImageNotFound:
		return "RepositoryNotFoundException", http.StatusBadRequest, http.StatusNotFound
	case errs.RegistryNotFound:
		return "RegistryNotFoundException", http.StatusBadRequest, http.StatusNotFound
	case errs.InvalidParameter, errs.Validation:
		return "InvalidParameterException", http.StatusBadRequest, http.StatusBadRequest
	case errs.Throttled:
		return "TooManyRequestsException", http.StatusTooManyRequests, http.StatusTooManyRequests
	case errs.Unavailable:
		return "ServerException", http.StatusServiceUnavailable, http.StatusServiceUnavailable
	case errs.Internal, errs.RepositoryExists, errs.RepositoryNotEmpty, errs.ImageExists, errs.TagExists, errs.ImageDigestMismatch, errs.ManifestInvalid,
		errs.ManifestTypeMissing, errs.ManifestTooLarge, errs.ManifestUntranslated, errs.ReferencedImagesNotFound, errs.ImageReferenced,
		errs.LayersNotFound, errs.LayerInaccessible, errs.LayerExists, errs.LayerReferenced, errs.LayerPartTooSmall, errs.LayerPartInvalid,
		errs.LayerDigestMismatch, errs.LayerTooLarge, errs.UploadNotFound, errs.UploadEmpty, errs.UploadBusy, errs.UploadInterrupted, errs.RangeInvalid,
		errs.InvalidResourceTag, errs.TooManyResourceTags, errs.LimitExceeded, errs.KeyFailure, errs.AccessDenied, errs.TokenExpired,
		errs.RepositoryPolicyNotFound, errs.RegistryPolicyNotFound, errs.EntityNotFound, errs.EntityExists, errs.EntityInUse, errs.EntityUnmodifiable,
		errs.EntityLimit, errs.InvalidInput, errs.InvalidUserType, errs.PolicyMalformed, errs.PolicyNotAttachable, errs.PasswordRefused,
		errs.AuthenticationCode, errs.ProviderUnreachable, errs.IdentityTokenInvalid, errs.IdentityTokenExpired, errs.IdentityTokenRejected,
		errs.SessionPolicyTooLarge, errs.AuthorizationMessage, errs.LifecyclePolicyNotFound, errs.LifecyclePreviewNotFound, errs.LifecyclePreviewInProgress,
		errs.TemplateNotFound, errs.TemplateExists, errs.ExclusionNotFound, errs.ExclusionExists, errs.StorageClassRefused, errs.DeletionProtected,
		errs.BackfillNotFound, errs.BackfillInProgress, errs.BackfillStatusInvalid, errs.PullThroughRuleNotFound, errs.PullThroughRuleExists,
		errs.UpstreamUnsupported, errs.UpstreamImageFailed, errs.UpstreamLayerFailed, errs.UpstreamReferrersFailed, errs.SecretNotFound,
		errs.SecretInaccessible, errs.SecretUndecryptable, errs.SecretMissing, errs.SecretExists, errs.SecretInvalid, errs.ScanNotFound,
		errs.ImageTypeUnsupported, errs.ImageArchived, errs.PullBlocked, errs.RegionUnsupported, errs.StorageFull,
		errs.EventResourceNotFound, errs.EventPatternInvalid, errs.TrailNotFound, errs.TrailExists, errs.TrailNameInvalid, errs.TrailBucketMissing, errs.TrailHomeRegion, errs.LookupAttributesInvalid, errs.TimeRangeInvalid, errs.PageSizeInvalid, errs.ParameterConflict, errs.QuotaNotFound, errs.QuotaRequestOpen:
		return "ServerException", http.StatusInternalServerError, http.StatusInternalServerError
	}
	return "ServerException", http.StatusInternalServerError, http.StatusInternalServerError
}
