package delivery_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/delivery"
	"github.com/berth-registry/berth/internal/domain/event/rule"
	"github.com/berth-registry/berth/internal/domain/event/transform"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// Three nodes record, route and send; a third of all tries fail. Nothing is missing,
// nothing is out of order, and no two tries of one repository overlap.
func TestOrderOnSeveralNodesWithFailures(t *testing.T) {
	each(t, func(t *testing.T, dbs []*sqldb.DB) {
		w := start(t, dbs[0], clock.System{})
		w.rule("twice", rule.Settings{ID: "hook", ARN: queue})
		w.receiver.set(func(string, eventsink.Message) error {
			if rand.IntN(3) == 0 {
				return errAway
			}
			return nil
		})
		var nodes []*delivery.Service
		steady := quick
		steady.Lease = 0 // the preset, which no node misses for being slow
		for _, db := range dbs {
			s := w.node(db, steady)
			w.run(s)
			nodes = append(nodes, s)
		}
		const repos, pushes = 4, 8
		var pushing sync.WaitGroup
		for r := range repos {
			pushing.Go(func() {
				for i := range pushes {
					node := (r + i) % len(dbs) // whose clock and ids differ
					if err := record(t.Context(), dbs[node], w.outbox, w.clock, name.Repository(fmt.Sprintf("r%d", r)), strconv.Itoa(i)); err != nil {
						t.Error(err)
					}
					nodes[node].Wake()
				}
			})
		}
		pushing.Wait()
		w.idle(nodes[0])
		var want []string
		for i := range pushes {
			want = append(want, strconv.Itoa(i))
		}
		for _, arn := range []string{hook, queue} {
			for r := range repos {
				if tags := w.tags(arn, fmt.Sprintf("r%d", r)); tags != strings.Join(want, " ") {
					t.Errorf("repository %d at %s: %s", r, arn, tags)
				}
			}
		}
		w.receiver.mu.Lock()
		if n := len(w.receiver.taken); n != 2*repos*pushes { // nothing was killed
			t.Errorf("%d messages for %d", n, 2*repos*pushes)
		}
		w.receiver.mu.Unlock()
		var sent, failed int64
		w.until("all are counted", func() bool { // which follows what the tables say
			sent, failed = 0, 0
			for _, s := range nodes {
				st := w.stats(s)
				sent, failed = sent+st.Sent, failed+st.Failed
				if st.Dead != 0 || st.Oldest != 0 {
					t.Fatalf("%+v", st)
				}
			}
			return sent >= 2*repos*pushes
		})
		if sent != 2*repos*pushes || failed == 0 {
			t.Errorf("%d sent, %d failed", sent, failed)
		}
		if n := w.count(`SELECT count(*) FROM event_lane`); n != 0 {
			t.Errorf("%d lanes are left", n)
		}
	})
}

func TestATargetThatIsDownForAWhile(t *testing.T) {
	each(t, func(t *testing.T, dbs []*sqldb.DB) {
		w := start(t, dbs[0], clock.System{})
		w.receiver.set(func(string, eventsink.Message) error { return errAway })
		s := w.node(dbs[0], quick)
		stop := w.run(s)
		for i := range 5 {
			w.push("a", strconv.Itoa(i))
			w.push("b", strconv.Itoa(i))
		}
		w.until("tries fail", func() bool { st := w.stats(s); return st.Pending == 10 && st.Failed > 6 })
		heads := 0
		for _, d := range w.list(s, delivery.Filter{State: delivery.Pending}) {
			if !d.NextAt.IsZero() {
				heads++
				if d.Attempts == 0 || d.LastError != errAway.Error() || d.TriedAt.IsZero() {
					t.Errorf("%+v", d)
				}
			} else if d.Attempts != 0 {
				t.Errorf("not the first of its repository, and tried: %+v", d)
			}
		}
		if heads != 2 {
			t.Errorf("%d deliveries are the first of their repositories", heads)
		}
		stop() // and the node is another one afterwards
		w.receiver.set(nil)
		w.run(w.node(dbs[1], quick))
		w.idle(s)
		for _, repo := range []string{"a", "b"} {
			if tags := w.tags(hook, repo); tags != "0 1 2 3 4" {
				t.Errorf("%s: %s", repo, tags)
			}
		}
	})
}

