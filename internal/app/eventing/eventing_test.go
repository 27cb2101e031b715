package eventing_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/app/eventing"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/destination"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/eventsink/awstest"
	"github.com/berth-registry/berth/internal/infra/eventsink/natstest"
	"github.com/berth-registry/berth/internal/infra/eventsink/sinktest"
	"github.com/berth-registry/berth/internal/infra/eventsink/webhook"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

var home = name.Registry{Account: "111122223333", Region: "us-east-1"}

const (
	queue = "arn:aws:sqs:us-east-1:111122223333:images.fifo"
	topic = "arn:aws:sns:us-east-1:111122223333:images"
	bus   = "arn:aws:events:us-east-1:111122223333:event-bus/default"
)

type world struct {
	*eventing.Senders
	t            *testing.T
	clk          *clock.Fake
	destinations *destination.Service
	dir          string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, sqldbtest.SQLite(t))
}

func newWorldOn(t *testing.T, db *sqldb.DB) *world {
	t.Helper()
	w := &world{t: t, clk: clock.NewFake(time.Now()), dir: t.TempDir()}
	w.must(db.Migrate(t.Context(), "schema_version", schema.Durable()...))
	w.must(db.Update(t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO account (id, name, created_at) VALUES ($1, $2, $3)`, string(home.Account), "", 1)
		return err
	}))
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
	w.must(err)
	maker := eventing.Maker{AllowPrivate: true, AllowHTTP: true, Files: w.dir, Clock: w.clk}
	w.destinations = destination.New(destination.Config{DB: db, Keys: ring, Clock: w.clk, Check: maker.Check, NewSecret: webhook.NewSecret})
	w.Senders = eventing.New(w.destinations, maker, slog.New(slog.DiscardHandler))
	t.Cleanup(w.Close)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(kind destination.Kind, called, arn, settings string, values map[string]string) destination.Destination {
	w.t.Helper()
	d, _, err := w.destinations.Create(w.t.Context(), destination.Create{Home: home, Name: called, Kind: kind, ARN: arn, Settings: json.RawMessage(settings), Values: values})
	w.must(err)
	return d
}

func (w *world) send(arn string, n int) error {
	return w.Send(w.t.Context(), home.Account, home.Region, arn, sinktest.Message("team/app", n))
}

// hook is a webhook that keeps the headers of what it gets.
type hook struct {
	mu  sync.Mutex
	got []http.Header
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return // the client has gone
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, r.Header)
	w.WriteHeader(http.StatusOK)
}

func (h *hook) last() http.Header {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.got[len(h.got)-1]
}

func TestKinds(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorldOn(t, db)
		aws := awstest.Start(t, queue, topic, bus)
		server := natstest.Start(t, `authorization { user: berth, password: "the-password" }`)
		h := &hook{}
		endpoint := sinktest.Serve(t, h, nil)
		where := fmt.Sprintf(`"endpoint":%q,"accessKeyId":%q`, aws.URL(), awstest.AccessKeyID)
		key := map[string]string{eventing.SecretAccessKey: awstest.SecretAccessKey}
		all := []destination.Destination{
			w.create(destination.Webhook, "hook", "", `{"url":"http://`+endpoint.Address+`/x","timeoutSeconds":30}`, map[string]string{eventing.HeaderPrefix + "X-Key": "k"}),
			w.create(destination.File, "file", "", `{"path":"a/b.jsonl"}`, nil),
			w.create(destination.NATS, "nats", "", `{"url":"nats://`+server.Address+`","user":"berth"}`, map[string]string{eventing.SecretPassword: "the-password"}),
			w.create(destination.SQS, "queue", queue, `{`+where+`}`, key),
			w.create(destination.SNS, "topic", topic, `{`+where+`}`, key),
			w.create(destination.EventBridge, "bus", bus, `{`+where+`,"sourcePrefix":"x.","idMember":"id"}`, key),
		}
		for n, d := range all {
			if err := w.send(d.ARN, n); err != nil {
				t.Errorf("%s: %v", d.Kind, err)
			}
			if id, err := w.Try(t.Context(), home, d.Name); err != nil || len(id) != 36 {
				t.Errorf("%s: %q %v", d.Kind, id, err)
			}
		}
		if h.last().Get("X-Key") != "k" || len(h.got) != 2 {
			t.Errorf("%v", h.got)
		}
		lines, err := os.ReadFile(filepath.Join(w.dir, "a", "b.jsonl"))
		if err != nil || strings.Count(string(lines), "\n") != 2 || !strings.Contains(string(lines), `"detail":{"destination":"file","message":"This is a test."}`) {
			t.Errorf("%s %v", lines, err)
		}
		for _, arn := range []string{queue, topic, bus} {
			if n := len(aws.Taken(arn)); n != 2 {
				t.Errorf("%s has %d", arn, n)
			}
		}
		if got := aws.Taken(bus)[0]; got.Source != "x.ecr" || !strings.HasSuffix(got.Body, `,"id":"`+sinktest.Message("", 5).ID+`"}`) {
			t.Errorf("%+v", got)
		}
	})
}

func TestChanges(t *testing.T) {
	w := newWorld(t)
	h := &hook{}
	server := sinktest.Serve(t, h, nil)
	made := w.create(destination.Webhook, "hook", "", `{"url":"http://`+server.Address+`"}`, nil)
	signatures := func() int { return strings.Count(h.last().Get("webhook-signature"), "v1,") }
	w.must(w.send(made.ARN, 1))
	if n := signatures(); n != 1 {
		t.Errorf("%d signatures", n)
	}
	_, _, err := w.destinations.RotateSecret(t.Context(), home, "hook")
	w.must(err)
	w.must(w.send(made.ARN, 2))
	if n := signatures(); n != 2 {
		t.Errorf("%d signatures beside each other", n)
	}
	// Time alone ends the old one, with the sink that is open.
	w.clk.Advance(destination.Overlap)
	w.must(w.send(made.ARN, 3))
	if n := signatures(); n != 1 {
		t.Errorf("%d signatures after a day", n)
	}
	// Gone, and another in its place.
	q := w.create(destination.SQS, "queue", queue, `{"endpoint":"http://127.0.0.1:1","accessKeyId":"a"}`, map[string]string{eventing.SecretAccessKey: "b"})
	if err := w.send(q.ARN, 1); err == nil || eventsink.IsPermanent(err) {
		t.Error(err)
	}
	_, err = w.destinations.Delete(t.Context(), home, "queue", false)
	w.must(err)
	if err := w.send(q.ARN, 1); !errs.Is(err, errs.EventResourceNotFound) || eventsink.IsPermanent(err) {
		t.Error(err)
	}
	aws := awstest.Start(t, queue)
	w.create(destination.SQS, "queue", queue, fmt.Sprintf(`{"endpoint":%q,"accessKeyId":%q}`, aws.URL(), awstest.AccessKeyID), map[string]string{eventing.SecretAccessKey: awstest.SecretAccessKey})
	w.must(w.send(q.ARN, 1))
}

func TestConnections(t *testing.T) {
	w := newWorld(t)
	server := natstest.Start(t, "http: 127.0.0.1:-1")
	made := w.create(destination.NATS, "nats", "", `{"url":"nats://`+server.Address+`"}`, nil)
	count := func(want int) {
		t.Helper()
		sinktest.Until(t, fmt.Sprintf("%d connections", want), func() error {
			if n := server.Connections(); n != want {
				return fmt.Errorf("%d", n)
			}
			return nil
		})
	}
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			if err := w.send(made.ARN, n); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	count(1)
	// What nothing was sent by for long is closed when others send.
	w.clk.Advance(time.Hour)
	file := w.create(destination.File, "file", "", `{"path":"a"}`, nil)
	w.must(w.send(file.ARN, 1))
	count(0)
	w.must(w.send(made.ARN, 1))
	count(1)
	// A destination that is gone is so too.
	_, err := w.destinations.Delete(t.Context(), home, "nats", false)
	w.must(err)
	if err := w.send(made.ARN, 1); err == nil {
		t.Error("sent")
	}
	count(0)
	again := w.create(destination.NATS, "nats", "", `{"url":"nats://`+server.Address+`"}`, nil)
	w.must(w.send(again.ARN, 1))
	count(1)
	w.Close()
	count(0)
	if err := w.send(again.ARN, 1); err == nil || !strings.Contains(err.Error(), "ending") {
		t.Error(err)
	}
}

func TestSettings(t *testing.T) {
	w := newWorld(t)
	for what, c := range map[string]struct {
		destination.Create
		want string
	}{
		"unknown member":   {destination.Create{Kind: destination.File, Settings: json.RawMessage(`{"path":"a","paht":"b"}`)}, "paht"},
		"another type":     {destination.Create{Kind: destination.File, Settings: json.RawMessage(`{"path":1}`)}, "settings are none"},
		"a path out":       {destination.Create{Kind: destination.File, Settings: json.RawMessage(`{"path":"../a"}`)}, "no path below"},
		"a strange secret": {destination.Create{Kind: destination.File, Settings: json.RawMessage(`{"path":"a"}`), Values: map[string]string{"token": "x"}}, `no secret "token"`},
		"no header":        {destination.Create{Kind: destination.Webhook, Settings: json.RawMessage(`{"url":"https://example.com"}`), Values: map[string]string{"token": "x"}}, `no secret "token"`},
		"a wrong secret":   {destination.Create{Kind: destination.Webhook, Settings: json.RawMessage(`{"url":"https://example.com"}`), Signing: "x"}, "whsec_"},
		"no URL":           {destination.Create{Kind: destination.NATS}, "nats://"},
		"a topic's ARN":    {destination.Create{Kind: destination.SQS, ARN: topic}, "no ARN of sqs"},
	} {
		c.Create.Home, c.Create.Name = home, "a"
		_, _, err := w.destinations.Create(t.Context(), c.Create)
		if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// As operators have it unless they say otherwise.
	strict := eventing.Maker{Clock: w.clk}
	for want, o := range map[string]destination.Opened{
		"plain HTTP":              {Destination: destination.Destination{Kind: destination.Webhook, Settings: json.RawMessage(`{"url":"http://example.com"}`)}},
		"configure the directory": {Destination: destination.Destination{Kind: destination.File, Settings: json.RawMessage(`{"path":"a"}`)}},
	} {
		if err := strict.Check(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
