package oci

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/internal/api/oci/path"
	"github.com/berth-registry/berth/internal/domain/errs"
)

// The error codes of the distribution specification 1.1, and the three that
// registries have always added to them: TAG_INVALID (the specification keeps
// it from docker), UNAVAILABLE and UNKNOWN (answers 5xx, whose form the
// specification leaves open).
const (
	codeBlobUnknown         = "BLOB_UNKNOWN"
	codeBlobUploadInvalid   = "BLOB_UPLOAD_INVALID"
	codeBlobUploadUnknown   = "BLOB_UPLOAD_UNKNOWN"
	codeDigestInvalid       = "DIGEST_INVALID"
	codeManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN"
	codeManifestInvalid     = "MANIFEST_INVALID"
	codeManifestUnknown     = "MANIFEST_UNKNOWN"
	codeNameInvalid         = "NAME_INVALID"
	codeNameUnknown         = "NAME_UNKNOWN"
	codeSizeInvalid         = "SIZE_INVALID"
	codeDenied              = "DENIED"
	codeUnsupported         = "UNSUPPORTED"
	codeTooManyRequests     = "TOOMANYREQUESTS"
	codeTagInvalid          = "TAG_INVALID"
	codeUnavailable         = "UNAVAILABLE"
	codeUnknown             = "UNKNOWN"
)

// Seconds after which a client may come back.
const (
	retryThrottled   = 1
	retryBusy        = 1
	retryUnavailable = 5
)

// problem is an error of this wire. Handlers return one only for what is wrong
// with the request's own form; everything else comes as an errs code.
type problem struct {
	status  int
	code    string
	message string
	// retry is sent as Retry-After where it is not 0, in seconds.
	retry int
	// allow is sent as Allow with a 405.
	allow string
}

func (p *problem) Error() string { return p.code + ": " + p.message }

// invalid refuses a parameter of the request: by the specification's own code
// with 400, or as ECR does, for which every invalid parameter is an
// unsupported operation.
func (a *API) invalid(code, parameter, constraint string) error {
	p := &problem{status: http.StatusBadRequest, code: code, message: errs.Parameter(parameter, constraint).Message}
	if a.c.Quirks {
		p.status, p.code = http.StatusMethodNotAllowed, codeUnsupported
	}
	return p
}

// quirk gives ECR's own status and code where quirks are asked for.
func (a *API) quirk(p problem, status int, code string) problem {
	if a.c.Quirks {
		p.status, p.code = status, code
	}
	return p
}

