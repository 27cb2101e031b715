// Package increase is the quotas as AWS's Service Quotas lists them, with the values
// that hold for an account, and the requests for more of one, which an operator decides
// about.
//
// The values are package quota's, and it enforces them.
package increase

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Config is what a Desk stands on.
type Config struct {
	DB     *sqldb.DB
	Clock  clock.Clock
	Quotas *quota.Service
}

// Desk lists quotas and takes requests.
type Desk struct{ Config }

// New returns a desk.
func New(c Config) *Desk { return &Desk{c} }

// Applied is a quota with the value that holds for an account.
type Applied struct {
	Entry
	Value float64
}

// Find gives the entry of a service by its code. errs.QuotaNotFound.
func Find(service, code string) (Entry, error) {
	all := Entries(service)
	if all == nil {
		return Entry{}, errs.New(errs.QuotaNotFound, "The request failed because the specified service does not exist.")
	}
	at := slices.IndexFunc(all, func(e Entry) bool { return e.Code == code })
	if at < 0 {
		return Entry{}, errs.New(errs.QuotaNotFound, "The request failed because the specified quota does not exist.")
	}
	return all[at], nil
}

// List gives all quotas of a service as they hold for the account, by title.
// errs.QuotaNotFound for a service without any.
func (d *Desk) List(ctx context.Context, account name.AccountID, service string) ([]Applied, error) {
	entries := Entries(service)
	if entries == nil {
		return nil, errs.New(errs.QuotaNotFound, "The request failed because the specified service does not exist.")
	}
	values, err := d.Quotas.List(ctx, account, "")
	if err != nil {
		return nil, err
	}
	byName := make(map[string]quota.Value, len(values))
	for _, v := range values {
		byName[v.Name] = v
	}
	all := make([]Applied, len(entries))
	for i, e := range entries {
		all[i] = Applied{Entry: e, Value: e.Fixed}
		if v, ok := byName[e.Quota]; ok {
			all[i].Value = e.value(v.Value, v.Unlimited)
		} else if e.PerSecond {
			all[i].Value = NoLimit
		}
	}
	return all, nil
}

// Get gives one of them. errs.QuotaNotFound.
func (d *Desk) Get(ctx context.Context, account name.AccountID, service, code string) (Applied, error) {
	if _, err := Find(service, code); err != nil {
		return Applied{}, err
	}
	all, err := d.List(ctx, account, service)
	if err != nil {
		return Applied{}, err
	}
	return all[slices.IndexFunc(all, func(a Applied) bool { return a.Code == code })], nil
}

// Status is what became of a request, in the API's words.
type Status string

// The states of requests here.
const (
	Pending  Status = "PENDING"
	Approved Status = "APPROVED"
	Denied   Status = "DENIED"
)

// Request asks for more of a quota.
type Request struct {
	ID      string // a UUID without dashes and more, as AWS's
	Account name.AccountID
	Region  name.Region
	Entry   Entry
	// Desired is in the API's unit.
	Desired   float64
	Status    Status
	Requester string // the caller's ARN
	Created   time.Time
	Updated   time.Time
	seq       int64
}

// Ask takes a request. errs.QuotaNotFound; errs.InvalidParameter for a value that is not
// above the one that holds, and for a quota that cannot be adjusted;
// errs.QuotaRequestOpen where nobody has decided about the last one yet.
func (d *Desk) Ask(ctx context.Context, account name.AccountID, region name.Region, requester, service, code string, desired float64) (Request, error) {
	now, err := d.Get(ctx, account, service, code)
	if err != nil {
		return Request{}, err
	}
	stored, whole := now.stored(desired)
	switch {
	case !now.Adjustable:
		return Request{}, errs.New(errs.InvalidParameter, "The quota %s (%s) is not adjustable.", now.Code, now.Title)
	case !whole:
		return Request{}, errs.New(errs.InvalidParameter, "The desired value of %s (%s) has to be a whole number of its unit.", now.Code, now.Title)
	case desired <= now.Value:
		return Request{}, errs.New(errs.InvalidParameter, "You must provide a quota value greater than the current quota value.")
	}
	at := d.Clock.Now()
	r := Request{ID: uuid.NewString(), Account: account, Region: region, Entry: now.Entry, Desired: desired, Status: Pending, Requester: requester, Created: at, Updated: at}
	err = d.DB.Update(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `INSERT INTO quota_request (id, request_id, account_id, region, service, code, desired, status, requester, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10) ON CONFLICT DO NOTHING`,
			sqldb.NewID(), r.ID, string(account), string(region), service, code, stored, string(Pending), requester, at.UnixMicro())
		if err == nil && n == 0 {
			err = errs.New(errs.QuotaRequestOpen, "Only one open service quota increase request is allowed per quota.")
		}
		return err
	})
	return r, err
}

