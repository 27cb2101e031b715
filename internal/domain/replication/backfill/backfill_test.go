package backfill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// everything is a registry with an image of each kind.
func (w *world) everything() {
	w.put("app", spec{short: "one", tags: []string{"latest", "v1"}}, spec{short: "bare"}, spec{short: "old", tags: []string{"v0"}, archive: true})
	w.put("team/web", spec{short: "list", tags: []string{"multi"}, index: true})
	w.put("zoo", spec{short: "one", tags: []string{"v1"}})
	w.repo("empty")
}

func TestEveryImageAndTagOnce(t *testing.T) {
	onEngines(t, func(w *world) {
		w.everything()
		b := w.begin()
		if id, err := uuid.Parse(b.ID); err != nil || id.Version() != 4 {
			w.Errorf("the id is %s", b.ID)
		}
		if _, results, _, err := w.Describe(w.Context(), here, b.ID, ResultQuery{Limit: 10}); err != nil || len(results) > 0 || w.now(b).Progress != nil {
			w.Errorf("while it prepares: %v %v %v", results, w.now(b).Progress, err)
		}
		w.work(b)
		w.is(b, InProgress, 5, 0, 0)
		want := []string{line("app", "one", "latest", ""), line("app", "one", "v1", ""), line("app", "bare", "", ""), line("team/web", "list", "multi", ""), line("zoo", "one", "v1", "")}
		sent := w.end.refs()
		if len(sent) != len(want) {
			w.Fatalf("sent %v", sent)
		}
		for _, d := range w.end.sent {
			if !slices.Contains(want, line2(d)+" ") || d.Backfill != b.ID || d.Destination != there {
				w.Errorf("sent %+v", d)
			}
		}
		for _, d := range w.end.take(10) {
			code := ""
			if d.Repository == "team/web" {
				d.Sub, code = []string{"ImageNotFound", "KmsError", "ImageNotFound"}, "ReferencedImagesNotFound"
			}
			if w.now(b).Status != InProgress {
				w.Errorf("%s before the end", w.now(b).Status)
			}
			if _, results, _, err := w.Describe(w.Context(), here, b.ID, ResultQuery{Limit: 10}); err != nil || len(results) > 0 {
				w.Errorf("results before the end: %v %v", results, err)
			}
			w.clk.Advance(time.Second)
			w.ends(code, d)
			w.ends("", d) // told twice it counts once
		}
		b = w.is(b, Complete, 5, 4, 1)
		if !b.EndedAt.Equal(w.clk.Now()) || fmt.Sprint(b.Progress.FailureCodes) != "[ReferencedImagesNotFound]" || b.FailureCode != "" {
			w.Errorf("%+v %+v", b, b.Progress)
		}
		want[3] = line("team/web", "list", "multi", "ReferencedImagesNotFound")
		for _, size := range []int{1, 2, 5, 6} {
			got, failed, complete := w.results(b, Any, size), w.results(b, Unable, size), w.results(b, Succeeded, size)
			if !slices.Equal(got, want) || !slices.Equal(failed, want[3:4]) || !slices.Equal(complete, slices.Delete(slices.Clone(want), 3, 4)) {
				w.Errorf("pages of %d: %v, failed %v, complete %v; want %v", size, got, failed, complete, want)
			}
		}
		_, results, _, err := w.Describe(w.Context(), here, b.ID, ResultQuery{Limit: 10})
		w.must(err)
		for _, r := range results {
			if index := r.Repository == "team/web"; index != (fmt.Sprint(r.Sub) == "[ImageNotFound KmsError]") || !index && r.Sub != nil {
				w.Errorf("%+v", r)
			}
		}
		// And once more: everything is sent again.
		again := w.begin()
		w.work(again)
		w.is(again, InProgress, 5, 0, 0)
	})
}

func TestNothingToSend(t *testing.T) {
	onEngines(t, func(w *world) {
		w.repo("empty")
		b := w.begin()
		w.work(b)
		if b = w.is(b, Complete, 0, 0, 0); b.Progress.FailureCodes == nil {
			w.Error("the failure codes are nil")
		}
	})
}

