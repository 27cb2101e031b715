package app

import (
	"context"
	"net/http"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/ecr"
	"github.com/berth-registry/berth/internal/api/ecrpublic"
	"github.com/berth-registry/berth/internal/app/adminwire"
	"github.com/berth-registry/berth/internal/app/publishing"
	"github.com/berth-registry/berth/internal/app/quotaadmin"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
)

// buildQuotas makes what knows the accounts' limits and rates. Nodes on one
// database share them.
func (a *App) buildQuotas() *quota.Service {
	var rates quota.Rates
	if a.cfg.Quota.Rates == "ecr" {
		rates = quota.ECRRates()
	}
	rates = publishing.Rates(rates, a.cfg.Public.PullRate)
	return quota.New(quota.Config{DB: a.durable, Clock: a.clk, Log: a.log, Limits: a.cfg.Limits.Quota(), Rates: rates, Share: a.cfg.Database.Postgres()})
}

// callThrottle holds calls of the ECR APIs to the caller's rates. Nothing waits:
// AWS's clients come again by themselves. The other services are not limited.
type callThrottle struct{ quotas *quota.Service }

var _ aws.Throttle = callThrottle{}

// Admit implements aws.Throttle.
func (t callThrottle) Admit(ctx context.Context, c *aws.Call) error {
	switch c.Service {
	case name.ServiceECR:
		return t.quotas.Admit(ctx, quota.Request{Account: c.Principal.Account, Region: c.Region, Action: c.Operation})
	case name.ServiceECRPublic:
		return t.quotas.Admit(ctx, quota.Request{Account: c.Principal.Account, Region: name.Public, Action: name.ServiceECRPublic + ":" + c.Operation})
	}
	return nil
}

// admitTransfer holds requests of registry clients to the caller's rates. They
// wait for a while: docker gives a push or pull up at the first refusal.
func (a *App) admitTransfer(ctx context.Context, caller name.AccountID, addressed name.Region, action string) error {
	return a.quotas.Admit(ctx, quota.Request{Account: caller, Region: addressed, Action: action, Patience: time.Duration(a.cfg.Quota.Patience)})
}

// quotaRoutes adds the administration of quotas.
func (a *App) quotaRoutes(mux *http.ServeMux) {
	s := quotaadmin.Service{Quotas: a.quotas, Principals: a.principals, Default: a.cfg.Account, Operations: limitable()}
	mux.HandleFunc("GET /quotas", adminJSON(func(r *http.Request) (any, error) {
		q := r.URL.Query()
		return s.Of(r.Context(), name.AccountID(q.Get("account")), name.Repository(q.Get("repository")))
	}))
	mux.HandleFunc("POST /quotas", adminJSON(withBody(s.Change)))
	desk := quotaadmin.Desk{Requests: a.desk}
	mux.HandleFunc("POST /quotas/requests", adminwire.Answer(desk.List))
	mux.HandleFunc("POST /quotas/requests/decide", adminwire.Answer(desk.Decide))
}

// limitable are the actions whose rates can be set for an account.
func limitable() []string {
	all := ecr.OperationNames()
	for _, public := range append(ecrpublic.OperationNames(), "Pull") {
		all = append(all, name.ServiceECRPublic+":"+public)
	}
	return all
}
