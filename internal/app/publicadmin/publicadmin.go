// Package publicadmin is what the administration socket does with public registries: it
// shows them, decides about their aliases, and gives out the badge of the verified.
//
// It holds no rules of its own; those are in domain/catalog. App gives it its routes.
package publicadmin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/app/adminwire"
	"github.com/berth-registry/berth/internal/domain/catalog"
	rules "github.com/berth-registry/berth/internal/domain/catalog/alias"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Service does it. Everything is needed.
type Service struct {
	Catalog *catalog.Service
	// Default is the account of requests that name none.
	Default name.AccountID
}

// Target names a public registry.
type Target struct {
	Account name.AccountID `json:"account,omitempty"` // "": the default one
}

// account reads the account of a request. errs.InvalidParameter.
func (s Service) account(t Target) (name.AccountID, error) {
	if t.Account == "" {
		return s.Default, nil
	}
	account, err := name.ParseAccountID(string(t.Account))
	if err != nil {
		return "", errs.New(errs.InvalidParameter, "%q is no account. An account's id has 12 digits.", t.Account)
	}
	return account, nil
}

// Alias is an alias as operators see it.
type Alias struct {
	Alias     name.Alias          `json:"alias"`
	Account   name.AccountID      `json:"account"`
	Status    catalog.AliasStatus `json:"status"`
	Default   bool                `json:"default"`
	Primary   bool                `json:"primary"`
	Requested time.Time           `json:"requested"`
	Decided   time.Time           `json:"decided,omitzero"`
	Reason    string              `json:"reason,omitempty"`
	// Beware says why an alias that is pending would better be rejected.
	Beware string `json:"beware,omitempty"`
}

func alias(a catalog.Alias) Alias {
	out := Alias{
		Alias: a.Name, Account: a.Account, Status: a.Status, Default: a.Default, Primary: a.Primary,
		Requested: a.RequestedAt, Decided: a.DecidedAt, Reason: a.Reason,
	}
	if a.Status == catalog.Pending {
		out.Beware = rules.Avoid(string(a.Name))
	}
	return out
}

// Registry is a public registry as operators see it.
type Registry struct {
	Account     name.AccountID `json:"account"`
	DisplayName string         `json:"displayName,omitempty"`
	Verified    bool           `json:"verified"`
	// Primary is the alias that its addresses show; absent before it has one.
	Primary name.Alias `json:"primary,omitempty"`
	Aliases []Alias    `json:"aliases"`
}

// Registry shows a public registry.
func (s Service) Registry(ctx context.Context, in Target) (Registry, error) {
	account, err := s.account(in)
	if err != nil {
		return Registry{}, err
	}
	r, err := s.Catalog.Registry(ctx, account)
	out := Registry{Account: account, DisplayName: r.DisplayName, Verified: r.Verified, Primary: r.Primary(), Aliases: []Alias{}} // "[]" in JSON
	for _, a := range r.Aliases {
		out.Aliases = append(out.Aliases, alias(a))
	}
	return out, err
}

// VerifyRequest gives a registry the badge of the verified, or takes it back.
type VerifyRequest struct {
	Target
	Off bool `json:"off,omitempty"`
}

// Verify does it, and shows the registry.
func (s Service) Verify(ctx context.Context, in VerifyRequest) (Registry, error) {
	account, err := s.account(in.Target)
	if err != nil {
		return Registry{}, err
	}
	if err := s.Catalog.SetVerified(ctx, account, !in.Off); err != nil {
		return Registry{}, err
	}
	return s.Registry(ctx, Target{Account: account})
}

// ListRequest asks for a page of aliases.
type ListRequest struct {
	// Status is pending, active or rejected, in any case; "": all.
	Status string     `json:"status,omitempty"`
	After  name.Alias `json:"after,omitempty"` // of the page before
}

// Page is a page of aliases, in the order of their names.
type Page struct {
	Aliases []Alias    `json:"aliases"`
	After   name.Alias `json:"after,omitempty"` // "": there is no further page
}

// pageSize is how many aliases a page has.
const pageSize = 100

// List lists aliases.
func (s Service) List(ctx context.Context, in ListRequest) (Page, error) {
	status := catalog.AliasStatus(strings.ToUpper(in.Status))
	switch status {
	case "", catalog.Active, catalog.Pending, catalog.Rejected:
	default:
		return Page{}, errs.New(errs.InvalidParameter, "%q is no status of an alias. Take pending, active or rejected.", in.Status)
	}
	all, err := s.Catalog.ListAliases(ctx, status, in.After, pageSize+1)
	out := Page{Aliases: []Alias{}} // "[]" in JSON
	if len(all) > pageSize {
		all = all[:pageSize]
		out.After = all[pageSize-1].Name
	}
	for _, a := range all {
		out.Aliases = append(out.Aliases, alias(a))
	}
	return out, err
}

// AliasRequest names an alias.
type AliasRequest struct {
	Target        // for a request alone
	Alias  string `json:"alias"`
	Force  bool   `json:"force,omitempty"`  // for an approval alone
	Reason string `json:"reason,omitempty"` // for a rejection alone
}

// Request asks for an alias.
func (s Service) Request(ctx context.Context, in AliasRequest) (Alias, error) {
	account, err := s.account(in.Target)
	if err != nil {
		return Alias{}, err
	}
	a, err := s.Catalog.RequestAlias(ctx, account, in.Alias)
	return alias(a), err
}

// Approve makes a pending alias active.
func (s Service) Approve(ctx context.Context, in AliasRequest) (Alias, error) {
	a, err := s.Catalog.Approve(ctx, name.Alias(in.Alias), in.Force)
	return alias(a), err
}

// Reject declines a pending alias.
func (s Service) Reject(ctx context.Context, in AliasRequest) (Alias, error) {
	a, err := s.Catalog.Reject(ctx, name.Alias(in.Alias), in.Reason)
	return alias(a), err
}

// Primary has the addresses of a registry show an alias.
func (s Service) Primary(ctx context.Context, in AliasRequest) (Alias, error) {
	a, err := s.Catalog.SetPrimary(ctx, name.Alias(in.Alias))
	return alias(a), err
}

// Remove takes a custom alias from its account.
func (s Service) Remove(ctx context.Context, in AliasRequest) (Alias, error) {
	a, err := s.Catalog.RemoveAlias(ctx, name.Alias(in.Alias))
	return alias(a), err
}

// Routes adds the administration of public registries.
func (s Service) Routes(mux *http.ServeMux) {
	mux.HandleFunc("POST /public/registry", adminwire.Answer(s.Registry))
	mux.HandleFunc("POST /public/verify", adminwire.Answer(s.Verify))
	mux.HandleFunc("POST /public/aliases/list", adminwire.Answer(s.List))
	mux.HandleFunc("POST /public/aliases/request", adminwire.Answer(s.Request))
	mux.HandleFunc("POST /public/aliases/approve", adminwire.Answer(s.Approve))
	mux.HandleFunc("POST /public/aliases/reject", adminwire.Answer(s.Reject))
	mux.HandleFunc("POST /public/aliases/primary", adminwire.Answer(s.Primary))
	mux.HandleFunc("POST /public/aliases/remove", adminwire.Answer(s.Remove))
}
