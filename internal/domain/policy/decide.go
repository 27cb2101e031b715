package policy

import (
	"maps"
	"slices"

	"github.com/berth-registry/berth/internal/domain/policy/pattern"
)

// noContext is the context of a request without one.
type noContext struct{}

func (noContext) Lookup(string) ([]string, bool) { return nil, false }

// question is a request made ready to be compared with many statements.
type question struct {
	*Request
	resource pattern.Subject
	ctx      Context
}

func (r *Request) question() question {
	q := question{Request: r, resource: pattern.NewSubject(r.Resource), ctx: r.Context}
	if q.ctx == nil {
		q.ctx = noContext{}
	}
	return q
}

// alone says whether the caller has no identity: only resource policies decide.
func (c *Caller) alone() bool {
	switch c.Type {
	case Root, User, AssumedRole, FederatedUser:
		return false
	default: // also the zero value, which nothing has vouched for
		return true
	}
}

func (s *Sources) sessioned() bool { return s.Sessioned || len(s.Session) > 0 }

// hit is a statement that applies; the zero value is none.
type hit struct {
	policy *Named
	index  int
}

func (h hit) found() bool { return h.policy != nil }

func (h hit) decision(side Side) Decision {
	if !h.found() {
		return Decision{By: side, Statement: -1}
	}
	return Decision{By: side, Policy: h.policy.Name, Statement: h.index, Sid: h.policy.Document.statements[h.index].sid}
}

// outcome is what a list of policies says: the first Deny, else the Allow with
// the strongest grant, the first of those.
type outcome struct {
	deny  hit
	allow hit
	grant grant
}

// look evaluates a list of policies.
func look(policies []Named, q *question) outcome {
	var o outcome
	for i := range policies {
		if o.look(&policies[i], q); o.deny.found() {
			break
		}
	}
	return o
}

// look adds what a policy says. In policies without Principal elements every
// caller is named directly.
func (o *outcome) look(p *Named, q *question) {
	if p.Document == nil {
		return
	}
	for i := range p.Document.statements {
		st := &p.Document.statements[i]
		if st.allow && o.grant == direct || !st.coversAction(q.Action) {
			continue
		}
		g := st.grants(&q.Caller)
		if g == noGrant || (st.allow && g <= o.grant) || !st.coversResource(&q.resource, q.ctx) || !st.holds(q.ctx) {
			continue
		}
		if !st.allow {
			o.deny = hit{p, i}
			return
		}
		o.allow, o.grant = hit{p, i}, g
	}
}

// Decide answers a request (IAM user guide, "Policy evaluation
// logic").
//
// A Deny anywhere refuses; it is searched for in the service control policies,
// the resource's, the identity's, the boundary and the session policies, in this
// order. Callers without an identity (services, web identities, anonymous ones)
// are decided by the resource's policies alone; no others are looked at. For
// everybody else each level of service control policies has to allow. Within one
// account the identity's policies suffice, as far as boundary and session
// policies allow too; or a resource policy that names the caller itself; or one
// that names what is behind the caller's session or "*", as far as boundary and
// session policies allow. One that names the account leaves the matter to the
// identity's policies. Across accounts the identity's policies, within boundary
// and session policies, and a resource policy have to allow, the latter by any
// name. With ResourceRequired the same holds within the account, unless the
// caller, or what is behind its session, is named.
//
// A refusal without a Deny names the side that lacked an Allow: the service
// control policies; the resource's, if nothing else was lacking; the boundary or
// the session policies, if they blocked what identity or resource policies
// allowed; else the identity's.
func Decide(s *Sources, r *Request) Decision {
	q := r.question()
	alone := r.Caller.alone()
	controlled := true
	if !alone {
		for _, level := range s.ServiceControl {
			o := look(level, &q)
			if o.deny.found() {
				return denied(ServiceControlSide, o)
			}
			controlled = controlled && o.allow.found()
		}
	}
	resource := look(s.Resource, &q)
	if resource.deny.found() {
		return denied(ResourceSide, resource)
	}
	if alone {
		if resource.allow.found() {
			return allowed(ResourceSide, resource)
		}
		return lacking(ResourceSide)
	}
	identity := look(s.Identity, &q)
	if identity.deny.found() {
		return denied(IdentitySide, identity)
	}
	bounded, sessioned := true, true
	if s.Boundary != nil {
		var o outcome
		if o.look(s.Boundary, &q); o.deny.found() {
			return denied(BoundarySide, o)
		}
		bounded = o.allow.found()
	}
	if s.sessioned() {
		o := look(s.Session, &q)
		if o.deny.found() {
			return denied(SessionSide, o)
		}
		sessioned = o.allow.found()
	}
	if !controlled {
		return lacking(ServiceControlSide)
	}
	return weigh(s, r, identity, resource, bounded, sessioned)
}