func TestAPoisonousMessage(t *testing.T) {
	each(t, func(t *testing.T, dbs []*sqldb.DB) {
		w := start(t, dbs[0], clock.System{})
		attempts := int64(2)
		w.rule("all", rule.Settings{ID: "hook", ARN: hook, Attempts: &attempts, DeadLetterARN: letters})
		var mu sync.Mutex
		tries := map[string]int{}
		poison := func(arn string, m eventsink.Message) error {
			mu.Lock()
			defer mu.Unlock()
			tag := tagOf(string(m.Event))
			if arn == letters {
				tries["letter"]++
				if tries["letter"] == 1 {
					return errAway
				}
				return nil
			}
			tries[tag]++
			switch tag {
			case "bad":
				return errAway
			case "worse":
				panic("a sink that panics")
			case "hopeless":
				return eventsink.Permanent(errAway)
			}
			return nil
		}
		w.receiver.set(poison)
		s := w.node(dbs[0], quick)
		w.run(s)
		for _, tag := range []string{"1", "bad", "2", "hopeless", "3", "worse", "4"} {
			w.push("a", tag)
		}
		w.push("b", "1")
		w.idle(s)
		if got := w.tags(hook, "a") + ", " + w.tags(hook, "b"); got != "1 2 3 4, 1" {
			t.Error(got)
		}
		w.until("dead letters", func() bool { return len(w.receiver.all(letters)) == 3 })
		mu.Lock()
		if tries["bad"] != 3 || tries["hopeless"] != 1 || tries["worse"] != 3 {
			t.Errorf("%v", tries)
		}
		mu.Unlock()
		var sent []delivery.Delivery
		w.until("they are marked", func() bool {
			sent = w.list(s, delivery.Filter{State: delivery.Dead})
			return len(sent) == 3 && sent[0].LetterSent && sent[1].LetterSent && sent[2].LetterSent
		})
		lettersByID := map[string]bool{}
		for _, g := range w.receiver.all(letters) {
			lettersByID[g.id] = true
		}
		for i, why := range []string{"the target is away", "the target is away", "panic: a sink that panics"} {
			if d := sent[i]; d.LastError != why || !lettersByID[d.MessageID] || d.DiedAt.IsZero() || d.Rule != "all" || d.Target != "hook" || d.TargetARN != hook {
				t.Errorf("%+v", d)
			}
		}
		if st := w.stats(s); st.Dead != 3 || st.Died != 3 {
			t.Errorf("%+v", st)
		}

		shown, err := s.Show(t.Context(), sent[0].ID)
		var envelope struct {
			ID     string
			Detail map[string]any
		}
		if err != nil || json.Unmarshal(shown.Event, &envelope) != nil || envelope.ID != sent[0].MessageID || envelope.Detail["image-tag"] != "bad" {
			t.Errorf("%v %s", err, shown.Event)
		}
		// The bad one is repaired, the others are not wanted.
		w.receiver.set(nil)
		if err := s.Retry(t.Context(), sent[0].ID); err != nil {
			t.Error(err)
		}
		w.until("it is sent", func() bool { return w.tags(hook, "a") == "1 2 3 4 bad" })
		for _, d := range sent[1:] {
			if err := s.Drop(t.Context(), d.ID); err != nil {
				t.Error(err)
			}
		}
		if err := s.Drop(t.Context(), sent[1].ID); !errs.Is(err, errs.EventResourceNotFound) {
			t.Error(err)
		}
		w.idle(s)
		if left := w.list(s, delivery.Filter{}); len(left) != 0 {
			t.Errorf("%+v", left)
		}
	})
}

func TestAgeEndsTries(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		clk := clock.NewFake(time.Now())
		w := start(t, db, clk)
		age := int64(60)
		w.rule("all", rule.Settings{ID: "hook", ARN: hook, AgeSeconds: &age})
		w.receiver.set(func(string, eventsink.Message) error { return errAway })
		s := w.node(db, quick)
		w.run(s)
		w.push("a", "1")
		w.until("a try fails", func() bool { return w.stats(s).Failed == 1 })
		if d := w.list(s, delivery.Filter{}); len(d) != 1 || d[0].State != delivery.Pending {
			t.Fatalf("%+v", d)
		}
		clk.Advance(61 * time.Second)
		w.until("it is dead", func() bool { return w.stats(s).Dead == 1 })
		w.until("it is counted", func() bool { return w.stats(s).Died == 1 }) // the last of all
		if n := w.stats(s).Failed; n != 2 {
			t.Errorf("%d tries", n)
		}
	})
}

