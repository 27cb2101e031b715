package observe

import (
	"net/http"
	"net/http/pprof"
)

// Handler serves the listener for administrators: /metrics, the two health checks
// that are given, and the profiles of net/http/pprof under /debug/pprof/. Nothing
// of it asks who calls: the address it listens on has to be one that only
// administrators and Prometheus reach.
func (o *Observer) Handler(health, ready http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", o.registry.Handler(o.cfg.Log))
	mux.HandleFunc("GET /healthz", health)
	mux.HandleFunc("GET /readyz", ready)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	return mux
}
