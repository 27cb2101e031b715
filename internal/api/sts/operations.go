// Package sts is AWS STS (2011-06-15, Query protocol): the table of operations,
// each with the permissions it needs, and the translation between the service's
// shapes and the domain.
//
// It does not authenticate, validate shapes, authorize or write answers; the
// pipeline in api/aws does. The rules are in domain/principal/session.
package sts

import (
	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/query"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Service describes the API to the pipeline. It can be described without a
// Config, for the documentation.
func (a *API) Service() aws.Service {
	return aws.Service{
		Name:         "sts",
		EventSource:  "sts.amazonaws.com",
		Version:      "2011-06-15",
		SigningNames: []string{"sts"},
		Host:         name.HostSTS,
		// Clients sign for us-east-1 or for their own region.
		Global:      true,
		Protocol:    query.Protocol{Namespace: "https://sts.amazonaws.com/doc/2011-06-15/"},
		Known:       OperationNames(),
		Errors:      errorOf,
		ErrorShapes: ErrorShapes(),
		Notes: map[string]string{
			"AssumeRole":                "ProvidedContexts are refused: there are no context providers",
			"AssumeRoleWithWebIdentity": "for tokens of OpenID Connect providers; ProviderId, which names OAuth providers, is refused",
		},
		Operations: a.operations(),
		Open:       []aws.Operation{aws.OpenOp("AssumeRoleWithWebIdentity", false, a.assumeRoleWithWebIdentity)},
	}
}

// operations is the table. What the model has and the table has not is answered
// as an unknown operation and listed as missing in docs/compatibility.md. As in
// CloudTrail, giving out a session changes nothing.
func (a *API) operations() []aws.Operation {
	return []aws.Operation{
		// callers.go
		aws.Op("GetCallerIdentity", false, needsNoResource[GetCallerIdentityInput]("sts:GetCallerIdentity"), a.getCallerIdentity),
		aws.Op("GetAccessKeyInfo", false, needsNoResource[GetAccessKeyInfoInput]("sts:GetAccessKeyInfo"), a.getAccessKeyInfo),
		aws.Op("DecodeAuthorizationMessage", false, needsNoResource[DecodeAuthorizationMessageInput]("sts:DecodeAuthorizationMessage"), a.decodeAuthorizationMessage),

		// roles.go
		aws.Op("AssumeRole", false, a.assumeRoleNeeds, a.assumeRole),

		// tokens.go
		aws.Op("GetSessionToken", false, needsNoResource[GetSessionTokenInput]("sts:GetSessionToken"), a.getSessionToken),
		aws.Op("GetFederationToken", false, a.getFederationTokenNeeds, a.getFederationToken),
	}
}