func TestATargetThatIsGone(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := start(t, db, clock.System{})
		none := int64(0)
		w.rule("all", rule.Settings{ID: "hook", ARN: hook, Attempts: &none})
		w.receiver.set(func(string, eventsink.Message) error { return errAway })
		s := w.node(db, quick)
		w.run(s)
		w.push("a", "dead")
		w.until("it is dead", func() bool { return w.stats(s).Dead == 1 })
		w.rule("all", rule.Settings{ID: "hook", ARN: hook})
		for i := range 3 {
			w.push("a", strconv.Itoa(i))
			w.push("b", strconv.Itoa(i))
		}
		w.until("they wait", func() bool { return w.stats(s).Pending == 6 })
		if _, err := w.rules.RemoveTargets(t.Context(), home, "all", []string{"hook"}); err != nil {
			t.Fatal(err)
		}
		w.idle(s)
		w.until("they are counted", func() bool { return w.stats(s).Dropped >= 6 })
		if st := w.stats(s); st.Dropped != 6 || st.Dead != 1 {
			t.Errorf("%+v", st)
		}
		dead := w.list(s, delivery.Filter{State: delivery.Dead})
		if err := s.Retry(t.Context(), dead[0].ID); !errs.Is(err, errs.Validation) || !strings.Contains(err.Error(), "berth events drop") {
			t.Error(err)
		}
		if n := w.count(`SELECT count(*) FROM event_lane`); n != 0 {
			t.Errorf("%d lanes are left", n)
		}
	})
}

func TestWhatATargetGets(t *testing.T) {
	db := sqldbtest.SQLite(t)
	w := start(t, db, clock.System{})
	w.rule("all", rule.Settings{ID: "hook", ARN: hook, Input: transform.Input{Path: "$.detail"}, Parameters: eventsink.Parameters{MessageGroupID: "g"}})
	var mu sync.Mutex
	var m eventsink.Message
	w.receiver.set(func(_ string, got eventsink.Message) error {
		mu.Lock()
		defer mu.Unlock()
		m = got
		return nil
	})
	s := w.node(db, quick)
	w.run(s)
	w.push("a", "1")
	w.idle(s)
	mu.Lock()
	defer mu.Unlock()
	var whole struct {
		ID     string
		Detail json.RawMessage
	}
	if err := json.Unmarshal(m.Event, &whole); err != nil {
		t.Fatal(err)
	}
	if m.ID != whole.ID || string(m.Body) != string(whole.Detail) || m.Try != 1 || m.Rule != rule.ARN(home, "all").String() || m.Source != "aws.ecr" ||
		m.DetailType != "ECR Image Action" || m.Group != home.RepositoryARN("a").String() || m.Parameters.MessageGroupID != "g" || m.Time.IsZero() {
		t.Errorf("%+v\n%s\n%s", m, m.Body, m.Event)
	}
}

func TestListIsPagedAndFiltered(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := start(t, db, clock.System{})
		w.receiver.set(func(string, eventsink.Message) error { return errAway })
		slow := quick
		slow.FirstPause, slow.LongestPause = time.Hour, time.Hour
		s := w.node(db, slow)
		w.run(s)
		for _, repo := range []name.Repository{"a_b", "axb", "x/a_b"} {
			w.push(repo, "1")
			w.push(repo, "2")
		}
		w.until("all are routed", func() bool { return w.stats(s).Pending == 6 })
		var all []int64
		for f := (delivery.Filter{Limit: 4}); ; {
			page, next, err := s.List(t.Context(), f)
			if err != nil || len(page) > 4 {
				t.Fatal(err, len(page))
			}
			for _, d := range page {
				all = append(all, d.ID)
			}
			if f.After = next; next == 0 {
				break
			}
		}
		if len(all) != 6 {
			t.Errorf("%v", all)
		}
		for _, c := range []struct {
			f    delivery.Filter
			want int
		}{
			{delivery.Filter{Repository: "a_b"}, 2},
			{delivery.Filter{Repository: "x/a_b", State: delivery.Pending, Rule: "all", Account: home.Account}, 2},
			{delivery.Filter{State: delivery.Dead}, 0},
			{delivery.Filter{Rule: "other"}, 0},
			{delivery.Filter{Account: "222222222222"}, 0},
		} {
			if got := w.list(s, c.f); len(got) != c.want {
				t.Errorf("%+v: %d", c.f, len(got))
			}
		}
		if _, _, err := s.List(t.Context(), delivery.Filter{State: "some"}); !errs.Is(err, errs.InvalidParameter) {
			t.Error(err)
		}
		// Nobody waits an hour: an operator has them tried now.
		w.until("each was tried", func() bool { return w.stats(s).Failed == 3 })
		w.receiver.set(nil)
		for _, id := range all {
			if err := s.Retry(t.Context(), id); err != nil && !errs.Is(err, errs.EventResourceNotFound) {
				t.Error(err)
			}
		}
		w.idle(s)
	})
}

