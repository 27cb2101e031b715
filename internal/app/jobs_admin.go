package app

import (
	"net/http"

	"github.com/berth-registry/berth/internal/app/jobsadmin"
)

// jobRoutes adds the administration of the job queue.
func (a *App) jobRoutes(mux *http.ServeMux) {
	s := jobsadmin.Service{Queue: a.queue}
	mux.HandleFunc("GET /jobs", adminJSON(func(r *http.Request) (any, error) { return s.List(r.Context(), r.URL.Query()) }))
	mux.HandleFunc("GET /jobs/summary", adminJSON(func(r *http.Request) (any, error) { return s.Summary(r.Context()) }))
	mux.HandleFunc("GET /jobs/{id}", adminJSON(func(r *http.Request) (any, error) { return s.Show(r.Context(), r.PathValue("id")) }))
	mux.HandleFunc("POST /jobs/retry", adminJSON(withBody(s.Retry)))
	mux.HandleFunc("POST /jobs/discard", adminJSON(withBody(s.Discard)))
}
