package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/scan/match"
)

type serveCommand struct {
	config.Settings
}

// Run reads the configuration, and leaves in last what is to be done when the command line is
// forgotten: to serve.
func (c serveCommand) Run(ctx context.Context, last *func() error) error {
	cfg, err := c.Load()
	if err != nil {
		return err
	}
	*last = func() error { return serve(ctx, cfg) }
	return nil
}

// serve serves until the process is told to stop.
func serve(ctx context.Context, cfg config.Config) error {
	tuneRuntime()
	log := newLogger(os.Stderr, cfg.Log)
	match.Quiet(log.Handler()) // what libraries write to slog's default logger
	a, err := app.New(ctx, cfg, app.Options{Log: log, Version: version()})
	if err != nil {
		return err
	}
	err = a.Run(ctx, func(i app.ServerInfo) { printWelcome(os.Stdout, cfg, i) })
	if closeErr := a.Close(); err == nil {
		err = closeErr
	}
	return err
}

// tuneRuntime sets what the operator has not set in the environment.
//
// Two goroutines more run at once than there are processors. Those that write to the databases come
// back from every sync to processors that are taken: everybody waits for them, and they would
// wait for a place among all the others. With places to spare the system lets them run at
// once.
//
// The heap grows by seven tenths between two collections, not by all of it: 5 to 10 MiB less under load for
// some 5 % more of the processor's time for a HEAD.
func tuneRuntime() {
	if os.Getenv("GOMAXPROCS") == "" {
		n := runtime.GOMAXPROCS(0)
		runtime.GOMAXPROCS(n + min(n, 2))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(70)
	}
}

// printWelcome says where the server listens and what to type next.
func printWelcome(w io.Writer, cfg config.Config, i app.ServerInfo) {
	env := "berth env"
	if exe, err := os.Executable(); err == nil {
		if wd, err := os.Getwd(); err == nil {
			if rel, err := filepath.Rel(wd, exe); err == nil && !strings.HasPrefix(rel, "..") {
				env = rel + " env"
			}
		}
	}
	if def, err := filepath.Abs(config.Default().Data); err != nil || def != cfg.Data {
		env += " --data " + cfg.Data
	}
	_, host, _ := strings.Cut(i.Endpoint, "://")
	fmt.Fprintf(w, `Berth serves account %s in %s on %s (data in %s).
In another terminal:
  eval "$(%s)"
  aws ecr create-repository --repository-name demo
  aws ecr get-login-password | docker login --username AWS --password-stdin %s
  docker tag IMAGE %s/demo:latest && docker push %s/demo:latest
`, i.Account, i.Region, i.Endpoint, cfg.Data, env, host, host, host)
}

// newLogger makes the log that the configuration asks for. Load has checked
// both words.
func newLogger(w io.Writer, c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
