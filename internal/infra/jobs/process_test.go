package jobs_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// The tests of this file run other processes, which are this test binary itself
// with TestChild, and kill them with SIGKILL.

const (
	childDatabase = "JOBS_CHILD_DATABASE" // a URL of PostgreSQL, or the path of a SQLite file
	childDoes     = "JOBS_CHILD_DOES"     // a key of children
)

// childOptions are those of the processes and of who takes over from them.
var childOptions = jobs.Options{Poll: 5 * time.Millisecond, Lease: 2 * time.Second, DrainTimeout: patience}

// open opens a database as the program does, for a process of its own.
func open(ctx context.Context, database string) (*sqldb.DB, error) {
	if strings.HasPrefix(database, "postgres:") {
		return sqldb.OpenPostgres(ctx, sqldb.PostgresOptions{URL: database})
	}
	return sqldb.OpenSQLite(ctx, sqldb.SQLiteOptions{Path: database, Durable: true, Exclusive: true})
}

// systemQueue is a queue on the machine's clock, as other processes have it.
func (b *bench) systemQueue() *jobs.Queue {
	return jobs.New(b.db, clock.System{}, slog.New(slog.NewTextHandler(b.log, nil)), childOptions)
}

// child is another process.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	out *bufio.Reader
}

func startChild(t *testing.T, database, does string) child {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childDatabase+"="+database, childDoes+"="+does)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return child{t, cmd, bufio.NewReader(out)}
}

// says waits until the process prints a line that begins so, and returns the
// rest of it.
func (c child) says(want string) string {
	c.t.Helper()
	line, err := c.out.ReadString('\n')
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), want)
	if err != nil || !ok {
		all, _ := io.ReadAll(c.out) // what there is, helps
		c.t.Fatalf("the other process said %q, %v\n%s", line, err, all)
	}
	return strings.TrimSpace(rest)
}

func (c child) kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	_ = c.cmd.Wait() // it was killed
}

// children are what the other process can do with its queue.
var children = map[string]func(b *bench, q *jobs.Queue){
	// hang says that it runs once its progress is stored, and goes on for ever.
	"hang": func(b *bench, q *jobs.Queue) {
		q.Handle("deadly", jobs.Handler{Run: func(ctx context.Context, t jobs.Task) error {
			if err := t.Progress(ctx, 3, 10, "before the end"); err != nil {
				return err
			}
			for {
				if d, err := q.Show(ctx, t.ID); err != nil || d.Progress != nil {
					fmt.Println("running", d.Node, err)
					select {}
				}
				time.Sleep(time.Millisecond)
			}
		}})
	},
	"share": func(b *bench, q *jobs.Queue) { q.Handle("share", b.effects("child")) },
	"periodic": func(b *bench, q *jobs.Queue) {
		q.Handle("tick", b.effects("child"))
		q.Every("tick", time.Second)
		fmt.Println("ticking")
	},
}

// TestChild is the other process; by itself it does nothing and checks nothing.
func TestChild(t *testing.T) {
	database, is := os.LookupEnv(childDatabase)
	if !is {
		return
	}
	db, err := open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, db: db, log: &lockedBuffer{}}
	q := b.systemQueue()
	children[os.Getenv(childDoes)](b, q)
	t.Fatal(q.Run(t.Context()), b.log)
}

