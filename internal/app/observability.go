package app

import (
	"context"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/berth-registry/berth/internal/app/observe"
	"github.com/berth-registry/berth/internal/infra/obs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// buildObserver makes what watches the program, before there is anything to watch.
func (a *App) buildObserver(ctx context.Context) error {
	mode, err := obs.ParseLogMode(a.cfg.Log.Requests)
	if err != nil {
		return err
	}
	node, err := os.Hostname()
	if err != nil {
		node = "unknown" // it only names the process in traces
	}
	a.tracing, err = obs.NewTracing(ctx, obs.TracingConfig{
		Endpoint: a.cfg.Tracing.Endpoint, Sample: a.cfg.Tracing.Sample, Version: a.version, Node: node, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.observe, err = observe.New(observe.Config{
		Version: a.version, Clock: a.clk, Log: a.log, Requests: mode, Tracing: a.tracing, Origin: a.origin,
		TrustsTrace: func(r *http.Request) bool {
			peer, err := netip.ParseAddrPort(r.RemoteAddr)
			return err == nil && a.trusted(peer.Addr().Unmap())
		},
	})
	return err
}

// watchDatabases has the observer told of all transactions from here on.
func (a *App) watchDatabases(durable, volatile *sqldb.DB) {
	a.observe.Database("durable", durable)
	a.observe.Database("volatile", volatile)
}

// Operations answers on the operators' own address: metrics, health and profiles.
func (a *App) Operations() http.Handler { return a.observe.Handler(a.health, a.ready) }

// tracesTimeout bounds how long the last spans may take to be sent.
const tracesTimeout = 5 * time.Second

// endTracing sends the last spans. A collector that does not answer is no failure
// of the program's.
func (a *App) endTracing() {
	ctx, cancel := context.WithTimeout(context.Background(), tracesTimeout)
	defer cancel()
	if err := a.tracing.Shutdown(ctx); err != nil {
		a.log.Warn("the last spans could not be sent to tracing.endpoint and are lost", "error", err)
	}
}
