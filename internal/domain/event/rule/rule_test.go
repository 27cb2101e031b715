package rule_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/pattern"
	"github.com/berth-registry/berth/internal/domain/event/rule"
	"github.com/berth-registry/berth/internal/domain/event/transform"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

var (
	home   = name.Registry{Account: "111111111111", Region: "us-east-1"}
	abroad = name.Registry{Account: "111111111111", Region: "eu-west-1"}
	other  = name.Registry{Account: "222222222222", Region: "us-east-1"}
)

const (
	pushes  = `{"source":["aws.ecr"],"detail":{"action-type":["PUSH"]}}`
	deletes = `{"source":["aws.ecr"],"detail":{"action-type":["DELETE"]}}`
	queue   = "arn:aws:sqs:us-east-1:111111111111:images"
	dead    = "arn:aws:sqs:us-east-1:111111111111:dead"
	nowhere = "arn:aws:sqs:us-east-1:111111111111:nowhere"
)

type world struct {
	*rule.Service
	t   *testing.T
	db  *sqldb.DB
	clk *clock.Fake
	log bytes.Buffer
	// down is what the destinations answer in place of what they know.
	down error
}

func newWorld(t *testing.T, db *sqldb.DB) *world {
	t.Helper()
	w := &world{t: t, db: db, clk: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC))}
	w.must(db.Migrate(t.Context(), "schema_version", schema.Durable()...))
	w.Service = w.node()
	return w
}

// node is the service of one more node.
func (w *world) node() *rule.Service {
	return rule.New(rule.Config{DB: w.db, Clock: w.clk, Log: slog.New(slog.NewTextHandler(&w.log, nil)), Known: w.known})
}

