// Package migrate is the commands of `berth migrate`: how far the databases are
// from this program's form, and bringing them there without serving.
//
// It opens the databases itself: a data directory that a server has open is
// refused, PostgreSQL is shared with the nodes. What is run is the business of
// domain/schema and infra/sqldb.
package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/berth-registry/berth/internal/app/migrating"
	"github.com/berth-registry/berth/internal/config"
)

// Command is `berth migrate`.
type Command struct {
	Status statusCommand `cmd:"" help:"Show the form of the databases, this program's, and what would be run; exit status 1 if that is anything."`
	Up     upCommand     `cmd:"" help:"Bring the databases to this program's form, forward only."`
}

// Help explains what the commands are about.
func (Command) Help() string {
	return `A server that starts brings its databases up to date by itself; on PostgreSQL
one node does, and the others wait. These commands do so beforehand, for instance
from a job of its own with more rights on the database. Nodes of the release before
go on running on the new form. FLOOR is the lowest program that may still start.`
}

type statusCommand struct {
	config.Settings
	JSON bool `name:"json" help:"Print JSON."`
}

// Run prints how the databases are.
func (c statusCommand) Run(ctx context.Context, out io.Writer) error {
	cfg, err := load(c.Settings)
	if err != nil {
		return err
	}
	all, err := migrating.Status(ctx, cfg)
	if err != nil {
		return err
	}
	if err := show(out, all, c.JSON); err != nil {
		return err
	}
	n := 0
	for _, s := range all {
		if s.Floor > s.Program {
			return fmt.Errorf("the database %s needs a program that knows the form %d; this one knows %d: start a newer version", s.Database, s.Floor, s.Program)
		}
		n += len(s.Pending)
	}
	if n > 0 {
		return fmt.Errorf("%d migrations are to be run: berth migrate up, or start the server", n)
	}
	return nil
}

type upCommand struct {
	config.Settings
	JSON bool `name:"json" help:"Print JSON."`
}

// Run migrates and prints how the databases are then.
func (c upCommand) Run(ctx context.Context, out io.Writer) error {
	cfg, err := load(c.Settings)
	if err != nil {
		return err
	}
	all, err := migrating.Up(ctx, cfg)
	if err != nil {
		return err
	}
	return show(out, all, c.JSON)
}

// load reads the configuration. A data directory is not made here: one that is
// not there is a mistake in the flags.
func load(s config.Settings) (config.Config, error) {
	cfg, err := s.Load()
	if err != nil {
		return cfg, err
	}
	if !cfg.Database.Postgres() {
		if _, err := os.Stat(cfg.Data); err != nil {
			return cfg, fmt.Errorf("there is no data directory to look at: %w", err)
		}
	}
	return cfg, nil
}

func show(out io.Writer, all []migrating.Migrations, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(all)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DATABASE\tFORM\tPROGRAM\tFLOOR\tPENDING")
	for _, s := range all {
		pending := strings.Join(s.Pending, " ")
		if pending == "" {
			pending = "-"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\n", s.Database, s.Version, s.Program, s.Floor, pending)
	}
	return w.Flush()
}
