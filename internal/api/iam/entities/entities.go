// Package entities is the part of the IAM API that is about users, groups and
// roles: its rows, with the permissions that each needs, and the translation
// between the service's shapes and the domain.
//
// It does not own the rules (principal/entity), the service and its table of
// errors (internal/api/iam), nor the rows of managed policies, credentials and
// identity providers (internal/api/iam/policies, internal/api/iam/credentials).
package entities

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

// Config is what the rows stand on.
type Config struct {
	Principals *principal.Service
	Entities   *entity.Service
	// InUse is optional: it keeps service-linked roles from being deleted while
	// their feature is configured.
	InUse entity.InUse
}

type api struct{ Config }

// Operations are the rows.
func Operations(c Config) []aws.Operation {
	a := &api{c}
	return slices.Concat(a.users(), a.groups(), a.roles(), a.serviceRoles(), a.attachments(), a.inlinePolicies(), a.boundaries(), a.tags())
}

// keys are condition keys of a need, in lower case, with their values.
type keys map[string][]string

func (k keys) set(key string, value *string) {
	if value != nil && *value != "" {
		k[key] = []string{*value}
	}
}

// requestTags adds the keys for tags that are set.
func (k keys) requestTags(tags []shapes.Tag) {
	for _, t := range tags {
		k["aws:requesttag/"+strings.ToLower(*t.Key)] = []string{*t.Value}
		k["aws:tagkeys"] = append(k["aws:tagkeys"], *t.Key)
	}
}

// boundary adds the key for the permissions boundary that e has.
func (k keys) boundary(e entity.Entity) { k.set("iam:permissionsboundary", &e.Boundary) }

// about says more of a need: what the input and the entity give.
type about[I any] func(k keys, in *I, e entity.Entity)

// bounded is about for the operations that are bound by what boundary there is.
func bounded[I any](k keys, _ *I, e entity.Entity) { k.boundary(e) }

func arnOf(e entity.Entity) name.ARN {
	return name.ARN{Partition: "aws", Service: "iam", Account: e.Account, Resource: string(e.Kind) + e.Path + e.Name}
}

// find looks an entity up for its ARN. Where there is none it makes one up with
// the path "/", so that who may not know learns nothing.
func (a *api) find(c *aws.Call, kind entity.Kind, entityName string) (entity.Entity, error) {
	e, err := a.Entities.Get(context.Background(), c.Principal.Account, kind, entityName)
	if errs.Is(err, errs.EntityNotFound) {
		return entity.Entity{Account: c.Principal.Account, Kind: kind, Name: entityName, Path: "/"}, nil
	}
	return e, err
}

// need is the permission for an action on an entity that is there.
func need(action string, e entity.Entity, k keys) authz.Need {
	for tag, value := range e.Tags {
		k["aws:resourcetag/"+strings.ToLower(tag)] = []string{value}
		k["iam:resourcetag/"+strings.ToLower(tag)] = []string{value}
	}
	return authz.Need{Action: "iam:" + action, Resource: arnOf(e), Context: k}
}

// on makes the Needs of an operation on one entity, named by the input.
func on[I any](a *api, action string, kind entity.Kind, of func(*I) *string, more about[I]) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(c *aws.Call, in *I) ([]authz.Need, error) {
		e, err := a.find(c, kind, *of(in))
		if err != nil {
			return nil, err
		}
		k := keys{}
		if more != nil {
			more(k, in, e)
		}
		return []authz.Need{need(action, e, k)}, nil
	}
}

// anywhere makes the Needs of an operation without a resource type.
func anywhere[I any](action string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(*aws.Call, *I) ([]authz.Need, error) {
		return []authz.Need{{Action: "iam:" + action}}, nil
	}
}

// change is the row of an operation that changes one entity and answers
// nothing.
func change[O, I any](a *api, op string, kind entity.Kind, of func(*I) *string, more about[I], do func(ctx context.Context, account name.AccountID, in *I) error) aws.Operation {
	return aws.Op(op, true, on(a, op, kind, of, more), func(ctx context.Context, c *aws.Call, in *I) (*O, error) {
		return new(O), do(ctx, c.Principal.Account, in)
	})
}

