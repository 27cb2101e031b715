package session

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// SessionToken gives out a session of the calling user or root user itself. It
// has all permissions of the caller, but for those that Refused names. With the
// serial number and a code of an MFA device it counts as authenticated by it
// from now on; without both it does not.
//
// errs.AccessDenied when the caller has a session already, and the errors of
// CheckMFA. The root user's sessions last for an hour at most, whatever is asked
// for.
func (s *Service) SessionToken(ctx context.Context, caller principal.Principal, d time.Duration, serial, code string) (Given, error) {
	if err := permanent(caller, "GetSessionToken"); err != nil {
		return Given{}, err
	}
	d, err := tokenLife(caller, d)
	if err != nil {
		return Given{}, err
	}
	mfa, err := s.CheckMFA(ctx, caller, serial, code)
	if err != nil {
		return Given{}, err
	}
	who := caller
	who.Session = &principal.Session{Kind: principal.TokenSession}
	if mfa {
		who.Session.MFA = s.Principals.Now().UTC().Truncate(time.Second)
	}
	return s.issue(who, d, 0)
}

// permanent refuses callers with sessions.
func permanent(caller principal.Principal, operation string) error {
	if caller.Session != nil {
		return errs.New(errs.AccessDenied, "Cannot call %s with session credentials", operation)
	}
	return nil
}

func tokenLife(caller principal.Principal, d time.Duration) (time.Duration, error) {
	switch {
	case d == 0:
		d = tokenDuration
	case d < minDuration || d > maxTokenDuration:
		return 0, errs.New(errs.Validation, "The requested DurationSeconds must be between %d and %d.", int(minDuration.Seconds()), int(maxTokenDuration.Seconds()))
	}
	if caller.IsRoot() {
		d = min(d, maxRootDuration)
	}
	return d, nil
}

// Federate is a request for a session of somebody whom the caller vouches for.
type Federate struct {
	// Name is the federated user's.
	Name string
	Bounds
	Tags []Tag
	// Duration is 0 for the usual one.
	Duration time.Duration
}

// PlanFederate checks the request as far as caller and request tell and returns
// its condition keys, in lower case.
func PlanFederate(caller principal.Principal, in Federate) (map[string][]string, error) {
	p, err := planFederate(caller, in)
	return p.Context, err
}

func planFederate(caller principal.Principal, in Federate) (p Plan, err error) {
	if err := permanent(caller, "GetFederationToken"); err != nil {
		return Plan{}, err
	}
	if err := in.check(); err != nil {
		return Plan{}, err
	}
	if p.chain, err = chainOf(in.Tags, nil, nil); err != nil {
		return Plan{}, err
	}
	if p.packed, err = in.packed(p.chain.tags); err != nil {
		return Plan{}, err
	}
	p.Context = map[string][]string{}
	p.chain.context(p.Context)
	return p, nil
}

// FederationToken gives out a session of a federated user. Its permissions are
// those of the caller within the policies that are passed: none without any.
// That the caller may has to be decided before.
func (s *Service) FederationToken(ctx context.Context, caller principal.Principal, in Federate) (Given, error) {
	p, err := planFederate(caller, in)
	if err != nil {
		return Given{}, err
	}
	d, err := tokenLife(caller, in.Duration)
	if err != nil {
		return Given{}, err
	}
	who := principal.Principal{
		Account: caller.Account,
		ARN:     FederatedARN(caller.Account, in.Name).String(),
		ID:      string(caller.Account) + ":" + in.Name,
		Entity:  caller.Entity,
		Session: &principal.Session{Kind: principal.FederatedSession, Name: in.Name},
	}
	p.chain.into(who.Session)
	if err := s.limit(ctx, caller.Account, in.Bounds, who.Session); err != nil {
		return Given{}, err
	}
	who.Session.Limited = true
	return s.issue(who, d, p.packed)
}
