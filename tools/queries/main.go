// Command queries makes docs/queries.md: every statement of the hot paths with
// the plan that PostgreSQL ran it by, on a database of a million images.
//
// It runs twice on one database, which scripts/queries.sh makes and removes:
//
//	queries --database URL --data DIR load
//	queries --database URL --data DIR --log FILE report > docs/queries.md
//
// The first fills the tables (load.sql), the second runs the whole program on
// them, calls it as clients do, and reads from the server's log what auto_explain
// wrote there (plans.go). The server has to be set up as the script does it. The
// database is not to be used for anything else afterwards.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

// settings are the flags.
type settings struct {
	database string // postgres://...
	data     string // the program's data directory
	log      string // the server's log, as JSON
}

func main() {
	var s settings
	flag.StringVar(&s.database, "database", "", "address of an empty PostgreSQL database (load), or of the filled one (report)")
	flag.StringVar(&s.data, "data", "", "data directory, the same for load and report")
	flag.StringVar(&s.log, "log", "", "the server's log in JSON form (report)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, s, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "queries:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings, what string) error {
	if s.database == "" || s.data == "" {
		return errors.New("give --database and --data")
	}
	switch what {
	case "load":
		return load(ctx, s)
	case "report":
		if s.log == "" {
			return errors.New("give --log")
		}
		r, err := measure(ctx, s)
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(r.page()); err != nil {
			return err
		}
		return r.verdict()
	}
	return errors.New("say load or report")
}
