package authz

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

// Question asks what would be decided, without a request.
type Question struct {
	// Principal is the ARN of a user, a role, a root user, an assumed-role
	// session or a federated user, or an account's number for its root user.
	Principal string `json:"principal"`
	Action    string `json:"action"`
	// Resource is an ARN, or "*".
	Resource string      `json:"resource"`
	Region   name.Region `json:"region"`
	// Context gives condition keys, in any case, over those that follow from the
	// principal and the resource.
	Context map[string][]string `json:"context"`
}

// Explanation is the answer.
type Explanation struct {
	Allowed bool `json:"allowed"`
	// Reason is one sentence: AWS's for a refusal.
	Reason string `json:"reason"`
	// Policy, Statement and Sid name the statement that decided; Policy is ""
	// where none did.
	Policy    string `json:"policy,omitempty"`
	Statement int    `json:"statement"`
	Sid       string `json:"sid,omitempty"`
	// Matched are all statements that apply to the question.
	Matched []Matched `json:"matched"`
	// Needed says what would make it allowed; "" where it is.
	Needed string `json:"needed,omitempty"`
	// MissingContext are condition keys that statements ask for and the question
	// does not give.
	MissingContext []string `json:"missingContext,omitempty"`
}

// Matched is a statement that applies.
type Matched struct {
	Side      string `json:"side"`
	Policy    string `json:"policy"`
	Statement int    `json:"statement"`
	Sid       string `json:"sid,omitempty"`
	Effect    string `json:"effect"`
}

// Explain decides a question and says why. errs.EntityNotFound for a principal
// that is not there, errs.InvalidParameter for an ARN that is none.
func (s *Service) Explain(ctx context.Context, q Question) (Explanation, error) {
	p, err := s.principalOf(ctx, q.Principal)
	if err != nil {
		return Explanation{}, err
	}
	need := Need{Action: q.Action, Context: map[string][]string{}}
	for key, values := range q.Context {
		need.Context[strings.ToLower(key)] = values
	}
	if q.Resource != "*" && q.Resource != "" {
		if need.Resource, err = name.ParseARN(q.Resource); err != nil {
			return Explanation{}, errs.New(errs.InvalidParameter, "the resource %q is neither an ARN nor *", q.Resource)
		}
	}
	var who subject
	if err := s.subject(ctx, p, &who); err != nil {
		return Explanation{}, err
	}
	var about question
	if err := s.ask(ctx, &about, &Request{Principal: p, Region: q.Region}, &who, &need); err != nil {
		return Explanation{}, err
	}
	d, matches := policy.Explain(&about.sources, &about.request)
	e := Explanation{Allowed: d.Allowed || slices.Contains(allowedToAll, need.Action) || rescues(&who, &need, d) || ownPassword(&who, &need, d), Policy: d.Policy, Statement: d.Statement, Sid: d.Sid, Matched: []Matched{}}
	for _, m := range matches {
		effect := "Deny"
		if m.Allow {
			effect = "Allow"
		}
		e.Matched = append(e.Matched, Matched{Side: sideText(m.Side), Policy: m.Policy, Statement: m.Statement, Sid: m.Sid, Effect: effect})
	}
	switch {
	case d.Allowed && d.Policy == "":
		e.Reason = "The root user of an account may do everything in it."
	case d.Allowed:
		e.Reason = "Allowed by a statement of " + d.Policy + "."
	case e.Allowed:
		e.Reason = "Allowed without a statement: the account's password policy lets users change their passwords, or no policy decides about this action."
	default:
		e.Reason = "User: " + p.ARN + " is not authorized to perform: " + q.Action + " on resource: " + about.request.Resource + " " + because(d, q.Action)
		e.Needed = needed(d, p, q.Action, about.request.Resource)
		e.MissingContext = policy.MissingContext(&about.sources, &about.request)
	}
	return e, nil
}

// needed says what would have to change.
func needed(d policy.Decision, p principal.Principal, action, resource string) string {
	if d.Explicit {
		return "The denying statement has to go, or to be given a condition that this request does not meet; no other statement can outweigh it."
	}
	switch d.By {
	case policy.ResourceSide:
		return "A statement in the policy of " + resource + " (or in its registry's) that allows " + action + " to " + p.ARN + "; between accounts both sides have to allow."
	case policy.BoundarySide:
		return "The permissions boundary of " + p.ARN + " has to allow " + action + " too."
	case policy.SessionSide:
		return "The session's own policies have to allow " + action + "; they are fixed when the session begins."
	case policy.ServiceControlSide:
		return "A service control policy on every level of the organization above account " + string(p.Account) + " that allows " + action + "."
	case policy.IdentitySide, policy.NoSide:
	}
	return "A policy of " + p.ARN + " that allows " + action + " on " + resource + "."
}

// principalOf makes the principal that an ARN names, as a request of it would.
func (s *Service) principalOf(ctx context.Context, text string) (principal.Principal, error) {
	if account, err := name.ParseAccountID(text); err == nil {
		text = principal.RootARN(account)
	}
	arn, err := name.ParseARN(text)
	if err != nil {
		return principal.Principal{}, errs.New(errs.InvalidParameter, "the principal %q is not an ARN such as arn:aws:iam::111122223333:user/NAME", text)
	}
	parts := strings.Split(arn.Resource, "/")
	last := parts[len(parts)-1]
	switch {
	case arn.Service == "iam" && arn.Resource == "root":
		if _, err := s.Principals.Account(ctx, arn.Account); err != nil {
			return principal.Principal{}, err
		}
		return principal.Root(arn.Account), nil
	case arn.Service == "iam" && parts[0] == "user" && len(parts) > 1:
		e, err := s.Entities.Get(ctx, arn.Account, entity.User, last)
		return principal.Principal{Account: e.Account, ARN: e.ARN(), ID: e.ID, Entity: e.ID}, err
	case arn.Service == "iam" && parts[0] == "role" && len(parts) > 1:
		return s.roleSession(ctx, arn.Account, last, "explained")
	case arn.Service == "sts" && parts[0] == "assumed-role" && len(parts) == 3:
		return s.roleSession(ctx, arn.Account, parts[1], last)
	}
	return principal.Principal{}, errs.New(errs.InvalidParameter, "the principal %q is no root user, user, role or role session", text)
}

func (s *Service) roleSession(ctx context.Context, account name.AccountID, role, sessionName string) (principal.Principal, error) {
	e, err := s.Entities.Get(ctx, account, entity.Role, role)
	if err != nil {
		return principal.Principal{}, err
	}
	now := s.Clock.Now()
	return principal.Principal{
		Account: account, ARN: "arn:aws:sts::" + string(account) + ":assumed-role/" + e.Name + "/" + sessionName, ID: e.ID + ":" + sessionName, Entity: e.ID,
		Session: &principal.Session{Kind: principal.RoleSession, Name: sessionName, RoleARN: e.ARN(), Issued: now, Expires: now.Add(time.Hour)},
	}, nil
}
