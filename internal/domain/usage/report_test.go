package usage

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// hours lets hours go by, with a sample in each.
func (w *world) hours(n int) {
	w.t.Helper()
	for range n {
		w.sample()
		w.clk.Advance(time.Hour)
	}
}

// TestReport: what is stored and moved, by each group, over two days and two months.
func TestReport(t *testing.T) {
	each(t, func(w *world) {
		w.clk.Advance(21*24*time.Hour - 2*time.Minute - 30*time.Second) // March 31, noon
		app, web, bare := w.make(here, "app", "team", "blue", "stage", "prod"), w.make(here, "web", "team", "red"), w.make(public, "bare")
		w.blob(here, 100, false, app, web)
		w.blob(here, 10, false, app)
		w.blob(here, 1000, true, web)
		w.blob(public, 5, false, bare)
		w.make(here, "empty")
		w.s.Transfer(here, "app", 50, 7)
		w.s.Transfer(here, "app", -1, 0)
		w.s.Pull(here, "app")
		w.s.Push(here, "web")
		w.node().Transfer(here, "app", 1, 1) // never written down
		w.flush(w.s)
		w.s.Pull(here, "app")
		w.flush(w.s)
		w.sample()
		w.sample() // the same hour
		w.must(w.s.sampleStorage(t.Context(), hourOf(w.clk.Now())))
		w.clk.Advance(time.Hour)
		w.hours(1)

		w.wants("by repository", w.report(Query{GroupBy: "repository"}), strings.Join([]string{
			"111122223333 public bare: stored 5, archived 0, hours 10+0 of 2, sent 0, received 0, pulls 0, pushes 0",
			"111122223333 us-east-1 app: stored 110, archived 0, hours 220+0 of 2, sent 50, received 7, pulls 2, pushes 0",
			"111122223333 us-east-1 web: stored 100, archived 1000, hours 200+2000 of 2, sent 0, received 0, pulls 0, pushes 1",
		}, "\n"))
		w.wants("by tag", w.report(Query{GroupBy: "tag:team"}), strings.Join([]string{
			"blue: stored 110, archived 0, hours 220+0 of 2, sent 50, received 7, pulls 2, pushes 0",
			"red: stored 100, archived 1000, hours 200+2000 of 2, sent 0, received 0, pulls 0, pushes 1",
			"(untagged): stored 5, archived 0, hours 10+0 of 2, sent 0, received 0, pulls 0, pushes 0",
		}, "\n"))
		w.wants("by another tag", w.report(Query{GroupBy: "tag:stage"}), strings.Join([]string{
			"prod: stored 110, archived 0, hours 220+0 of 2, sent 50, received 7, pulls 2, pushes 0",
			"(untagged): stored 105, archived 1000, hours 210+2000 of 2, sent 0, received 0, pulls 0, pushes 1",
		}, "\n"))
		// A layer of two repositories counts once.
		w.wants("by region", w.report(Query{GroupBy: "region"}), strings.Join([]string{
			"public: stored 5, archived 0, hours 10+0 of 2, sent 0, received 0, pulls 0, pushes 0",
			"us-east-1: stored 110, archived 1000, hours 220+2000 of 2, sent 50, received 7, pulls 2, pushes 1",
		}, "\n"))
		w.wants("by account", w.report(Query{GroupBy: "account"}), "111122223333: stored 115, archived 1000, hours 230+2000 of 2, sent 50, received 7, pulls 2, pushes 1")
		w.wants("of others", w.report(Query{GroupBy: "account", Account: them}), "")

		// A tag that changes holds from the next sample on, for the whole of that day.
		w.exec(`UPDATE repository_tag SET tag_value = 'red' WHERE repository_id = $1 AND tag_key = 'team'`, app.ID)
		w.clk.Advance(10 * time.Hour) // April 1, midnight
		w.hours(2)
		w.s.Pull(here, "app")
		w.flush(w.s)
		april, march := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 31, 0, 0, 0, 0, time.UTC)
		w.wants("this month", w.report(Query{GroupBy: "tag:team", Account: us}), strings.Join([]string{
			"red: stored 210, archived 1000, hours 420+2000 of 2, sent 0, received 0, pulls 1, pushes 0",
			"(untagged): stored 5, archived 0, hours 10+0 of 2, sent 0, received 0, pulls 0, pushes 0",
		}, "\n"))
		w.wants("by day", w.report(Query{GroupBy: "account", By: ByDay, From: march, To: april}), strings.Join([]string{
			"2026-03-31 111122223333: stored 115, archived 1000, hours 230+2000 of 2, sent 50, received 7, pulls 2, pushes 1",
			"2026-04-01 111122223333: stored 115, archived 1000, hours 230+2000 of 2, sent 0, received 0, pulls 1, pushes 0",
		}, "\n"))
		w.wants("by month", w.report(Query{GroupBy: "repository", By: ByMonth, From: march, To: april}), strings.Join([]string{
			"2026-03 111122223333 public bare: stored 5, archived 0, hours 10+0 of 2, sent 0, received 0, pulls 0, pushes 0",
			"2026-03 111122223333 us-east-1 app: stored 110, archived 0, hours 220+0 of 2, sent 50, received 7, pulls 2, pushes 0",
			"2026-03 111122223333 us-east-1 web: stored 100, archived 1000, hours 200+2000 of 2, sent 0, received 0, pulls 0, pushes 1",
			"2026-04 111122223333 public bare: stored 5, archived 0, hours 10+0 of 2, sent 0, received 0, pulls 0, pushes 0",
			"2026-04 111122223333 us-east-1 app: stored 110, archived 0, hours 220+0 of 2, sent 0, received 0, pulls 1, pushes 0",
			"2026-04 111122223333 us-east-1 web: stored 100, archived 1000, hours 200+2000 of 2, sent 0, received 0, pulls 0, pushes 0",
		}, "\n"))
		w.wants("both months", w.report(Query{GroupBy: "account", From: march, To: april}), "111122223333: stored 115, archived 1000, hours 460+4000 of 4, sent 50, received 7, pulls 3, pushes 1")

		for _, q := range []Query{{}, {GroupBy: "tag:"}, {GroupBy: "team"}, {GroupBy: "account", By: "week"}, {GroupBy: "account", From: april, To: march}} {
			if _, err := w.s.Report(t.Context(), q); !errs.Is(err, errs.InvalidParameter) {
				t.Errorf("%+v: %v", q, err)
			}
		}

		// Thirteen months later the first day is kept until the month is over.
		first := time.Date(2027, 4, 30, 0, 0, 0, 0, time.UTC).Sub(w.clk.Now())
		w.clk.Advance(first)
		w.must(w.s.Expire(t.Context()))
		if n := w.number(`SELECT count(*) FROM usage_day WHERE day = $1`, dayOf(march)); n == 0 {
			t.Error("a day is gone within thirteen months")
		}
		w.clk.Advance(24 * time.Hour)
		w.must(w.s.Expire(t.Context()))
		if n := w.number(`SELECT count(*) FROM usage_day WHERE day = $1`, dayOf(march)); n != 0 {
			t.Errorf("%d rows of a day older than thirteen months", n)
		}
		if n := w.number(`SELECT count(*) FROM usage_day WHERE day = $1`, dayOf(april)); n == 0 {
			t.Error("the day after is gone too")
		}
		if n := w.number(`SELECT count(*) FROM usage_tags`); n != 2 {
			t.Errorf("%d sets of tags, want those of the day that is left", n)
		}
		w.clk.Advance(40 * 24 * time.Hour)
		w.must(w.s.Expire(t.Context()))
		for _, table := range []string{"usage_day", "usage_repository", "usage_tags", "usage_hour"} {
			if n := w.number(`SELECT count(*) FROM ` + table); n != 0 {
				t.Errorf("%d rows of %s are left", n, table)
			}
		}
	})
}

