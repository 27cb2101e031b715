package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// passes are the two kinds of plans that PostgreSQL chooses between for a prepared
// statement. All is measured with each of them.
var passes = [...]struct{ parameter, says string }{
	{"force_custom_plan", "values known"}, {"force_generic_plan", "generic"},
}

// betweenSteps is more than anything is cached without a question to the database,
// so that every operation asks.
const betweenSteps = 3 * time.Second

// measurer runs operations and notes what they executed.
type measurer struct {
	s     settings
	db    *sqldb.DB // for the tool's own statements
	log   *observer
	marks int
	r     *report
}

// measure runs all on the database that load has filled.
func measure(ctx context.Context, s settings) (_ *report, err error) {
	m := &measurer{s: s, r: newReport()}
	if m.db, err = s.open(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.db.Close()) }()
	if m.log, err = newObserver(s.log); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.log.close()) }()
	if err := m.tables(ctx); err != nil {
		return nil, err
	}
	for pass := range passes {
		if err := m.pass(ctx, pass); err != nil {
			return nil, err
		}
	}
	return m.r, nil
}

// tables reads how large the tables are, and the server's version.
func (m *measurer) tables(ctx context.Context) error {
	return m.db.View(ctx, func(tx *sqldb.Tx) error {
		var version int64
		if err := tx.QueryRow(ctx, `SELECT current_setting('server_version_num')::bigint`).Scan(&version); err != nil {
			return err
		}
		m.r.version = version / 10000
		all, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (t table, err error) {
			return t, row.Scan(&t.name, &t.rows)
		}, `SELECT relname::text, reltuples::bigint FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname`)
		for _, t := range all {
			if t.rows >= bigTable {
				m.r.tables = append(m.r.tables, t)
				m.r.big[t.name] = true
			}
		}
		return err
	})
}

// mark returns what was executed since the last mark.
func (m *measurer) mark(ctx context.Context) ([]statement, error) {
	m.marks++
	mark := fmt.Sprintf("mark %d.", m.marks)
	if err := m.db.View(ctx, func(tx *sqldb.Tx) error {
		var s string
		return tx.QueryRow(ctx, `SELECT '`+mark+`'`).Scan(&s)
	}); err != nil {
		return nil, err
	}
	return m.log.until(ctx, mark)
}

// pass measures with plans of one kind: what clients ask for first, and then what
// goes on without them.
func (m *measurer) pass(ctx context.Context, pass int) (err error) {
	clk := clock.NewFake(time.Now())
	a, err := m.s.start(ctx, clk, "&plan_cache_mode="+passes[pass].parameter)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: a.Handler(), ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	err = m.rounds(ctx, pass, "http://"+listener.Addr().String(), clk)
	err = errors.Join(err, server.Close())
	if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	if err != nil {
		return err
	}
	return m.background(ctx, pass, a, clk)
}

// rounds runs all operations twice: the first time fills caches.
func (m *measurer) rounds(ctx context.Context, pass int, base string, clk *clock.Fake) error {
	c, err := newUser(ctx, base, fmt.Sprintf("pipeline-%d", pass))
	if err != nil {
		return err
	}
	if err := c.goDeep(ctx); err != nil {
		return err
	}
	for round := range 2 {
		c.round = fmt.Sprintf("%d-%d", pass, round)
		if err := errors.Join(c.upload(ctx, c.config()), c.upload(ctx, c.content("second layer"))); err != nil {
			return err
		}
		for _, g := range groups() {
			for _, s := range g.steps {
				clk.Advance(betweenSteps)
				if _, err := m.mark(ctx); err != nil {
					return err
				}
				if err := s.run(ctx, c); err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				did, err := m.mark(ctx)
				if err != nil {
					return err
				}
				if round == 1 {
					m.r.add(g.name, s.name, s.pull, pass, did, false)
				}
			}
		}
	}
	return nil
}

// arm makes work for the background: $1 is the pass.
var arm = []string{
	// Every periodic job but the comparison of the stores with the rows is due: of a
	// million blobs no object is there.
	`INSERT INTO job_period (kind, next_at) SELECT kind, 1 FROM unnest(ARRAY['audit.expire', 'jobs.expire', 'layer.collect', 'layer.expire', 'lifecycle.sweep', 'recovery.expire']) AS kind
		WHERE $1 >= 0 ON CONFLICT (kind) DO UPDATE SET next_at = 1`,
	`UPDATE job SET died_at = 1 WHERE state = 2 AND id <= 200 * ($1 + 1)`,
	`UPDATE audit SET occurred_at = id WHERE id > 2000 * $1 AND id <= 2000 * ($1 + 1)`,
	`UPDATE upload SET expires_at = 1 WHERE id IN (SELECT 'upload-' || n FROM generate_series(20 * $1 + 1, 20 * $1 + 20) AS n)`,
	`UPDATE deleted_image SET expires_at = 1 WHERE id > 50 * $1 AND id <= 50 * ($1 + 1)`,
	`UPDATE lifecycle_policy SET evaluated_at = 0 WHERE repository_id IN (2011 + 20 * $1, 2021 + 20 * $1)`,
	`UPDATE garbage SET due_at = 1 WHERE object_key IN (SELECT '000000000000/us-east-1/00/garbage-' || n FROM generate_series(150 * $1 + 1, 150 * $1 + 150) AS n)`,
	// Reviews of layers that images need, and of ones that none needs any more.
	`UPDATE layer_review SET due_at = 1 WHERE due_at <= 4000000000000000 + 600 * ($1 + 1)`,
	`INSERT INTO blob (id, account_id, region, key_id, digest, size, object_key, seal, created_at)
		SELECT 1000000000 + n, '000000000000', 'us-east-1', '', 'sha256:' || md5('unused ' || n) || md5(n || ' unused'), 1, '000000000000/us-east-1/00/unused-' || n, ''::bytea, 1 FROM generate_series(100 * $1 + 1, 100 * $1 + 100) AS n`,
	`INSERT INTO layer (repository_id, digest, blob_id, created_at) SELECT 1, digest, id, 1 FROM blob WHERE id > 1000000000 + 100 * $1 AND id <= 1000000100 + 100 * $1`,
	`INSERT INTO layer_review (repository_id, digest, blob_id, due_at) SELECT 1, digest, id, 1 FROM blob WHERE id > 1000000000 + 100 * $1 AND id <= 1000000100 + 100 * $1`,
}

