// Package problem is how the registry's wire says that something is wrong: the
// error codes of the distribution specification, the one table from failure
// codes to them, and the error document.
//
// It does not own the failures (domain/errs) nor the 401, which is ECR's own and
// written by oci/token.
package problem

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/internal/api/oci/path"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/quota"
)

// The error codes of the distribution specification 1.1, and the three that
// registries have always added to them: TAG_INVALID (the specification keeps
// it from docker), UNAVAILABLE and UNKNOWN (answers 5xx, whose form the
// specification leaves open).
const (
	BlobUnknown         = "BLOB_UNKNOWN"
	BlobUploadInvalid   = "BLOB_UPLOAD_INVALID"
	BlobUploadUnknown   = "BLOB_UPLOAD_UNKNOWN"
	DigestInvalid       = "DIGEST_INVALID"
	ManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN"
	ManifestInvalid     = "MANIFEST_INVALID"
	ManifestUnknown     = "MANIFEST_UNKNOWN"
	NameInvalid         = "NAME_INVALID"
	NameUnknown         = "NAME_UNKNOWN"
	SizeInvalid         = "SIZE_INVALID"
	Denied              = "DENIED"
	Unsupported         = "UNSUPPORTED"
	TooManyRequests     = "TOOMANYREQUESTS"
	TagInvalid          = "TAG_INVALID"
	Unavailable         = "UNAVAILABLE"
	Unknown             = "UNKNOWN"
)

// Seconds after which a client may come back; of a request that was throttled,
// where the failure does not say it.
const (
	retryThrottled   = 1
	retryBusy        = 1
	retryUnavailable = 5
)

// Problem is an error of this wire. Handlers return one only for what is wrong
// with the request's own form; everything else comes as an errs code.
type Problem struct {
	Status  int
	Code    string
	Message string
	// Retry is sent as Retry-After where it is not 0, in seconds.
	Retry int
	// Allow is sent as Allow with a 405.
	Allow string
}

// Error is the text for the log.
func (p *Problem) Error() string { return p.Code + ": " + p.Message }