// known knows two queues, and in one region more than in the other.
func (w *world) known(_ context.Context, account name.AccountID, region name.Region, arn string) error {
	switch {
	case w.down != nil:
		return w.down
	case account == home.Account && (arn == queue || arn == dead && region == home.Region):
		return nil
	case strings.HasSuffix(arn, ":closed"):
		return errs.New(errs.Validation, "The destination is closed.")
	}
	return errs.New(errs.EventResourceNotFound, "no")
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused fails unless the error has the code and begins with the text.
func (w *world) refused(what string, err error, code errs.Code, text string) {
	w.t.Helper()
	if !errs.Is(err, code) || !strings.HasPrefix(err.Error(), text) {
		w.t.Errorf("%s: %v, want %q", what, err, text)
	}
}

func (w *world) put(of name.Registry, ruleName, text string) rule.Rule {
	w.t.Helper()
	r, err := w.Put(w.t.Context(), rule.Put{Home: of, Name: ruleName, Pattern: text})
	w.must(err)
	return r
}

func (w *world) target(of name.Registry, ruleName string, targets ...rule.Settings) {
	w.t.Helper()
	failed, err := w.PutTargets(w.t.Context(), of, ruleName, targets)
	w.must(err)
	if len(failed) > 0 {
		w.t.Fatal(failed[0].TargetID, failed[0].Reason)
	}
}

func (w *world) routes(s *rule.Service, of name.Registry) (routes []rule.Route) {
	w.t.Helper()
	w.must(w.db.Update(w.t.Context(), func(tx *sqldb.Tx) (err error) {
		routes, err = s.RoutesTx(w.t.Context(), tx, of.Account, of.Region)
		return err
	}))
	return routes
}

// sent says which targets of which rules get a push of an image.
func (w *world) sent(s *rule.Service, of name.Registry) string {
	w.t.Helper()
	e, err := pattern.ParseEvent([]byte(`{"version":"0","id":"1","detail-type":"ECR Image Action","source":"aws.ecr","account":"111111111111","time":"2026-01-02T03:04:05Z","region":"us-east-1","resources":[],"detail":{"action-type":"PUSH"}}`))
	w.must(err)
	var to []string
	for _, r := range w.routes(s, of) {
		for _, t := range r.Targets {
			if r.Pattern.Match(e) {
				to = append(to, r.RuleName+"/"+t.ID)
			}
		}
	}
	return strings.Join(to, " ")
}

func TestRules(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		ctx := t.Context()
		made, err := w.Put(ctx, rule.Put{
			Home: home, Name: "pushes", Pattern: pushes, Description: "of images", RoleARN: "arn:aws:iam::111111111111:role/r", Tags: map[string]string{"team": "blue"},
		})
		w.must(err)
		at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
		want := rule.Rule{
			ID: made.ID, Home: home, Name: "pushes", Pattern: pushes, State: rule.Enabled, Description: "of images", RoleARN: "arn:aws:iam::111111111111:role/r",
			Tags: map[string]string{"team": "blue"}, CreatedAt: at, UpdatedAt: at,
		}
		if found, err := w.Find(ctx, home, "pushes"); err != nil || !reflect.DeepEqual(found, want) || !reflect.DeepEqual(made, want) || made.ID == 0 {
			t.Errorf("%+v, made %+v, %v", found, made, err)
		}
		if got := made.ARN().String(); got != "arn:aws:events:us-east-1:111111111111:rule/pushes" {
			t.Error(got)
		}

		// Replaced: what is not said is gone, but not the tags, the targets and the age.
		w.target(home, "pushes", rule.Settings{ID: "1", ARN: queue})
		w.clk.Advance(time.Hour)
		again, err := w.Put(ctx, rule.Put{Home: home, Name: "pushes", Pattern: deletes, State: rule.Disabled, Tags: map[string]string{"team": "red"}})
		w.must(err)
		want.Pattern, want.State, want.Description, want.RoleARN, want.UpdatedAt = deletes, rule.Disabled, "", "", at.Add(time.Hour)
		if found, err := w.Find(ctx, home, "pushes"); err != nil || !reflect.DeepEqual(found, want) || !reflect.DeepEqual(again, want) {
			t.Errorf("%+v, made %+v, %v", found, again, err)
		}
		if targets, more, err := w.Targets(ctx, home, "pushes", "", 10); err != nil || more || len(targets) != 1 {
			t.Error(targets, more, err)
		}

		// Others see none of it.
		for _, elsewhere := range []name.Registry{abroad, other} {
			_, err := w.Find(ctx, elsewhere, "pushes")
			w.refused("find elsewhere", err, errs.EventResourceNotFound, "Rule pushes does not exist on EventBus default.")
			w.refused("enable elsewhere", w.SetState(ctx, elsewhere, "pushes", rule.Enabled), errs.EventResourceNotFound, "Rule pushes does not exist")
			w.must(w.Delete(ctx, elsewhere, "pushes"))
			if rules, _, err := w.List(ctx, elsewhere, "", "", 10); err != nil || len(rules) > 0 {
				t.Error(rules, err)
			}
		}

		w.must(w.SetState(ctx, home, "pushes", rule.EnabledForAll))
		if found, err := w.Find(ctx, home, "pushes"); err != nil || found.State != rule.EnabledForAll {
			t.Error(found, err)
		}
		w.refused("delete", w.Delete(ctx, home, "pushes"), errs.Validation, "Rule can't be deleted since it has targets.")
		failed, err := w.RemoveTargets(ctx, home, "pushes", []string{"1", "2"})
		w.must(err)
		if len(failed) != 1 || failed[0].TargetID != "2" || failed[0].Reason.Code != errs.EventResourceNotFound {
			t.Error(failed)
		}
		for range 2 {
			w.must(w.Delete(ctx, home, "pushes"))
		}
		_, err = w.Find(ctx, home, "pushes")
		w.refused("deleted", err, errs.EventResourceNotFound, "Rule pushes does not exist")
	})
}

