package authz

import (
	"context"
	"crypto/cipher"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/session"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys"
)

// Config is what a Service stands on. Everything is needed.
type Config struct {
	Principals   *principal.Service
	Entities     *entity.Service
	Registries   *registry.Service
	Repositories *repository.Service
	Keys         keys.Manager
	Clock        clock.Clock
	// ImageTags reads the tags of images, each once, in any order; images and
	// repositories that are not there have none (domain/image/tagged).
	ImageTags func(ctx context.Context, reg name.Registry, repo name.Repository, digests []string) ([]string, error)
}

// Service is the Authorizer.
type Service struct {
	Config
	message cipher.AEAD
	asked   sync.Pool // of *asked
}

// asked is what one call of Authorize works with. Nothing of it is used once the call has its answer.
type asked struct {
	request Request
	who     subject
	need    Need
	about   question
}

// question is one need as policies are asked about it.
type question struct {
	sources policy.Sources
	request policy.Request
	context requestContext
}

var _ Authorizer = (*Service)(nil)

// New returns the service. It fails when the key manager cannot derive the key
// that seals authorization messages.
func New(c Config) (*Service, error) {
	seal, err := messageSeal(c.Keys)
	if err != nil {
		return nil, err
	}
	s := &Service{Config: c, message: seal}
	s.asked.New = func() any { return &asked{} }
	return s, nil
}