// Of is the one table from failure codes to this wire. The kind of path tells a
// layer that a manifest misses from one that a client asks for; quirks asks for
// ECR's own status and code where they differ from the specification's.
func Of(err error, at path.Kind, quirks bool, requestID string) Problem {
	quirk := func(p Problem, status int, code string) Problem {
		if quirks {
			p.Status, p.Code = status, code
		}
		return p
	}
	var p *Problem
	if errors.As(err, &p) {
		return *p
	}
	var e *errs.Error
	if !errors.As(err, &e) {
		e = &errs.Error{Code: errs.Internal, Cause: err}
	}
	as := func(status int, code string) Problem { return Problem{Status: status, Code: code, Message: e.Message} }
	switch e.Code {
	case errs.RepositoryNotFound, errs.RegistryNotFound:
		return as(http.StatusNotFound, NameUnknown)
	case errs.ImageNotFound:
		return Problem{Status: http.StatusNotFound, Code: ManifestUnknown, Message: "Requested image not found"}
	case errs.ManifestUntranslated:
		return as(http.StatusNotFound, ManifestUnknown)
	case errs.TagExists, errs.ImageExists:
		return as(http.StatusBadRequest, TagInvalid)
	case errs.ImageDigestMismatch:
		return as(http.StatusBadRequest, DigestInvalid)
	case errs.ManifestInvalid, errs.ManifestTypeMissing:
		return quirk(as(http.StatusBadRequest, ManifestInvalid), http.StatusMethodNotAllowed, Unsupported)
	case errs.ManifestTooLarge:
		return quirk(as(http.StatusRequestEntityTooLarge, ManifestInvalid), http.StatusMethodNotAllowed, Unsupported)
	case errs.ReferencedImagesNotFound:
		return as(http.StatusNotFound, ManifestBlobUnknown)
	case errs.LayersNotFound, errs.LayerInaccessible:
		if at == path.Manifest {
			return as(http.StatusNotFound, ManifestBlobUnknown)
		}
		return as(http.StatusNotFound, BlobUnknown)
	case errs.ImageReferenced:
		p := as(http.StatusMethodNotAllowed, Unsupported)
		p.Allow = "GET, HEAD, PUT"
		return p
	case errs.LayerReferenced:
		p := as(http.StatusMethodNotAllowed, Unsupported)
		p.Allow = "GET, HEAD"
		return p
	case errs.LayerDigestMismatch:
		return quirk(as(http.StatusBadRequest, DigestInvalid), http.StatusBadRequest, BlobUploadInvalid)
	case errs.LayerExists, errs.LayerPartTooSmall, errs.UploadEmpty:
		return as(http.StatusBadRequest, BlobUploadInvalid)
	case errs.UploadInterrupted:
		return as(http.StatusBadRequest, BlobUploadInvalid)
	case errs.LayerPartInvalid, errs.RangeInvalid:
		return as(http.StatusRequestedRangeNotSatisfiable, BlobUploadInvalid)
	case errs.LayerTooLarge:
		return as(http.StatusRequestEntityTooLarge, BlobUploadInvalid)
	case errs.UploadNotFound:
		return as(http.StatusNotFound, BlobUploadUnknown)
	case errs.UploadBusy:
		p := as(http.StatusConflict, BlobUploadInvalid)
		p.Retry = retryBusy
		return p
	case errs.InvalidParameter, errs.Validation, errs.InvalidResourceTag, errs.TooManyResourceTags:
		code := Unsupported
		if at == path.Manifest {
			code = ManifestInvalid
		}
		return quirk(as(http.StatusBadRequest, code), http.StatusMethodNotAllowed, Unsupported)
	case errs.RepositoryExists, errs.RepositoryNotEmpty:
		return as(http.StatusConflict, Unsupported)
	case errs.AccessDenied, errs.PullBlocked, errs.TokenExpired, errs.LimitExceeded, errs.KeyFailure:
		return as(http.StatusForbidden, Denied)
	case errs.Throttled:
		p := as(http.StatusTooManyRequests, TooManyRequests)
		p.Retry = retryThrottled
		if seconds, ok := e.Detail[quota.RetryAfter].(int); ok && seconds > 0 {
			p.Retry = seconds
		}
		return p
	case errs.StorageFull:
		return as(http.StatusInsufficientStorage, Unavailable)
	case errs.Unavailable:
		p := as(http.StatusServiceUnavailable, Unavailable)
		p.Retry = retryUnavailable
		return p
	case errs.UpstreamImageFailed, errs.UpstreamLayerFailed, errs.UpstreamReferrersFailed, errs.SecretNotFound, errs.SecretInaccessible, errs.SecretUndecryptable:
		return as(http.StatusBadGateway, Unavailable) // a pull through the cache
	case errs.EventResourceNotFound, errs.EventPatternInvalid, errs.TrailNotFound, errs.TrailExists, errs.TrailNameInvalid, errs.TrailBucketMissing, errs.TrailHomeRegion, errs.LookupAttributesInvalid, errs.TimeRangeInvalid, errs.PageSizeInvalid, errs.ParameterConflict, errs.QuotaNotFound, errs.QuotaRequestOpen,
		errs.CatalogDataNotFound, errs.RegionUnsupported, errs.ScanNotFound, errs.ImageTypeUnsupported, errs.ImageArchived, errs.BackfillNotFound, errs.BackfillInProgress, errs.BackfillStatusInvalid, errs.PullThroughRuleNotFound, errs.PullThroughRuleExists,
		errs.UpstreamUnsupported, errs.SecretMissing, errs.SecretExists, errs.SecretInvalid,
		errs.LifecyclePolicyNotFound, errs.LifecyclePreviewNotFound, errs.LifecyclePreviewInProgress, errs.TemplateNotFound, errs.TemplateExists,
		errs.ExclusionNotFound, errs.ExclusionExists, errs.StorageClassRefused, errs.DeletionProtected,
		errs.RepositoryPolicyNotFound, errs.RegistryPolicyNotFound, errs.EntityNotFound, errs.EntityExists, errs.EntityInUse, errs.EntityUnmodifiable,
		errs.EntityLimit, errs.InvalidInput, errs.InvalidUserType, errs.PolicyMalformed, errs.PolicyNotAttachable, errs.PasswordRefused, errs.AuthenticationCode,
		errs.ProviderUnreachable, errs.IdentityTokenInvalid, errs.IdentityTokenExpired, errs.IdentityTokenRejected, errs.SessionPolicyTooLarge,
		errs.AuthorizationMessage: // the APIs' own; no route of this wire has them
		return as(http.StatusBadRequest, Unsupported)
	case errs.Internal:
	}
	return Problem{
		Status: http.StatusInternalServerError, Code: Unknown,
		Message: "The registry failed; its log has the reason under request id " + requestID,
	}
}

// envelope is the error document of the specification.
type envelope struct {
	Errors []envelopeError `json:"errors"`
}

type envelopeError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Write writes an error. Headers that the failed row has set, such as
// the range of an upload that goes on, stand beside it.
func Write(w http.ResponseWriter, p Problem) {
	body, err := json.Marshal(envelope{Errors: []envelopeError{{Code: p.Code, Message: p.Message}}})
	if err != nil {
		body = []byte(`{"errors":[{"code":"UNKNOWN"}]}`) // two strings always marshal
	}
	body = append(body, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if p.Retry > 0 {
		h.Set("Retry-After", strconv.Itoa(p.Retry))
	}
	if p.Allow != "" {
		h.Set("Allow", p.Allow)
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // a client that has gone needs no answer
}
