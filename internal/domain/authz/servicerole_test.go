package authz_test

import (
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// TestAuthorizeService: a service has what the role allows that it may assume,
// and what is missing is said.
func TestAuthorizeService(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		trusting := `{"Effect":"Allow","Principal":{"Service":"ecr.amazonaws.com"},"Action":"sts:AssumeRole"}`
		role := func(roleName, trust, statement string) string {
			t.Helper()
			e, err := w.Entities.Create(ctx, entity.Create{Account: ours, Kind: entity.Role, Name: roleName, Path: "/x/", Trust: document(trust)})
			w.must(err)
			if statement != "" {
				w.must(w.Entities.PutInline(ctx, ours, entity.Role, roleName, "p", document(statement)))
			}
			return e.ARN()
		}
		linked, err := w.Entities.EnsureServiceRole(ctx, ours, "ecr.amazonaws.com")
		w.must(err)
		may := `{"Effect":"Allow","Action":["ecr:CreateRepository","ecr:TagResource"],"Resource":"arn:aws:ecr:us-east-1:111111111111:repository/new"}`
		arn := reg(ours).RepositoryARN("new")
		create, tag := authz.Need{Action: "ecr:CreateRepository", Resource: arn}, authz.Need{Action: "ecr:TagResource", Resource: arn}
		if linked.Role.Service == "" {
			t.Fatal("no service-linked role")
		}
		for _, c := range []struct {
			what, role, says string
			needs            []authz.Need
		}{
			{"allowed", role("good", trusting, may), "", []authz.Need{create, tag}},
			{"the linked role", linked.ARN(), "", []authz.Need{create}},
			{"more than the linked role has", linked.ARN(), "User: arn:aws:sts::111111111111:assumed-role/AWSServiceRoleForECRTemplate/the-session is not authorized to perform: ecr:TagResource on resource: " + arn.String(), []authz.Need{create, tag}},
			{"no policies", role("bare", trusting, ""), "because no identity-based policy allows the ecr:CreateRepository action", []authz.Need{create}},
			{"no trust", role("distrusting", `{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"sts:AssumeRole"}`, may), "does not let ecr.amazonaws.com assume it", []authz.Need{create}},
			{"another service's", role("others", strings.Replace(trusting, "ecr.", "replication.ecr.", 1), may), "does not let ecr.amazonaws.com assume it", []authz.Need{create}},
			{"for this source", role("source", strings.TrimSuffix(trusting, "}")+`,"Condition":{"StringEquals":{"aws:SourceAccount":"111111111111"},"ArnLike":{"aws:SourceArn":"arn:aws:ecr:*:111111111111:repository/n*"}}}`, may), "", []authz.Need{create}},
			{"for another source", role("elsewhere", strings.TrimSuffix(trusting, "}")+`,"Condition":{"StringEquals":{"aws:SourceAccount":"222222222222"}}}`, may), "does not let", []authz.Need{create}},
			{"gone", "arn:aws:iam::111111111111:role/x/nobody", "The role arn:aws:iam::111111111111:role/x/nobody does not exist.", []authz.Need{create}},
			{"another path", "arn:aws:iam::111111111111:role/good", "does not exist", []authz.Need{create}},
			{"a user", "arn:aws:iam::111111111111:user/good", "does not exist", []authz.Need{create}},
			{"no ARN", "good", "does not exist", []authz.Need{create}},
		} {
			err := w.AuthorizeService(ctx, authz.ServiceRole{Service: "ecr.amazonaws.com", Role: c.role, Session: "the-session", Source: arn, Region: region, Needs: c.needs})
			switch {
			case c.says == "" && err != nil:
				t.Errorf("%s: %v", c.what, err)
			case c.says != "" && (!errs.Is(err, errs.AccessDenied) || !strings.Contains(err.Error(), c.says)):
				t.Errorf("%s: %v, want %q", c.what, err, c.says)
			}
		}
		// A registry policy has its say.
		w.registry(`{"Effect":"Deny","Principal":"*","Action":"ecr:CreateRepository","Resource":"*"}`)
		err = w.AuthorizeService(ctx, authz.ServiceRole{Service: "ecr.amazonaws.com", Role: linked.ARN(), Session: "s", Source: arn, Region: region, Needs: []authz.Need{create}})
		if !errs.Is(err, errs.AccessDenied) || !strings.Contains(err.Error(), "with an explicit deny in a resource-based policy") {
			t.Errorf("against the registry policy: %v", err)
		}
	})
}
