// Package addressing says what a call of the ECR API is about: the registry and
// repository that its input names, and the permissions that follow from them.
//
// It does not look anything up; the operations of api/ecr and below do.
package addressing

import (
	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Target is the registry and repository that a request names.
func Target(c *aws.Call, registryID, repositoryName *string) (name.Registry, name.Repository) {
	reg := c.Registry
	if registryID != nil {
		reg.Account = name.AccountID(*registryID)
	}
	if repositoryName == nil {
		return reg, ""
	}
	return reg, name.Repository(*repositoryName)
}

// OnRepository makes the Needs of an operation on one repository.
func OnRepository[I any](action string, of func(*I) (registryID, repositoryName *string)) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(c *aws.Call, in *I) ([]authz.Need, error) {
		reg, repo := Target(c, first(of(in)), second(of(in)))
		return []authz.Need{{Action: action, Resource: reg.RepositoryARN(repo)}}, nil
	}
}

func first(a, _ *string) *string  { return a }
func second(_, b *string) *string { return b }

// OnRegistry makes the Needs of an operation without a resource type.
func OnRegistry[I any](action string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(*aws.Call, *I) ([]authz.Need, error) { return []authz.Need{{Action: action}}, nil }
}
