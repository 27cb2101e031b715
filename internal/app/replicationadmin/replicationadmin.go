// Package replicationadmin is what the administration socket does with replication:
// where the registries copy to, what waits, and Berth's own options of a
// destination.
//
// It holds no rules of its own; those are in domain/replication. App gives it its
// routes.
package replicationadmin

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/replication/backfill"
)

// Service does it. Everything is needed.
type Service struct {
	Replication *replication.Service
	Backfills   *backfill.Service
	Principals  *principal.Service
	Registries  *registry.Service
	// Default is the registry of requests that name none.
	Default name.Registry
}

// Place is a registry as JSON has it.
type Place struct {
	Account name.AccountID `json:"account"`
	Region  name.Region    `json:"region"`
}

func placeOf(r name.Registry) Place { return Place{Account: r.Account, Region: r.Region} }

// Registry is the place as the domain has it.
func (p Place) Registry() name.Registry {
	return name.Registry{Account: p.Account, Region: p.Region}
}

// Route is one destination of one registry.
type Route struct {
	From Place `json:"from"`
	To   Place `json:"to"`
	// Filters are beginnings of repositories' names; none is all repositories.
	Filters []string            `json:"filters,omitempty"`
	Options replication.Options `json:"options,omitzero"`
}

// Waiting is what waits for a destination, from all registries together.
type Waiting struct {
	To Place `json:"to"`
	// Items is counted up to replication.MaxBacklog.
	Items  int64     `json:"items"`
	Oldest time.Time `json:"oldest"`
}

// Backfill is a replication backfill that has not ended, or has ended with
// failures.
type Backfill struct {
	ID        string          `json:"id"`
	From      Place           `json:"from"`
	To        Place           `json:"to"`
	Status    backfill.Status `json:"status"`
	StartedAt time.Time       `json:"startedAt"`
	// The counts are absent until all images are listed.
	Total     *int64 `json:"total,omitempty"`
	Completed *int64 `json:"completed,omitempty"`
	Failed    *int64 `json:"failed,omitempty"`
	// FailureCode is why the whole of it failed, FailureCodes why images did.
	FailureCode  string   `json:"failureCode,omitempty"`
	FailureCodes []string `json:"failureCodes,omitempty"`
}

// List is how replication stands.
type List struct {
	Routes    []Route    `json:"routes"`
	Waiting   []Waiting  `json:"waiting"`
	Backfills []Backfill `json:"backfills"`
}

// shownBackfills is how many of a registry's backfills, the newest first, are
// looked at.
const shownBackfills = 20

// List reads it.
func (s Service) List(ctx context.Context) (l List, err error) {
	l = List{Routes: []Route{}, Waiting: []Waiting{}, Backfills: []Backfill{}} // "[]" in JSON
	accounts, err := s.Principals.Accounts(ctx)
	if err != nil {
		return l, err
	}
	for _, account := range accounts {
		for _, region := range s.Registries.Regions() {
			if err := s.add(ctx, name.Registry{Account: account.ID, Region: region}, &l); err != nil {
				return l, err
			}
		}
	}
	backlog, err := s.Replication.Backlog(ctx)
	for _, b := range backlog {
		l.Waiting = append(l.Waiting, Waiting{To: placeOf(b.Destination), Items: b.Items, Oldest: b.Oldest})
	}
	return l, err
}

func (s Service) add(ctx context.Context, reg name.Registry, l *List) error {
	c, err := s.Replication.Get(ctx, reg)
	if err != nil {
		return err
	}
	if len(c.Rules) > 0 {
		options, err := s.Replication.Options(ctx, reg)
		if err != nil {
			return err
		}
		for _, to := range c.Destinations() {
			l.Routes = append(l.Routes, Route{From: placeOf(reg), To: placeOf(to), Filters: filtersTo(c, to), Options: options[to]})
		}
	}
	all, _, err := s.Backfills.List(ctx, reg, 0, shownBackfills)
	if err != nil {
		return err
	}
	for _, b := range all {
		one := Backfill{ID: b.ID, From: placeOf(reg), To: placeOf(b.Destination), Status: b.Status, StartedAt: b.StartedAt, FailureCode: b.FailureCode}
		if p := b.Progress; p != nil {
			one.Total, one.Completed, one.Failed, one.FailureCodes = &p.Total, &p.Completed, &p.Failed, p.FailureCodes
		}
		if !b.Status.Terminal() || b.FailureCode != "" || len(one.FailureCodes) > 0 {
			l.Backfills = append(l.Backfills, one)
		}
	}
	return nil
}

