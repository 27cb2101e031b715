package session

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

// Assume is a request for a role.
type Assume struct {
	// RoleARN is the role's ARN, with its path, of any account.
	RoleARN string
	// Name is the name of the session.
	Name string
	Bounds
	Tags []Tag
	// TransitiveKeys are those of Tags that the next role in a chain keeps.
	TransitiveKeys []string
	// SourceIdentity is "" for none, and for that of the caller's session.
	SourceIdentity string
	ExternalID     string
	// Duration is 0 for the usual one.
	Duration time.Duration
}

// Plan is a request for a role that is sound by itself. What it asks for has to
// be permitted still.
type Plan struct {
	// Role is the role's ARN.
	Role name.ARN
	// Tagged says that the session will have tags, of its own or from the
	// caller's session, so that sts:TagSession is needed.
	Tagged bool
	// SourceIdentity is the one that the session will have, so that
	// sts:SetSourceIdentity is needed; "" for none.
	SourceIdentity string
	// Context are the condition keys of the request, in lower case.
	Context map[string][]string

	chain  chain
	packed int
}

// PlanAssume checks a request for a role as far as caller and request tell.
func PlanAssume(caller principal.Principal, in Assume) (Plan, error) {
	if reason, refused := Refused(caller, "sts:AssumeRole"); refused {
		return Plan{}, errs.New(errs.AccessDenied, "%s", reason)
	}
	arn, err := RoleARN(in.RoleARN)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Role: arn, SourceIdentity: in.SourceIdentity}
	if err := in.check(); err != nil {
		return Plan{}, err
	}
	if p.chain, err = chainOf(in.Tags, in.TransitiveKeys, caller.Session); err != nil {
		return Plan{}, err
	}
	if p.packed, err = in.packed(p.chain.passed); err != nil {
		return Plan{}, err
	}
	if s := caller.Session; s != nil && s.SourceIdentity != "" {
		if in.SourceIdentity != "" && in.SourceIdentity != s.SourceIdentity {
			return Plan{}, errs.New(errs.AccessDenied, "The source identity of a session cannot be changed: it is %s.", s.SourceIdentity)
		}
		p.SourceIdentity = s.SourceIdentity
	}
	p.Tagged = len(p.chain.tags) > 0
	p.Context = map[string][]string{"sts:rolesessionname": {in.Name}}
	if in.ExternalID != "" {
		p.Context["sts:externalid"] = []string{in.ExternalID}
	}
	if p.SourceIdentity != "" {
		p.Context["sts:sourceidentity"] = []string{p.SourceIdentity}
	}
	p.chain.context(p.Context)
	return p, nil
}

// AssumeRole gives out a session of a role. That the caller may have it has to
// be decided before, by the needs of PlanAssume.
//
// errs.AccessDenied when the role does not exist any more or is a service's;
// errs.Validation when it may not last that long.
func (s *Service) AssumeRole(ctx context.Context, caller principal.Principal, in Assume) (Given, error) {
	p, err := PlanAssume(caller, in)
	if err != nil {
		return Given{}, err
	}
	role, found, err := s.role(ctx, p.Role)
	if err != nil {
		return Given{}, err
	}
	if !found || role.Role.Service != "" {
		return Given{}, errs.New(errs.AccessDenied, "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", caller.ARN, in.RoleARN)
	}
	chained := caller.Session != nil && caller.Session.Kind == principal.RoleSession
	d, err := durationOf(in.Duration, role.Role.MaxSession, chained)
	if err != nil {
		return Given{}, err
	}
	who := roleSession(role, in.Name)
	who.Session.SourceIdentity, who.Session.Chained = p.SourceIdentity, chained
	p.chain.into(who.Session)
	if err := s.limit(ctx, role.Account, in.Bounds, who.Session); err != nil {
		return Given{}, err
	}
	return s.issue(who, d, p.packed)
}

// roleSession is a session of the role, without what limits it.
func roleSession(role entity.Entity, sessionName string) principal.Principal {
	return principal.Principal{
		Account: role.Account,
		ARN:     "arn:aws:sts::" + string(role.Account) + ":assumed-role/" + role.Name + "/" + sessionName,
		ID:      role.ID + ":" + sessionName,
		Entity:  role.ID,
		Session: &principal.Session{Kind: principal.RoleSession, RoleARN: role.ARN(), Name: sessionName},
	}
}

// durationOf is how long a session of a role lasts that is asked to last for
// d; 0 is the usual time.
func durationOf(d, most time.Duration, chained bool) (time.Duration, error) {
	if d == 0 {
		return roleDuration, nil
	}
	switch {
	case d < minDuration:
		return 0, errs.New(errs.Validation, "The requested DurationSeconds must not be less than %d.", int(minDuration.Seconds()))
	case chained && d > maxChained:
		return 0, errs.New(errs.Validation, "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	case d > most:
		return 0, errs.New(errs.Validation, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	return d, nil
}