func TestExpire(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		clk := clock.NewFake(time.Now())
		w := start(t, db, clk)
		none := int64(0)
		w.rule("all", rule.Settings{ID: "hook", ARN: hook, Attempts: &none})
		w.receiver.set(func(_ string, m eventsink.Message) error {
			if tagOf(string(m.Event)) == "bad" {
				return errAway
			}
			return nil
		})
		s := w.node(db, quick)
		stop := w.run(s)
		w.push("a", "good")
		w.push("a", "bad")
		w.idle(s)
		stop()
		w.push("a", "unrouted")
		expire := func(after time.Duration, events, dead int) {
			t.Helper()
			clk.Advance(after)
			if err := s.Expire(t.Context()); err != nil {
				t.Fatal(err)
			}
			if e, d := w.count(`SELECT count(*) FROM event`), w.count(`SELECT count(*) FROM event_delivery`); e != events || d != dead {
				t.Errorf("%d events and %d dead, not %d and %d", e, d, events, dead)
			}
		}
		const day = 24 * time.Hour
		expire(6*day, 3, 1)
		expire(2*day, 2, 1) // the good one
		expire(7*day, 1, 0) // the dead one with its event; one that nobody has routed stays for ever
		w.run(w.node(db, quick))
		w.until("it is sent", func() bool { return w.tags(hook, "a") == "good unrouted" })
	})
}

// While a node has a target, another one leaves it alone until the lease has run out.
func TestLease(t *testing.T) {
	each(t, func(t *testing.T, dbs []*sqldb.DB) {
		clk := clock.NewFake(time.Now())
		w := start(t, dbs[0], clk)
		w.leaseOut(30 * time.Second)
		w.push("a", "1")
		s := w.node(dbs[1], quick)
		stop := w.run(s)
		w.until("it is routed", func() bool { return w.stats(s).Pending == 1 })
		clk.Advance(29 * time.Second)
		if got := w.tags(hook, "a"); got != "" {
			t.Error(got)
		}
		stop()
		if got := w.tags(hook, "a"); got != "" {
			t.Error(got)
		}
		clk.Advance(2 * time.Second)
		w.run(w.node(dbs[2], quick))
		w.until("the other node sends", func() bool { return w.tags(hook, "a") == "1" })
	})
}

// A node that is alone on its database forgets who served targets before it was cut off.
func TestAlone(t *testing.T) {
	db := sqldbtest.SQLite(t)
	w := start(t, db, clock.NewFake(time.Now()))
	w.leaseOut(30 * time.Second)
	w.push("a", "1")
	s := delivery.New(delivery.Config{
		DB: db, Clock: w.clock, Log: slog.New(slog.DiscardHandler), Rules: w.rules, Send: w.receiver.send, Alone: true, Options: quick,
	})
	w.run(s)
	w.until("it is sent", func() bool { return w.tags(hook, "a") == "1" })
}

// An event that this node records is routed without a look at the tables that is due.
func TestWantedEventsAreRoutedAtOnce(t *testing.T) {
	db := sqldbtest.SQLite(t)
	w := start(t, db, clock.System{})
	rarely := quick
	rarely.Poll = 10 * patience
	s := w.node(db, rarely)
	w.outbox.WantedBy(s.WantedTx)
	w.run(s)
	for i := range 5 {
		w.push("a", strconv.Itoa(i))
	}
	w.until("they are sent", func() bool { return w.tags(hook, "a") == "0 1 2 3 4" })
}

// Without a rule that is in force and has targets an event is routed as it is recorded;
// a rule gets what comes after it.
func TestUnwantedEventsAreNotForTheRouter(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := start(t, db, clock.System{})
		s := w.node(db, quick)
		w.outbox.WantedBy(s.WantedTx)
		if err := w.rules.SetState(t.Context(), home, "all", rule.Disabled); err != nil {
			t.Fatal(err)
		}
		w.push("a", "before")
		if n := w.count(`SELECT count(*) FROM event WHERE NOT routed`); n != 0 {
			t.Errorf("%d events wait for the router", n)
		}
		if err := w.rules.SetState(t.Context(), home, "all", rule.Enabled); err != nil {
			t.Fatal(err)
		}
		w.push("a", "after")
		if n, all := w.count(`SELECT count(*) FROM event WHERE NOT routed`), w.count(`SELECT count(*) FROM event`); n != 1 || all != 2 {
			t.Errorf("%d of %d events wait for the router", n, all)
		}
		w.run(s)
		w.idle(s)
		if tags := w.tags(hook, "a"); tags != "after" {
			t.Errorf("sent: %s", tags)
		}
	})
}

// A target that says how long it wants to be left alone is.
func TestATargetThatAsksToWait(t *testing.T) {
	db := sqldbtest.SQLite(t)
	clk := clock.NewFake(time.Now())
	w := start(t, db, clk)
	w.receiver.set(func(string, eventsink.Message) error { return eventsink.Later(errAway, time.Hour) })
	s := w.node(db, quick)
	w.run(s)
	w.push("a", "1")
	w.until("a try fails", func() bool { return w.stats(s).Failed == 1 })
	if d := w.list(s, delivery.Filter{}); len(d) != 1 || !d[0].NextAt.Equal(clk.Now().Truncate(time.Microsecond).Add(time.Hour)) {
		t.Errorf("%+v", d)
	}
}
