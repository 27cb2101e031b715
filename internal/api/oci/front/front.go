// Package front is the seam between the pipeline of api/oci and the kinds of
// registries that it serves: who asks, which registry a path means, what that takes,
// and how a stranger is sent away. Private registries are Private, public ones
// oci/public's; the pipeline does not know which of them it has.
package front

import (
	"context"
	"net/http"

	"github.com/berth-registry/berth/internal/api/oci/path"
	"github.com/berth-registry/berth/internal/api/oci/token"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// Front is one kind of registries, as its clients meet it. It is safe for concurrent
// use. Failures are errs codes, or a *problem.Problem where the wire has an answer of
// its own.
type Front interface {
	// Reach says under which base URL (scheme://host[:port]) a request has come, and
	// which registry the host alone stands for, as far as it does. ok is false for a
	// host that has no registries.
	Reach(r *http.Request) (reg name.Registry, base string, ok bool)
	// Authenticate says who asks; the zero Principal is anybody, where the front lets
	// anybody in. A 401 is answered by Challenge.
	Authenticate(ctx context.Context, r *http.Request, reg name.Registry) (principal.Principal, error)
	// Challenge writes the whole 401.
	Challenge(w http.ResponseWriter, base string)
	// Serves says whether there are such paths here.
	Serves(k path.Kind) bool
	// Locate finds the registry of a repository that a client calls so, and the
	// repository's name in it, which is not checked yet. errs.RegistryNotFound.
	Locate(ctx context.Context, reg name.Registry, called string) (name.Registry, string, error)
	// Needs says what the caller has to be allowed for what a row needs of a private
	// registry; nothing, where anybody may. errs.AccessDenied for who never may.
	Needs(caller principal.Principal, needs []authz.Need) ([]authz.Need, error)
	// Admit holds a request to the rates; see oci.Config.Throttle.
	Admit(ctx context.Context, a Ask) error
	// Meter is told how many bytes of content a request was answered with; nil where
	// nobody counts them.
	Meter(caller principal.Principal, o authz.Origin) func(bytes int64)
	// Service is how the audit trail and policies call what the registry belongs to.
	Service(reg name.Registry) Service
}

// Ask is a request that wants to be admitted.
type Ask struct {
	Caller   principal.Principal
	Origin   authz.Origin
	Registry name.Registry
	// Method is the request's, Action the operation that it is (or is besides) in the
	// words of the ECR API.
	Method, Action string
}

// Service is an AWS service in a region.
type Service struct {
	// EventSource is its name in audit entries, "ecr.amazonaws.com".
	EventSource string
	// Region is where a request to it is made.
	Region name.Region
}

// Private is the front of private registries: the host names one, every request has a
// token, and every row needs what it says.
type Private struct {
	Resolve  func(*http.Request) (reg name.Registry, base string, ok bool)
	Tokens   token.Verifier
	Throttle func(ctx context.Context, caller name.AccountID, addressed name.Region, action string) error
}

var _ Front = Private{}

// Reach implements Front.
func (p Private) Reach(r *http.Request) (name.Registry, string, bool) { return p.Resolve(r) }

// Authenticate implements Front.
func (p Private) Authenticate(ctx context.Context, r *http.Request, reg name.Registry) (principal.Principal, error) {
	return token.Authenticate(ctx, p.Tokens, r, reg.Region)
}

// Challenge implements Front.
func (p Private) Challenge(w http.ResponseWriter, base string) { token.Challenge(w, base) }

// Serves implements Front.
func (p Private) Serves(path.Kind) bool { return true }

// Locate implements Front.
func (p Private) Locate(_ context.Context, reg name.Registry, called string) (name.Registry, string, error) {
	return reg, called, nil
}

// Needs implements Front.
func (p Private) Needs(_ principal.Principal, needs []authz.Need) ([]authz.Need, error) {
	return needs, nil
}

// Admit implements Front.
func (p Private) Admit(ctx context.Context, a Ask) error {
	if p.Throttle == nil {
		return nil
	}
	return p.Throttle(ctx, a.Caller.Account, a.Registry.Region, a.Action)
}

// Meter implements Front.
func (p Private) Meter(principal.Principal, authz.Origin) func(int64) { return nil }

// Service implements Front.
func (p Private) Service(reg name.Registry) Service {
	return Service{EventSource: "ecr.amazonaws.com", Region: reg.Region}
}