// problemOf is the one table from failure codes to this wire. The kind of path
// tells a layer that a manifest misses from one that a client asks for.
func (a *API) problemOf(err error, at path.Kind, requestID string) problem {
	var p *problem
	if errors.As(err, &p) {
		return *p
	}
	var e *errs.Error
	if !errors.As(err, &e) {
		e = &errs.Error{Code: errs.Internal, Cause: err}
	}
	as := func(status int, code string) problem { return problem{status: status, code: code, message: e.Message} }
	switch e.Code {
	case errs.RepositoryNotFound:
		return as(http.StatusNotFound, codeNameUnknown)
	case errs.ImageNotFound:
		return problem{status: http.StatusNotFound, code: codeManifestUnknown, message: "Requested image not found"}
	case errs.ManifestUntranslated:
		return as(http.StatusNotFound, codeManifestUnknown)
	case errs.TagExists, errs.ImageExists:
		return as(http.StatusBadRequest, codeTagInvalid)
	case errs.ImageDigestMismatch:
		return as(http.StatusBadRequest, codeDigestInvalid)
	case errs.ManifestInvalid, errs.ManifestTypeMissing:
		return a.quirk(as(http.StatusBadRequest, codeManifestInvalid), http.StatusMethodNotAllowed, codeUnsupported)
	case errs.ManifestTooLarge:
		return a.quirk(as(http.StatusRequestEntityTooLarge, codeManifestInvalid), http.StatusMethodNotAllowed, codeUnsupported)
	case errs.ReferencedImagesNotFound:
		return as(http.StatusNotFound, codeManifestBlobUnknown)
	case errs.LayersNotFound, errs.LayerInaccessible:
		if at == path.Manifest {
			return as(http.StatusNotFound, codeManifestBlobUnknown)
		}
		return as(http.StatusNotFound, codeBlobUnknown)
	case errs.ImageReferenced:
		p := as(http.StatusMethodNotAllowed, codeUnsupported)
		p.allow = "GET, HEAD, PUT"
		return p
	case errs.LayerReferenced:
		p := as(http.StatusMethodNotAllowed, codeUnsupported)
		p.allow = "GET, HEAD"
		return p
	case errs.LayerDigestMismatch:
		return a.quirk(as(http.StatusBadRequest, codeDigestInvalid), http.StatusBadRequest, codeBlobUploadInvalid)
	case errs.LayerExists, errs.LayerPartTooSmall, errs.UploadEmpty:
		return as(http.StatusBadRequest, codeBlobUploadInvalid)
	case errs.UploadInterrupted:
		return as(http.StatusBadRequest, codeBlobUploadInvalid)
	case errs.LayerPartInvalid, errs.RangeInvalid:
		return as(http.StatusRequestedRangeNotSatisfiable, codeBlobUploadInvalid)
	case errs.LayerTooLarge:
		return as(http.StatusRequestEntityTooLarge, codeBlobUploadInvalid)
	case errs.UploadNotFound:
		return as(http.StatusNotFound, codeBlobUploadUnknown)
	case errs.UploadBusy:
		p := as(http.StatusConflict, codeBlobUploadInvalid)
		p.retry = retryBusy
		return p
	case errs.InvalidParameter, errs.Validation, errs.InvalidResourceTag, errs.TooManyResourceTags:
		code := codeUnsupported
		if at == path.Manifest {
			code = codeManifestInvalid
		}
		return a.quirk(as(http.StatusBadRequest, code), http.StatusMethodNotAllowed, codeUnsupported)
	case errs.RepositoryExists, errs.RepositoryNotEmpty:
		return as(http.StatusConflict, codeUnsupported)
	case errs.AccessDenied, errs.TokenExpired, errs.LimitExceeded, errs.KeyFailure:
		return as(http.StatusForbidden, codeDenied)
	case errs.Throttled:
		p := as(http.StatusTooManyRequests, codeTooManyRequests)
		p.retry = retryThrottled
		return p
	case errs.StorageFull:
		return as(http.StatusInsufficientStorage, codeUnavailable)
	case errs.Unavailable:
		p := as(http.StatusServiceUnavailable, codeUnavailable)
		p.retry = retryUnavailable
		return p
	case errs.RepositoryPolicyNotFound, errs.RegistryPolicyNotFound, errs.EntityNotFound, errs.EntityExists, errs.EntityInUse, errs.EntityUnmodifiable,
		errs.EntityLimit, errs.InvalidInput, errs.InvalidUserType, errs.PolicyMalformed, errs.PolicyNotAttachable, errs.PasswordRefused, errs.AuthenticationCode,
		errs.ProviderUnreachable, errs.IdentityTokenInvalid, errs.IdentityTokenExpired, errs.IdentityTokenRejected, errs.SessionPolicyTooLarge,
		errs.AuthorizationMessage: // the APIs' own; no route of this wire has them
		return as(http.StatusBadRequest, codeUnsupported)
	case errs.Internal:
	}
	return problem{
		status: http.StatusInternalServerError, code: codeUnknown,
		message: "The registry failed; its log has the reason under request id " + requestID,
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

// writeProblem writes an error. Headers that the failed row has set, such as
// the range of an upload that goes on, stand beside it.
func writeProblem(w http.ResponseWriter, p problem) {
	body, err := json.Marshal(envelope{Errors: []envelopeError{{Code: p.code, Message: p.message}}})
	if err != nil {
		body = []byte(`{"errors":[{"code":"UNKNOWN"}]}`) // two strings always marshal
	}
	body = append(body, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if p.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retry))
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	w.WriteHeader(p.status)
	_, _ = w.Write(body) // a client that has gone needs no answer
}
