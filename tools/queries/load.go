package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

//go:embed load.sql
var loadSQL string

// The root access key of the program that is measured.
const (
	rootKey    = "AKIAQUERIESQUERIES00"
	rootSecret = "queries/secret+queries"
)

// lifecycleDelay is how long the program waits before it runs a lifecycle policy after a
// change; the clock is moved past it.
const lifecycleDelay = time.Minute

// start builds the program on the database. parameters go into the address.
func (s settings) start(ctx context.Context, clk clock.Clock, parameters string) (*app.App, error) {
	cfg := config.Default()
	cfg.Data = s.data
	cfg.Database.URL = s.database + parameters
	cfg.Blobs.Encryption = "none"                                                             // the manifests that load.sql makes are not sealed either
	cfg.Limits.ImagesPerRepository, cfg.Limits.RepositoriesPerRegistry = 1_000_000, 1_000_000 // the preset ones are used up
	cfg.LifecycleDelay = config.Duration(lifecycleDelay)
	cfg.RootAccessKeyID, cfg.RootSecretAccessKey = rootKey, rootSecret
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return app.New(ctx, cfg, app.Options{Clock: clk, Version: "queries"})
}

// open opens the database for this tool's own statements, which observer
// tells apart by the application's name.
func (s settings) open(ctx context.Context) (*sqldb.DB, error) {
	return sqldb.OpenPostgres(ctx, sqldb.PostgresOptions{URL: s.database + "&application_name=" + ownName, StatementTimeout: time.Hour})
}

var afterLastStatement = regexp.MustCompile(`(?m)^;$`)

// load has the program make its tables, and fills them.
func load(ctx context.Context, s settings) (err error) {
	a, err := s.start(ctx, clock.System{}, "")
	if err != nil {
		return err
	}
	if err := a.Close(); err != nil {
		return err
	}
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	began := time.Now()
	for _, statement := range afterLastStatement.Split(loadSQL, -1) {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		var n int64
		if err := db.Update(ctx, func(tx *sqldb.Tx) (err error) {
			for _, set := range []string{`SET LOCAL session_replication_role = replica`, `SET LOCAL work_mem = '512MB'`} {
				if _, err := tx.Exec(ctx, set); err != nil {
					return err
				}
			}
			n, err = tx.Exec(ctx, statement)
			return err
		}); err != nil {
			return fmt.Errorf("%w\n%s", err, statement)
		}
		_, into, _ := strings.Cut(statement, "INSERT INTO ")
		table, _, _ := strings.Cut(into, " ")
		fmt.Fprintf(os.Stderr, "%5.0f s  %9d rows into %s\n", time.Since(began).Seconds(), n, table)
	}
	return nil
}
