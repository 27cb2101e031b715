// Package secretsmanager is the part of AWS Secrets Manager (2017-10-17, JSON 1.1)
// that pull-through cache rules keep their credentials in: the table of operations,
// each with the permissions it needs, and the translation between the service's shapes
// and the domain.
//
// It does not authenticate, validate shapes, authorize or write answers; the pipeline
// in api/aws does. The rules are in domain/secret.
package secretsmanager

import (
	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/secret"
)

// Config is what the API stands on.
type Config struct {
	Secrets *secret.Service
}

// API holds the operations.
type API struct {
	Config
}

// New returns the API.
func New(c Config) *API { return &API{Config: c} }

// Service describes the API to the pipeline. It can be described without a Config,
// for the documentation.
func (a *API) Service() aws.Service {
	return aws.Service{
		Name:         "secretsmanager",
		EventSource:  "secretsmanager.amazonaws.com",
		TargetPrefix: "secretsmanager",
		SigningNames: []string{"secretsmanager"},
		Host:         name.HostSecretsManager,
		Protocol:     json11.Protocol{},
		Known:        OperationNames(),
		Errors:       errorOf,
		ErrorShapes:  ErrorShapes(),
		Notes: map[string]string{
			"CreateSecret":   "secrets are not replicated and of no type: AddReplicaRegions and Type are refused",
			"PutSecretValue": "there is no rotation: RotationToken is refused",
			"DeleteSecret":   "there is no RestoreSecret: the recovery window only keeps the name",
		},
		Operations: a.operations(),
	}
}

// operations is the table. What the model has and the table has not is answered as an
// unknown operation and listed as missing in docs/compatibility.md.
func (a *API) operations() []aws.Operation {
	return []aws.Operation{
		aws.Op("CreateSecret", true, createNeeds, a.createSecret),
		aws.Op("PutSecretValue", true, a.putNeeds, a.putSecretValue),
		aws.Op("GetSecretValue", false, a.getNeeds, a.getSecretValue),
		aws.Op("DescribeSecret", false, a.describeNeeds, a.describeSecret),
		aws.Op("ListSecrets", false, listNeeds, a.listSecrets),
		aws.Op("DeleteSecret", true, a.deleteNeeds, a.deleteSecret),
	}
}
