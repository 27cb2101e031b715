package app

import (
	"context"

	"github.com/berth-registry/berth/internal/api/iam"
	"github.com/berth-registry/berth/internal/api/iam/credentials"
	"github.com/berth-registry/berth/internal/api/iam/entities"
	"github.com/berth-registry/berth/internal/api/iam/policies"
	"github.com/berth-registry/berth/internal/api/sts"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/image/tagged"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/credential"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/managed"
	"github.com/berth-registry/berth/internal/domain/principal/organization"
	"github.com/berth-registry/berth/internal/domain/principal/provider"
	"github.com/berth-registry/berth/internal/domain/principal/session"
	"github.com/berth-registry/berth/internal/infra/certs"
	"github.com/berth-registry/berth/internal/infra/oidcverify"
)

// buildIdentity wires what knows of principals, and the authorizer on top of it.
func (a *App) buildIdentity() (err error) {
	a.entities = entity.New(a.principals)
	a.managed = managed.New(a.principals)
	a.credentials = credential.New(a.principals)
	a.providers = provider.New(a.principals)
	a.organizations = organization.New(organization.Config{DB: a.durable, Clock: a.clk, Forget: a.principals.Forget})
	roots, err := certs.Authorities(a.cfg.IssuerCA, "issuer_ca")
	if err != nil {
		return err
	}
	a.sessions = session.New(session.Config{
		Principals: a.principals, Roles: a.entities, Codes: a.credentials, Providers: a.providers,
		Verifier: oidcverify.New(oidcverify.Config{Clock: a.clk, Roots: roots}),
	})
	a.access, err = authz.New(authz.Config{
		Principals: a.principals, Entities: a.entities, Registries: a.registries, Repositories: a.repositories, Keys: a.keys, Clock: a.clk,
		ImageTags: tagged.Reader{Durable: a.durable}.Of,
	})
	return err
}

// serviceRoleInUse says in which regions the account has something configured for
// which a service has its service-linked role.
func (a *App) serviceRoleInUse(ctx context.Context, account name.AccountID, service string) ([]name.Region, error) {
	regions, err := a.distribution.InUse(ctx, account, service)
	if err != nil {
		return nil, err
	}
	scanned, err := a.scanning.InUse(ctx, account, service)
	return append(regions, scanned...), err
}

func (a *App) iamAPI() *iam.API {
	return iam.New(iam.Config{
		Entities:    entities.Config{Principals: a.principals, Entities: a.entities, InUse: a.serviceRoleInUse},
		Policies:    policies.Config{Principals: a.principals, Managed: a.managed, Entities: a.entities},
		Credentials: credentials.Config{Credentials: a.credentials, Providers: a.providers},
	})
}

func (a *App) stsAPI() *sts.API {
	return sts.New(sts.Config{Sessions: a.sessions, Principals: a.principals, Messages: a.access})
}