func TestRefusedRules(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	for what, c := range map[string]struct {
		put  rule.Put
		code errs.Code
		text string
	}{
		"no pattern":      {rule.Put{}, errs.Validation, "Parameter(s) EventPattern or ScheduleExpression must be specified."},
		"no JSON":         {rule.Put{Pattern: `{"source":`}, errs.EventPatternInvalid, "Event pattern is not valid."},
		"no pattern's":    {rule.Put{Pattern: `{"source":"aws.ecr"}`}, errs.EventPatternInvalid, "Event pattern is not valid."},
		"NUL":             {rule.Put{Pattern: pushes, Description: "a\x00"}, errs.Validation, "Parameter Description is not valid."},
		"NUL in the role": {rule.Put{Pattern: pushes, RoleARN: "a\x00"}, errs.Validation, "Parameter RoleArn is not valid."},
		"a reserved tag":  {rule.Put{Pattern: pushes, Tags: map[string]string{"AWS:x": ""}}, errs.Validation, "Tag keys that begin with aws:"},
		"an empty tag":    {rule.Put{Pattern: pushes, Tags: map[string]string{"": ""}}, errs.Validation, `The tag with the key "" is not valid`},
		"NUL in a tag":    {rule.Put{Pattern: pushes, Tags: map[string]string{"a": "\x00"}}, errs.Validation, "Parameter Tags is not valid."},
	} {
		c.put.Home, c.put.Name = home, "r"
		_, err := w.Put(t.Context(), c.put)
		w.refused(what, err, c.code, c.text)
	}
	if rules, _, err := w.List(t.Context(), home, "", "", 10); err != nil || len(rules) > 0 {
		t.Error(rules, err)
	}
}

func TestPages(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		ctx := t.Context()
		for _, n := range []string{"b_1", "a", "b.2", "B", "bx1"} {
			w.put(home, n, pushes)
		}
		w.put(other, "b", pushes)
		for prefix, want := range map[string]string{"": "B a b.2 b_1 bx1", "b": "b.2 b_1 bx1", "b_": "b_1", "c": ""} {
			var got []string
			for after, more := "", true; more; {
				var page []rule.Rule
				var err error
				page, more, err = w.List(ctx, home, prefix, after, 2)
				w.must(err)
				if len(page) > 2 || more && len(page) < 2 {
					t.Fatal(len(page), more)
				}
				for _, r := range page {
					got, after = append(got, r.Name), r.Name
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%q: %v, want %s", prefix, got, want)
			}
		}

		for _, id := range []string{"3", "1", "2"} {
			w.target(home, "a", rule.Settings{ID: id, ARN: queue})
		}
		w.target(home, "bx1", rule.Settings{ID: "1", ARN: dead}, rule.Settings{ID: "2", ARN: queue})
		w.target(home, "B", rule.Settings{ID: "1", ARN: dead})
		page, more, err := w.Targets(ctx, home, "a", "1", 1)
		if err != nil || !more || len(page) != 1 || page[0].ID != "2" {
			t.Error(page, more, err)
		}
		page, more, err = w.Targets(ctx, home, "a", "1", 2)
		if err != nil || more || len(page) != 2 || page[1].ID != "3" {
			t.Error(page, more, err)
		}
		names, more, err := w.NamesByTarget(ctx, home, queue, "", 1)
		if err != nil || !more || !slices.Equal(names, []string{"a"}) {
			t.Error(names, more, err)
		}
		names, more, err = w.NamesByTarget(ctx, home, queue, "a", 1)
		if err != nil || more || !slices.Equal(names, []string{"bx1"}) {
			t.Error(names, more, err)
		}
		if names, _, err := w.NamesByTarget(ctx, other, queue, "", 1); err != nil || len(names) > 0 {
			t.Error(names, err)
		}
		_, _, err = w.NamesByTarget(ctx, home, "\x00", "", 1)
		w.refused("NUL", err, errs.Validation, "Parameter TargetArn is not valid.")
		_, _, err = w.Targets(ctx, home, "c", "", 1)
		w.refused("of no rule", err, errs.EventResourceNotFound, "Rule c does not exist")
	})
}

