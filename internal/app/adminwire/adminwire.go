// Package adminwire is the form of the administration commands' requests on the socket:
// JSON in, JSON out, and a failure as a line of text.
package adminwire

import (
	"context"
	"encoding/json"
	"net/http"
)

// Answer gives do the request's JSON and writes what it returns, or its error as text
// with a 400.
func Answer[In, Out any](do func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, "not the JSON of a request: "+err.Error(), http.StatusBadRequest)
			return
		}
		out, err := do(r.Context(), in)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out) // the client has gone; nobody is left to tell
	}
}