// read is the row of an operation that reads of one entity.
func read[O, I any](a *api, op string, kind entity.Kind, of func(*I) *string, do func(context.Context, *aws.Call, *I) (*O, error)) aws.Operation {
	return aws.Op(op, false, on(a, op, kind, of, nil), do)
}

// making makes the Needs of an operation that makes an entity: with tags, the
// permission to set them as well.
func making(action, tagAction string, kind entity.Kind, c *aws.Call, entityName, path, boundary *string, tags []shapes.Tag) []authz.Need {
	e := entity.Entity{Account: c.Principal.Account, Kind: kind, Name: *entityName, Path: "/"}
	if path != nil {
		e.Path = *path
	}
	k := keys{}
	k.requestTags(tags)
	k.set("iam:permissionsboundary", boundary)
	needs := []authz.Need{need(action, e, k)}
	if len(tags) > 0 {
		needs = append(needs, need(tagAction, e, maps.Clone(k)))
	}
	return needs
}

// moving makes the Needs of an operation that renames: for the entity as it is
// and as it is to be (IAM API reference, UpdateUser).
func moving(a *api, c *aws.Call, action string, kind entity.Kind, entityName, newName, newPath *string) ([]authz.Need, error) {
	e, err := a.find(c, kind, *entityName)
	if err != nil {
		return nil, err
	}
	needs := []authz.Need{need(action, e, keys{})}
	if newName != nil {
		e.Name = *newName
	}
	if newPath != nil {
		e.Path = *newPath
	}
	if arnOf(e) != needs[0].Resource {
		needs = append(needs, need(action, e, keys{}))
	}
	return needs, nil
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// optional is nil for "".
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// encoded is a policy as answers have it: percent-encoded (RFC 3986).
func encoded(document string) *string {
	return new(strings.ReplaceAll(url.QueryEscape(document), "+", "%20"))
}

func userShape(e entity.Entity) shapes.User {
	return shapes.User{Path: &e.Path, UserName: &e.Name, UserId: &e.ID, Arn: new(e.ARN()), CreateDate: shape.At(e.CreatedAt), PasswordLastUsed: shape.AtNonZero(e.PasswordUsed)}
}

func groupShape(e entity.Entity) shapes.Group {
	return shapes.Group{Path: &e.Path, GroupName: &e.Name, GroupId: &e.ID, Arn: new(e.ARN()), CreateDate: shape.At(e.CreatedAt)}
}

// roleShape is a role as every answer has it; trust is what people read.
func roleShape(e entity.Entity, trust string) shapes.Role {
	return shapes.Role{Path: &e.Path, RoleName: &e.Name, RoleId: &e.ID, Arn: new(e.ARN()), CreateDate: shape.At(e.CreatedAt), AssumeRolePolicyDocument: encoded(trust)}
}

func boundaryShape(e entity.Entity) *shapes.AttachedPermissionsBoundary {
	if e.Boundary == "" {
		return nil
	}
	// The model's enum says PermissionsBoundaryPolicy; AWS sends its
	// documentation's word.
	return &shapes.AttachedPermissionsBoundary{PermissionsBoundaryType: new(shapes.PermissionsBoundaryAttachmentType("Policy")), PermissionsBoundaryArn: &e.Boundary}
}

// tagShapes lists tags by their keys; nil for none.
func tagShapes(tags map[string]string) []shapes.Tag {
	var out []shapes.Tag
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, shapes.Tag{Key: &key, Value: new(tags[key])})
	}
	return out
}

func tagsIn(tags []shapes.Tag) []entity.Tag {
	out := make([]entity.Tag, len(tags))
	for i, t := range tags {
		out[i] = entity.Tag{Key: *t.Key, Value: *t.Value}
	}
	return out
}