func TestTargets(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		ctx := t.Context()
		made := w.put(home, "r", pushes)
		full := rule.Settings{
			ID: "full", ARN: queue, RoleARN: "arn:aws:iam::111111111111:role/r",
			Input: transform.Input{Transformer: &transform.Transformer{Paths: map[string]string{"tag": "$.detail.image-tag"}, Template: `"pushed <tag>"`}},
			Parameters: eventsink.Parameters{
				MessageGroupID: "g", Header: map[string]string{"X-A": "b\u00e9"}, Query: map[string]string{"q": "1"}, Path: []string{"p"},
			},
			Attempts: new(int64(0)), AgeSeconds: new(int64(60)), DeadLetterARN: dead,
		}
		plain := rule.Settings{ID: "plain", ARN: queue}
		w.target(home, "r", plain, full)
		got, _, err := w.Targets(ctx, home, "r", "", 10)
		if err != nil || !reflect.DeepEqual(got, []rule.Settings{full, plain}) {
			t.Errorf("%+v, %v", got, err)
		}
		for _, c := range []struct {
			id   string
			want rule.Target
		}{
			{"full", rule.Target{ID: "full", ARN: queue, Input: full.Input, Parameters: full.Parameters, MaxAttempts: 0, MaxAge: time.Minute, DeadLetterARN: dead}},
			{"plain", rule.Target{ID: "plain", ARN: queue, MaxAttempts: 185, MaxAge: 24 * time.Hour}},
		} {
			w.must(db.View(ctx, func(tx *sqldb.Tx) error {
				got, found, err := w.TargetTx(ctx, tx, made.ID, c.id)
				if err != nil || !found || !reflect.DeepEqual(got, c.want) {
					t.Errorf("%+v %v %v", got, found, err)
				}
				return nil
			}))
		}
		routes := w.routes(w.Service, home)
		if len(routes) != 1 || routes[0].RuleID != made.ID || routes[0].RuleARN != made.ARN().String() || len(routes[0].Targets) != 2 || !reflect.DeepEqual(routes[0].Targets[0].Input, full.Input) {
			t.Errorf("%+v", routes)
		}

		// Put again, and twice in one call: the last one counts.
		w.target(home, "r", rule.Settings{ID: "plain", ARN: queue, Attempts: new(int64(1))}, rule.Settings{ID: "plain", ARN: dead})
		if got, _, err := w.Targets(ctx, home, "r", "full", 10); err != nil || !reflect.DeepEqual(got, []rule.Settings{{ID: "plain", ARN: dead}}) {
			t.Errorf("%+v, %v", got, err)
		}

		// What is unknown is left out, and the rest is put.
		failed, err := w.PutTargets(ctx, home, "r", []rule.Settings{
			{ID: "a", ARN: nowhere}, {ID: "b", ARN: queue}, {ID: "c", ARN: queue, DeadLetterARN: nowhere}, {ID: "d", ARN: "arn:aws:sqs:us-east-1:1:closed"},
		})
		w.must(err)
		for i, want := range []struct{ id, text string }{
			{"a", "No destination of the account in the region has the ARN " + nowhere + ". An administrator makes one with `berth events destination create`"},
			{"c", "No destination of the account in the region has the ARN " + nowhere}, {"d", "The destination is closed."},
		} {
			if i >= len(failed) || failed[i].TargetID != want.id || !strings.HasPrefix(failed[i].Reason.Message, want.text) {
				t.Errorf("%d: %v", i, failed)
			}
		}
		if got, _, err := w.Targets(ctx, home, "r", "", 10); err != nil || len(got) != 3 || got[0].ID != "b" {
			t.Errorf("%+v, %v", got, err)
		}

		// What EventBridge refuses of the whole call.
		for what, c := range map[string]struct {
			put  rule.Settings
			text string
		}{
			"no ARN":                  {rule.Settings{ID: "x", ARN: "queue"}, "Parameter queue is not valid. Reason: Provided Arn is not in correct format."},
			"no ARN of dead letters":  {rule.Settings{ID: "x", ARN: queue, DeadLetterARN: "queue"}, "Parameter queue is not valid."},
			"no JSONPath":             {rule.Settings{ID: "x", ARN: queue, Input: transform.Input{Path: "detail"}}, "InputPath for target x is invalid."},
			"an ARN with a character": {rule.Settings{ID: "x", ARN: queue + "\x00"}, "Parameter Arn is not valid."},
		} {
			_, err := w.PutTargets(ctx, home, "r", []rule.Settings{{ID: "good", ARN: queue}, c.put})
			w.refused(what, err, errs.Validation, c.text)
		}
		w.down = errors.New("the database is away")
		if _, err := w.PutTargets(ctx, home, "r", []rule.Settings{{ID: "good", ARN: queue}}); !errors.Is(err, w.down) {
			t.Error(err)
		}
		w.down = nil
		if got, _, err := w.Targets(ctx, home, "r", "", 10); err != nil || len(got) != 3 {
			t.Errorf("%+v, %v", got, err)
		}
		_, err = w.PutTargets(ctx, home, "none", nil)
		w.refused("of no rule", err, errs.EventResourceNotFound, "Rule none does not exist")
		_, err = w.RemoveTargets(ctx, home, "none", []string{"1"})
		w.refused("of no rule", err, errs.EventResourceNotFound, "Rule none does not exist")

		// Gone with the rule, and no other rule of the name has them.
		_, err = w.RemoveTargets(ctx, home, "r", []string{"full", "plain", "b"})
		w.must(err)
		w.must(w.Delete(ctx, home, "r"))
		if again := w.put(home, "r", pushes); again.ID == made.ID {
			t.Error("the new rule has the old one's id")
		}
		w.must(db.View(ctx, func(tx *sqldb.Tx) error {
			if _, found, err := w.TargetTx(ctx, tx, made.ID, "full"); found || err != nil {
				t.Error(found, err)
			}
			return nil
		}))
	})
}

