package sts

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/principal/session"
)

func (a *API) getSessionToken(ctx context.Context, c *aws.Call, in *GetSessionTokenInput) (*GetSessionTokenOutput, error) {
	given, err := a.Sessions.SessionToken(ctx, c.Principal, seconds(in.DurationSeconds), text(in.SerialNumber), text(in.TokenCode))
	if err != nil {
		return nil, err
	}
	return &GetSessionTokenOutput{Credentials: credentialsShape(given.Credentials)}, nil
}

func federateOf(in *GetFederationTokenInput) session.Federate {
	return session.Federate{
		Name: *in.Name, Bounds: boundsOf(in.Policy, in.PolicyArns), Tags: tagsOf(in.Tags), Duration: seconds(in.DurationSeconds),
	}
}

func (a *API) getFederationTokenNeeds(c *aws.Call, in *GetFederationTokenInput) ([]authz.Need, error) {
	keys, err := session.PlanFederate(c.Principal, federateOf(in))
	if err != nil {
		return nil, err
	}
	user := session.FederatedARN(c.Principal.Account, *in.Name)
	needs := []authz.Need{{Action: "sts:GetFederationToken", Resource: user, Context: keys}}
	if len(in.Tags) > 0 {
		needs = append(needs, authz.Need{Action: "sts:TagSession", Resource: user, Context: keys})
	}
	return needs, nil
}

func (a *API) getFederationToken(ctx context.Context, c *aws.Call, in *GetFederationTokenInput) (*GetFederationTokenOutput, error) {
	given, err := a.Sessions.FederationToken(ctx, c.Principal, federateOf(in))
	if err != nil {
		return nil, err
	}
	return &GetFederationTokenOutput{
		Credentials:      credentialsShape(given.Credentials),
		FederatedUser:    &FederatedUser{FederatedUserId: new(given.Principal.ID), Arn: new(given.Principal.ARN)},
		PackedPolicySize: packedShape(given.PackedPolicySize),
	}, nil
}
