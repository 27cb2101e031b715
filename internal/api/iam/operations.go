// Package iam is the part of the IAM API (2010-05-08, Query protocol) that Berth
// serves: it puts together the tables of operations that stand in iam/entities
// (users, groups, roles), iam/policies and iam/credentials, and owns the table
// of errors.
//
// It does not own the types (iam/shapes, generated), nor authenticate, authorize
// or write answers; the pipeline in api/aws does.
package iam

import (
	"slices"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/query"
	"github.com/berth-registry/berth/internal/api/iam/credentials"
	"github.com/berth-registry/berth/internal/api/iam/entities"
	"github.com/berth-registry/berth/internal/api/iam/policies"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Config is what the API stands on.
type Config struct {
	Entities    entities.Config
	Policies    policies.Config
	Credentials credentials.Config
}

// API holds the operations.
type API struct{ c Config }

// New returns the API.
func New(c Config) *API { return &API{c: c} }

// Service describes the API to the pipeline.
func (a *API) Service() aws.Service {
	return aws.Service{
		Name:         "iam",
		EventSource:  "iam.amazonaws.com",
		Version:      "2010-05-08",
		SigningNames: []string{"iam"},
		Host:         name.HostIAM,
		Global:       true,
		Protocol:     query.Protocol{Namespace: "https://iam.amazonaws.com/doc/2010-05-08/"},
		Known:        shapes.OperationNames(),
		Errors:       errorOf,
		ErrorShapes:  shapes.ErrorShapes(),
		Operations: slices.Concat(
			entities.Operations(a.c.Entities), policies.Operations(a.c.Policies), credentials.Operations(a.c.Credentials),
		),
	}
}
