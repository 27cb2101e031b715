// Package sts is the part of AWS STS (2011-06-15, Query protocol) that Berth
// serves.
//
// It does not authenticate or write answers; the pipeline in api/aws does.
package sts

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/query"
	"github.com/berth-registry/berth/internal/domain/authz"
)

// Service describes the API to the pipeline.
func Service() aws.Service {
	return aws.Service{
		Name:         "sts",
		EventSource:  "sts.amazonaws.com",
		Version:      "2011-06-15",
		SigningNames: []string{"sts"},
		// Clients sign for us-east-1 or for their own region.
		Global:      true,
		Protocol:    query.Protocol{Namespace: "https://sts.amazonaws.com/doc/2011-06-15/"},
		Known:       OperationNames(),
		Errors:      errorOf,
		ErrorShapes: ErrorShapes(),
		Operations: []aws.Operation{
			aws.Op("GetCallerIdentity", false, func(*aws.Call, *GetCallerIdentityInput) ([]authz.Need, error) {
				return []authz.Need{{Action: "sts:GetCallerIdentity"}}, nil
			}, getCallerIdentity),
		},
	}
}

func getCallerIdentity(_ context.Context, c *aws.Call, _ *GetCallerIdentityInput) (*GetCallerIdentityOutput, error) {
	return &GetCallerIdentityOutput{
		UserId: new(c.Principal.ID), Account: new(string(c.Principal.Account)), Arn: new(c.Principal.ARN),
	}, nil
}