func TestSelection(t *testing.T) {
	onEngines(t, func(w *world) {
		other := name.Registry{Account: "210987654321", Region: "us-east-1"}
		w.end.configuration.Rules = []replication.Rule{
			{Destinations: []name.Registry{other}},
			{Destinations: []name.Registry{there}, Filters: []string{"prod", "team/"}},
		}
		w.end.options = replication.Options{Tags: []string{"v*"}, Exclude: []string{"prod/tmp"}}
		for _, repo := range []name.Repository{"dev", "prod", "prod/tmp/x", "production", "team/web", "teams"} {
			w.put(repo, spec{short: "one", tags: []string{"latest", "v1"}}, spec{short: "bare"})
		}
		w.put("prod", spec{short: "signature", subject: "one"}, spec{short: "of it", subject: "signature", tags: []string{"sig"}}, spec{short: "other", subject: "bare"}, spec{short: "lost", subject: "nothing"})
		b := w.begin()
		w.work(b)
		w.is(b, InProgress, 5, 0, 0)
		got := w.end.refs()
		want := []string{fmt.Sprintf("prod@%s:", digest("signature")[:15]), fmt.Sprintf("prod@%s:sig", digest("of it")[:15])}
		for _, repo := range []string{"prod", "production", "team/web"} {
			want = append(want, fmt.Sprintf("%s@%s:v1", repo, digest("one")[:15]))
		}
		if slices.Sort(want); !slices.Equal(got, want) {
			w.Errorf("sent %v, want %v", got, want)
		}
	})
}

func TestRefusals(t *testing.T) {
	onEngines(t, func(w *world) {
		ctx := w.Context()
		var rule replication.Rule
		for i := range MaxOpen + 2 {
			rule.Destinations = append(rule.Destinations, name.Registry{Account: "210987654321", Region: name.Region(fmt.Sprintf("eu-west-%d", i+2))})
		}
		sameRegion := name.Registry{Account: "210987654321", Region: there.Region}
		rule.Destinations = append(rule.Destinations, there, sameRegion)
		w.end.configuration.Rules = []replication.Rule{rule}
		for _, d := range []name.Registry{here, {Account: there.Account, Region: "eu-west-2"}, {}} {
			if _, err := w.Start(ctx, here, d); !errs.Is(err, errs.InvalidParameter) {
				w.Errorf("to %s: %v", d, err)
			}
		}
		b := w.begin()
		for _, d := range []name.Registry{there, sameRegion} {
			if _, err := w.Start(ctx, here, d); !errs.Is(err, errs.BackfillInProgress) {
				w.Errorf("to %s: %v", d, err)
			}
		}
		for i := range MaxOpen - 1 {
			if _, err := w.Start(ctx, here, rule.Destinations[i]); err != nil {
				w.Fatal(err)
			}
		}
		if _, err := w.Start(ctx, here, rule.Destinations[MaxOpen]); !errs.Is(err, errs.LimitExceeded) {
			w.Errorf("more than %d: %v", MaxOpen, err)
		}
		if n := w.count(`SELECT count(*) FROM replication_backfill`); n != MaxOpen {
			w.Errorf("%d backfills", n)
		}
		if all, next, err := w.List(ctx, there, 0, 10); err != nil || len(all) > 0 || next != 0 {
			w.Errorf("in another registry: %v %v", all, err)
		}
		for _, what := range []struct {
			reg name.Registry
			id  string
		}{{there, b.ID}, {here, "no such id"}, {here, uuid.NewString()}} {
			if _, err := w.Stop(ctx, what.reg, what.id); !errs.Is(err, errs.BackfillNotFound) {
				w.Errorf("stopped %v: %v", what, err)
			}
			if _, _, _, err := w.Describe(ctx, what.reg, what.id, ResultQuery{Limit: 1}); !errs.Is(err, errs.BackfillNotFound) {
				w.Errorf("described %v: %v", what, err)
			}
		}
		b, err := w.Stop(ctx, here, b.ID)
		if err != nil || b.Status != Stopped || b.Progress != nil || !b.EndedAt.Equal(w.clk.Now()) {
			w.Errorf("stopped while it prepares: %+v %v", b, err)
		}
		if _, err := w.Stop(ctx, here, b.ID); !errs.Is(err, errs.BackfillStatusInvalid) {
			w.Errorf("stopped again: %v", err)
		}
		w.work(b)
		if len(w.end.refs()) > 0 || w.now(b).Status != Stopped {
			w.Errorf("a stopped backfill went on: %v", w.end.refs())
		}
		w.begin()
		var seen []string
		for after, first := int64(0), true; first || after != 0; first = false {
			page, next, err := w.List(ctx, here, after, 4)
			w.must(err)
			for _, one := range page {
				seen = append(seen, one.ID)
			}
			after = next
		}
		if slices.Sort(seen); len(slices.Compact(seen)) != MaxOpen+1 {
			w.Errorf("listed %d", len(seen))
		}
	})
}

