package policies

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/managed/overview"
)

// simulateCustomPolicy asks about a caller that has the policies of the request
// and nothing else: a user of the caller's account, unless CallerArn names one.
func (a *api) simulateCustomPolicy(ctx context.Context, c *aws.Call, in *shapes.SimulateCustomPolicyInput) (*shapes.SimulateCustomPolicyOutput, error) {
	q := question(*in)
	s := newSimulation(a.Principals.Now())
	s.caller = policy.Caller{Type: policy.User, Account: string(c.Principal.Account)}
	if err := a.prepare(ctx, s, &q); err != nil {
		return nil, err
	}
	results, truncated, marker, err := s.run(&q)
	return &shapes.SimulateCustomPolicyOutput{EvaluationResults: results, IsTruncated: truncated, Marker: marker}, err
}

// simulatePrincipalPolicy asks about a user, group or role with its policies, its
// boundary, its account's service control policies, and the policies of the
// request on top.
func (a *api) simulatePrincipalPolicy(ctx context.Context, c *aws.Call, in *shapes.SimulatePrincipalPolicyInput) (*shapes.SimulatePrincipalPolicyOutput, error) {
	q := question{
		PolicyInputList: in.PolicyInputList, PermissionsBoundaryPolicyInputList: in.PermissionsBoundaryPolicyInputList,
		ActionNames: in.ActionNames, ResourceArns: in.ResourceArns, ResourcePolicy: in.ResourcePolicy, ResourceOwner: in.ResourceOwner,
		CallerArn: in.CallerArn, ContextEntries: in.ContextEntries, MaxItems: in.MaxItems, Marker: in.Marker,
	}
	p, err := a.overview.Principal(ctx, c.Principal.Account, *in.PolicySourceArn)
	if err != nil {
		return nil, err
	}
	s := newSimulation(a.Principals.Now())
	if err := s.principal(c.Principal.Account, p); err != nil {
		return nil, err
	}
	if err := a.prepare(ctx, s, &q); err != nil {
		return nil, err
	}
	results, truncated, marker, err := s.run(&q)
	return &shapes.SimulatePrincipalPolicyOutput{EvaluationResults: results, IsTruncated: truncated, Marker: marker}, err
}

// question is what both operations ask. ResourceHandlingOption is for EC2's
// scenarios and has no effect here.
type question shapes.SimulateCustomPolicyInput

// simulation is what counts for all answers to a question.
type simulation struct {
	// policies are the sources without what a resource adds.
	policies policy.Sources
	// texts are the policies by the name that policies has them by.
	texts  map[string]written
	caller policy.Caller
	// known says that the caller is a certain user, role or member of a group.
	known bool
	// context holds condition keys in lower case.
	context map[string][]string
	// owner is the account that ResourceOwner names, "" for none.
	owner string
	// organized says that the account is in an organization.
	organized bool
}

// written is a policy as the answers name it: its id, what kind it is, and where
// its statements stand.
type written struct {
	id, side string
	spans    []span
}

// What the answers call the kinds of policies.
const (
	iamPolicy      = "IAM Policy"
	resourcePolicy = "Resource Policy"
	boundaryPolicy = "Permissions Boundary Policy"
)

// newSimulation knows the time and nothing else.
func newSimulation(now time.Time) *simulation {
	return &simulation{texts: map[string]written{}, context: map[string][]string{
		"aws:currenttime": {now.UTC().Format(time.RFC3339)}, "aws:epochtime": {strconv.FormatInt(now.Unix(), 10)},
	}}
}

// name adds a policy under a name of its own.
func (s *simulation) name(w written, d *policy.Document) policy.Named {
	called := strconv.Itoa(len(s.texts))
	s.texts[called] = w
	return policy.Named{Name: called, Document: d}
}

