package authz

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

const (
	// ReplicationService is the service that copies images between registries.
	ReplicationService = "replication.ecr.amazonaws.com"
	replicationPolicy  = "arn:aws:iam::aws:policy/aws-service-role/ECRReplicationServiceRolePolicy"
	// beyond is what the role may besides, as far as a destination's registry policy
	// allows it to another account. Tags: a template's own role gives them, and the
	// policy has to allow it to the source all the same (ECR user guide, "Repository
	// creation templates"). Deletions are Berth's own option of a destination.
	beyond = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["ecr:TagResource","ecr:BatchDeleteImage"],"Resource":"*"}}`
)

// ReplicationPrincipal is the account's service-linked role for replication, as
// the caller of what it does at a destination. The account may live in another
// deployment.
func ReplicationPrincipal(source name.AccountID, now time.Time) principal.Principal {
	role := entity.ServiceRoleName(ReplicationService)
	return principal.Principal{
		Account: source, ARN: "arn:aws:sts::" + string(source) + ":assumed-role/" + role + "/replication", ID: principal.PrefixRole + "REPLICATION:replication",
		Session: &principal.Session{
			Kind: principal.RoleSession, Name: "replication", Issued: now, Expires: now.Add(time.Hour),
			RoleARN: principal.EntityARN(source, "role", "/aws-service-role/"+ReplicationService+"/", role),
		},
	}
}

// AuthorizeReplication answers whether the source account's service-linked role
// may do all of this at a destination. The role's own permissions are AWS's, the
// same for every account, so that an account of another deployment can be asked
// about. Its own registry an account need not allow anything; another account's
// registry policy has to (ECR user guide, "Private registry permissions"). Nil
// when everything is allowed; a refusal is an errs.AccessDenied.
func (s *Service) AuthorizeReplication(ctx context.Context, source name.AccountID, region name.Region, needs []Need) error {
	p := ReplicationPrincipal(source, s.Clock.Now())
	linked, ok := s.Principals.Managed().Get(replicationPolicy)
	if !ok {
		return fmt.Errorf("AWS's managed policy %s is missing", replicationPolicy)
	}
	identity := &principal.Identity{
		Found: true, Name: entity.ServiceRoleName(ReplicationService), Path: "/aws-service-role/" + ReplicationService + "/", ARN: p.Session.RoleARN,
		Service: ReplicationService, Policies: []policy.Named{{Name: replicationPolicy, Document: linked.Document}},
	}
	if slices.ContainsFunc(needs, func(n Need) bool { return n.Action == "ecr:TagResource" || n.Action == "ecr:BatchDeleteImage" }) {
		document, err := policy.Parse(beyond, policy.Identity)
		if err != nil {
			return err
		}
		identity.Policies = append(identity.Policies, policy.Named{Name: replicationPolicy, Document: document})
	}
	// Conditions on the organization hold for accounts that are known here.
	known, err := s.Principals.IdentityOf(ctx, source, "")
	if err != nil {
		return err
	}
	identity.Organization = known.Organization
	a := &asked{
		request: Request{Principal: p, Needs: needs, Region: region, UserAgent: ReplicationService},
		who:     subject{Principal: p, identity: identity, caller: p.Caller(identity), sources: policy.Sources{Identity: identity.Policies}},
	}
	for _, a.need = range needs {
		if err := s.authorize(ctx, a); err != nil {
			return err
		}
	}
	return nil
}
