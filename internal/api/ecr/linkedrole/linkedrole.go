// Package linkedrole says what a call needs besides, that has a service-linked role
// made. The roles are domain/principal/entity's, and so is who makes them.
package linkedrole

import (
	"context"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

// Needs are the permissions to have the role of a service made in the account (ECR
// user guide, "Service-linked role permissions for Amazon ECR"); none once it is
// there, so that somebody who may configure the feature and nothing else then can.
func Needs(entities *entity.Service, account name.AccountID, service string) ([]authz.Need, error) {
	role := entity.ServiceRoleName(service)
	_, err := entities.Get(context.Background(), account, entity.Role, role) // a row's needs have no context of the request's
	if err == nil {
		return nil, nil
	}
	if !errs.Is(err, errs.EntityNotFound) {
		return nil, err
	}
	return []authz.Need{{
		Action:   "iam:CreateServiceLinkedRole",
		Resource: name.ARN{Partition: "aws", Service: "iam", Account: account, Resource: "role/aws-service-role/" + service + "/" + role},
		Context:  map[string][]string{"iam:awsservicename": {service}},
	}}, nil
}