// TestDeleted: a repository that is gone stays in the report of its days.
func TestDeleted(t *testing.T) {
	each(t, func(w *world) {
		app := w.make(here, "app", "team", "blue")
		w.blob(here, 100, false, app)
		w.hours(1)
		w.exec(`UPDATE repository SET deleted_at = 1 WHERE id = $1`, app.ID)
		w.hours(1)
		w.wants("by repository", w.report(Query{GroupBy: "repository"}), "111122223333 us-east-1 app: stored 50, archived 0, hours 100+0 of 2, sent 0, received 0, pulls 0, pushes 0")
		// What can be restored still takes its room.
		w.wants("by account", w.report(Query{GroupBy: "account"}), "111122223333: stored 100, archived 0, hours 200+0 of 2, sent 0, received 0, pulls 0, pushes 0")
	})
}

// TestManyRepositories: samples go by pages.
func TestManyRepositories(t *testing.T) {
	each(t, func(w *world) {
		w.make(here, "first")
		const n = 2*perSample + 3
		for i := range n {
			w.exec(`INSERT INTO repository (id, account_id, region, name, created_at, tag_mutability, mutability_filters, scan_on_push, encryption, kms_key, key_id, data_key, images)
				SELECT $1, account_id, region, $2, created_at, tag_mutability, mutability_filters, scan_on_push, encryption, kms_key, key_id, data_key, 1 FROM repository WHERE name = 'first'`, int64(i+1), "r"+itoa(i))
			w.blob(here, 1, false, repository.Repository{ID: int64(i + 1)})
		}
		w.sample()
		if got := w.number(`SELECT count(*) FROM usage_series WHERE metric = $1`, int64(images)); got != n+1 {
			t.Errorf("%d repositories have a number of images, want %d", got, n+1)
		}
		if got := w.number(`SELECT count(*) FROM usage_day`); got != n+1 { // and the registry
			t.Errorf("%d rows of the day, want %d", got, n+1)
		}
		w.exec(`DELETE FROM repository WHERE name <> 'first'`)
		w.clk.Advance(5 * time.Minute)
		w.sample()
		if got := w.number(`SELECT count(*) FROM usage_series WHERE metric = $1 AND last_at = $2`, int64(images), live); got != 1 {
			t.Errorf("%d repositories still have a number of images", got)
		}
	})
}