// Authorize answers the request: nil when everything is allowed.
func (s *Service) Authorize(ctx context.Context, r Request) error {
	if len(r.Needs) == 0 {
		return errs.New(errs.Internal, "a request without needs reached the authorizer")
	}
	a := s.asked.Get().(*asked)
	defer func() {
		*a = asked{}
		s.asked.Put(a)
	}()
	a.request = r
	if err := s.subject(ctx, r.Principal, &a.who); err != nil {
		return err
	}
	for _, a.need = range r.Needs {
		if err := s.authorize(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// subject is a principal with all that decides about it.
type subject struct {
	principal.Principal
	identity *principal.Identity
	sources  policy.Sources // without those of a resource
	caller   policy.Caller
}

// subject reads who decides about the principal.
func (s *Service) subject(ctx context.Context, p principal.Principal, who *subject) error {
	identity, err := s.Principals.Identity(ctx, p)
	if err != nil {
		return err
	}
	*who = subject{Principal: p, identity: identity, caller: p.Caller(identity)}
	who.sources = policy.Sources{
		// Whoever root vouches for has root's identity side, within session policies.
		Root: p.IsRoot() || p.Entity == "" && p.Session != nil && p.Session.Kind == principal.FederatedSession, Identity: identity.Policies, Boundary: identity.Boundary,
	}
	// Service control policies bind everyone in a member account, root too, but
	// service-linked roles.
	if identity.Service == "" {
		who.sources.ServiceControl = identity.Organization.ServiceControl
	}
	if p.Session != nil && p.Session.Limited {
		who.sources.Sessioned = true
		if who.sources.Session, err = s.Principals.SessionPolicies(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// allowedToAll are actions that need no permission and that no policy denies
// (STS API reference, "Permissions" of GetCallerIdentity and GetSessionToken).
var allowedToAll = []string{"sts:GetCallerIdentity", "sts:GetSessionToken"}

func (s *Service) authorize(ctx context.Context, a *asked) error {
	who, need := &a.who, &a.need
	if !who.identity.Found {
		return errs.New(errs.AccessDenied, "User: %s is not authorized to perform: %s because it does not exist any more", who.ARN, need.Action)
	}
	if reason, refused := session.Refused(who.Principal, need.Action); refused {
		return errs.New(errs.AccessDenied, "%s", reason)
	}
	if slices.Contains(allowedToAll, need.Action) {
		return nil
	}
	q := &a.about
	if err := s.ask(ctx, q, &a.request, who, need); err != nil {
		return err
	}
	d := policy.Decide(&q.sources, &q.request)
	if q.context.failed != nil {
		return q.context.failed
	}
	if !d.Allowed && !rescues(who, need, d) && !ownPassword(who, need, d) {
		return s.denied(who, need, &q.request, d)
	}
	return nil
}

// awsManaged stands for the account in the ARNs of AWS's own policies, which are
// everybody's.
const awsManaged = "aws"

// ask makes q of a need: it collects the policies and the context.
func (s *Service) ask(ctx context.Context, q *question, r *Request, who *subject, need *Need) error {
	*q = question{sources: who.sources, context: requestContext{request: r, who: who, need: need, now: s.Clock.Now()}}
	c := &q.context
	c.resourceOrg = func() (id, path string) {
		owner := who.identity
		if a := need.Resource.Account; a != "" && a != who.Account {
			var err error
			if owner, err = s.Principals.IdentityOf(ctx, a, ""); err != nil {
				c.failed = err // a key that is missing for it could let a negated condition allow
				return "", ""
			}
		}
		return owner.Organization.ID, owner.Organization.Path
	}
	if len(need.Images) > 0 {
		c.imageTags = sync.OnceValue(func() []string {
			tags, err := s.imageTags(ctx, need)
			if err != nil {
				c.failed = err
			}
			return tags
		})
	}
	q.request = policy.Request{Action: need.Action, Resource: "*", Caller: who.caller, Context: c}
	if !need.Resource.IsZero() {
		q.request.Resource = need.Resource.String()
		if need.Resource.Account != awsManaged {
			q.sources.ResourceAccount = string(need.Resource.Account)
		}
	}
	return s.resource(ctx, r, need, &q.sources, c)
}

// imageTagKey is Berth's own condition key: the tags that a push sets, or that a
// deletion takes.
const imageTagKey = "ecr:imagetag"

// imageTags are the values of imageTagKey for a need.
func (s *Service) imageTags(ctx context.Context, need *Need) (tags []string, err error) {
	var digests []string
	for _, i := range need.Images {
		switch {
		case i.Tag != "":
			tags = append(tags, i.Tag)
		case i.Digest != "":
			digests = append(digests, i.Digest)
		}
	}
	if len(digests) == 0 {
		return tags, nil
	}
	reg, repo, ok := need.Resource.RepositoryOf()
	if !ok || s.ImageTags == nil {
		return nil, errors.New("the tags of an image in a request cannot be read")
	}
	held, err := s.ImageTags(ctx, reg, repo, digests)
	return append(tags, held...), err
}

// resource adds the policies and tags of the resource.
func (s *Service) resource(ctx context.Context, r *Request, need *Need, sources *policy.Sources, c *requestContext) error {
	service, action, _ := strings.Cut(need.Action, ":")
	switch {
	case service == name.ServiceECRPublic:
		// Public registries have no policy of their own.
		reg, repo, ok := need.Resource.RepositoryOf()
		if !ok {
			return nil
		}
		held, err := s.Repositories.Access(ctx, reg, repo)
		if err != nil {
			return err
		}
		if held.Policy != nil {
			sources.Resource = append(sources.Resource, *held.Policy)
		}
		c.resourceTags = held.Tags
	case service == name.ServiceECR && action != "GetAuthorizationToken":
		reg := name.Registry{Account: r.Principal.Account, Region: r.Region}
		if !need.Resource.IsZero() {
			reg = name.Registry{Account: need.Resource.Account, Region: need.Resource.Region}
		}
		access, err := s.Registries.Access(ctx, reg)
		if err != nil {
			return err
		}
		if access.Policy != nil && access.Applies(need.Action) {
			sources.Resource = append(sources.Resource, *access.Policy)
		}
		_, repo, ok := need.Resource.RepositoryOf()
		if !ok {
			return nil
		}
		held, err := s.Repositories.Access(ctx, reg, repo)
		if err != nil {
			return err
		}
		if held.Policy != nil {
			sources.Resource = append(sources.Resource, *held.Policy)
		}
		c.resourceTags = held.Tags
	case service == "sts" && strings.HasPrefix(need.Resource.Resource, "role/"):
		// A role that does not exist has no trust policy, and refuses.
		sources.ResourceRequired = true
		e, err := s.Entities.Get(ctx, need.Resource.Account, entity.Role, need.Resource.Resource[strings.LastIndex(need.Resource.Resource, "/")+1:])
		if errs.Is(err, errs.EntityNotFound) || err == nil && e.ARN() != need.Resource.String() {
			return nil
		}
		if err != nil {
			return err
		}
		trust, err := s.Entities.TrustPolicy(ctx, e)
		if err != nil {
			return err
		}
		sources.Resource = append(sources.Resource, policy.Named{Name: "trust policy of " + e.ARN(), Document: trust})
		c.resourceTags = e.Tags
	}
	return nil
}

// rescued are what the root user of an account may always do with its own
// resource policies, whatever these say: otherwise one wrong policy would be for
// ever (docs/decisions/0006-identity.md).
var rescued = []string{
	"ecr:GetRepositoryPolicy", "ecr:SetRepositoryPolicy", "ecr:DeleteRepositoryPolicy",
	"ecr:GetRegistryPolicy", "ecr:PutRegistryPolicy", "ecr:DeleteRegistryPolicy",
	"ecr-public:GetRepositoryPolicy", "ecr-public:SetRepositoryPolicy", "ecr-public:DeleteRepositoryPolicy",
}

func rescues(who *subject, need *Need, d policy.Decision) bool {
	return d.Explicit && d.By == policy.ResourceSide && who.IsRoot() && slices.Contains(rescued, need.Action) &&
		(need.Resource.IsZero() || need.Resource.Account == who.Account)
}

// ownPassword: where the account's password policy lets users change their
// passwords, they need no other permission for that.
func ownPassword(who *subject, need *Need, d policy.Decision) bool {
	if d.Explicit || d.By != policy.IdentitySide || who.caller.Type != policy.User || !who.identity.MayChangePassword {
		return false
	}
	return need.Action == "iam:GetAccountPasswordPolicy" || need.Action == "iam:ChangePassword" && need.Resource.String() == who.ARN
}

// LockedOut says whether the repository policy, once set, would keep the caller
// from setting another one.
func (s *Service) LockedOut(ctx context.Context, r Request, arn name.ARN, document *policy.Document) (bool, error) {
	var who subject
	if err := s.subject(ctx, r.Principal, &who); err != nil {
		return false, err
	}
	var q question
	if err := s.ask(ctx, &q, &r, &who, &Need{Action: arn.Service + ":SetRepositoryPolicy", Resource: arn}); err != nil {
		return false, err
	}
	reg, repo, _ := arn.RepositoryOf()
	held, err := s.Repositories.Access(ctx, reg, repo)
	if err != nil {
		return false, err
	}
	if held.Policy != nil { // the one that is replaced stands last
		q.sources.Resource = q.sources.Resource[:len(q.sources.Resource)-1]
	}
	q.sources.Resource = append(q.sources.Resource, policy.Named{Name: "the policy to be set", Document: document})
	return !policy.Decide(&q.sources, &q.request).Allowed, nil
}
