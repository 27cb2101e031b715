package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/berth-registry/berth/internal/app/identityadmin"
	"github.com/berth-registry/berth/internal/domain/name"
)

// identityRoutes adds the administration of accounts and organizations, and the
// explanation of decisions.
func (a *App) identityRoutes(mux *http.ServeMux) {
	s := identityadmin.Service{
		Principals: a.principals, Credentials: a.credentials, Entities: a.entities, Organizations: a.organizations,
		Registries: a.registries, Repositories: a.repositories, Access: a.access, Region: a.cfg.Region,
	}
	id := func(r *http.Request) name.AccountID { return name.AccountID(r.PathValue("id")) }
	mux.HandleFunc("GET /accounts", adminJSON(func(r *http.Request) (any, error) { return a.principals.Accounts(r.Context()) }))
	mux.HandleFunc("POST /accounts", adminJSON(withBody(s.CreateAccount)))
	mux.HandleFunc("GET /accounts/{id}", adminJSON(func(r *http.Request) (any, error) { return s.Account(r.Context(), id(r)) }))
	mux.HandleFunc("POST /accounts/{id}/root-key", adminJSON(func(r *http.Request) (any, error) { return s.CreateRootKey(r.Context(), id(r)) }))
	mux.HandleFunc("POST /accounts/{id}/token-life", func(w http.ResponseWriter, r *http.Request) {
		adminJSON(withBody(func(ctx context.Context, in identityadmin.TokenLifeRequest) (any, error) {
			return s.SetTokenLife(ctx, id(r), in)
		}))(w, r)
	})
	mux.HandleFunc("GET /organizations", adminJSON(func(r *http.Request) (any, error) { return a.organizations.List(r.Context()) }))
	mux.HandleFunc("POST /organizations", adminJSON(withBody(s.ChangeOrganization)))
	mux.HandleFunc("POST /explain", adminJSON(withBody(s.Explain)))
}

// withBody calls do with the JSON in a request's body.
func withBody[In, Out any](do func(context.Context, In) (Out, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		var in In
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return nil, fmt.Errorf("the request is not the JSON that is wanted: %w", err)
		}
		return do(r.Context(), in)
	}
}
