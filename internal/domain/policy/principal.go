package policy

import (
	"regexp"
	"strings"

	"github.com/berth-registry/berth/internal/domain/policy/jsontree"
)

// grant is how far a resource policy's Allow reaches that names a caller one way
// or the other; the stronger ones come later.
type grant int

const (
	noGrant grant = iota
	// delegated: the account is named, whose identity policies have to allow too.
	delegated
	// everyone: "*" is named. As limited, but in trust policies as delegated.
	everyone
	// limited: the role or user behind the session is named. No identity policy
	// need allow, but boundary and session policies have to.
	limited
	// direct: the caller itself is named; no other policy need allow.
	direct
)

type principalKind int

const (
	anyPrincipal     principalKind = iota + 1 // "*"
	accountPrincipal                          // 12 digits, or the ARN of an account's root
	arnPrincipal
	uniqueID
	servicePrincipal
	federatedPrincipal
)

// principal is a PrincipalRef, read.
type principal struct {
	ref     PrincipalRef
	kind    principalKind
	account string // of an accountPrincipal
}

// The forms of principals of type "AWS". Unique ids stand where a user or a role
// was deleted, and in stored policies.
var (
	accountForm  = regexp.MustCompile(`^(?:arn:aws(?:-[a-z-]+)?:iam::([0-9]{12}):root|([0-9]{12}))$`)
	uniqueIDForm = regexp.MustCompile(`^A[A-Z0-9]{15,127}$`)
	arnForm      = regexp.MustCompile(`^arn:aws(?:-[a-z-]+)?:(?:iam::[0-9]{12}:(?:user|role)/|sts::[0-9]{12}:(?:assumed-role/[^/]+/|federated-user/))[^*?\x00-\x20]+$`)
	serviceForm  = regexp.MustCompile(`^[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+$`)
	providerForm = regexp.MustCompile(`^(?:arn:aws(?:-[a-z-]+)?:iam::[0-9]{12}:(?:saml|oidc)-provider/[^*?\x00-\x20]+|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)$`)
)

// valid says whether a reference has the form of its type.
func (r PrincipalRef) valid() bool {
	switch r.Type {
	case "AWS":
		return r.Value == "*" || accountForm.MatchString(r.Value) || uniqueIDForm.MatchString(r.Value) || arnForm.MatchString(r.Value)
	case "Service":
		return serviceForm.MatchString(r.Value)
	default: // Federated
		return providerForm.MatchString(r.Value)
	}
}

// principalRefs lists the principals of a Principal element whose form has been
// checked.
func principalRefs(n *jsontree.Node) []PrincipalRef {
	if n.Kind != jsontree.Object {
		return []PrincipalRef{{Type: "AWS", Value: n.Text}}
	}
	var refs []PrincipalRef
	for _, m := range n.Members {
		if m.Value.Kind != jsontree.Array {
			refs = append(refs, PrincipalRef{Type: m.Key, Value: m.Value.Text})
			continue
		}
		for _, item := range m.Value.Items {
			refs = append(refs, PrincipalRef{Type: m.Key, Value: item.Text})
		}
	}
	return refs
}

func compilePrincipals(refs []PrincipalRef) []principal {
	all := make([]principal, len(refs))
	for i, r := range refs {
		p := principal{ref: r, kind: arnPrincipal}
		account := accountForm.FindStringSubmatch(r.Value)
		switch {
		case r.Type == "Service":
			p.kind = servicePrincipal
		case r.Type == "Federated":
			p.kind = federatedPrincipal
		case r.Value == "*":
			p.kind = anyPrincipal
		case account != nil:
			p.kind, p.account = accountPrincipal, account[1]+account[2]
		case !strings.HasPrefix(r.Value, "arn:"):
			p.kind = uniqueID
		}
		all[i] = p
	}
	return all
}

// grants says how an Allow that names p reaches the caller. For a Deny it matters
// only whether it does.
func (p *principal) grants(c *Caller) grant {
	named := p.ref.Value
	if named == "" { // MapPrincipals can make it so; callers have empty fields
		return noGrant
	}
	switch p.kind {
	case anyPrincipal:
		return everyone
	case accountPrincipal:
		if p.account == c.Account {
			return delegated
		}
	case arnPrincipal:
		switch named {
		case c.ARN:
			return direct
		case c.ParentARN:
			return limited
		}
	case uniqueID:
		switch {
		case named != c.UniqueID:
		case c.Type == User:
			return direct
		default:
			return limited // the id is that of what is behind the session
		}
	case servicePrincipal:
		if c.Type == Service && named == c.Service {
			return direct
		}
	case federatedPrincipal:
		if c.Type == WebIdentity && named == c.Provider {
			return direct
		}
	}
	return noGrant
}

// grants says how far the statement reaches the caller, were its effect Allow.
// Statements without Principal reach everybody.
func (st *statement) grants(c *Caller) grant {
	if st.notPrincipal {
		if spared(st.principals, c) {
			return noGrant
		}
		return everyone
	}
	if len(st.principals) == 0 {
		return direct
	}
	strongest := noGrant
	for i := range st.principals {
		strongest = max(strongest, st.principals[i].grants(c))
	}
	return strongest
}

// spared says whether NotPrincipal spares the caller. A request has several
// principals, and each has to be named, or the Deny reaches the caller through
// the one that is not (IAM user guide, "NotPrincipal with Deny"): the account and
// the user; the account, the role and its session; the account, the user and its
// federated session. "*", a service and a provider suffice by themselves.
func spared(named []principal, c *Caller) bool {
	var account, parent, self bool
	for i := range named {
		p := &named[i]
		switch p.grants(c) {
		case delegated:
			account = true
		case everyone:
			return true
		case limited:
			parent = true
		case direct:
			self = true
		case noGrant:
		}
	}
	switch c.Type {
	case Root:
		return account
	case User:
		return account && self
	case AssumedRole, FederatedUser:
		return account && parent && self
	default:
		return self
	}
}
