package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/internal/app/serving"
	"github.com/berth-registry/berth/internal/infra/resident"
)

// Run serves until ctx ends, then drains: it stops accepting, finishes the
// requests under way within the drain timeout, and writes what is in memory.
// ready is called once everything listens.
func (a *App) Run(ctx context.Context, ready func(ServerInfo)) error {
	listeners, err := a.listen()
	if err != nil {
		return err
	}
	socket, err := a.listenAdmin()
	if err != nil {
		closeAll(listeners)
		return err
	}
	info := a.serverInfo(listeners[0].listener.Addr())
	text, err := json.MarshalIndent(info, "", "  ")
	if err == nil {
		err = writeFile(a.path(fileServer), append(text, '\n'), 0o600)
	}
	if err != nil {
		closeAll(listeners)
		_ = socket.Close() // the file's error is the one to report
		return fmt.Errorf("the data directory cannot be written: %w", err)
	}

	admin := serving.New(a.adminHandler(), connContext)
	// Background work outlives the requests: it stops after they have drained.
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	workers, background := a.startWorkers(background)

	failed := make(chan error, len(listeners)+1)
	for _, l := range listeners {
		go func() { failed <- l.server.Serve(l.listener) }()
	}
	go func() { failed <- admin.Serve(socket) }()
	ready(info)
	go a.giveBack(background)

	select {
	case <-ctx.Done():
	case <-background.Done():
	case err = <-failed:
	}
	a.stopping.Store(true)
	if delay := time.Duration(a.cfg.DrainDelay); delay > 0 && err == nil {
		a.log.Info("stopping: still serving, while load balancers see that /readyz says so", "for", delay.String())
		time.Sleep(delay)
	}
	a.draining.Store(true)
	a.log.Info("stopping: waiting for requests under way", "at_most", time.Duration(a.cfg.DrainTimeout).String())
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(a.cfg.DrainTimeout))
	defer cancel()
	shutdownErr := shutDown(listeners, func(s *http.Server) error { return s.Shutdown(drain) })
	if shutdownErr != nil {
		a.log.Warn("requests were still under way at the end of the drain timeout; cutting them", "error", shutdownErr)
		_ = shutDown(listeners, (*http.Server).Close) // nothing is left to do about a connection that does not close
	}
	_ = admin.Close() // administration commands are cut; they change nothing half
	stopBackground()
	if workErr := workers.Wait(); workErr != nil && !errors.Is(workErr, context.Canceled) {
		err = errors.Join(err, workErr)
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// startWorkers starts what goes on without a request: the jobs, and the writing of
// what is kept in memory. It ends with ctx, or when one of them fails.
func (a *App) startWorkers(ctx context.Context) (*errgroup.Group, context.Context) {
	workers, ctx := errgroup.WithContext(ctx)
	workers.Go(func() error { return a.queue.Run(ctx) })
	workers.Go(func() error { return a.trail.Run(ctx) })
	workers.Go(func() error { return a.principals.Run(ctx, a.log) })
	workers.Go(func() error { return a.images.Run(ctx) })
	workers.Go(func() error { return a.quotas.Run(ctx) })
	workers.Go(func() error { return a.distribution.Run(ctx) })
	workers.Go(func() error { return a.scanning.Run(ctx) })
	workers.Go(func() error { return a.publishing.Run(ctx) })
	workers.Go(func() error { return a.telling.Run(ctx) })
	if a.certificates != nil {
		workers.Go(func() error { return a.certificates.Run(ctx) })
	}
	return workers, ctx
}

// Work does what goes on without a request, until ctx ends, for a program whose
// handler is served by others. Run does it by itself.
func (a *App) Work(ctx context.Context) error {
	workers, _ := a.startWorkers(ctx)
	return workers.Wait()
}

const (
	// startUp is how long after the start memory is given back once more that only the
	// start has needed: some of what the workers begin with is, too.
	startUp = 2 * time.Second
	// coolDown is how often pages of the program are given back from then on. Those that
	// are in use come back at once; the others add up to 10 MiB where loads of many kinds
	// have come.
	coolDown = 15 * time.Second
)

// giveBack gives memory back that is not needed any more, until ctx ends.
func (a *App) giveBack(ctx context.Context) {
	release, wait := resident.Release, time.Duration(0)
	for again := false; ; again = true {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		if err := release(); err != nil {
			a.log.Debug("memory that is not needed cannot be given back", "error", err)
			return
		}
		wait = startUp
		if again {
			release, wait = resident.ReleaseProgram, coolDown
		}
	}
}
