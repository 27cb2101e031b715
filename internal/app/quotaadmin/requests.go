package quotaadmin

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota/increase"
)

// Desk is what the socket does with requests for more of a quota.
type Desk struct{ Requests *increase.Desk }

// Asked is such a request as an operator sees it.
type Asked struct {
	ID        string          `json:"id"`
	Account   name.AccountID  `json:"account"`
	Region    name.Region     `json:"region"`
	Service   string          `json:"service"`
	Quota     string          `json:"quota"`
	Unit      string          `json:"unit"`
	Value     float64         `json:"value"` // that holds
	Desired   float64         `json:"desired"`
	Status    increase.Status `json:"status"`
	Requester string          `json:"requester"`
	Created   time.Time       `json:"created"`
	Updated   time.Time       `json:"updated"`
}

// Which says which requests are listed.
type Which struct {
	Account name.AccountID `json:"account,omitempty"` // "": all
	All     bool           `json:"all,omitempty"`     // also those that are decided
}

// shown bounds a list of requests.
const shown = 1000

// List lists requests, the newest first, at most 1,000.
func (d Desk) List(ctx context.Context, in Which) ([]Asked, error) {
	if _, err := name.ParseAccountID(string(in.Account)); in.Account != "" && err != nil {
		return nil, errs.New(errs.InvalidInput, "%q is no account: an account id has 12 digits.", in.Account)
	}
	f := increase.Filter{Account: in.Account, Status: increase.Pending}
	if in.All {
		f.Status = ""
	}
	found, _, err := d.Requests.Requests(ctx, f, "", shown)
	if err != nil {
		return nil, err
	}
	all := []Asked{}
	for _, r := range found {
		a, err := d.asked(ctx, r)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// Decision is what becomes of a request.
type Decision struct {
	ID      string `json:"id"`
	Approve bool   `json:"approve"`
}

// Decide approves or denies a request.
func (d Desk) Decide(ctx context.Context, in Decision) (Asked, error) {
	r, err := d.Requests.Decide(ctx, in.ID, in.Approve)
	if err != nil {
		return Asked{}, err
	}
	return d.asked(ctx, r)
}

func (d Desk) asked(ctx context.Context, r increase.Request) (Asked, error) {
	a := Asked{
		ID: r.ID, Account: r.Account, Region: r.Region, Service: r.Entry.Service, Quota: r.Entry.Title, Unit: r.Entry.Unit,
		Desired: r.Desired, Status: r.Status, Requester: r.Requester, Created: r.Created, Updated: r.Updated,
	}
	now, err := d.Requests.Get(ctx, r.Account, r.Entry.Service, r.Entry.Code)
	if errs.Is(err, errs.QuotaNotFound) {
		return a, nil // one that an older program had
	}
	a.Value = now.Value
	return a, err
}
