package policies

import (
	"strings"

	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
)

// values are the condition keys of one evaluation: the simulation's, and what
// follows from the resource.
type values struct {
	shared map[string][]string
	owner  string
}

// Lookup returns the values of a key, given in lower case.
func (v values) Lookup(key string) ([]string, bool) {
	if given, ok := v.shared[key]; ok {
		return given, len(given) > 0
	}
	if key == "aws:resourceaccount" && v.owner != "" {
		return []string{v.owner}, true
	}
	return nil, false
}

// ownerOf is the account that owns a resource: the one in its ARN, else the
// question's ResourceOwner, else "" for the caller's.
func (s *simulation) ownerOf(resource string) string {
	if arn, err := name.ParseARN(resource); err == nil {
		if _, err := name.ParseAccountID(string(arn.Account)); err == nil {
			return string(arn.Account)
		}
	}
	return s.owner
}

// evaluate answers for one action on one resource.
func (s *simulation) evaluate(action, resource string) shapes.EvaluationResult {
	sources := s.policies
	sources.ResourceAccount = s.ownerOf(resource)
	// A role's policy is its trust policy, which no identity policy replaces.
	sources.ResourceRequired = len(sources.Resource) > 0 && strings.HasPrefix(action, "sts:") && strings.Contains(resource, ":role/")
	owner := sources.ResourceAccount
	if owner == "" && s.known {
		owner = s.caller.Account
	}
	r := &policy.Request{Action: action, Resource: resource, Caller: s.caller, Context: values{shared: s.context, owner: owner}}
	decision, matches := policy.Explain(&sources, r)
	cross := sources.ResourceAccount != "" && sources.ResourceAccount != s.caller.Account

	out := shapes.EvaluationResult{
		EvalActionName: &action, EvalResourceName: &resource, EvalDecision: new(verdict(decision.Allowed, decision.Explicit)),
		MatchedStatements: s.matched(matches, decision, false), MissingContextValues: []string{},
	}
	if s.organized {
		out.OrganizationsDecisionDetail = &shapes.OrganizationsDecisionDetail{AllowedByOrganizations: new(s.allowedByOrganizations(r))}
	}
	details := map[string]shapes.PolicyEvaluationDecisionType{}
	if cross {
		details[iamPolicy] = sideVerdict(matches, policy.IdentitySide)
		details[resourcePolicy] = sideVerdict(matches, policy.ResourceSide)
	}
	if s.policies.Boundary != nil {
		bounded := sideVerdict(matches, policy.BoundarySide)
		out.PermissionsBoundaryDecisionDetail = &shapes.PermissionsBoundaryDecisionDetail{
			AllowedByPermissionsBoundary: new(bounded == shapes.PolicyEvaluationDecisionTypeAllowed),
		}
		if cross {
			details[boundaryPolicy] = bounded
		}
	}
	missing := append([]string{}, policy.MissingContext(&sources, r)...)
	if resource == "*" {
		out.MissingContextValues = missing
		if cross {
			out.EvalDecisionDetails = details
		}
		return out
	}
	// AWS has the missing keys of a single resource in its own result, and an
	// empty detail where the evaluation stays within one account.
	out.EvalDecisionDetails = details
	specific := shapes.ResourceSpecificResult{
		EvalResourceName: out.EvalResourceName, EvalResourceDecision: out.EvalDecision,
		MatchedStatements: s.matched(matches, decision, cross), MissingContextValues: missing,
		PermissionsBoundaryDecisionDetail: out.PermissionsBoundaryDecisionDetail,
	}
	if cross {
		specific.EvalDecisionDetails = details
	}
	out.ResourceSpecificResults = []shapes.ResourceSpecificResult{specific}
	return out
}

func verdict(allowed, explicit bool) shapes.PolicyEvaluationDecisionType {
	switch {
	case allowed:
		return shapes.PolicyEvaluationDecisionTypeAllowed
	case explicit:
		return shapes.PolicyEvaluationDecisionTypeExplicitDeny
	}
	return shapes.PolicyEvaluationDecisionTypeImplicitDeny
}

// sideVerdict is what the policies of one side say by themselves.
func sideVerdict(matches []policy.Match, side policy.Side) shapes.PolicyEvaluationDecisionType {
	allowed, denied := false, false
	for _, m := range matches {
		if m.Side == side {
			allowed, denied = allowed || m.Allow, denied || !m.Allow
		}
	}
	return verdict(allowed && !denied, denied)
}

// allowedByOrganizations says whether every level of service control policies
// allows by itself.
func (s *simulation) allowedByOrganizations(r *policy.Request) bool {
	for _, level := range s.policies.ServiceControl {
		if !policy.Decide(&policy.Sources{Identity: level}, r).Allowed {
			return false
		}
	}
	return true
}

// matched names the statements that decided: the Deny statements of an explicit
// deny, the Allow statements of what is allowed, and with partial also the Allow
// statements that did not suffice. Boundaries only limit: their Allow statements
// are not among them. Service control policies are not shown: the account's
// members need not be able to read them.
func (s *simulation) matched(matches []policy.Match, d policy.Decision, partial bool) []shapes.Statement {
	out := []shapes.Statement{}
	if !d.Allowed && !d.Explicit && !partial {
		return out
	}
	for _, m := range matches {
		w, ok := s.texts[m.Policy]
		if !ok || m.Side == policy.ServiceControlSide || m.Allow == d.Explicit || m.Allow && m.Side == policy.BoundarySide {
			continue
		}
		st := shapes.Statement{SourcePolicyId: &w.id, SourcePolicyType: new(shapes.PolicySourceType(w.side))}
		if m.Statement < len(w.spans) {
			st.StartPosition, st.EndPosition = w.spans[m.Statement].start, w.spans[m.Statement].end
		}
		out = append(out, st)
	}
	return out
}