// effects writes a row for every run, in a transaction of its own.
func (b *bench) effects(node string) jobs.Handler {
	return jobs.Handler{Workers: 4, Run: func(ctx context.Context, t jobs.Task) error {
		time.Sleep(5 * time.Millisecond)
		return b.db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO effect (id, job, node) VALUES ($1, $2, $3)`, sqldb.NewID(), t.ID, node)
			return err
		})
	}}
}

// TestKilledNode kills a process while it works on a job.
func TestKilledNode(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		// Only one process has the file, so each opens it when the one before is gone.
		path := filepath.Join(t.TempDir(), "test.db")
		reopen := func() *bench {
			db, err := open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			return newBench(t, db)
		}
		b := reopen()
		b.enqueue(b.systemQueue(), jobs.Job{Kind: "deadly", Payload: "x"})
		if err := b.db.Close(); err != nil {
			t.Fatal(err)
		}
		c := startChild(t, path, "hang")
		node := c.says("running")
		c.kill()
		b = reopen()
		takeOver(t, b, node)
		if err := b.db.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		url := sqldbtest.PostgresURL(t)
		b := newBench(t, sqldbtest.OpenPostgres(t, url))
		b.enqueue(b.systemQueue(), jobs.Job{Kind: "deadly", Payload: "x"})
		c := startChild(t, url, "hang")
		node := c.says("running")
		c.kill()
		takeOver(t, b, node)
	})
}

// takeOver has this process do the job of the one that was killed.
func takeOver(t *testing.T, b *bench, node string) {
	t.Helper()
	q := b.systemQueue()
	all, err := q.List(t.Context(), jobs.Filter{})
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v %v", all, err)
	}
	d := all[0]
	if d.State != jobs.Running || d.Attempt != 1 || d.Lease.IsZero() || d.Progress == nil || d.Progress.Done != 3 || d.Progress.Text != "before the end" {
		t.Errorf("the killed process left %+v, want a running job with its progress", d)
	}
	if d.Node != strings.TrimSuffix(node, " <nil>") || !strings.Contains(d.Node, "/") {
		t.Errorf("it ran on %q, which called itself %q", d.Node, node)
	}
	h, ran := collector()
	q.Handle("deadly", h)
	stop := b.run(q)
	if got := receive(b, ran, "the job of the killed process"); got.Attempt != 2 || string(got.Payload) != `"x"` {
		t.Errorf("ran with %s in attempt %d", got.Payload, got.Attempt)
	}
	b.empty()
	stop()
}

// TestTwoProcesses has two processes work on one database, and kills one of
// them amidst its work: each job is done, and none twice but those that the
// killed process had under way.
func TestTwoProcesses(t *testing.T) {
	const n = 400
	url := sqldbtest.PostgresURL(t)
	b := newBench(t, sqldbtest.OpenPostgres(t, url))
	b.exec(`CREATE TABLE effect (id BIGINT NOT NULL PRIMARY KEY, job BIGINT NOT NULL, node btext NOT NULL)`)
	q := b.systemQueue()
	var all []jobs.Job
	for i := range n {
		all = append(all, jobs.Job{Kind: "share", Payload: i, UniqueKey: strconv.Itoa(i)})
	}
	b.enqueue(q, all...)
	c := startChild(t, url, "share")
	reached := func(node string, enough int64) {
		t.Helper()
		b.eventually(node+" to work", func([]row) bool {
			return b.number(`SELECT COUNT(*) FROM effect WHERE node = '`+node+`'`) >= enough
		})
	}
	reached("child", 20)
	q.Handle("share", b.effects("parent"))
	stop := b.run(q)
	reached("parent", 20)
	left := b.number(`SELECT COUNT(*) FROM job WHERE state = 0`)
	c.kill()
	b.empty()
	stop()
	if left == 0 {
		t.Error("nothing was left to do when the process was killed; make the jobs more")
	}
	if done := b.number(`SELECT COUNT(DISTINCT job) FROM effect`); done != n {
		t.Errorf("%d jobs were done, want %d", done, n)
	}
	if runs := b.number(`SELECT COUNT(*) FROM effect`); runs > n+4 {
		t.Errorf("%d runs of %d jobs: more than the killed process can have had under way were done twice", runs, n)
	}
}

// TestPeriodsOfTwoProcesses: whoever is there has the periodic job run, once in
// each period.
func TestPeriodsOfTwoProcesses(t *testing.T) {
	url := sqldbtest.PostgresURL(t)
	b := newBench(t, sqldbtest.OpenPostgres(t, url))
	b.exec(`CREATE TABLE effect (id BIGINT NOT NULL PRIMARY KEY, job BIGINT NOT NULL, node btext NOT NULL)`)
	begun := time.Now()
	first, second := startChild(t, url, "periodic"), startChild(t, url, "periodic")
	first.says("ticking")
	second.says("ticking")
	ticks := func() int64 { return b.number(`SELECT COUNT(*) FROM effect`) }
	b.eventually("the periodic job to run twice", func([]row) bool { return ticks() >= 2 })
	if n, most := ticks(), int64(time.Since(begun)/time.Second); n > most {
		t.Errorf("ran %d times, in which there are %d periods at most", n, most)
	}
	first.kill() // it was no leader, whichever it was
	n := ticks()
	b.eventually("the periodic job to run without the first process", func([]row) bool { return ticks() >= n+2 })
	second.kill()
}

// TestNodeNames: no two queues are taken for each other, in one process neither.
func TestNodeNames(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		var names []string
		begun, finish := make(chan jobs.Task, 10), make(chan error)
		for range 2 {
			q := b.queue(quick)
			q.Handle("named", jobs.Handler{Run: func(_ context.Context, t jobs.Task) error { begun <- t; return <-finish }})
			b.run(q)
			b.enqueue(q, jobs.Job{Kind: "named"})
			d, err := q.Show(t.Context(), receive(b, begun, "the job").ID)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, d.Node)
		}
		host, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		start := fmt.Sprintf("%s/%d/", host, os.Getpid())
		if names[0] == names[1] || slices.ContainsFunc(names, func(n string) bool { return !strings.HasPrefix(n, start) }) {
			t.Errorf("the nodes are called %q, want different names that begin with %s", names, start)
		}
		finish <- errors.New("over")
		finish <- nil
	})
}