// Two who start at once: one of them does.
func TestStartRace(t *testing.T) {
	onEngines(t, func(w *world) {
		var group sync.WaitGroup
		failures := make([]error, 6)
		for i := range failures {
			group.Go(func() { _, failures[i] = w.Start(context.Background(), here, there) })
		}
		group.Wait()
		ok := 0
		for _, err := range failures {
			if err == nil {
				ok++
			} else if !errs.Is(err, errs.BackfillInProgress) {
				w.Error(err)
			}
		}
		if ok != 1 {
			w.Errorf("%d of them started", ok)
		}
	})
}

func (w *world) thousand() {
	var specs []spec
	for i := range 1000 {
		specs = append(specs, spec{short: fmt.Sprint(i), tags: []string{fmt.Sprintf("v%d", i)}})
	}
	w.put("app", specs[:700]...)
	w.put("web", specs[700:]...)
}

// A thousand images are stopped half-way, and sent by another backfill; the queue
// never has more than its share, and what was not sent has no result.
func TestAThousandStoppedAndStartedAgain(t *testing.T) {
	onEngines(t, func(w *world) {
		w.thousand()
		b := w.begin()
		w.work(b)
		w.is(b, InProgress, 1000, 0, 0)
		if n := len(w.end.waiting); n != maxOutstanding {
			w.Errorf("%d in the queue at first", n)
		}
		w.ends("", w.end.take(refillAt-1)...)
		w.work(b)
		w.ends("AccessDenied", w.end.take(50)...)
		stopping, err := w.Stop(w.Context(), here, b.ID)
		if err != nil || stopping.Status != Stopping {
			w.Fatalf("%+v %v", stopping, err)
		}
		if again, err := w.Stop(w.Context(), here, b.ID); err != nil || again.Status != Stopping {
			w.Errorf("%+v %v", again, err)
		}
		if _, err := w.Start(w.Context(), here, there); !errs.Is(err, errs.BackfillInProgress) {
			w.Errorf("started while one stops: %v", err)
		}
		given := len(w.end.refs())
		w.work(b)
		// Of what is in the queue 30 are under way; the rest has not begun.
		w.ends("", w.end.take(30)...)
		sent := given - len(w.end.waiting)
		for len(w.end.waiting) > 0 {
			w.is(b, Stopping, 1000, int64(sent-50), 50)
			d := w.end.take(1)[0]
			code, err := w.Wanted(w.Context(), d.Backfill)
			if err != nil || code != NotSent {
				w.Fatalf("%q %v", code, err)
			}
			w.ends(code, d)
		}
		w.work(b)
		if len(w.end.refs()) != given {
			w.Errorf("%d were sent after the stop", len(w.end.refs())-given)
		}
		b = w.is(b, Stopped, 1000, int64(sent-50), 50)
		if got := w.results(b, Any, 100); len(got) != sent {
			w.Errorf("%d results, want %d", len(got), sent)
		}
		if got := w.results(b, Unable, 7); len(got) != 50 {
			w.Errorf("%d failures", len(got))
		}

		again := w.begin()
		w.work(again)
		if code, err := w.Wanted(w.Context(), again.ID); err != nil || code != "" {
			w.Errorf("%q %v", code, err)
		}
		for w.end.take2(w) {
			w.work(again)
		}
		w.is(again, Complete, 1000, 1000, 0)
		if got := w.results(again, Succeeded, 333); len(slices.Compact(got)) != 1000 {
			w.Errorf("%d results", len(got))
		}
		if w.end.most > maxOutstanding {
			w.Errorf("%d in the queue at once", w.end.most)
		}
	})
}

// take2 ends up to 60 of what waits.
func (e *end) take2(w *world) bool {
	done := e.take(60)
	w.ends("", done...)
	return len(done) > 0
}

