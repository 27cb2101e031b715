// Package quotaadmin is what the administration socket does with quotas: it reads
// requests, names what they mean, and words what an operator can act on.
//
// It holds no rules of its own; those are in domain/quota. The routes stand in app.
package quotaadmin

import (
	"context"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/quota"
)

// Service does it.
type Service struct {
	Quotas     *quota.Service
	Principals *principal.Service
	// Default is the account of requests that name none.
	Default name.AccountID
	// Operations are those whose rates can be limited.
	Operations []string
}

// List is what holds for an account, or for one repository of it.
type List struct {
	Account    name.AccountID  `json:"account"`
	Repository name.Repository `json:"repository,omitempty"`
	Quotas     []quota.Value   `json:"quotas"`
}

// Of lists what holds for an account, "" for the default one, and for one
// repository where it is named.
func (s Service) Of(ctx context.Context, account name.AccountID, repo name.Repository) (List, error) {
	account, err := s.owner(ctx, account, repo)
	if err != nil {
		return List{}, err
	}
	all, err := s.Quotas.List(ctx, account, repo)
	return List{Account: account, Repository: repo, Quotas: all}, err
}

// owner checks whose quotas are meant. A repository need not exist: a quota
// can be set before the first push.
func (s Service) owner(ctx context.Context, account name.AccountID, repo name.Repository) (name.AccountID, error) {
	if account == "" {
		account = s.Default
	}
	if _, err := name.ParseAccountID(string(account)); err != nil {
		return "", errs.New(errs.InvalidInput, "%q is no account: an account id has 12 digits.", account)
	}
	if _, err := name.ParseRepository(string(repo)); repo != "" && err != nil {
		return "", errs.New(errs.InvalidParameter, "%q is no name of a repository.", repo)
	}
	_, err := s.Principals.Account(ctx, account)
	return account, err
}

// Request asks for one change to the quotas.
type Request struct {
	// Do is set or unset.
	Do string `json:"do"`
	// Name is the quota's, "images-per-repository" or "rate:PutImage".
	Name string `json:"name"`
	// Value is set's, as an operator writes it: "5", "10GiB", "unlimited".
	Value      string          `json:"value,omitempty"`
	Account    name.AccountID  `json:"account,omitempty"`    // "": the default one
	Repository name.Repository `json:"repository,omitempty"` // "": the account as a whole
}

// Change carries out one change and returns the quota as it then holds, in a
// list of one.
func (s Service) Change(ctx context.Context, in Request) (List, error) {
	account, err := s.owner(ctx, in.Account, in.Repository)
	if err != nil {
		return List{}, err
	}
	switch in.Do {
	case "set":
		value, err := quota.ParseValue(in.Name, in.Value)
		if err != nil {
			return List{}, err
		}
		if action, ok := strings.CutPrefix(in.Name, "rate:"); ok && !slices.Contains(s.Operations, action) {
			return List{}, errs.New(errs.InvalidParameter, "The ECR API has no operation %q to limit the rate of. Those of ECR Public are written ecr-public:PutImage; ecr-public:Pull is an account's pulls.", action)
		}
		err = s.Quotas.Set(ctx, account, in.Repository, in.Name, value)
		if err != nil {
			return List{}, err
		}
	case "unset":
		if err := s.Quotas.Unset(ctx, account, in.Repository, in.Name); err != nil {
			return List{}, err
		}
	default:
		return List{}, errs.New(errs.InvalidParameter, "unknown change %q to a quota: set or unset", in.Do)
	}
	all, err := s.Quotas.List(ctx, account, in.Repository)
	if err != nil {
		return List{}, err
	}
	out := List{Account: account, Repository: in.Repository, Quotas: []quota.Value{}}
	for _, v := range all {
		if v.Name == in.Name {
			out.Quotas = append(out.Quotas, v)
		}
	}
	return out, nil
}
