package policy

import (
	"github.com/berth-registry/berth/internal/domain/policy/pattern"
)

// Grammar says which elements a kind of policy admits (IAM user
// guide, "Grammar of the IAM JSON policy language").
type Grammar int

// The grammars.
const (
	// Identity is for managed, inline and session policies and for permissions
	// boundaries: no Principal, Resource required, Sids alphanumeric and unique.
	Identity Grammar = iota + 1
	// Trust is for role trust policies: Principal required, Resource refused,
	// only actions of STS.
	Trust
	// Repository is for ECR repository policies: Principal required, Resource
	// optional (a statement without one covers the repository it hangs on), any
	// text as Sid.
	Repository
	// Registry is for ECR registry policies: Principal and Resource required,
	// any text as Sid.
	Registry
	// ServiceControl is for service control policies: as Identity.
	ServiceControl
)

// SyntaxError says why a text is no policy of its grammar.
type SyntaxError struct {
	// Message is the text of AWS's MalformedPolicyDocument where it is known,
	// ours otherwise. It may quote the policy.
	Message string
}

// Error returns the message.
func (e *SyntaxError) Error() string { return e.Message }

// PrincipalRef is a principal as a policy names it.
type PrincipalRef struct {
	// Type is "AWS", "Service" or "Federated".
	Type string
	// Value is what stands there: an ARN, an account id, a unique id, a service
	// name, a provider. "*" alone, without a type, is {"AWS", "*"}.
	Value string
}

// Named is a policy with what to call it in an explanation.
type Named struct {
	// Name is an ARN, or "inline policy NAME of user NAME".
	Name string
	// Document is the policy; nil is one without statements.
	Document *Document
}

// CallerType says what kind of principal asks.
type CallerType int

// The types of callers. Those from Service on have no identity policies: the
// resource policies alone decide.
const (
	// Root is the root user of an account.
	Root CallerType = iota + 1
	// User is an IAM user, also with a session from GetSessionToken.
	User
	// AssumedRole is a session of a role.
	AssumedRole
	// FederatedUser is a session from GetFederationToken.
	FederatedUser
	// WebIdentity is who holds a token of a provider and wants a role for it.
	WebIdentity
	// Service is an AWS service that acts by itself.
	Service
	// Anonymous is a caller without credentials.
	Anonymous
)

// Caller is who asks, as Principal elements see it.
type Caller struct {
	Type CallerType
	// Account is the caller's account, 12 digits; "" for services, web
	// identities and anonymous callers.
	Account string
	// ARN is the caller's own: arn:aws:iam::A:root, arn:aws:iam::A:user/x,
	// arn:aws:sts::A:assumed-role/R/session, arn:aws:sts::A:federated-user/n.
	ARN string
	// ParentARN is the ARN of the IAM role (with its path) behind an AssumedRole,
	// of the user behind a FederatedUser; else "".
	ParentARN string
	// UniqueID is the user's or role's, AIDA... or AROA..., without the name of
	// the session; the account id for root.
	UniqueID string
	// Service is the name of a Service, "codebuild.amazonaws.com".
	Service string
	// Provider is the ARN of a WebIdentity's provider, or the host of a built-in
	// one.
	Provider string
}

// Context gives the values of condition keys. Its Lookup gets a key in lower
// case ("aws:sourceip", "aws:requesttag/environment") and must be safe to call
// often; a key without values counts as missing.
type Context = pattern.Context

// Request is one action on one resource, by a caller.
type Request struct {
	// Action is "ecr:PutImage", in any case.
	Action string
	// Resource is an ARN, or "*" where the action has none.
	Resource string
	Caller   Caller
	// Context may be nil: no condition key has a value.
	Context Context
}

// Sources are all policies that have a say.
type Sources struct {
	// Root says that the caller is the root user of its account: its identity
	// side allows everything.
	Root bool
	// Identity holds the policies of the user or role, and of its groups.
	Identity []Named
	// Boundary is the permissions boundary, nil for none.
	Boundary *Named
	// Sessioned says that the caller's session carries session policies: then
	// Session limits it, also when it is empty. A Session that is not empty
	// counts in any case.
	Sessioned bool
	// Session holds the session policies.
	Session []Named
	// ServiceControl holds one list a level (root, units, account), each of which
	// has to allow. Nil or empty: not bound.
	ServiceControl [][]Named
	// Resource holds the policies of the resource: repository policy, registry
	// policy, trust policy.
	Resource []Named
	// ResourceAccount owns the resource; "": the caller's own account.
	ResourceAccount string
	// ResourceRequired says that identity policies alone do not suffice: the
	// resource is a role, its policy the trust policy.
	ResourceRequired bool
}

// Side is a place where policies come from.
type Side int

// The sides.
const (
	// NoSide is the zero value; no decision has it.
	NoSide Side = iota
	// IdentitySide is Sources.Identity, or being root.
	IdentitySide
	// ResourceSide is Sources.Resource.
	ResourceSide
	// BoundarySide is Sources.Boundary.
	BoundarySide
	// SessionSide is Sources.Session.
	SessionSide
	// ServiceControlSide is Sources.ServiceControl.
	ServiceControlSide
)

// Decision is the answer, with what made it.
type Decision struct {
	Allowed bool
	// Explicit says that a Deny statement refused; By says whose.
	Explicit bool
	// By is, when allowed, the side whose statement allowed: ResourceSide where
	// the resource's policy sufficed or both sides were needed, else
	// IdentitySide. When refused it is the side that denied or lacked an Allow.
	By Side
	// Policy is the Name of the deciding policy, "" where none allowed (also when
	// being root did).
	Policy string
	// Statement is the index of the deciding statement in its document, from 0;
	// -1 where there is none.
	Statement int
	// Sid is that of the deciding statement.
	Sid string
}

// Match is a statement that applied to a request.
type Match struct {
	Side      Side
	Policy    string
	Statement int
	Sid       string
	Allow     bool
}