// stored adds a policy that is kept here.
func (s *simulation) stored(side string, source overview.Source) (policy.Named, error) {
	d, err := policy.Parse(source.Text, policy.Identity)
	if err != nil {
		return policy.Named{}, fmt.Errorf("the policy %s cannot be read: %w", source.ID, err)
	}
	return s.name(written{source.ID, side, spans(source.Text)}, d), nil
}

// principal makes a user, group or role the caller. A group's caller is any of
// its members.
func (s *simulation) principal(account name.AccountID, p overview.Principal) error {
	for _, source := range p.Policies {
		named, err := s.stored(iamPolicy, source)
		if err != nil {
			return err
		}
		s.policies.Identity = append(s.policies.Identity, named)
	}
	if p.Boundary != nil {
		named, err := s.stored(boundaryPolicy, *p.Boundary)
		if err != nil {
			return err
		}
		s.policies.Boundary = &named
	}
	if org := p.Organization; org.ID != "" {
		s.organized = true
		s.context["aws:principalorgid"] = []string{org.ID}
		s.context["aws:principalorgpaths"] = []string{org.Path}
		if !p.ServiceLinked {
			s.policies.ServiceControl = org.ServiceControl
		}
	}
	s.caller = policy.Caller{Type: policy.User, Account: string(account)}
	s.known = true
	s.context["aws:principalaccount"] = []string{string(account)}
	switch p.Kind {
	case entity.Group:
		return nil
	case entity.Role:
		s.caller.Type, s.caller.ParentARN, s.caller.UniqueID = policy.AssumedRole, p.ARN, p.ID
		s.context["aws:principaltype"] = []string{"AssumedRole"}
	case entity.User:
		s.caller.ARN, s.caller.UniqueID = p.ARN, p.ID
		s.userContext(p.Name, p.ID)
	}
	s.context["aws:principalarn"] = []string{p.ARN}
	for k, v := range p.Tags {
		s.context["aws:principaltag/"+strings.ToLower(k)] = []string{v}
	}
	return nil
}

func (s *simulation) userContext(called, id string) {
	s.context["aws:principaltype"] = []string{"User"}
	s.context["aws:username"] = []string{called}
	delete(s.context, "aws:userid")
	if id != "" {
		s.context["aws:userid"] = []string{id}
	}
}

// prepare adds to a simulation what the question brings.
func (a *api) prepare(ctx context.Context, s *simulation, q *question) error {
	if q.CallerArn != nil {
		if err := a.callAs(ctx, s, *q.CallerArn); err != nil {
			return err
		}
	}
	for i, text := range q.PolicyInputList {
		id := member("PolicyInputList", i)
		d, err := parsed(id, text, policy.Identity)
		if err != nil {
			return err
		}
		s.policies.Identity = append(s.policies.Identity, s.name(written{id, iamPolicy, spans(text)}, d))
	}
	switch list := q.PermissionsBoundaryPolicyInputList; {
	case len(list) > 1:
		return errs.New(errs.InvalidInput, "Only one permissions boundary policy can be given.")
	case len(list) == 1:
		id := member("PermissionsBoundaryPolicyInputList", 0)
		d, err := parsed(id, list[0], policy.Identity)
		if err != nil {
			return err
		}
		s.policies.Boundary = new(s.name(written{id, boundaryPolicy, spans(list[0])}, d))
	}
	if q.ResourceOwner != nil {
		var err error
		if s.owner, err = ownerIn(*q.ResourceOwner); err != nil {
			return err
		}
	}
	if q.ResourcePolicy != nil {
		if s.caller.ARN == "" {
			return errs.New(errs.InvalidInput, "CallerArn is required with ResourcePolicy, to have a value for the policy's Principal elements.")
		}
		d, err := parsed("ResourcePolicy", *q.ResourcePolicy, policy.Repository)
		if err != nil {
			return err
		}
		s.policies.Resource = []policy.Named{s.name(written{"ResourcePolicy", resourcePolicy, spans(*q.ResourcePolicy)}, d)}
	}
	entries := map[string][]string{}
	for _, e := range q.ContextEntries {
		if e.ContextKeyName == nil {
			return errs.New(errs.InvalidInput, "Each context entry needs a ContextKeyName.")
		}
		entries[strings.ToLower(*e.ContextKeyName)] = e.ContextKeyValues
	}
	maps.Copy(s.context, entries)
	return checkQuestion(q)
}