// filtersTo are the filters of all rules with the destination, nil where one of
// them has none.
func filtersTo(c replication.Configuration, to name.Registry) []string {
	var all []string
	for _, r := range c.Rules {
		if !slices.Contains(r.Destinations, to) {
			continue
		}
		if len(r.Filters) == 0 {
			return nil
		}
		for _, f := range r.Filters {
			if !slices.Contains(all, f) {
				all = append(all, f)
			}
		}
	}
	return all
}

// Request asks for the options of a destination, or changes them: a member that is
// nil stays as it is.
type Request struct {
	From Place `json:"from"` // "" for the server's own account and region
	To   Place `json:"to"`   // account "" for that of From
	// Clear takes all options away before the others are set.
	Clear        bool      `json:"clear,omitempty"`
	Tags         *[]string `json:"tags,omitempty"`
	Repositories *[]string `json:"repositories,omitempty"`
	Exclude      *[]string `json:"exclude,omitempty"`
	Deletes      *bool     `json:"deletes,omitempty"`
	Untags       *bool     `json:"untags,omitempty"`
}

// changes says whether the request does more than ask.
func (r Request) changes() bool {
	return r.Clear || r.Tags != nil || r.Repositories != nil || r.Exclude != nil || r.Deletes != nil || r.Untags != nil
}

// Answer is what then holds.
type Answer struct {
	From Place `json:"from"`
	To   Place `json:"to"`
	// Configured says whether the registry's configuration names the destination:
	// otherwise the options wait for that.
	Configured bool                `json:"configured"`
	Options    replication.Options `json:"options"`
}

// Options carries the request out. errs.InvalidInput and errs.InvalidParameter for
// what cannot be, errs.EntityNotFound for an account that is not here.
func (s Service) Options(ctx context.Context, in Request) (Answer, error) {
	from := in.From.Registry()
	if from.Account == "" {
		from.Account = s.Default.Account
	}
	if from.Region == "" {
		from.Region = s.Default.Region
	}
	to := in.To.Registry()
	if to.Account == "" {
		to.Account = from.Account
	}
	for _, account := range []name.AccountID{from.Account, to.Account} {
		if _, err := name.ParseAccountID(string(account)); err != nil {
			return Answer{}, errs.New(errs.InvalidInput, "%q is no account: an account id has 12 digits.", account)
		}
	}
	if _, err := s.Principals.Account(ctx, from.Account); err != nil {
		return Answer{}, err
	}
	if !s.Registries.Enabled(from.Region) {
		return Answer{}, errs.New(errs.InvalidInput, "The region %q is not served here; the regions are %s.", from.Region, regionList(s.Registries.Regions()))
	}
	if to.Region == "" {
		return Answer{}, errs.New(errs.InvalidInput, "Name the destination: a region, with /ACCOUNT where it is another account's registry.")
	}
	all, err := s.Replication.Options(ctx, from)
	if err != nil {
		return Answer{}, err
	}
	o := all[to]
	if in.changes() {
		if in.Clear {
			o = replication.Options{}
		}
		set(&o.Tags, in.Tags)
		set(&o.Repositories, in.Repositories)
		set(&o.Exclude, in.Exclude)
		set(&o.Deletes, in.Deletes)
		set(&o.Untags, in.Untags)
		if err := s.Replication.SetOptions(ctx, from, to, o); err != nil {
			return Answer{}, err
		}
	}
	c, err := s.Replication.Get(ctx, from)
	return Answer{From: placeOf(from), To: placeOf(to), Configured: slices.Contains(c.Destinations(), to), Options: o}, err
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func regionList(regions []name.Region) string {
	texts := make([]string, len(regions))
	for i, r := range regions {
		texts[i] = string(r)
	}
	return strings.Join(texts, ", ")
}

// Routes adds the administration of replication.
func (s Service) Routes(mux *http.ServeMux) {
	answer := func(w http.ResponseWriter, v any, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // the client has gone; nobody is left to tell
	}
	mux.HandleFunc("GET /replication", func(w http.ResponseWriter, r *http.Request) {
		l, err := s.List(r.Context())
		answer(w, l, err)
	})
	mux.HandleFunc("POST /replication/options", func(w http.ResponseWriter, r *http.Request) {
		var in Request
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, "not the JSON of a request: "+err.Error(), http.StatusBadRequest)
			return
		}
		a, err := s.Options(r.Context(), in)
		answer(w, a, err)
	})
}
