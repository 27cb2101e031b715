// Package errs is the closed list of ways in which Berth refuses or fails. A
// feature returns an *Error with a Code and the finished text for the person
// who reads it; each wire has one table from Code to its own error name and
// status. No AWS or OCI error name stands in this package's code list.
//
// It does not own the tables; see api/ecr, api/sts and api/oci (errors.go).
package errs

import (
	"errors"
	"fmt"
)

// Code names one kind of failure.
type Code int

// The failure codes. A new one has to be added to each wire's table; the
// exhaustive check refuses a table with a hole.
const (
	// Internal is a fault of ours; its cause is logged and never sent.
	Internal Code = iota
	RepositoryNotFound
	RepositoryExists
	RepositoryNotEmpty
	ImageNotFound
	ImageExists
	TagExists // the tag exists on another digest and is immutable
	ImageDigestMismatch
	ManifestInvalid      // bytes that are no acceptable manifest
	ManifestTypeMissing  // no media type in the manifest nor beside it
	ManifestTooLarge     // longer than the manifest limit
	ManifestUntranslated // no form of the manifest that the client accepts
	ReferencedImagesNotFound
	ImageReferenced // an index refers to the image
	LayersNotFound  // a layer is missing that a manifest or a download needs
	LayerInaccessible
	LayerExists
	LayerReferenced // a manifest refers to the layer
	LayerPartTooSmall
	LayerPartInvalid // a gap, an overlap or a length that is not the range's
	LayerDigestMismatch
	LayerTooLarge
	UploadNotFound
	UploadEmpty
	UploadBusy // another request is writing to the upload
	UploadInterrupted
	RangeInvalid
	InvalidParameter
	InvalidResourceTag
	TooManyResourceTags
	LimitExceeded
	KeyFailure // a key cannot be used; Detail "kmsError" has the key service's own code
	Validation // a rule on the request as a whole
	AccessDenied
	TokenExpired // an authorization token past its life
	RepositoryPolicyNotFound
	RegistryPolicyNotFound
	EntityNotFound     // no such user, group, role, policy, provider, device or key
	EntityExists       // its name is taken
	EntityInUse        // something hangs on it that has to go first
	EntityUnmodifiable // it belongs to a service
	EntityLimit        // IAM's quota on entities or their parts
	InvalidInput       // IAM: input that is well-formed and means nothing
	InvalidUserType    // IAM: not for this kind of user
	PolicyMalformed    // a policy document that is none
	PolicyNotAttachable
	PasswordRefused       // the account's password policy
	AuthenticationCode    // a wrong code of an MFA device
	ProviderUnreachable   // an identity provider does not answer
	IdentityTokenInvalid  // a web identity token that cannot be verified
	IdentityTokenExpired  // a web identity token past its life
	IdentityTokenRejected // a claim of a web identity token is not the one wanted
	SessionPolicyTooLarge // session policies and tags over STS's limit
	AuthorizationMessage  // an authorization message that is none of ours
	LifecyclePolicyNotFound
	LifecyclePreviewNotFound
	LifecyclePreviewInProgress
	TemplateNotFound // no repository creation template has the prefix
	TemplateExists
	ExclusionNotFound // no pull-time exclusion of the principal
	ExclusionExists
	StorageClassRefused // an image that cannot change its storage class now
	DeletionProtected   // the repository's own setting against its deletion
	BackfillNotFound    // no replication backfill of the id
	BackfillInProgress  // one goes to the destination already
	BackfillStatusInvalid
	PullThroughRuleNotFound
	PullThroughRuleExists
	UpstreamUnsupported     // no upstream that a pull-through rule can have
	UpstreamImageFailed     // the upstream of a pull-through rule did not give an image
	UpstreamLayerFailed     // or one of its layers
	UpstreamReferrersFailed // or what refers to it
	SecretNotFound          // the secret that a pull-through rule names
	SecretInaccessible      // it must not be read
	SecretUndecryptable     // its key cannot be used
	SecretMissing           // Secrets Manager: no such secret, or version of it
	SecretExists            // Secrets Manager: its name is taken
	SecretInvalid           // Secrets Manager: not in the state that it is in
	ScanNotFound            // no scan of the image
	ImageTypeUnsupported    // an image that cannot be scanned: an index, an artifact
	ImageArchived           // it is archived, and cannot be scanned
	PullBlocked             // a gate of the repository holds the image back
	RegistryNotFound        // no public registry has the account or alias
	CatalogDataNotFound     // nothing was said of a public repository yet
	RegionUnsupported       // public registries are not in the region
	EventResourceNotFound   // EventBridge: no such rule, bus or target
	EventPatternInvalid     // an event pattern that is none
	TrailNotFound           // CloudTrail: no trail has the name
	TrailExists             // CloudTrail: its name is taken
	TrailNameInvalid
	TrailBucketMissing      // no bucket of the name can be written to
	TrailHomeRegion         // a trail is changed in its home region only
	LookupAttributesInvalid // attributes that the trail cannot be searched by
	TimeRangeInvalid        // an end before its start
	PageSizeInvalid         // CloudTrail: more or fewer results than a page has
	ParameterConflict       // parameters that exclude each other
	QuotaNotFound           // no such service, quota or request for more of one
	QuotaRequestOpen        // more of the quota is asked for already
	Throttled
	StorageFull
	Unavailable // draining, or a dependency is away
)

// Error is a failure with its finished text.
type Error struct {
	Code    Code
	Message string
	// Detail holds what a wire may send as members of its own, by the
	// ECR API's member names: "lastValidByteReceived", "uploadId", "kmsError".
	Detail map[string]any
	// Cause is logged, never sent.
	Cause error
}

// Error is the text for the log: the message with its cause.
func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Message + ": " + e.Cause.Error()
	}
	return e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// New makes an error of the code with a formatted message.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes an error of the code that remembers its cause for the log.
func Wrap(cause error, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Cause: cause}
}

// With adds a detail member and returns the error.
func (e *Error) With(key string, value any) *Error {
	if e.Detail == nil {
		e.Detail = map[string]any{}
	}
	e.Detail[key] = value
	return e
}

// Parameter is an InvalidParameter failure in ECR's form.
func Parameter(member, constraint string) *Error {
	return New(InvalidParameter, "Invalid parameter at '%s' failed to satisfy constraint: '%s'", member, constraint)
}

// CodeOf returns the code of err, and Internal for an error that is not ours.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}

// Is says whether err carries the code.
func Is(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
