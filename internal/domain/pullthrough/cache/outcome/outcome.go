// Package outcome owns what the pull-through cache makes of the answers of upstreams:
// the failures and texts that clients get, the numbers that metrics show, and how long
// an upstream that fails is left alone.
//
// It asks nobody; pullthrough/cache and pullthrough/cache/fetch do, and tell it.
package outcome

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

// The reasons for which a local copy is served in place of what the upstream may
// have, and the outcomes of requests, beside the names of upstream.Kind.
const (
	// OutcomeOK is a request that was answered.
	OutcomeOK = "ok"
	// ReasonSlow: the upstream did not answer within Limits.Slow.
	ReasonSlow = "slow"
	// ReasonCredentials: what the rule speaks to its upstream with cannot be had.
	ReasonCredentials = "credentials"
	// ReasonLayers: the new image of the tag is known, and its layers could not be had.
	ReasonLayers = "layers"
	// ReasonLocal: the upstream has given an image that cannot be kept here.
	ReasonLocal = "local"
)

// CredentialsError is a failure to find out how an upstream is spoken to.
type CredentialsError struct{ Err error }

// Error is the text of Err.
func (e CredentialsError) Error() string { return e.Err.Error() }

// Unwrap is Err.
func (e CredentialsError) Unwrap() error { return e.Err }

// Reason is the word for a failure in metrics and logs.
func Reason(err error) string {
	var c CredentialsError
	switch kind := upstream.KindOf(err); {
	case kind != 0:
		return kind.String()
	case errors.As(err, &c):
		return ReasonCredentials
	case errors.Is(err, context.DeadlineExceeded):
		return ReasonSlow
	case unfit(errs.CodeOf(err)):
		return upstream.Invalid.String()
	}
	return ReasonLocal
}

// unfit says whether a failure is that of a manifest that nobody could keep.
func unfit(code errs.Code) bool {
	return code == errs.ManifestInvalid || code == errs.ManifestTooLarge || code == errs.ManifestTypeMissing || code == errs.ImageDigestMismatch
}

// Plain says what failed at the upstream, without anything that the upstream said.
func Plain(err error) string {
	switch upstream.KindOf(err) {
	case upstream.NotFound:
		return "it does not have it"
	case upstream.Unauthorized:
		return "it refused the rule's credentials, or does not have it"
	case upstream.TooManyRequests:
		return "it gets too many requests"
	case upstream.Unavailable:
		return "it cannot be reached, or does not work"
	case upstream.Refused:
		return "it leads to an address that is not allowed, or its certificate cannot be verified"
	case upstream.Invalid:
		return "what it sent is damaged, or nothing that a registry sends"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "it took too long"
	}
	return "the answer could not be used"
}

// ImageError is the failure of a pull for which nothing is here.
func ImageError(rule pullthrough.Rule, repo name.Repository, err error) error {
	var f *upstream.Failure
	var c CredentialsError
	var own *errs.Error
	what := "The image of the repository with name '" + string(repo) + "'"
	switch {
	case errors.As(err, &f):
		switch f.Kind {
		case upstream.NotFound:
			return errs.Wrap(err, errs.ImageNotFound, "Requested image not found")
		case upstream.TooManyRequests:
			return Throttled(rule, err, f.RetryAfter)
		default:
		}
	case errors.As(err, &c):
		return errs.Wrap(err, errs.UpstreamImageFailed, "%s could not be pulled from the upstream registry %s: the rule's credentials cannot be used%s", what, rule.URL, sentence(c.Err))
	case errors.As(err, &own):
		if unfit(own.Code) {
			return errs.Wrap(err, errs.UpstreamImageFailed, "%s could not be pulled from the upstream registry %s: its manifest cannot be kept: %s", what, rule.URL, own.Message)
		}
		return err
	case !errors.Is(err, context.DeadlineExceeded):
		return err // a fault of ours, or the caller's context
	}
	return errs.Wrap(err, errs.UpstreamImageFailed, "%s could not be pulled from the upstream registry %s: %s", what, rule.URL, Plain(err))
}

// sentence is the text of a failure that has one for people, after a colon.
func sentence(err error) string {
	var own *errs.Error
	if errors.As(err, &own) && own.Code != errs.Internal {
		return ": " + own.Message
	}
	return ""
}

// LayerError is the failure of a blob that could not be brought.
func LayerError(rule pullthrough.Rule, r repository.Repository, d name.Digest, err error) error {
	var f *upstream.Failure
	var c CredentialsError
	const text = "The layer with digest '%s' of the repository with name '%s' could not be pulled from the upstream registry %s: %s"
	switch {
	case errors.As(err, &f) && f.Kind == upstream.TooManyRequests:
		return Throttled(rule, err, f.RetryAfter)
	case f != nil:
		return errs.Wrap(err, errs.UpstreamLayerFailed, text, d, r.Name, rule.URL, Plain(err))
	case errors.As(err, &c):
		return errs.Wrap(err, errs.UpstreamLayerFailed, text, d, r.Name, rule.URL, "the rule's credentials cannot be used"+sentence(c.Err))
	}
	return err
}

// Throttled passes on that the upstream gets too many requests.
func Throttled(rule pullthrough.Rule, cause error, after time.Duration) error {
	seconds := min(max(int(math.Ceil(after.Seconds())), 1), maxRetryAfter)
	return errs.Wrap(cause, errs.Throttled, "The upstream registry %s gets too many requests. Try again later, or give its rule credentials of its own.", rule.URL).
		With(quota.RetryAfter, seconds)
}

// maxRetryAfter bounds what a client is told, in seconds.
const maxRetryAfter = 3600