// callAs makes a user the caller, with the policies that the simulation has.
func (a *api) callAs(ctx context.Context, s *simulation, arn string) error {
	account, kind, called, err := overview.SplitARN(arn)
	if _, malformed := name.ParseAccountID(string(account)); err != nil || malformed != nil || kind != entity.User {
		return errs.New(errs.InvalidInput, "The caller ARN %s is not valid: only IAM users can be simulated as callers.", arn)
	}
	if s.caller.ARN == arn {
		return nil
	}
	id, err := a.overview.CallerOf(ctx, account, arn)
	if err != nil {
		return err
	}
	s.caller = policy.Caller{Type: policy.User, Account: string(account), ARN: arn, UniqueID: id}
	s.known = true
	maps.DeleteFunc(s.context, func(k string, _ []string) bool { return strings.HasPrefix(k, "aws:principaltag/") })
	s.context["aws:principalarn"] = []string{arn}
	s.context["aws:principalaccount"] = []string{string(account)}
	s.userContext(called, id)
	return nil
}

// ownerIn reads a ResourceOwner: an account's ARN, or its number.
func ownerIn(text string) (string, error) {
	account := text
	if arn, err := name.ParseARN(text); err == nil && arn.Partition == "aws" && arn.Service == "iam" && arn.Resource == "root" {
		account = string(arn.Account)
	}
	if _, err := name.ParseAccountID(account); err != nil {
		return "", errs.New(errs.InvalidInput, "The resource owner %s is not valid: it has to be the ARN of an account, as arn:aws:iam::111122223333:root.", text)
	}
	return account, nil
}

func checkQuestion(q *question) error {
	if len(q.ActionNames) == 0 {
		return errs.New(errs.InvalidInput, "At least one action is needed.")
	}
	for _, action := range q.ActionNames {
		if service, called, found := strings.Cut(action, ":"); !found || service == "" || called == "" || strings.ContainsAny(action, "*? ") {
			return errs.New(errs.InvalidInput, "The action %s is not valid: it has to be one action with its service, as ecr:PutImage, without wildcards.", action)
		}
	}
	for _, resource := range q.ResourceArns {
		if _, err := name.ParseARN(resource); err != nil && resource != "*" {
			return errs.New(errs.InvalidInput, "The resource %s is not valid: it has to be an ARN, or *.", resource)
		}
	}
	return nil
}

// maxMatched ends a page early: policies of many statements would make an answer
// without bounds. AWS says that it may return fewer items than MaxItems, too.
const maxMatched = 10_000

// run answers a page of the question: every action on every resource.
func (s *simulation) run(q *question) (results []shapes.EvaluationResult, truncated *bool, marker *string, err error) {
	resources := q.ResourceArns
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	after, err := cursor(q.Marker, 1)
	if err != nil {
		return nil, nil, nil, err
	}
	first, all := 0, len(q.ActionNames)*len(resources)
	if after[0] != "" {
		if first, err = strconv.Atoi(after[0]); err != nil || first < 0 {
			return nil, nil, nil, errInvalidMarker()
		}
	}
	results = []shapes.EvaluationResult{}
	next, matched := first, 0
	for next < min(first+limitOf(q.MaxItems), all) && matched < maxMatched {
		r := s.evaluate(q.ActionNames[next/len(resources)], resources[next%len(resources)])
		results = append(results, r)
		matched += len(r.MatchedStatements)
		next++
	}
	if next < all {
		return results, new(true), markerOf(strconv.Itoa(next)), nil
	}
	return results, new(false), nil, nil
}