// Killed after any page, the list goes on where it was; and two runs at once do
// not write it twice.
func TestPreparingIsResumed(t *testing.T) {
	onEngines(t, func(w *world) {
		w.thousand()
		b := w.begin()
		more, err := w.prepare(w.Context(), b)
		if err != nil || !more {
			w.Fatal(more, err)
		}
		// The run that has read the state before this page comes too late.
		if _, err := w.prepare(w.Context(), b); !errors.Is(err, errMoved) {
			w.Errorf("a page was written twice: %v", err)
		}
		half := w.now(b)
		if half.total != pageSize || half.Status != Preparing || half.Progress != nil {
			w.Fatalf("%+v", half)
		}
		w.exec(`DELETE FROM job`)
		w.must(w.Tend(w.Context())) // a job that was lost is found
		if n := w.count(`SELECT count(*) FROM job WHERE kind = $1`, Job); n != 1 {
			w.Errorf("%d jobs", n)
		}
		var group sync.WaitGroup
		var failures [2]error
		for i := range failures {
			node, _ := w.node()
			group.Go(func() { failures[i] = node.run(context.Background(), jobs.Task{}, payload{b.number}) })
		}
		group.Wait()
		w.must(errors.Join(failures[:]...))
		w.is(b, InProgress, 1000, 0, 0)
		if n := w.count(`SELECT count(*) FROM (SELECT DISTINCT repository_name, digest, tag FROM replication_backfill_item WHERE backfill_id = $1) d`, b.number); n != 1000 {
			w.Errorf("%d distinct images", n)
		}
		if refs := w.end.refs(); len(slices.Compact(refs)) != maxOutstanding || len(w.end.sent) != maxOutstanding {
			w.Errorf("%d in the queue, %d given", len(refs), len(w.end.sent))
		}
	})
}

// Two nodes run their queues of jobs while the images end: each is sent once.
func TestTwoNodes(t *testing.T) {
	onEngines(t, func(w *world) {
		w.thousand()
		ctx, stop := context.WithCancel(context.Background())
		var group sync.WaitGroup
		var failures [2]error
		var node *Service
		for i := range failures {
			service, queue := w.node()
			node = service
			group.Go(func() { failures[i] = queue.Run(ctx) })
		}
		defer func() {
			stop()
			group.Wait()
			w.must(errors.Join(failures[:]...))
		}()
		b, err := node.Start(ctx, here, there)
		w.must(err)
		for limit := time.Now().Add(patience); w.now(b).Status != Complete; {
			if time.Now().After(limit) {
				w.Fatalf("after %s: %+v", patience, w.now(b))
			}
			done := w.end.take(40)
			if len(done) == 0 {
				time.Sleep(5 * time.Millisecond)
			}
			var both sync.WaitGroup
			for _, part := range [][]replication.Done{done[:len(done)/2], done[len(done)/2:]} {
				both.Go(func() {
					for _, d := range part {
						if err := w.db.Update(ctx, func(tx *sqldb.Tx) error { return node.DoneTx(ctx, tx, d) }); err != nil {
							w.Error(err)
						}
					}
				})
			}
			both.Wait()
		}
		w.is(b, Complete, 1000, 1000, 0)
		refs := w.end.refs()
		if len(refs) != 1000 || len(slices.Compact(refs)) != 1000 || w.end.most > maxOutstanding {
			w.Errorf("%d sent, %d at once", len(refs), w.end.most)
		}
	})
}