// weigh decides where nothing denies and the service control policies allow.
func weigh(s *Sources, r *Request, identity, resource outcome, bounded, sessioned bool) Decision {
	same := s.ResourceAccount == "" || s.ResourceAccount == r.Caller.Account
	g := resource.grant
	switch {
	case g != everyone:
	case s.ResourceRequired:
		g = delegated
	default:
		g = limited
	}
	within := bounded && sessioned
	mine := s.Root || identity.allow.found()
	needsNoIdentity := same && g >= limited
	switch {
	case needsNoIdentity && (within || g == direct):
		return allowed(ResourceSide, resource)
	case mine && within && same && !s.ResourceRequired:
		return allowed(IdentitySide, identity)
	case mine && within && g >= delegated:
		return allowed(ResourceSide, resource)
	case mine && within:
		return lacking(ResourceSide)
	case !mine && !needsNoIdentity:
		return lacking(IdentitySide)
	case !bounded:
		return lacking(BoundarySide)
	default:
		return lacking(SessionSide)
	}
}

func denied(side Side, o outcome) Decision {
	d := o.deny.decision(side)
	d.Explicit = true
	return d
}

func allowed(side Side, o outcome) Decision {
	d := o.allow.decision(side)
	d.Allowed = true
	return d
}

func lacking(side Side) Decision { return Decision{By: side, Statement: -1} }

// each calls f with every statement of the policies that have a say for the
// caller, and that covers the action and the caller, in the order of Decide.
func each(s *Sources, r *Request, f func(side Side, p *Named, index int, st *statement)) {
	visit := func(side Side, policies []Named) {
		for i := range policies {
			p := &policies[i]
			if p.Document == nil {
				continue
			}
			for j := range p.Document.statements {
				st := &p.Document.statements[j]
				if st.coversAction(r.Action) && st.grants(&r.Caller) != noGrant {
					f(side, p, j, st)
				}
			}
		}
	}
	alone := r.Caller.alone()
	if !alone {
		for _, level := range s.ServiceControl {
			visit(ServiceControlSide, level)
		}
	}
	visit(ResourceSide, s.Resource)
	if alone {
		return
	}
	visit(IdentitySide, s.Identity)
	if s.Boundary != nil {
		visit(BoundarySide, []Named{*s.Boundary})
	}
	visit(SessionSide, s.Session)
}

// Explain is Decide, and every statement of every policy that applied, in the
// order in which Decide searches.
func Explain(s *Sources, r *Request) (Decision, []Match) {
	q := r.question()
	var matches []Match
	each(s, r, func(side Side, p *Named, index int, st *statement) {
		if st.coversResource(&q.resource, q.ctx) && st.holds(q.ctx) {
			matches = append(matches, Match{Side: side, Policy: p.Name, Statement: index, Sid: st.sid, Allow: st.allow})
		}
	})
	return Decide(s, r), matches
}

// MissingContext lists the condition keys that statements would have needed and
// the request does not have, in lower case, sorted. Statements that do not cover
// the action, the caller or the resource need none. A variable with a default is
// not missing; a key that is tested for being there, or IfExists, is.
func MissingContext(s *Sources, r *Request) []string {
	q := r.question()
	keys := map[string]bool{}
	each(s, r, func(_ Side, _ *Named, _ int, st *statement) {
		st.missing(&q.resource, q.ctx, keys)
	})
	return slices.Sorted(maps.Keys(keys))
}
