// Package authz decides whether a principal may perform actions on resources,
// and says why not. Every edge asks it, through its pipeline only.
//
// It does not authenticate (api/aws/sigv4, api/oci) and keeps no policies
// itself.
package authz

import (
	"context"
	"net/netip"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// Need is one action on one resource that a request asks for.
type Need struct {
	// Action is the IAM action, "ecr:PutImage".
	Action string
	// Resource is what it acts on; the zero ARN stands for "*", for actions
	// without a resource type.
	Resource name.ARN
}

// Request is one question: may this principal do all of this?
type Request struct {
	Principal principal.Principal
	Needs     []Need
	Region    name.Region
	SourceIP  netip.Addr
	UserAgent string
	Secure    bool
}

// Authorizer answers Requests. A refusal is an errs.AccessDenied whose message
// is the one that AWS sends.
type Authorizer interface {
	Authorize(ctx context.Context, r Request) error
}