// What a node routes by is what any node has last set.
func TestRoutes(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		ctx := t.Context()
		second := w.node()
		both := func(of name.Registry, want string) {
			t.Helper()
			for i, node := range []*rule.Service{w.Service, second, w.Service} {
				if got := w.sent(node, of); got != want {
					t.Errorf("node %d sends to %q, want %q", i, got, want)
				}
			}
		}
		both(home, "")
		w.put(home, "p", pushes)
		w.put(home, "d", deletes)
		w.put(home, "a", pushes)
		both(home, "")
		w.target(home, "p", rule.Settings{ID: "2", ARN: queue}, rule.Settings{ID: "1", ARN: queue})
		w.target(home, "d", rule.Settings{ID: "1", ARN: queue})
		w.target(home, "a", rule.Settings{ID: "1", ARN: queue})
		both(home, "a/1 p/1 p/2")
		both(abroad, "")
		both(other, "")
		w.must(second.SetState(ctx, home, "a", rule.Disabled))
		both(home, "p/1 p/2")
		w.put(home, "d", pushes)
		both(home, "d/1 p/1 p/2")
		_, err := second.RemoveTargets(ctx, home, "p", []string{"1"})
		w.must(err)
		both(home, "d/1 p/2")
		w.must(w.SetState(ctx, home, "a", rule.EnabledForAll))
		both(home, "a/1 d/1 p/2")

		// A change that did not come about is not routed by, nor is it kept in mind.
		undone := errors.New("undone")
		err = db.Update(ctx, func(tx *sqldb.Tx) error {
			if _, err := tx.Exec(ctx, `UPDATE event_bus SET revision = 1`); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `UPDATE event_rule SET state = 'DISABLED'`); err != nil {
				return err
			}
			routes, err := w.RoutesTx(ctx, tx, home.Account, home.Region)
			if err != nil || len(routes) > 0 {
				t.Error(routes, err)
			}
			return undone
		})
		if !errors.Is(err, undone) {
			t.Error(err)
		}
		both(home, "a/1 d/1 p/2")

		// A pattern that this version cannot read stops its own rule only.
		w.must(db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE event_rule SET pattern = '{"source":[{"unheard-of":1}]}' WHERE name = 'd'`)
			return err
		}))
		w.must(w.SetState(ctx, home, "p", rule.Enabled))
		both(home, "a/1 p/2")
		if got := w.log.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "rule/d") {
			t.Error(got)
		}
	})
}

// Nodes that put at once have no more rules and targets than one that puts alone.
func TestLimits(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		ctx := t.Context()
		w.put(home, "r0", pushes)
		w.must(db.Update(ctx, func(tx *sqldb.Tx) error {
			for i := 1; i < rule.MaxRules-2; i++ {
				_, err := tx.Exec(ctx, `INSERT INTO event_rule (id, account_id, region, name, state, pattern, description, role_arn, tags, created_at, updated_at)
					SELECT $1, account_id, region, $2, state, pattern, description, role_arn, tags, created_at, updated_at FROM event_rule WHERE name = 'r0'`, int64(i), fmt.Sprintf("r%d", i))
				if err != nil {
					return err
				}
			}
			return nil
		}))
		at := func(what string, n int, put func(int) error) {
			t.Helper()
			refused := make([]error, n)
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() { refused[i] = put(i) })
			}
			wg.Wait()
			done := 0
			for _, err := range refused {
				if err == nil {
					done++
				} else {
					w.refused(what, err, errs.LimitExceeded, "The requested resource exceeds the maximum number allowed.")
				}
			}
			if done != 2 {
				t.Errorf("%s: %d were put, not 2", what, done)
			}
		}
		at("rules", 5, func(i int) error {
			_, err := w.Put(ctx, rule.Put{Home: home, Name: fmt.Sprintf("more%d", i), Pattern: pushes})
			return err
		})
		w.put(home, "r0", deletes) // there already
		w.put(other, "r0", pushes)

		for i := range rule.MaxTargets - 2 {
			w.target(home, "r0", rule.Settings{ID: fmt.Sprint(i), ARN: queue})
		}
		at("targets", 4, func(i int) error {
			_, err := w.PutTargets(ctx, home, "r0", []rule.Settings{{ID: fmt.Sprintf("more%d", i), ARN: queue}})
			return err
		})
		w.target(home, "r0", rule.Settings{ID: "0", ARN: dead})
	})
}

func TestTags(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		ctx := t.Context()
		bus := rule.BusARN(home).String()
		if tags, err := w.Tags(ctx, home, bus); err != nil || len(tags) > 0 {
			t.Error(tags, err)
		}
		of := w.put(home, "r", pushes).ARN().String()
		for _, arn := range []string{of, bus} {
			w.must(w.Tag(ctx, home, arn, map[string]string{"a": "1", "b": "2"}))
			w.must(w.Tag(ctx, home, arn, map[string]string{"b": "3", "B": ""}))
			w.must(w.Untag(ctx, home, arn, []string{"a", "none"}))
			if tags, err := w.Tags(ctx, home, arn); err != nil || !reflect.DeepEqual(tags, map[string]string{"b": "3", "B": ""}) {
				t.Error(arn, tags, err)
			}
			many := map[string]string{}
			for i := range rule.MaxTags - 1 {
				many[fmt.Sprint(i)] = ""
			}
			w.refused("too many", w.Tag(ctx, home, arn, many), errs.Validation, "A resource can have 50 tags at most.")
			delete(many, "0")
			w.must(w.Tag(ctx, home, arn, many))
		}
		for what, c := range map[string]struct {
			home name.Registry
			arn  string
			code errs.Code
			text string
		}{
			"no ARN":          {home, "r", errs.Validation, "Parameter ResourceARN is not valid."},
			"no rule":         {home, rule.ARN(home, "s").String(), errs.EventResourceNotFound, "Rule s does not exist on EventBus default."},
			"another account": {other, of, errs.EventResourceNotFound, "Resource " + of},
			"another region":  {abroad, bus, errs.EventResourceNotFound, "Resource " + bus},
			"another form":    {home, strings.Replace(of, "rule/", "rule/default/", 1), errs.EventResourceNotFound, "Rule default/r does not exist"}, // permissions are about the one form
			"something else":  {home, queue, errs.EventResourceNotFound, "Resource " + queue},
			"NUL":             {home, of + "\x00", errs.EventResourceNotFound, "Resource "},
		} {
			_, err := w.Tags(ctx, c.home, c.arn)
			w.refused(what, err, c.code, c.text)
			w.refused(what, w.Tag(ctx, c.home, c.arn, map[string]string{"a": ""}), c.code, c.text)
			w.refused(what, w.Untag(ctx, c.home, c.arn, []string{"a"}), c.code, c.text)
		}
		w.refused("a reserved key", w.Tag(ctx, home, of, map[string]string{"aws:a": ""}), errs.Validation, "Tag keys that begin with aws:")
	})
}
