package sts

import (
	"context"
	"strconv"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal/session"
)

func assumeOf(in *AssumeRoleInput) (session.Assume, error) {
	if in.ProvidedContexts != nil {
		return session.Assume{}, errs.New(errs.Validation, "ProvidedContexts cannot be used: this deployment has no context providers.")
	}
	return session.Assume{
		RoleARN: *in.RoleArn, Name: *in.RoleSessionName, Bounds: boundsOf(in.Policy, in.PolicyArns),
		Tags: tagsOf(in.Tags), TransitiveKeys: in.TransitiveTagKeys,
		SourceIdentity: text(in.SourceIdentity), ExternalID: text(in.ExternalId), Duration: seconds(in.DurationSeconds),
	}, nil
}

// assumeRoleNeeds also takes the code of an MFA device: whether one was given
// decides with the trust policy.
func (a *API) assumeRoleNeeds(c *aws.Call, in *AssumeRoleInput) ([]authz.Need, error) {
	request, err := assumeOf(in)
	if err != nil {
		return nil, err
	}
	plan, err := session.PlanAssume(c.Principal, request)
	if err != nil {
		return nil, err
	}
	if in.SerialNumber != nil || in.TokenCode != nil {
		mfa, err := a.Sessions.CheckMFA(context.Background(), c.Principal, text(in.SerialNumber), text(in.TokenCode))
		if err != nil {
			return nil, err
		}
		if mfa {
			plan.Context["aws:multifactorauthpresent"] = []string{"true"}
			plan.Context["aws:multifactorauthage"] = []string{"0"}
		}
	}
	needs := []authz.Need{{Action: "sts:AssumeRole", Resource: plan.Role, Context: plan.Context}}
	if plan.Tagged {
		needs = append(needs, authz.Need{Action: "sts:TagSession", Resource: plan.Role, Context: plan.Context})
	}
	if plan.SourceIdentity != "" {
		needs = append(needs, authz.Need{Action: "sts:SetSourceIdentity", Resource: plan.Role, Context: plan.Context})
	}
	return needs, nil
}

func (a *API) assumeRole(ctx context.Context, c *aws.Call, in *AssumeRoleInput) (*AssumeRoleOutput, error) {
	request, err := assumeOf(in)
	if err != nil {
		return nil, err
	}
	given, err := a.Sessions.AssumeRole(ctx, c.Principal, request)
	if err != nil {
		return nil, err
	}
	return &AssumeRoleOutput{
		Credentials: credentialsShape(given.Credentials), AssumedRoleUser: assumedShape(given.Principal),
		PackedPolicySize: packedShape(given.PackedPolicySize), SourceIdentity: optional(given.Principal.Session.SourceIdentity),
	}, nil
}

func (a *API) assumeRoleWithWebIdentity(ctx context.Context, c *aws.Call, in *AssumeRoleWithWebIdentityInput) (*AssumeRoleWithWebIdentityOutput, error) {
	if in.ProviderId != nil {
		return nil, errs.New(errs.Validation, "ProviderId names OAuth providers, which are not supported; leave it out for a token of an OpenID Connect provider.")
	}
	given, err := a.Sessions.AssumeRoleWithWebIdentity(ctx, session.WebIdentity{
		RoleARN: *in.RoleArn, Name: *in.RoleSessionName, Token: *in.WebIdentityToken,
		Bounds: boundsOf(in.Policy, in.PolicyArns), Duration: seconds(in.DurationSeconds), Context: originContext(c),
	})
	if err != nil {
		return nil, err
	}
	// CloudTrail's form: provider, audience and subject name the caller.
	c.Identity = audit.Identity{
		Account: given.Principal.Account, ARN: given.Provider, Type: "WebIdentityUser", UserName: given.Subject,
		ID: given.Provider + ":" + given.Audience + ":" + given.Subject,
	}
	return &AssumeRoleWithWebIdentityOutput{
		Credentials: credentialsShape(given.Credentials), AssumedRoleUser: assumedShape(given.Principal),
		SubjectFromWebIdentityToken: &given.Subject, Provider: &given.Provider, Audience: &given.Audience,
		PackedPolicySize: packedShape(given.PackedPolicySize), SourceIdentity: optional(given.SourceIdentity),
	}, nil
}

// originContext are the condition keys of a request that authz does not see.
func originContext(c *aws.Call) map[string][]string {
	keys := map[string][]string{
		"aws:securetransport": {strconv.FormatBool(c.Origin.Secure)},
		"aws:currenttime":     {c.At.UTC().Format(time.RFC3339)},
		"aws:epochtime":       {strconv.FormatInt(c.At.Unix(), 10)},
	}
	put := func(key, value string) {
		if value != "" {
			keys[key] = []string{value}
		}
	}
	put("aws:useragent", c.UserAgent)
	put("aws:sourcevpc", c.Origin.VPC)
	put("aws:sourcevpce", c.Origin.VPCEndpoint)
	if c.Origin.SourceIP.IsValid() {
		key := "aws:sourceip"
		if c.Origin.VPCEndpoint != "" {
			key = "aws:vpcsourceip"
		}
		put(key, c.Origin.SourceIP.String())
	}
	return keys
}
