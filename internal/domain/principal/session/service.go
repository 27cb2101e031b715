// Package session owns the rules by which temporary credentials are given out:
// for a role, for a web identity that may have one, for a user or root user
// again, and for somebody whom a user vouches for; how long they last, what
// limits them, which tags and which source identity they carry on, and what a
// session may not do whatever its policies say.
//
// It does not own the sealed form of sessions (principal), roles and their trust
// policies (principal/entity), identity providers (principal/provider), MFA
// devices (principal/credential), nor the verification of web identity tokens
// (infra/oidcverify). Who may assume a role with credentials is decided by
// domain/authz before this package is called; who may with a web identity is
// decided here, because such a caller has no identity that authz could ask for.
package session

import (
	"context"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/provider"
	"github.com/berth-registry/berth/internal/infra/oidcverify"
)

// Roles finds roles; entity.Service does.
type Roles interface {
	Get(ctx context.Context, account name.AccountID, kind entity.Kind, entityName string) (entity.Entity, error)
	TrustPolicy(ctx context.Context, role entity.Entity) (*policy.Document, error)
}

// Codes verifies codes of MFA devices; principal/credential does. userID is the
// user's unique id, or the account's number for the root user. Each code is
// taken once. A wrong one is an errs.AccessDenied or errs.AuthenticationCode, as is
// one of serial and code without the other.
type Codes interface {
	CheckCode(ctx context.Context, account name.AccountID, userID, serial, code string) error
}

// Providers finds the OIDC provider of an account for the issuer that a token
// names; provider.Service does.
type Providers interface {
	Find(ctx context.Context, account name.AccountID, issuer string) (provider.Provider, bool, error)
}

// Verifier verifies web identity tokens; oidcverify.Verifier does.
type Verifier interface {
	Verify(ctx context.Context, issuer oidcverify.Issuer, token string) (oidcverify.Claims, error)
}

// Config is what a Service stands on. Everything is needed.
type Config struct {
	Principals *principal.Service
	Roles      Roles
	Codes      Codes
	Providers  Providers
	Verifier   Verifier
}

// Service gives out sessions.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{Config: c} }

// Given is a session that was given out.
type Given struct {
	principal.Credentials
	// Principal is whom the credentials stand for.
	Principal principal.Principal
	// PackedPolicySize is how much of the room for policies and tags is taken, in
	// percent; 0 when there are none.
	PackedPolicySize int
}

// How long sessions last (STS API reference).
const (
	minDuration      = 15 * time.Minute
	roleDuration     = time.Hour // when the caller names none
	maxChained       = time.Hour
	tokenDuration    = 12 * time.Hour // when the caller names none
	maxTokenDuration = 36 * time.Hour
	maxRootDuration  = time.Hour
)

// issue seals the session, which lasts for d from now.
func (s *Service) issue(p principal.Principal, d time.Duration, packed int) (Given, error) {
	p.Session.Issued = s.Principals.Now().UTC().Truncate(time.Second)
	p.Session.Expires = p.Session.Issued.Add(d)
	c, err := s.Principals.IssueSession(p)
	if err != nil {
		return Given{}, err
	}
	p.AccessKeyID = c.AccessKeyID
	return Given{Credentials: c, Principal: p, PackedPolicySize: packed}, nil
}

// CheckMFA verifies a code of the caller's MFA device and says whether one was
// given: neither a serial number nor a code is no failure. Each code is good for
// one call. errs.AccessDenied or errs.AuthenticationCode otherwise.
func (s *Service) CheckMFA(ctx context.Context, caller principal.Principal, serial, code string) (bool, error) {
	switch {
	case serial == "" && code == "":
		return false, nil
	case caller.Session != nil && caller.Session.Kind != principal.TokenSession: // roles and federated users have no devices
		return false, errs.New(errs.AccessDenied, "MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user.")
	}
	user := caller.Entity
	if caller.IsRoot() {
		user = string(caller.Account)
	}
	if err := s.Codes.CheckCode(ctx, caller.Account, user, serial, code); err != nil {
		return false, err
	}
	return true, nil
}

// federatedPrefix is how the resources of the ARNs of federated users begin.
const federatedPrefix = "federated-user/"

// FederatedARN is the ARN of a federated user.
func FederatedARN(account name.AccountID, user string) name.ARN {
	return name.ARN{Partition: "aws", Service: "sts", Account: account, Resource: federatedPrefix + user}
}

// RoleARN reads the ARN of a role as callers name it. errs.Validation for what is
// none.
func RoleARN(text string) (name.ARN, error) {
	arn, err := name.ParseARN(text)
	if err != nil {
		return name.ARN{}, errs.New(errs.Validation, "%s is invalid", text)
	}
	path, isRole := strings.CutPrefix(arn.Resource, "role/")
	if _, err := name.ParseAccountID(string(arn.Account)); err != nil || !isRole || path == "" || arn.Service != "iam" || arn.Region != "" || strings.HasSuffix(path, "/") {
		return name.ARN{}, errs.New(errs.Validation, "Request ARN is invalid")
	}
	return arn, nil
}

// role finds the role that the ARN names, path and case included.
func (s *Service) role(ctx context.Context, arn name.ARN) (entity.Entity, bool, error) {
	e, err := s.Roles.Get(ctx, arn.Account, entity.Role, arn.Resource[strings.LastIndexByte(arn.Resource, '/')+1:])
	if errs.Is(err, errs.EntityNotFound) {
		return entity.Entity{}, false, nil
	}
	if err != nil {
		return entity.Entity{}, false, err
	}
	return e, e.ARN() == arn.String(), nil
}
