package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/jobsadmin"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// startWithJobs is start on a data directory whose queue fill has filled.
func startWithJobs(t *testing.T, fill func(ctx context.Context, q *jobs.Queue, tx *sqldb.Tx) error) server {
	t.Helper()
	cfg := config.Default()
	cfg.Data, cfg.Listen = t.TempDir(), "127.0.0.1:0"
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), cfg, app.Options{}) // makes the database
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sqldb.OpenSQLite(t.Context(), sqldb.SQLiteOptions{Path: filepath.Join(cfg.Data, "berth.db"), Durable: true, Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	q := jobs.New(db, clock.System{}, slog.New(slog.DiscardHandler), jobs.Options{})
	err = db.Update(t.Context(), func(tx *sqldb.Tx) error { return fill(t.Context(), q, tx) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}

	if a, err = app.New(t.Context(), cfg, app.Options{}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- a.Run(ctx, func(app.ServerInfo) { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, a.Close()); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return server{t, cfg.Data}
}

func TestJobs(t *testing.T) {
	const n = 120 // more than a page
	s := startWithJobs(t, func(ctx context.Context, q *jobs.Queue, tx *sqldb.Tx) error {
		put := []jobs.Job{
			{Kind: "test.once", UniqueKey: "repository/ä", Payload: map[string]any{"image": "sha256:12", "tags": []string{"v1"}}},
			{Kind: "test.twice", UniqueKey: "k"},
		}
		for i := range n {
			put = append(put, jobs.Job{Kind: "test.many", Payload: i})
		}
		for _, j := range put {
			if err := q.Enqueue(ctx, tx, j); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE job SET state = 2, attempt = 20, died_at = 1767323045000000, created_at = 1767323045000000,
			last_error = $1, progress_done = 3, progress_total = 10, progress_text = 'reading', progress_at = 1767323040000000 WHERE kind <> 'test.many'`,
			"the scanner ended: signal: killed\n\tat line 1\x1b[2J"); err != nil {
			return err
		}
		return q.Enqueue(ctx, tx, jobs.Job{Kind: "test.twice", UniqueKey: "k", RunAt: time.UnixMicro(4102444800000000)})
	})
	var all []jobs.Description
	if err := json.Unmarshal([]byte(s.berth("jobs", "list", "--json")), &all); err != nil || len(all) != n+3 {
		t.Fatalf("%d jobs, %v", len(all), err)
	}
	if lines := strings.Count(s.berth("jobs", "list"), "\n"); lines != n+4 {
		t.Errorf("%d lines, want %d", lines, n+4)
	}
	once, twice, next := fmt.Sprint(all[0].ID), fmt.Sprint(all[1].ID), fmt.Sprint(all[n+2].ID)
	like(t, s.berth("jobs", "list", "--state", "dead"), `
		ID KIND KEY STATE ATTEMPT RUNS AT PROGRESS LAST ERROR
		`+once+` test.once repository/ä dead 20/20 never 3/10 (30%) reading the scanner ended: signal: killed…
		`+twice+` test.twice k dead 20/20 never 3/10 (30%) reading the scanner ended: signal: killed…`)
	like(t, s.berth("jobs", "list", "--kind", "test.twice", "--state", "waiting"), `
		ID KIND KEY STATE ATTEMPT RUNS AT PROGRESS LAST ERROR
		`+next+` test.twice k waiting 0/20 2100-01-01 00:00:00 - -`)
	like(t, s.berth("jobs", "list", "--summary"), `
		KIND WAITING RUNNING DEAD
		test.many 120 0 0
		test.once 0 0 1
		test.twice 1 0 1`)
	like(t, s.berth("jobs", "list", "--summary", "--kind", "test.once"), `
		KIND WAITING RUNNING DEAD
		test.once 0 0 1`)
	like(t, s.berth("jobs", "list", "--state", "running"), `No jobs are running.`)
	like(t, s.berth("jobs", "list", "--kind", "none", "--state", "dead"), `No jobs of the kind none are dead.`)
	like(t, s.berth("jobs", "list", "--kind", "none", "--summary"), `No jobs of the kind none.`)
	for _, none := range [][]string{{"--kind", "none"}, {"--kind", "none", "--summary"}} {
		if out := s.berth(append([]string{"jobs", "list", "--json"}, none...)...); out != "[]\n" {
			t.Errorf("%q: %q", none, out)
		}
	}
	like(t, s.berth("jobs", "show", once), `
		Job: `+once+`
		Kind: test.once
		Unique key: repository/ä
		State: dead
		Attempt: 20/20
		Created: 2026-01-02 03:04:05
		Died: 2026-01-02 03:04:05
		Retry with: berth jobs retry `+once+`
		Progress: 3/10 (30%) reading
		Reported: 2026-01-02 03:04:00
		Last error:
		the scanner ended: signal: killed
		at line 1?[2J
		Payload:
		{
		"image": "sha256:12",
		"tags": [
		"v1"
		]
		}`)
	var one jobs.Description
	if err := json.Unmarshal([]byte(s.berth("jobs", "show", "--json", once)), &one); err != nil || one.ID != all[0].ID || one.UniqueKey != "repository/ä" {
		t.Errorf("%+v %v", one, err)
	}

	s.refused("no job has the id 5 (a job that is done is gone); see berth jobs list", "jobs", "show", "5")
	s.refused("no job has the id 5", "jobs", "retry", "5")
	s.refused("no job has the id 5", "jobs", "discard", "5")
	s.refused("stays dead: job "+next+" of the same kind and key does its work; discard it with: berth jobs discard "+twice, "jobs", "retry", twice)
	s.refused("is not dead: only dead jobs can be discarded", "jobs", "discard", next)
	s.refused("name the jobs by their ids (see berth jobs list), or give --all-dead", "jobs", "retry")
	s.refused("not both", "jobs", "retry", once, "--all-dead")
	s.refused("give --all-dead too", "jobs", "retry", once, "--kind", "x")
	s.refused("expected", "jobs", "discard")
	s.refused("leave out --state", "jobs", "list", "--summary", "--state", "dead")
	s.refused("must be one of", "jobs", "list", "--state", "done")

	like(t, s.berth("jobs", "retry", next), `Job `+next+` (test.twice) runs as soon as a worker is free.`)
	out, err := s.try("jobs", "retry", "--all-dead")
	if err == nil || !strings.Contains(err.Error(), "job "+twice+" stays dead") {
		t.Error(err)
	}
	like(t, out, `Job `+once+` (test.once) runs as soon as a worker is free.`)
	out, err = s.try("jobs", "discard", once, twice, "5", "--json")
	var did jobsadmin.Changed
	if jsonErr := json.Unmarshal([]byte(out), &did); jsonErr != nil || err == nil || len(did.Changed) != 1 || len(did.Refused) != 2 {
		t.Errorf("%s %v %v", out, err, jsonErr)
	}
	if want := "job " + once + " is not dead: only dead jobs can be discarded, see berth jobs show " + once + "\nno job has the id 5"; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	like(t, s.berth("jobs", "retry", "--all-dead"), `No jobs are dead.`)
	like(t, s.berth("jobs", "retry", "--all-dead", "--kind", "test.once"), `No jobs of the kind test.once are dead.`)
}

func TestJobPrinting(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	running := jobs.Description{
		ID: 7, Kind: "scan", State: jobs.Running, Attempt: 2, MaxAttempts: 20, Created: at, Node: "host/12/abc", Lease: at.Add(time.Minute), Again: true,
		Payload: json.RawMessage(`null`), LastError: strings.Repeat("é", 61),
	}
	var out bytes.Buffer
	if err := printJob(&out, running); err != nil {
		t.Fatal(err)
	}
	like(t, out.String(), `
		Job: 7
		Kind: scan
		Unique key: none
		State: running
		Attempt: 2/20
		Created: 2026-01-02 03:04:05
		Node: host/12/abc
		Lease until: 2026-01-02 03:05:05
		Afterwards: runs once more; it was enqueued again while it ran
		Progress: none reported
		Last error:
		`+running.LastError+`
		Payload:
		null`)
	for want, p := range map[string]jobs.Progress{
		"3/10 (30%) reading": {Done: 3, Total: 10, Text: "reading"},
		"0/10 (0%)":          {Total: 10},
		"5":                  {Done: 5},
		"reading":            {Text: "reading"},
		"":                   {},
	} {
		if got := progressText(p); got != want {
			t.Errorf("%+v: %q, want %q", p, got, want)
		}
	}
	out.Reset()
	waiting := jobs.Description{ID: 8, Kind: "scan", State: jobs.Waiting, MaxAttempts: 20, RunAt: at, UniqueKey: strings.Repeat("k", 40), LastError: strings.Repeat("é", 60)}
	if err := printJobs(&out, []jobs.Description{running, waiting}); err != nil {
		t.Fatal(err)
	}
	like(t, out.String(), `
		ID KIND KEY STATE ATTEMPT RUNS AT PROGRESS LAST ERROR
		7 scan - running 2/20 now - `+strings.Repeat("é", 59)+`…
		8 scan `+waiting.UniqueKey+` waiting 0/20 2026-01-02 03:04:05 - `+waiting.LastError)
	out.Reset()
	waiting.Payload = json.RawMessage(`1`)
	if err := printJob(&out, waiting); err != nil || !strings.Contains(out.String(), "Runs at:     2026-01-02 03:04:05\n") || strings.Contains(out.String(), "Node") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
