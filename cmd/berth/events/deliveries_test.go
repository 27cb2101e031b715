package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/berth-registry/berth/cmd/berth/events"
	"github.com/berth-registry/berth/internal/app/eventadmin"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/event/delivery"
	"github.com/berth-registry/berth/internal/domain/event/rule"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// outgoing is a server whose targets are away: two events of one repository are dead,
// and one of another waits for an hour.
type outgoing struct {
	*place
	service *delivery.Service
}

func newOutgoing(t *testing.T) *outgoing {
	t.Helper()
	db, ctx := sqldbtest.SQLite(t), t.Context()
	p := &place{t: t}
	p.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	home := name.Registry{Account: "111122223333", Region: "us-east-1"}
	clk := clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	log := slog.New(slog.DiscardHandler)
	rules := rule.New(rule.Config{DB: db, Clock: clk, Log: log, Known: func(context.Context, name.AccountID, name.Region, string) error { return nil }})
	_, err := rules.Put(ctx, rule.Put{Home: home, Name: "pushes", Pattern: `{"source": ["aws.ecr"]}`})
	p.must(err)
	_, err = rules.PutTargets(ctx, home, "pushes", []rule.Settings{{ID: "q", ARN: queue}})
	p.must(err)
	outbox := event.NewOutbox()
	for _, repo := range []name.Repository{"broken", "broken", "slow"} {
		p.must(db.Update(ctx, func(tx *sqldb.Tx) error {
			return outbox.Record(ctx, tx, event.Event{
				Registry: home, Kind: event.ImagePushed, OccurredAt: clk.Now(),
				Detail: event.ImageDetail{Repository: repo, Digest: name.SHA256(nil), Tag: "v1", MediaType: "application/vnd.oci.image.manifest.v1+json"},
			})
		}))
	}
	s := delivery.New(delivery.Config{
		DB: db, Clock: clk, Log: log, Rules: rules, Options: delivery.Options{Poll: 5 * time.Millisecond, FirstPause: time.Hour, LongestPause: time.Hour},
		Send: func(_ context.Context, _ name.AccountID, _ name.Region, _ string, m eventsink.Message) error {
			if strings.HasSuffix(m.Group, "/broken") {
				return eventsink.Permanent(errors.New("no such queue"))
			}
			return errors.New("the queue is away")
		},
	})
	run, cancel := context.WithCancel(ctx)
	ended := make(chan error)
	go func() { ended <- s.Run(run) }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		st, err := s.Stats(ctx)
		p.must(err)
		if st.Dead == 2 && st.Failed == 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", st)
		}
	}
	cancel() // what is to be sent again waits
	p.must(<-ended)
	mux := http.NewServeMux()
	eventadmin.Deliveries{Delivery: s}.Routes(mux)
	p.admin = mux
	return &outgoing{place: p, service: s}
}

// berth runs a command.
func (o *outgoing) berth(args ...string) (string, error) {
	o.t.Helper()
	var command events.Command
	parser, err := kong.New(&command, kong.Name("berth"), kong.Exit(func(int) { o.t.Error("it exits") }))
	o.must(err)
	parsed, err := parser.Parse(args)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	parsed.BindTo(o.t.Context(), (*context.Context)(nil))
	parsed.BindTo(&out, (*io.Writer)(nil))
	err = parsed.Run(events.Admin(o.call))
	return out.String(), err
}

// listed are the deliveries of a list.
func (o *outgoing) listed(args ...string) (all []eventadmin.Delivery) {
	o.t.Helper()
	out, err := o.berth(append([]string{"list", "--json"}, args...)...)
	o.must(err)
	o.must(json.Unmarshal([]byte(out), &all))
	return all
}

func TestDeliveries(t *testing.T) {
	o := newOutgoing(t)
	out, err := o.berth("list")
	o.must(err)
	for _, want := range []string{"STATE", "dead", "pending", "ECR Image Action", "broken", "slow", "no such queue", "the queue is away"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if all := o.listed(); len(all) != 3 {
		t.Errorf("%+v", all)
	}
	dead := o.listed("--state", "dead", "--rule", "pushes", "--repository", "broken", "--account", "111122223333")
	if len(dead) != 2 || dead[0].LastError != "no such queue" || dead[0].Attempts != 1 {
		t.Fatalf("%+v", dead)
	}
	if out, err = o.berth("list", "--state", "dead", "--rule", "other"); err != nil || out != "There are no such deliveries.\n" {
		t.Errorf("%q %v", out, err)
	}

	out, err = o.berth("show", dead[0].ID)
	o.must(err)
	for _, want := range []string{dead[0].EventID, "no such queue", "broken", `"action-type": "PUSH"`, "Dead since"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if out, err = o.berth("show", "--json", dead[0].ID); err != nil || !json.Valid([]byte(out)) {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err = o.berth("show", "one"); err == nil || !strings.Contains(err.Error(), "berth events list") {
		t.Error(err)
	}

	for _, args := range [][]string{{"retry"}, {"retry", "--all", "1"}, {"retry", "--rule", "x", "1"}} {
		if _, err = o.berth(args...); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	if out, err = o.berth("retry", dead[0].ID, "17"); err == nil || !strings.Contains(err.Error(), "no delivery 17") || out != "Sent again: 1 delivery.\n" {
		t.Errorf("%q %v", out, err)
	}
	if left := o.listed("--state", "dead"); len(left) != 1 || left[0].ID != dead[1].ID {
		t.Errorf("%+v", left)
	}
	if out, err = o.berth("retry", "--all", "--repository", "broken"); err != nil || out != "Sent again: 1 delivery.\n" {
		t.Errorf("%q %v", out, err)
	}
	if left := o.listed("--state", "pending"); len(left) != 3 {
		t.Errorf("%+v", left)
	}
	if out, err = o.berth("drop", dead[0].ID, dead[1].ID); err != nil || out != "Dropped: 2 deliveries.\n" {
		t.Errorf("%q %v", out, err)
	}
	if left := o.listed(); len(left) != 1 {
		t.Errorf("%+v", left)
	}
}