// backgroundWait bounds the wait for the background work of a pass.
const backgroundWait = 10 * time.Minute

// background runs what goes on without a request until all that is due is done.
func (m *measurer) background(ctx context.Context, pass int, a *app.App, clk *clock.Fake) error {
	err := m.db.Update(ctx, func(tx *sqldb.Tx) error {
		for _, s := range arm {
			if _, err := tx.Exec(ctx, strings.ReplaceAll(s, "$1", fmt.Sprint(pass))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := m.mark(ctx); err != nil {
		return err
	}
	clk.Advance(2 * lifecycleDelay)
	work, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- a.Work(work) }()
	err = m.untilDone(ctx, clk)
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		return err
	}
	did, err := m.mark(ctx)
	if err != nil {
		return err
	}
	// In the order of the classes: who comes first differs from run to run.
	all := transactions(did)
	for n := range len(classes) + 1 {
		for _, t := range all {
			if classOf(t) == n {
				m.r.add(background, className(n), false, pass, t, true)
			}
		}
	}
	return nil
}

// untilDone waits until no job is due or runs.
func (m *measurer) untilDone(ctx context.Context, clk clock.Clock) error {
	ctx, cancel := context.WithTimeout(ctx, backgroundWait)
	defer cancel()
	for left := int64(1); left > 0; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d jobs are left: %w", left, ctx.Err())
		case <-time.After(time.Second):
		}
		if err := m.db.View(ctx, func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM job WHERE state = 1 OR (state = 0 AND run_at <= $1)) + (SELECT count(*) FROM job_period WHERE next_at <= $1)`,
				clk.Now().UnixMicro()).Scan(&left)
		}); err != nil {
			return err
		}
	}
	return nil
}

// transactions cuts what was executed into transactions.
func transactions(all []statement) (list [][]statement) {
	at := map[string]int{}
	for _, s := range all {
		n, ok := at[s.tx]
		if !ok {
			n = len(list)
			at[s.tx] = n
			list = append(list, nil)
		}
		list[n] = append(list[n], s)
	}
	return list
}

// background is the group of what no client asks for; other is what the table below
// does not know: what a job asks of its repository before it begins.
const (
	background = "Background"
	other      = "the repository of a job, by name"
)

// classes tell the transactions of the background apart: the first whose texts all
// stand in one.
var classes = []struct {
	name  string
	texts []string
}{
	{"lifecycle: read a repository of 10,000 images", []string{"FROM image WHERE repository_id = $1 ORDER BY id"}},
	{"lifecycle: expire nine images", []string{"lifecycle_policy", "DELETE FROM image "}},
	{"lifecycle: find policies to run", []string{"lifecycle_policy", "JOIN repository"}},
	{"lifecycle: the rest of a run", []string{"lifecycle_policy"}},
	{"lifecycle: previews that are over", []string{"lifecycle_preview"}},
	{"recovery: images that are deleted for good", []string{"deleted_image SET"}},
	{"recovery: images that are deleted for good", []string{"FROM deleted_image "}},
	{"recovery: repositories that are deleted for good", []string{"FROM repository WHERE deleted_at"}},
	{"collection: a page of reviews", []string{"FROM layer_review WHERE due_at"}},
	{"collection: one review", []string{"DELETE FROM layer_review"}},
	{"collection: garbage", []string{" garbage "}},
	{"collection: its record", []string{"layer_collection"}},
	{"uploads that were given up", []string{" upload "}},
	{"uploads that were given up", []string{"upload_"}},
	{"audit: records that are too old", []string{"DELETE FROM audit"}},
	{"audit: a batch of records", []string{"INSERT INTO audit"}},
	{"pull times", []string{"image_pull"}},
	{"pull times", []string{"image_translation"}},
	{"use of access keys", []string{"access_key_use"}},
	{"quotas and rates", []string{"quota_"}},
	{"layers of archived images: find their place", []string{"blob_placement"}},
	{"jobs: hint to other nodes", []string{"pg_notify"}},
	{"jobs: look for work", []string{"min(run_at)"}},
	{"jobs: claim", []string{"UPDATE job SET state = 1"}},
	{"jobs: claim", []string{"FROM job WHERE kind = $1 AND state = 0 AND run_at"}},
	{"jobs: the rest", []string{" job"}},
}

// classOf is the number of a transaction's class, the one after the last for none.
func classOf(t []statement) int {
	var b strings.Builder
	for _, s := range t {
		if !s.check {
			b.WriteString(s.sql + "\n")
		}
	}
	all := b.String()
next:
	for n, c := range classes {
		for _, text := range c.texts {
			if !strings.Contains(all, text) {
				continue next
			}
		}
		return n
	}
	return len(classes)
}

func className(n int) string {
	if n == len(classes) {
		return other
	}
	return classes[n].name
}