// Filter says which requests are meant; zero values mean all.
type Filter struct {
	Account name.AccountID
	Region  name.Region
	Service string
	Code    string
	Status  Status
}

// Requests lists requests, the newest first. At most limit of those before the cursor
// ("" begins) are returned, and the next cursor, "" at the end.
func (d *Desk) Requests(ctx context.Context, f Filter, cursor string, limit int) (all []Request, next string, err error) {
	before, err := position(cursor)
	if err != nil {
		return nil, "", err
	}
	err = d.DB.View(ctx, func(tx *sqldb.Tx) error {
		all, err = sqldb.Collect(ctx, tx, scanRequest, requestColumns+`
			WHERE ($1 = '' OR account_id = $1) AND ($2 = '' OR region = $2) AND ($3 = '' OR service = $3) AND ($4 = '' OR code = $4) AND ($5 = '' OR status = $5)
			AND id < $6 ORDER BY id DESC LIMIT $7`, string(f.Account), string(f.Region), f.Service, f.Code, string(f.Status), before, limit+1)
		return err
	})
	if len(all) > limit {
		all = all[:limit]
		next = encode(all[limit-1].seq)
	}
	return all, next, err
}

const requestColumns = `SELECT id, request_id, account_id, region, service, code, desired, status, requester, created_at, updated_at FROM quota_request`

func scanRequest(row sqldb.Scanner) (Request, error) {
	var r Request
	var service, code string
	var desired, created, updated int64
	err := row.Scan(&r.seq, &r.ID, &r.Account, &r.Region, &service, &code, &desired, &r.Status, &r.Requester, &created, &updated)
	if err != nil {
		return r, err
	}
	// A quota that an older program had is shown by its code.
	if r.Entry, err = Find(service, code); err != nil {
		r.Entry = Entry{Service: service, Code: code, Title: code, Unit: "None"}
	}
	r.Desired, r.Created, r.Updated = r.Entry.value(desired, false), time.UnixMicro(created), time.UnixMicro(updated)
	return r, nil
}

// Request gives one by its id, of the account; "" of any. errs.QuotaNotFound.
func (d *Desk) Request(ctx context.Context, account name.AccountID, id string) (r Request, err error) {
	err = d.DB.View(ctx, func(tx *sqldb.Tx) error {
		r, err = scanRequest(tx.QueryRow(ctx, requestColumns+` WHERE request_id = $1 AND ($2 = '' OR account_id = $2)`, id, string(account)))
		return err
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		err = errs.New(errs.QuotaNotFound, "The request failed because there is no quota increase request %s.", id)
	}
	return r, err
}

// Decide approves a request, which gives the account the value in all its regions, or
// denies it. errs.QuotaNotFound; errs.InvalidParameter for one that is decided already,
// and for a value that the quota cannot have.
func (d *Desk) Decide(ctx context.Context, id string, approve bool) (Request, error) {
	r, err := d.Request(ctx, "", id)
	if err != nil {
		return Request{}, err
	}
	if r.Status != Pending {
		return Request{}, errs.New(errs.InvalidParameter, "The request %s is decided already: it is %s.", id, r.Status)
	}
	status := Denied
	if approve {
		status = Approved
		// The value first: a kill in between leaves a request that can be approved again.
		stored, _ := r.Entry.stored(r.Desired) // was whole when it was asked for
		if err := d.Quotas.Set(ctx, r.Account, "", r.Entry.Quota, stored); err != nil {
			return Request{}, err
		}
	}
	r.Status, r.Updated = status, d.Clock.Now()
	err = d.DB.Update(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE quota_request SET status = $2, updated_at = $3 WHERE request_id = $1 AND status = 'PENDING'`, id, string(status), r.Updated.UnixMicro())
		if err == nil && n == 0 {
			err = errs.New(errs.InvalidParameter, "The request %s was decided by somebody else just now.", id)
		}
		return err
	})
	return r, err
}
