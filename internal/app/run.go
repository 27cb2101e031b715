package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/internal/config"
)

// Run serves until ctx ends, then drains: it stops accepting, finishes the
// requests under way within the drain timeout, and writes what is in memory.
// ready is called once everything listens.
func (a *App) Run(ctx context.Context, ready func(ServerInfo)) error {
	listeners, err := a.listen()
	if err != nil {
		return err
	}
	closeListeners := func() {
		for _, l := range listeners {
			_ = l.Close() // another error is the one to report
		}
	}
	socket, err := a.listenAdmin()
	if err != nil {
		closeListeners()
		return err
	}
	info := a.serverInfo(listeners[0].Addr())
	text, err := json.MarshalIndent(info, "", "  ")
	if err == nil {
		err = writeFile(a.path(fileServer), append(text, '\n'), 0o600)
	}
	if err != nil {
		closeListeners()
		_ = socket.Close() // the file's error is the one to report
		return fmt.Errorf("the data directory cannot be written: %w", err)
	}

	server := newServer(a.handler)
	admin := newServer(a.adminHandler())
	// Background work outlives the requests: it stops after they have drained.
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	workers, background := a.startWorkers(background)

	failed := make(chan error, len(listeners)+1)
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
	}
	go func() { failed <- admin.Serve(socket) }()
	ready(info)

	select {
	case <-ctx.Done():
	case <-background.Done():
	case err = <-failed:
	}
	a.draining.Store(true)
	a.log.Info("stopping: waiting for requests under way", "at_most", time.Duration(a.cfg.DrainTimeout).String())
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(a.cfg.DrainTimeout))
	defer cancel()
	if shutdownErr := server.Shutdown(drain); shutdownErr != nil {
		a.log.Warn("requests were still under way at the end of the drain timeout; cutting them", "error", shutdownErr)
		_ = server.Close() // nothing is left to do about a connection that does not close
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
	return workers, ctx
}

// Work does what goes on without a request, until ctx ends, for a program whose
// handler is served by others. Run does it by itself.
func (a *App) Work(ctx context.Context) error {
	workers, _ := a.startWorkers(ctx)
	return workers.Wait()
}

// listen opens the configured addresses, the main one first.
func (a *App) listen() (_ []net.Listener, err error) {
	var secured *tls.Config
	if a.cfg.TLS.Certificate != "" {
		cert, err := tls.LoadX509KeyPair(a.cfg.TLS.Certificate, a.cfg.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("the TLS certificate cannot be used: %w", err)
		}
		secured = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	}
	var all []net.Listener
	defer func() {
		if err != nil {
			for _, l := range all {
				_ = l.Close() // the error of the one that failed is reported
			}
		}
	}()
	for i, from := range append([]config.Listener{{Listen: a.cfg.Listen}}, a.cfg.Listeners...) {
		l, err := net.Listen("tcp", from.Listen)
		if err != nil {
			setting := "--listen"
			if i > 0 {
				setting = "listeners"
			}
			return nil, fmt.Errorf("cannot listen on %s: %w; choose another address with %s", from.Listen, err, setting)
		}
		if i > 0 {
			l = taggedListener{Listener: l, from: from}
		}
		if secured != nil {
			l = tls.NewListener(l, secured)
		}
		all = append(all, l)
	}
	return all, nil
}

// newServer bounds what a client can hold open without sending anything. Bodies
// have no total limit in time; the routes bound them by progress.
func newServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ConnContext: connContext, ReadHeaderTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
}
