package authz

import (
	"context"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

// ServiceRole is one question: may an AWS service do all of this for an account,
// with a role of the account?
type ServiceRole struct {
	// Service is the service's principal, "ecr.amazonaws.com".
	Service string
	// Role is the role's ARN, with its path, and Session how the service calls
	// its session of it.
	Role, Session string
	// Source is the resource on whose behalf the service acts: aws:SourceArn and
	// aws:SourceAccount in the role's trust policy.
	Source name.ARN
	Region name.Region
	Needs  []Need
}

// AuthorizeService answers the question: the role has to exist, its trust policy
// to let the service assume it, and its policies to allow every need. Nil when
// that is so; a refusal is an errs.AccessDenied that says what is missing.
func (s *Service) AuthorizeService(ctx context.Context, r ServiceRole) error {
	who, err := s.ServiceSession(ctx, r)
	if err != nil {
		return err
	}
	return s.Authorize(ctx, Request{Principal: who, Needs: r.Needs, Region: r.Region, UserAgent: r.Service})
}

// ServiceSession is the service's session of the role, if the role exists and its
// trust policy lets the service assume it; what it may do is not asked.
// errs.AccessDenied.
func (s *Service) ServiceSession(ctx context.Context, r ServiceRole) (principal.Principal, error) {
	e, err := s.roleNamed(ctx, r.Role)
	if err != nil {
		return principal.Principal{}, err
	}
	trust, err := s.Entities.TrustPolicy(ctx, e)
	if err != nil {
		return principal.Principal{}, err
	}
	question := &policy.Request{
		Action: "sts:AssumeRole", Resource: e.ARN(), Caller: policy.Caller{Type: policy.Service, Service: r.Service},
		Context: serviceContext{
			"aws:sourcearn": {r.Source.String()}, "aws:sourceaccount": {string(r.Source.Account)}, "aws:principalisawsservice": {"true"},
			"aws:requestedregion": {string(r.Region)}, "aws:resourceaccount": {string(e.Account)},
			"aws:currenttime": {s.Clock.Now().UTC().Format(time.RFC3339)}, "sts:rolesessionname": {r.Session},
		},
	}
	sources := &policy.Sources{
		Resource: []policy.Named{{Name: "trust policy of " + e.ARN(), Document: trust}}, ResourceAccount: string(e.Account), ResourceRequired: true,
	}
	if !policy.Decide(sources, question).Allowed {
		return principal.Principal{}, errs.New(errs.AccessDenied, "The trust policy of the role %s does not let %s assume it.", r.Role, r.Service)
	}
	return s.roleSession(ctx, e.Account, e.Name, r.Session)
}

// roleNamed finds the role that the ARN names, path and case included.
func (s *Service) roleNamed(ctx context.Context, text string) (entity.Entity, error) {
	missing := errs.New(errs.AccessDenied, "The role %s does not exist.", text)
	arn, err := name.ParseARN(text)
	if err != nil || arn.Service != "iam" || !strings.HasPrefix(arn.Resource, "role/") {
		return entity.Entity{}, missing
	}
	e, err := s.Entities.Get(ctx, arn.Account, entity.Role, arn.Resource[strings.LastIndexByte(arn.Resource, '/')+1:])
	if errs.Is(err, errs.EntityNotFound) || err == nil && e.ARN() != text {
		return entity.Entity{}, missing
	}
	return e, err
}

// serviceContext are the condition keys of a service that assumes a role.
type serviceContext map[string][]string

var _ policy.Context = serviceContext{}

// Lookup returns the values of a key, given in lower case.
func (c serviceContext) Lookup(key string) ([]string, bool) {
	values, ok := c[key]
	return values, ok
}
