package authz_test

import (
	"context"
	"testing"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// TestAuthorizeReplication: an account's own registry needs no policy, another's
// has to allow every action, to the source account, on the repository.
func TestAuthorizeReplication(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		const foreign = name.AccountID("999999999999") // of another deployment
		w.Entities.Elsewhere = func(_ context.Context, account name.AccountID) (bool, error) { return account == foreign, nil }
		arn := reg(ours).RepositoryARN("prod-app")
		replicate, create, tag := authz.Need{Action: "ecr:ReplicateImage", Resource: arn}, authz.Need{Action: "ecr:CreateRepository", Resource: arn}, authz.Need{Action: "ecr:TagResource", Resource: arn}
		remove := authz.Need{Action: "ecr:BatchDeleteImage", Resource: arn}
		push := authz.Need{Action: "ecr:PutImage", Resource: arn}
		all := []authz.Need{replicate, create, tag, remove}
		may := func(policy string, source name.AccountID, want bool, needs ...authz.Need) {
			t.Helper()
			if policy != "" {
				w.registry(policy)
			}
			if err := w.AuthorizeReplication(ctx, source, region, needs); (err == nil) != want || err != nil && !errs.Is(err, errs.AccessDenied) {
				t.Errorf("%s: %s %v: %v", policy, source, needs, err)
			}
		}
		may("", ours, true, all...)
		may("", ours, false, push)
		may("", foreign, false, replicate)
		guide := `{"Sid":"x","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"},"Action":["ecr:CreateRepository","ecr:ReplicateImage"],"Resource":["arn:aws:ecr:us-east-1:111111111111:repository/prod-*"]}`
		may(guide, foreign, true, replicate, create)
		may("", foreign, false, tag)
		may("", foreign, false, remove)
		may("", "888888888888", false, replicate)
		may("", foreign, false, authz.Need{Action: "ecr:ReplicateImage", Resource: reg(ours).RepositoryARN("dev")})
		may(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"},"Action":"ecr:*","Resource":"*"}`, foreign, true, create, tag, remove)
		may("", foreign, false, push)
		may(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"},"Action":"ecr:ReplicateImage","Resource":"*"}`, foreign, false, create)
		may(`{"Effect":"Deny","Principal":"*","Action":"ecr:ReplicateImage","Resource":"*"}`, ours, false, replicate)
		may("", ours, true, create)
	})
}