// What has changed since the list was written: nothing goes backwards.
func TestWhatMovedOn(t *testing.T) {
	onEngines(t, func(w *world) {
		w.put("app", spec{short: "old", tags: []string{"latest", "stable", "v1"}}, spec{short: "gone", tags: []string{"v2"}}, spec{short: "list", tags: []string{"v3"}, index: true}, spec{short: "kept", tags: []string{"v4"}})
		w.put("dying", spec{short: "old", tags: []string{"v1"}}, spec{short: "gone"})
		b := w.begin()
		for {
			found, err := w.byNumber(w.Context(), b.number)
			w.must(err)
			if found.Status != Preparing {
				break
			}
			_, err = w.prepare(w.Context(), *found)
			w.must(err)
		}
		w.put("app", spec{short: "new"})
		w.retag("app", "latest", "new")
		w.retag("app", "stable", "new")
		w.exec(`DELETE FROM image WHERE digest = $1 AND repository_id = $2`, string(digest("gone")), w.repo("app").ID)
		w.exec(`UPDATE image SET status = 1 WHERE digest = $1`, string(digest("list")))
		w.exec(`DELETE FROM repository WHERE id = $1`, w.repo("dying").ID)
		delete(w.ids, "dying")
		w.put("dying", spec{short: "old", tags: []string{"v1"}}) // another one of the same name
		w.work(b)
		w.is(b, InProgress, 8, 0, 4)
		app := func(short, tag string) string { return fmt.Sprintf("app@%s:%s", digest(short)[:15], tag) }
		want := []string{app("old", ""), app("old", ""), app("old", "v1"), app("kept", "v4")}
		slices.Sort(want)
		if got := w.end.refs(); !slices.Equal(got, want) {
			w.Errorf("sent %v, want %v", got, want)
		}
		for w.end.take2(w) {
			continue
		}
		b = w.is(b, Complete, 8, 4, 4)
		if fmt.Sprint(b.Progress.FailureCodes) != "[ImageNotFound RepositoryNotFound]" {
			w.Errorf("%v", b.Progress.FailureCodes)
		}
		got := w.results(b, Unable, 10)
		if !slices.Equal(got, []string{line("app", "gone", "v2", "ImageNotFound"), line("app", "list", "v3", "ImageNotFound"), line("dying", "old", "v1", "RepositoryNotFound"), line("dying", "gone", "", "RepositoryNotFound")}) {
			w.Errorf("%v", got)
		}
	})
}

// A destination that is taken out of the configuration ends the backfill, once
// what is under way has ended.
func TestDestinationRemoved(t *testing.T) {
	onEngines(t, func(w *world) {
		w.thousand()
		b := w.begin()
		w.work(b)
		w.end.mu.Lock()
		w.end.configuration = replication.Configuration{}
		w.end.mu.Unlock()
		sent := len(w.end.refs())
		w.ends("", w.end.take(10)...)
		w.work(b)
		w.is(b, InProgress, 1000, 10, 0)
		for w.end.take2(w) {
			w.work(b)
		}
		if b = w.is(b, Failed, 1000, int64(sent), 0); b.FailureCode != replication.DestinationRemoved || len(w.end.refs()) != sent {
			w.Errorf("%q, %d sent after it", b.FailureCode, len(w.end.refs())-sent)
		}
		if _, err := w.Start(w.Context(), here, there); !errs.Is(err, errs.InvalidParameter) {
			w.Errorf("%v", err)
		}
	})
}

func TestKeptForNinetyDays(t *testing.T) {
	onEngines(t, func(w *world) {
		w.thousand()
		b := w.begin()
		w.work(b)
		_, err := w.Stop(w.Context(), here, b.ID)
		w.must(err)
		w.clk.Advance(Kept)
		for w.end.take2(w) {
			continue
		}
		w.is(b, Stopped, 1000, maxOutstanding, 0)
		young := w.begin()
		listed := func() (ids []string) {
			all, _, err := w.List(w.Context(), here, 0, 10)
			w.must(err)
			for _, one := range all {
				ids = append(ids, one.ID)
			}
			return ids
		}
		w.clk.Advance(Kept - time.Second)
		w.must(w.Tend(w.Context()))
		if got := listed(); !slices.Equal(got, []string{young.ID, b.ID}) {
			w.Errorf("just before: %v", got)
		}
		w.clk.Advance(time.Second)
		for range 2 { // first what is not deleted yet
			if got := listed(); !slices.Equal(got, []string{young.ID}) {
				w.Errorf("after it: %v", got)
			}
			if _, _, _, err := w.Describe(w.Context(), here, b.ID, ResultQuery{Limit: 1}); !errs.Is(err, errs.BackfillNotFound) {
				w.Errorf("after it: %v", err)
			}
			w.must(w.Tend(w.Context()))
		}
		if n := w.count(`SELECT count(*) FROM replication_backfill_item WHERE backfill_id = $1`, b.number); n != 0 {
			w.Errorf("%d images are left", n)
		}
		if n := w.count(`SELECT count(*) FROM replication_backfill`); n != 1 {
			w.Errorf("%d backfills are left", n)
		}
		// What ends there afterwards is nobody's.
		w.ends("", replication.Done{Backfill: b.ID, Repository: "app", Digest: digest("1"), Tag: "v1"})
	})
}
