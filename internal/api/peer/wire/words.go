package wire

import (
	"errors"
	"net/http"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// The words of refusals that are about the exchange itself. They are no failures of
// the domain.
const (
	RefusedMalformed  = "malformed-request"
	RefusedAudience   = "unknown-receiver"    // the request is for a key that is not the receiver's
	RefusedKey        = "unknown-sender"      // the receiver knows no peer with the key
	RefusedSignature  = "bad-signature"       // of a key that it knows
	RefusedClock      = "clock-skew"          // the time is too far from the receiver's
	RefusedReplay     = "repeated-request"    // the nonce was there before
	RefusedAccount    = "account-not-granted" // the peer may not speak for the account
	RefusedContent    = "content-mismatch"    // the body is not the one that was signed
	RefusedIncomplete = "incomplete-body"     // the body broke off, or stood still
)

// internal is the word of what is not told.
const internal = "internal"

// Of turns an error into the status and the body of an answer. The text of what is no
// failure of the domain stays here; requestID says where it is in the log.
func Of(err error, requestID string) (int, Failure) {
	var e *errs.Error
	if !errors.As(err, &e) || e.Code == errs.Internal || word(e.Code) == "" {
		return http.StatusInternalServerError, Failure{Word: internal, Message: "The peer failed; its log has the reason under request id " + requestID + "."}
	}
	status := http.StatusUnprocessableEntity
	switch {
	case e.Code == errs.AccessDenied:
		status = http.StatusForbidden
	case e.Code == errs.Throttled:
		status = http.StatusTooManyRequests
	case e.Code == errs.Unavailable:
		status = http.StatusServiceUnavailable
	case e.Code == errs.StorageFull:
		status = http.StatusInsufficientStorage
	}
	return status, Failure{Word: word(e.Code), Message: e.Message}
}

// Code turns a failure's word back into its code: errs.Internal for a word that this
// program does not know, as from a later one.
func Code(w string) errs.Code {
	for c := errs.Internal; c <= errs.Unavailable; c++ {
		if word(c) == w {
			return c
		}
	}
	return errs.Internal
}

// word is the table from failure codes to this wire. Words never change their
// meaning: the other side may be an older or a later program.
func word(c errs.Code) string {
	switch c {
	case errs.Internal:
		return internal
	case errs.RepositoryNotFound:
		return "repository-not-found"
	case errs.RepositoryExists:
		return "repository-exists"
	case errs.RepositoryNotEmpty:
		return "repository-not-empty"
	case errs.ImageNotFound:
		return "image-not-found"
	case errs.ImageExists:
		return "image-exists"
	case errs.TagExists:
		return "tag-exists"
	case errs.ImageDigestMismatch:
		return "image-digest-mismatch"
	case errs.ManifestInvalid:
		return "manifest-invalid"
	case errs.ManifestTypeMissing:
		return "manifest-type-missing"
	case errs.ManifestTooLarge:
		return "manifest-too-large"
	case errs.ManifestUntranslated:
		return "manifest-untranslated"
	case errs.ReferencedImagesNotFound:
		return "referenced-images-not-found"
	case errs.ImageReferenced:
		return "image-referenced"
	case errs.LayersNotFound:
		return "layers-not-found"
	case errs.LayerInaccessible:
		return "layer-inaccessible"
	case errs.LayerExists:
		return "layer-exists"
	case errs.LayerReferenced:
		return "layer-referenced"
	case errs.LayerPartTooSmall:
		return "layer-part-too-small"
	case errs.LayerPartInvalid:
		return "layer-part-invalid"
	case errs.LayerDigestMismatch:
		return "layer-digest-mismatch"
	case errs.LayerTooLarge:
		return "layer-too-large"
	case errs.UploadNotFound:
		return "upload-not-found"
	case errs.UploadEmpty:
		return "upload-empty"
	case errs.UploadBusy:
		return "upload-busy"
	case errs.UploadInterrupted:
		return "upload-interrupted"
	case errs.RangeInvalid:
		return "range-invalid"
	case errs.InvalidParameter:
		return "invalid-parameter"
	case errs.InvalidResourceTag:
		return "invalid-resource-tag"
	case errs.TooManyResourceTags:
		return "too-many-resource-tags"
	case errs.LimitExceeded:
		return "limit-exceeded"
	case errs.KeyFailure:
		return "key-failure"
	case errs.Validation:
		return "validation"
	case errs.AccessDenied:
		return "access-denied"
	case errs.TokenExpired:
		return "token-expired"
	case errs.RepositoryPolicyNotFound:
		return "repository-policy-not-found"
	case errs.RegistryPolicyNotFound:
		return "registry-policy-not-found"
	case errs.EntityNotFound:
		return "entity-not-found"
	case errs.EntityExists:
		return "entity-exists"
	case errs.EntityInUse:
		return "entity-in-use"
	case errs.EntityUnmodifiable:
		return "entity-unmodifiable"
	case errs.EntityLimit:
		return "entity-limit"
	case errs.InvalidInput:
		return "invalid-input"
	case errs.InvalidUserType:
		return "invalid-user-type"
	case errs.PolicyMalformed:
		return "policy-malformed"
	case errs.PolicyNotAttachable:
		return "policy-not-attachable"
	case errs.PasswordRefused:
		return "password-refused"
	case errs.AuthenticationCode:
		return "authentication-code"
	case errs.ProviderUnreachable:
		return "provider-unreachable"
	case errs.IdentityTokenInvalid:
		return "identity-token-invalid"
	case errs.IdentityTokenExpired:
		return "identity-token-expired"
	case errs.IdentityTokenRejected:
		return "identity-token-rejected"
	case errs.SessionPolicyTooLarge:
		return "session-policy-too-large"
	case errs.AuthorizationMessage:
		return "authorization-message"
	case errs.LifecyclePolicyNotFound:
		return "lifecycle-policy-not-found"
	case errs.LifecyclePreviewNotFound:
		return "lifecycle-preview-not-found"
	case errs.LifecyclePreviewInProgress:
		return "lifecycle-preview-in-progress"
	case errs.TemplateNotFound:
		return "template-not-found"
	case errs.TemplateExists:
		return "template-exists"
	case errs.ExclusionNotFound:
		return "exclusion-not-found"
	case errs.ExclusionExists:
		return "exclusion-exists"
	case errs.StorageClassRefused:
		return "storage-class-refused"
	case errs.DeletionProtected:
		return "deletion-protected"
	case errs.BackfillNotFound:
		return "backfill-not-found"
	case errs.BackfillInProgress:
		return "backfill-in-progress"
	case errs.BackfillStatusInvalid:
		return "backfill-status-invalid"
	case errs.PullThroughRuleNotFound:
		return "pull-through-rule-not-found"
	case errs.PullThroughRuleExists:
		return "pull-through-rule-exists"
	case errs.UpstreamUnsupported:
		return "upstream-unsupported"
	case errs.UpstreamImageFailed:
		return "upstream-image-failed"
	case errs.UpstreamLayerFailed:
		return "upstream-layer-failed"
	case errs.UpstreamReferrersFailed:
		return "upstream-referrers-failed"
	case errs.SecretNotFound:
		return "secret-not-found"
	case errs.SecretInaccessible:
		return "secret-inaccessible"
	case errs.SecretUndecryptable:
		return "secret-undecryptable"
	case errs.SecretMissing:
		return "secret-missing"
	case errs.SecretExists:
		return "secret-exists"
	case errs.SecretInvalid:
		return "secret-invalid"
	case errs.ScanNotFound:
		return "scan-not-found"
	case errs.ImageTypeUnsupported:
		return "image-type-unsupported"
	case errs.ImageArchived:
		return "image-archived"
	case errs.PullBlocked:
		return "pull-blocked"
	case errs.RegistryNotFound:
		return "registry-not-found"
	case errs.CatalogDataNotFound:
		return "catalog-data-not-found"
	case errs.RegionUnsupported:
		return "region-unsupported"
	case errs.EventResourceNotFound:
		return "event-resource-not-found"
	case errs.EventPatternInvalid:
		return "event-pattern-invalid"
	case errs.TrailNotFound:
		return "trail-not-found"
	case errs.TrailExists:
		return "trail-exists"
	case errs.TrailNameInvalid:
		return "trail-name-invalid"
	case errs.TrailBucketMissing:
		return "trail-bucket-missing"
	case errs.TrailHomeRegion:
		return "trail-home-region"
	case errs.LookupAttributesInvalid:
		return "lookup-attributes-invalid"
	case errs.TimeRangeInvalid:
		return "time-range-invalid"
	case errs.PageSizeInvalid:
		return "page-size-invalid"
	case errs.ParameterConflict:
		return "parameter-conflict"
	case errs.QuotaNotFound:
		return "quota-not-found"
	case errs.QuotaRequestOpen:
		return "quota-request-open"
	case errs.Throttled:
		return "throttled"
	case errs.StorageFull:
		return "storage-full"
	case errs.Unavailable:
		return "unavailable"
	}
	return ""
}
