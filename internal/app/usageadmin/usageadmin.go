// Package usageadmin is what the administration socket does with usage: it reads what a
// report is asked for, and gives it.
//
// It holds no rules of its own; those are in domain/usage. App gives it its route.
package usageadmin

import (
	"context"
	"net/http"
	"time"

	"github.com/berth-registry/berth/internal/app/adminwire"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/usage"
)

// Service does it.
type Service struct{ Usage *usage.Service }

// Request asks for a report.
type Request struct {
	// GroupBy is account, region, repository or tag:KEY.
	GroupBy string `json:"groupBy"`
	// From and To are the first and the last day, 2026-01-31, UTC; "" are the first of
	// To's month, and today.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// By is day, month, or "" for all days together.
	By usage.Interval `json:"by,omitempty"`
	// Account leaves out all others; "": none.
	Account name.AccountID `json:"account,omitempty"`
}

// Report gives one.
func (s Service) Report(ctx context.Context, in Request) (usage.Report, error) {
	q := usage.Query{GroupBy: in.GroupBy, By: in.By, Account: in.Account}
	if in.Account != "" {
		if _, err := name.ParseAccountID(string(in.Account)); err != nil {
			return usage.Report{}, errs.New(errs.InvalidParameter, "%q is no account. An account's id has 12 digits.", in.Account)
		}
	}
	for day, text := range map[*time.Time]string{&q.From: in.From, &q.To: in.To} {
		if text == "" {
			continue
		}
		t, err := time.Parse(time.DateOnly, text)
		if err != nil {
			return usage.Report{}, errs.New(errs.InvalidParameter, "%q is no day. Write it as 2026-01-31.", text)
		}
		*day = t
	}
	return s.Usage.Report(ctx, q)
}

// Routes adds the report.
func (s Service) Routes(mux *http.ServeMux) {
	mux.HandleFunc("POST /usage/report", adminwire.Answer(s.Report))
}
