package entity

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	servicePath       = "/aws-service-role/"
	serviceNamePrefix = "AWSServiceRoleFor"
	servicePolicies   = "arn:aws:iam::aws:policy/aws-service-role/"
)

// serviceRole is what a service's role looks like (ECR user guide, "Using
// service-linked roles").
type serviceRole struct{ service, name, policy string }

var serviceRoles = []serviceRole{
	{"replication.ecr.amazonaws.com", "AWSServiceRoleForECRReplication", "ECRReplicationServiceRolePolicy"},
	{"pullthroughcache.ecr.amazonaws.com", "AWSServiceRoleForECRPullThroughCache", "AWSECRPullThroughCache_ServiceRolePolicy"},
	{"ecr.amazonaws.com", "AWSServiceRoleForECRTemplate", "ECRTemplateServiceRolePolicy"},
	{"inspector2.amazonaws.com", "AWSServiceRoleForAmazonInspector2", "AmazonInspector2ServiceRolePolicy"},
}

func (r serviceRole) path() string { return servicePath + r.service + "/" }

func (r serviceRole) trust() string {
	service, _ := json.Marshal(r.service) // a string always can be
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":` + string(service) + `},"Action":"sts:AssumeRole"}]}`
}

func roleOfService(service string) (serviceRole, error) {
	for _, r := range serviceRoles {
		if r.service == service {
			return r, nil
		}
	}
	return serviceRole{}, errs.New(errs.InvalidInput, "%s is not a service that supports service-linked roles.", service)
}

// ServiceRoleName is the name that the role of a service has, there or not; for
// a service without one, the beginning of all such names.
func ServiceRoleName(service string) string {
	r, err := roleOfService(service)
	if err != nil {
		return serviceNamePrefix
	}
	return r.name
}

// EnsureServiceRole returns the service-linked role of a service and makes it if
// it is not there. Features call it when they are configured first. It does not
// count against the account's quota of roles. errs.InvalidInput for a service
// that has none.
func (s *Service) EnsureServiceRole(ctx context.Context, account name.AccountID, service string) (Entity, error) {
	r, err := roleOfService(service)
	if err != nil {
		return Entity{}, err
	}
	e, err := s.Get(ctx, account, Role, r.name)
	if !errs.Is(err, errs.EntityNotFound) {
		return e, err
	}
	e, _, err = s.makeServiceRole(ctx, account, r, "")
	return e, err
}

// CreateServiceRole makes the service-linked role of a service.
// errs.InvalidInput when it is there, or the service has none.
func (s *Service) CreateServiceRole(ctx context.Context, account name.AccountID, service, description string) (Entity, error) {
	r, err := roleOfService(service)
	if err != nil {
		return Entity{}, err
	}
	e, made, err := s.makeServiceRole(ctx, account, r, description)
	if err == nil && !made {
		err = errs.New(errs.InvalidInput, "Service role name %s has been taken in this account, please try a different suffix.", r.name)
	}
	return e, err
}

// makeServiceRole makes the role unless it is there.
func (s *Service) makeServiceRole(ctx context.Context, account name.AccountID, r serviceRole, description string) (e Entity, made bool, err error) {
	err = s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		e, err = s.GetTx(ctx, tx, account, Role, r.name)
		if made = errs.Is(err, errs.EntityNotFound); !made {
			return err
		}
		d, err := policy.Parse(r.trust(), policy.Trust)
		if err != nil {
			return err
		}
		e = Entity{ID: principal.NewID(principal.PrefixRole), Account: account, Kind: Role, Name: r.name, Path: r.path(), CreatedAt: s.now(), Tags: map[string]string{},
			Role: &RoleSettings{Trust: d.JSON(), Description: description, MaxSession: MinMaxSession, Service: r.service}}
		if err := insert(ctx, tx, e); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO iam_attachment (entity_id, policy_arn) VALUES ($1, $2)`, e.ID, servicePolicies+r.policy)
		return err
	})
	return e, made, err
}

// InUse says in which regions the account has the feature configured that a
// service's role is for. nil is never.
type InUse func(ctx context.Context, account name.AccountID, service string) ([]name.Region, error)

func (f InUse) regions(ctx context.Context, account name.AccountID, service string) ([]name.Region, error) {
	if f == nil {
		return nil, nil
	}
	return f(ctx, account, service)
}

// Deletion is what became of the deletion of a service-linked role.
type Deletion struct {
	// Deleted is false when the role is still there, for the Reason.
	Deleted bool
	Reason  string
	// Role is its ARN, and Regions where it is in use.
	Role    string
	Regions []name.Region
}

// DeleteServiceRole deletes a service-linked role unless its feature is
// configured, and returns the task by which DeletionStatus tells which of the
// two it was. errs.EntityNotFound when there is no such service-linked role.
//
// The feature may be configured between the question and the deletion; it then
// has to be configured once more to have its role again.
func (s *Service) DeleteServiceRole(ctx context.Context, account name.AccountID, roleName string, inUse InUse) (task string, err error) {
	e, err := s.Get(ctx, account, Role, roleName)
	if err == nil && !e.protected() {
		err = errs.New(errs.EntityNotFound, "The role with name %s is not a service-linked role and cannot be deleted this way. Use DeleteRole.", e.Name)
	}
	if err != nil {
		return "", err
	}
	task = taskOf(e)
	regions, err := inUse.regions(ctx, account, e.Role.Service)
	if err != nil || len(regions) > 0 {
		return task, err
	}
	return task, s.p.Change(ctx, account, func(tx *sqldb.Tx) error { return remove(ctx, tx, e.ID) })
}

// taskOf names the deletion of a role. The UUID (version 8, RFC 9562) stands for
// the role's unique id, so that it can be told from one made later.
func taskOf(e Entity) string {
	sum := sha256.Sum256([]byte("deletion of " + e.ID))
	b := sum[:16]
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("task%s%s/%s/%x-%x-%x-%x-%x", servicePath, e.Role.Service, e.Name, b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// ServiceOfTask reads the service and the role out of a deletion task's id.
// errs.InvalidInput when it is none.
func ServiceOfTask(task string) (service, roleName string, err error) {
	rest, ok := strings.CutPrefix(task, "task"+servicePath)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 || len(parts[2]) != 36 {
		return "", "", errs.New(errs.InvalidInput, "Invalid deletion task id: %s", task)
	}
	r, err := roleOfService(parts[0])
	if err != nil || r.name != parts[1] {
		return "", "", errs.New(errs.InvalidInput, "Invalid deletion task id: %s", task)
	}
	return r.service, r.name, nil
}

// DeletionStatus says what became of a deletion: the role of the task is there
// or it is not. errs.InvalidInput for what is no task.
func (s *Service) DeletionStatus(ctx context.Context, account name.AccountID, task string, inUse InUse) (Deletion, error) {
	service, roleName, err := ServiceOfTask(task)
	if err != nil {
		return Deletion{}, err
	}
	e, err := s.Get(ctx, account, Role, roleName)
	if errs.Is(err, errs.EntityNotFound) || err == nil && taskOf(e) != task {
		return Deletion{Deleted: true}, nil
	}
	if err != nil {
		return Deletion{}, err
	}
	d := Deletion{Role: e.ARN(), Reason: "The role could not be deleted because it was in use. It is no longer; delete it again."}
	if d.Regions, err = inUse.regions(ctx, account, service); err != nil {
		return Deletion{}, err
	}
	if len(d.Regions) > 0 {
		d.Reason = "The role cannot be deleted because " + service + " is configured to use it. Remove the configuration in the regions of the list first."
	}
	return d, nil
}
