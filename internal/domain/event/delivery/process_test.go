package delivery_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/event/delivery"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The tests of this file run other processes, which are this test binary itself, and kill
// them with SIGKILL.

// childDatabase is a URL of PostgreSQL, or the path of a SQLite file; childDoes, what the
// process does.
const (
	childDatabase = "DELIVERY_CHILD_DATABASE"
	childDoes     = "DELIVERY_CHILD_DOES"
)

func openFile(ctx context.Context, database string) (*sqldb.DB, error) {
	if strings.HasPrefix(database, "postgres:") {
		return sqldb.OpenPostgres(ctx, sqldb.PostgresOptions{URL: database})
	}
	return sqldb.OpenSQLite(ctx, sqldb.SQLiteOptions{Path: database, Durable: true, Exclusive: true})
}

// childMain is a node that says which messages it has taken to their target. "hang"
// never hears the target's answer to the second; "run" hears all.
func childMain() int {
	ctx := context.Background()
	db, err := openFile(ctx, os.Getenv(childDatabase))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	sent := 0
	clk := clock.System{}
	o := quick
	o.Parallel = 1
	s := delivery.New(delivery.Config{
		DB: db, Clock: clk, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Rules: rules(db, clk), Options: o,
		Send: func(ctx context.Context, _ name.AccountID, _ name.Region, _ string, m eventsink.Message) error {
			fmt.Println(m.ID, tagOf(string(m.Event)))
			if sent++; sent == 2 && os.Getenv(childDoes) == "hang" {
				select {} // the answer never comes
			}
			return nil
		},
	})
	if err := s.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

// startChild starts a process and returns the lines that it writes, and what kills it and
// returns the lines that it has still written.
func startChild(t *testing.T, database, does string) (lines *bufio.Scanner, kill func() []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childDatabase+"="+database, childDoes+"="+does)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines = bufio.NewScanner(out)
	return lines, func() (rest []string) {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		for lines.Scan() {
			rest = append(rest, lines.Text())
		}
		_ = cmd.Wait() // it was killed
		return rest
	}
}

// A node is killed between a target's having taken a message and the row that says so. The
// next node sends it again under the same id, and all that comes after in its order.
func TestKilledBetweenSendAndMark(t *testing.T) {
	for _, kind := range []string{"sqlite", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			ctx := t.Context()
			database := fileDatabase(t, kind)
			db, err := openFile(ctx, database)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Migrate(ctx, "schema_version", schema.Durable()...); err != nil {
				t.Fatal(err)
			}
			w := start(t, db, clock.System{})
			for _, tag := range []string{"1", "2", "3", "4"} {
				w.push("a", tag)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}

			out, kill := startChild(t, database, "hang")
			var first []string
			for len(first) < 2 && out.Scan() {
				first = append(first, out.Text())
			}
			kill()
			if len(first) != 2 {
				t.Fatalf("the process wrote %q", first)
			}

			out, kill = startChild(t, database, "run")
			var then []string
			for len(then) < 3 && out.Scan() {
				then = append(then, out.Text())
			}
			kill()
			if len(then) != 3 || then[0] != first[1] {
				t.Fatalf("%q, and after the kill %q", first, then)
			}
			var tags []string
			for _, line := range append(first[:1], then...) {
				_, tag, _ := strings.Cut(line, " ")
				tags = append(tags, tag)
			}
			if got := strings.Join(tags, " "); got != "1 2 3 4" {
				t.Error(got)
			}
		})
	}
}

// Nodes are killed again and again at any moment, while events are recorded. None is
// missing, and each comes in its place.
func TestKilledAgainAndAgain(t *testing.T) {
	ctx := t.Context()
	database := fileDatabase(t, "postgres")
	db, err := openFile(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := db.Migrate(ctx, "schema_version", schema.Durable()...); err != nil {
		t.Fatal(err)
	}
	w := start(t, db, clock.System{})
	const rounds, pushes = 3, 8
	var lines []string
	n := 0
	for range rounds {
		out, kill := startChild(t, database, "run")
		for range pushes {
			w.push("a", fmt.Sprint(n))
			n++
		}
		for i := 0; i < pushes/2 && out.Scan(); i++ {
			lines = append(lines, out.Text())
		}
		lines = append(lines, kill()...)
	}
	last := delivery.New(delivery.Config{
		DB: db, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler), Rules: rules(db, clock.System{}), Send: w.receiver.send, Options: quick,
	})
	w.run(last)
	w.idle(last)
	for _, g := range w.receiver.all(hook) {
		lines = append(lines, g.id+" "+g.tag)
	}
	seen := map[string]bool{}
	want := 0
	for _, line := range lines {
		id, tag, _ := strings.Cut(line, " ")
		if seen[id] {
			continue
		}
		seen[id] = true
		if tag != fmt.Sprint(want) {
			t.Fatalf("%s comes where %d should: %q", tag, want, lines)
		}
		want++
	}
	if want != n {
		t.Errorf("%d of %d events came", want, n)
	}
}