// TestBounded: memory is bounded, and what is written down makes room.
func TestBounded(t *testing.T) {
	each(t, func(w *world) {
		w.s.maxKeys = 2
		for _, repo := range []name.Repository{"aa", "bb", "cc", "aa"} {
			w.s.Pull(here, repo)
		}
		if got := w.s.Dropped(); got != 2 || strings.Count(w.log.String(), "level=WARN") != 1 { // a point and a day
			t.Errorf("%d are dropped, and the log says %q", got, w.log.String())
		}
		w.flush(w.s)
		w.s.Pull(here, "cc")
		w.flush(w.s)
		w.wants("the third", w.points(us, east, w.pullsOf("cc"), w.clk.Now(), time.Minute), "12:02 1 1 1 1")
		w.wants("the first", w.points(us, east, w.pullsOf("aa"), w.clk.Now(), time.Minute), "12:02 1 2 2 2")
		got := w.s.PullCounts()
		if len(got) != 2 || got[0] != (PullCount{here, "aa", 2}) || got[1] != (PullCount{here, "bb", 1}) {
			t.Errorf("the pulls are %+v", got)
		}
	})
}

// TestPullCounts: those with the most are told, the most first.
func TestPullCounts(t *testing.T) {
	s := New(Config{Clock: clock.System{}, Log: slog.New(slog.DiscardHandler), Repositories: 2})
	for _, repo := range []name.Repository{"aa", "bb", "cc", "bb", "cc", "cc"} {
		s.Pull(here, repo)
	}
	if got := s.PullCounts(); len(got) != 2 || got[0] != (PullCount{here, "cc", 3}) || got[1] != (PullCount{here, "bb", 2}) {
		t.Errorf("the pulls are %+v", got)
	}
	none := New(Config{Clock: clock.System{}, Log: slog.New(slog.DiscardHandler)})
	none.Pull(here, "aa")
	if got := none.PullCounts(); len(got) != 0 {
		t.Errorf("told without being asked: %+v", got)
	}
}

// TestKept: what cannot be written is kept, and counts once.
func TestKept(t *testing.T) {
	each(t, func(w *world) {
		w.s.Pull(here, "app")
		w.s.Call(us, east, "ecr", "PutImage")
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.s.Flush(canceled); err == nil {
			t.Fatal("it is written all the same")
		}
		w.s.Pull(here, "app")
		w.flush(w.s)
		w.flush(w.s)
		w.wants("pulls", w.points(us, east, w.pullsOf("app"), w.clk.Now(), time.Minute), "12:02 1 2 2 2")
		w.wants("calls", w.points(us, east, w.callsOf("PutImage"), w.clk.Now(), time.Minute), "12:02 1 1 1 1")
		w.wants("the day", w.report(Query{GroupBy: "repository"}), "111122223333 us-east-1 app: stored 0, archived 0, hours 0+0 of 0, sent 0, received 0, pulls 2, pushes 0")
	})
}

// TestRun: what was counted is written down at the end.
func TestRun(t *testing.T) {
	each(t, func(w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.s.Run(ctx) }()
		w.s.Pull(here, "app")
		cancel()
		w.must(<-ended)
		w.wants("pulls", w.points(us, east, w.pullsOf("app"), w.clk.Now(), time.Minute), "12:02 1 1 1 1")
	})
}

// BenchmarkPull is what counting costs a pull.
func BenchmarkPull(b *testing.B) {
	s := New(Config{Clock: clock.System{}, Log: slog.New(slog.DiscardHandler), Repositories: 10})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Pull(here, "team/app")
		}
	})
}
