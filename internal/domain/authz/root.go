package authz

import (
	"context"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// Root is the authorizer while root users are the only principals: a root user
// may do everything in its own account and nothing in another one, where a
// resource policy would have to allow it.
type Root struct{}

var _ Authorizer = Root{}

// Authorize answers the request; see Root.
func (Root) Authorize(_ context.Context, r Request) error {
	if len(r.Needs) == 0 {
		return errs.New(errs.Internal, "a request without needs reached the authorizer")
	}
	for _, n := range r.Needs {
		if !r.Principal.IsRoot() {
			return denied(r, n, "because no identity-based policy allows the %s action")
		}
		if !n.Resource.IsZero() && n.Resource.Account != r.Principal.Account {
			return denied(r, n, "because no resource-based policy allows the %s action")
		}
	}
	return nil
}

// denied makes AWS's message (the reason ends it; %s there is the action).
func denied(r Request, n Need, reason string) error {
	resource := "*"
	if !n.Resource.IsZero() {
		resource = n.Resource.String()
	}
	return errs.New(errs.AccessDenied, "User: %s is not authorized to perform: %s on resource: %s "+reason,
		r.Principal.ARN, n.Action, resource, n.Action)
}
