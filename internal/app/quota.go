package app

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/ecr"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/reserve"
)

// buildQuotas makes what knows the accounts' limits and rates. The embedded
// shape has one node, which shares with nobody.
func (a *App) buildQuotas() *quota.Service {
	var rates quota.Rates
	if a.cfg.Quota.Rates == "ecr" {
		rates = quota.ECRRates()
	}
	return quota.New(quota.Config{DB: a.durable, Clock: a.clk, Log: a.log, Limits: a.cfg.Limits.Quota(), Rates: rates})
}

// callThrottle holds calls of the ECR API to the caller's rates. Nothing waits:
// AWS's clients come again by themselves. The other services are not limited.
type callThrottle struct{ quotas *quota.Service }

var _ aws.Throttle = callThrottle{}

// Admit implements aws.Throttle.
func (t callThrottle) Admit(ctx context.Context, c *aws.Call) error {
	if c.Service != ecrService {
		return nil
	}
	return t.quotas.Admit(ctx, quota.Request{Account: c.Principal.Account, Region: c.Region, Action: c.Operation})
}

// ecrService is the name of the ECR API among the services.
const ecrService = "ecr"

// admitTransfer holds requests of registry clients to the caller's rates. They
// wait for a while: docker gives a push or pull up at the first refusal.
func (a *App) admitTransfer(ctx context.Context, caller name.AccountID, addressed name.Region, action string) error {
	return a.quotas.Admit(ctx, quota.Request{Account: caller, Region: addressed, Action: action, Patience: time.Duration(a.cfg.Quota.Patience)})
}

// keepFree has a store keep some of its medium free, as configured.
func (a *App) keepFree(s blobstore.Store, free func() (uint64, error)) blobstore.Store {
	if least := a.cfg.Blobs.MinFreeBytes; least > 0 {
		return reserve.New(s, uint64(least), free, a.clk)
	}
	return s
}

// quotaRoutes adds the administration of quotas.
func (a *App) quotaRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /quotas", adminJSON(func(r *http.Request) (any, error) {
		q := r.URL.Query()
		return a.Quotas(r.Context(), name.AccountID(q.Get("account")), name.Repository(q.Get("repository")))
	}))
	mux.HandleFunc("POST /quotas", adminJSON(withBody(a.ChangeQuota)))
}

// QuotaList is what holds for an account, or for one repository of it.
type QuotaList struct {
	Account    name.AccountID  `json:"account"`
	Repository name.Repository `json:"repository,omitempty"`
	Quotas     []quota.Value   `json:"quotas"`
}

// Quotas lists what holds for an account, "" for the default one, and for one
// repository where it is named.
func (a *App) Quotas(ctx context.Context, account name.AccountID, repo name.Repository) (QuotaList, error) {
	account, err := a.quotaOwner(ctx, account, repo)
	if err != nil {
		return QuotaList{}, err
	}
	all, err := a.quotas.List(ctx, account, repo)
	return QuotaList{Account: account, Repository: repo, Quotas: all}, err
}

// quotaOwner checks whose quotas are meant. A repository need not exist: a quota
// can be set before the first push.
func (a *App) quotaOwner(ctx context.Context, account name.AccountID, repo name.Repository) (name.AccountID, error) {
	if account == "" {
		account = a.cfg.Account
	}
	if _, err := name.ParseAccountID(string(account)); err != nil {
		return "", notAnAccount(account)
	}
	if _, err := name.ParseRepository(string(repo)); repo != "" && err != nil {
		return "", errs.New(errs.InvalidParameter, "%q is no name of a repository.", repo)
	}
	_, err := a.principals.Account(ctx, account)
	return account, err
}

// QuotaRequest asks for one change to the quotas.
type QuotaRequest struct {
	// Do is set or unset.
	Do string `json:"do"`
	// Name is the quota's, "images-per-repository" or "rate:PutImage".
	Name string `json:"name"`
	// Value is set's, as an operator writes it: "5", "10GiB", "unlimited".
	Value      string          `json:"value,omitempty"`
	Account    name.AccountID  `json:"account,omitempty"`    // "": the default one
	Repository name.Repository `json:"repository,omitempty"` // "": the account as a whole
}

// ChangeQuota carries out one change and returns the quota as it then holds, in a
// list of one.
func (a *App) ChangeQuota(ctx context.Context, in QuotaRequest) (QuotaList, error) {
	account, err := a.quotaOwner(ctx, in.Account, in.Repository)
	if err != nil {
		return QuotaList{}, err
	}
	switch in.Do {
	case "set":
		value, err := quota.ParseValue(in.Name, in.Value)
		if err != nil {
			return QuotaList{}, err
		}
		if action, ok := strings.CutPrefix(in.Name, "rate:"); ok && !slices.Contains(ecr.OperationNames(), action) {
			return QuotaList{}, errs.New(errs.InvalidParameter, "The ECR API has no operation %q to limit the rate of.", action)
		}
		err = a.quotas.Set(ctx, account, in.Repository, in.Name, value)
		if err != nil {
			return QuotaList{}, err
		}
	case "unset":
		if err := a.quotas.Unset(ctx, account, in.Repository, in.Name); err != nil {
			return QuotaList{}, err
		}
	default:
		return QuotaList{}, errs.New(errs.InvalidParameter, "unknown change %q to a quota: set or unset", in.Do)
	}
	all, err := a.quotas.List(ctx, account, in.Repository)
	if err != nil {
		return QuotaList{}, err
	}
	out := QuotaList{Account: account, Repository: in.Repository, Quotas: []quota.Value{}}
	for _, v := range all {
		if v.Name == in.Name {
			out.Quotas = append(out.Quotas, v)
		}
	}
	return out, nil
}
