// Package principal owns who can call: accounts, root users, access keys with
// their secrets sealed at rest, temporary credentials, authorization tokens,
// and what is known of a caller when permissions are decided (Identity).
//
// Users, groups and roles are kept by principal/entity, managed policies by
// principal/managed and principal/awsmanaged, passwords and MFA devices by
// principal/credential, identity providers by principal/provider, organizations
// by principal/organization, tags by principal/tag, and sessions are given out by
// principal/session.
// None of them decides what a principal may do (domain/authz), nor verifies a
// signature (api/aws/sigv4).
package principal

import (
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Principal is an authenticated caller.
type Principal struct {
	Account name.AccountID
	// ARN names the caller: arn:aws:iam::<account>:root for the root user,
	// :user/<path><name>, or in sts :assumed-role/<role>/<session> and
	// :federated-user/<name>.
	ARN string
	// ID is what aws:userid gives: the account id for the root user, a user's
	// unique id, <role id>:<session>, <account>:<federated name>.
	ID string
	// Entity is the unique id of the user or role whose policies decide; "" for
	// the root user.
	Entity string
	// AccessKeyID is the key that the call, or the call that fetched the
	// token, was signed with.
	AccessKeyID string
	// Session is what temporary credentials say beyond that; nil for others.
	Session *Session
}

// SessionKind tells the kinds of temporary credentials apart.
type SessionKind string

// The kinds.
const (
	// RoleSession is AssumeRole's and AssumeRoleWithWebIdentity's.
	RoleSession SessionKind = "role"
	// FederatedSession is GetFederationToken's.
	FederatedSession SessionKind = "federated"
	// TokenSession is GetSessionToken's: the user or root user again.
	TokenSession SessionKind = "token"
)

// Session is what temporary credentials carry. It travels sealed with the
// session token, so no node has to look it up.
type Session struct {
	Kind SessionKind `json:"kind"`
	// RoleARN is the role's, with its path, as it was when it was assumed.
	RoleARN string `json:"roleArn,omitempty"`
	// Name is the role session's or the federated user's name.
	Name            string    `json:"name,omitempty"`
	Issued, Expires time.Time `json:",omitzero"`
	// MFA is when the caller gave a code of its device; zero: it gave none.
	MFA time.Time `json:"mfa,omitzero"`
	// Limited says that session policies bound what the session may do: the
	// documents of Policies and the managed policies of PolicyARNs together.
	Limited    bool     `json:"limited,omitempty"`
	Policies   []string `json:"policies,omitempty"`
	PolicyARNs []string `json:"policyArns,omitempty"`
	// Tags are the session's own tags, over those of the user or role;
	// TransitiveKeys those that the next role in a chain keeps.
	Tags           map[string]string `json:"tags,omitempty"`
	TransitiveKeys []string          `json:"transitive,omitempty"`
	SourceIdentity string            `json:"sourceIdentity,omitempty"`
	// Chained says that the role was assumed by a role session.
	Chained bool `json:"chained,omitempty"`
	// Provider is the ARN of the OIDC provider behind a web identity and Claims
	// its condition keys, "token.actions.githubusercontent.com:sub".
	Provider string              `json:"provider,omitempty"`
	Claims   map[string][]string `json:"claims,omitempty"`
}

// IsRoot says whether the principal is its account's root user, with a session
// or without.
func (p Principal) IsRoot() bool {
	if p.Entity != "" {
		return false
	}
	rest, ok := strings.CutPrefix(p.ARN, rootFront)
	account, root := strings.CutSuffix(rest, rootBack)
	return ok && root && account == string(p.Account)
}

// AuditIdentity is the principal as the audit trail records it.
func (p Principal) AuditIdentity() audit.Identity {
	i := audit.Identity{Account: p.Account, ARN: p.ARN, ID: p.ID, AccessKeyID: p.AccessKeyID}
	switch s := p.Session; {
	case p.ARN == "":
		return audit.Identity{}
	case p.IsRoot():
		i.Type = "Root"
	case s != nil && s.Kind == RoleSession:
		i.Type = "AssumedRole"
	case s != nil && s.Kind == FederatedSession:
		i.Type = "FederatedUser"
	default:
		i.Type, i.UserName = "IAMUser", p.ARN[strings.LastIndex(p.ARN, "/")+1:]
	}
	if s := p.Session; s != nil {
		i.Session = &audit.Session{Created: s.Issued, MFA: !s.MFA.IsZero()}
		if s.Kind == RoleSession {
			i.Session.IssuerID, i.Session.IssuerARN = p.Entity, s.RoleARN
			i.Session.IssuerName = s.RoleARN[strings.LastIndex(s.RoleARN, "/")+1:]
		}
	}
	return i
}

// What stands around the account in the ARN of a root user.
const rootFront, rootBack = "arn:aws:iam::", ":root"

// RootARN is the ARN of an account's root user.
func RootARN(account name.AccountID) string { return rootFront + string(account) + rootBack }

// Root is the root user of an account.
func Root(account name.AccountID) Principal {
	return Principal{Account: account, ARN: RootARN(account), ID: string(account)}
}

// EntityARN is the ARN of a user, group, role or policy: kind is the word in it
// ("user"), path begins and ends with a slash.
func EntityARN(account name.AccountID, kind, path, entityName string) string {
	return "arn:aws:iam::" + string(account) + ":" + kind + path + entityName
}
