package authz_test

import (
	"testing"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

func TestRoot(t *testing.T) {
	root := principal.Principal{Account: "111111111111", ARN: principal.RootARN("111111111111")}
	mine := name.Registry{Account: "111111111111", Region: "us-east-1"}.RepositoryARN("ab")
	theirs := name.Registry{Account: "222222222222", Region: "us-east-1"}.RepositoryARN("ab")
	need := func(arns ...name.ARN) (all []authz.Need) {
		for _, a := range arns {
			all = append(all, authz.Need{Action: "ecr:PutImage", Resource: a})
		}
		return all
	}
	for _, c := range []struct {
		what string
		r    authz.Request
		want string
		code errs.Code
	}{
		{"own repository", authz.Request{Principal: root, Needs: need(mine)}, "", 0},
		{"no resource type", authz.Request{Principal: root, Needs: need(name.ARN{})}, "", 0},
		{"another account", authz.Request{Principal: root, Needs: need(theirs)},
			"User: arn:aws:iam::111111111111:root is not authorized to perform: ecr:PutImage on resource: arn:aws:ecr:us-east-1:222222222222:repository/ab because no resource-based policy allows the ecr:PutImage action", errs.AccessDenied},
		{"one of two in another account", authz.Request{Principal: root, Needs: need(mine, theirs)},
			"User: arn:aws:iam::111111111111:root is not authorized to perform: ecr:PutImage on resource: arn:aws:ecr:us-east-1:222222222222:repository/ab because no resource-based policy allows the ecr:PutImage action", errs.AccessDenied},
		{"nobody", authz.Request{Needs: need(mine)},
			"User:  is not authorized to perform: ecr:PutImage on resource: arn:aws:ecr:us-east-1:111111111111:repository/ab because no identity-based policy allows the ecr:PutImage action", errs.AccessDenied},
		{"no needs", authz.Request{Principal: root}, "a request without needs reached the authorizer", errs.Internal},
	} {
		err := authz.Root{}.Authorize(t.Context(), c.r)
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want || errs.CodeOf(err) != c.code) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}
