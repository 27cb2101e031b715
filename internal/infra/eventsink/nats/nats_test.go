package nats_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/eventsink/nats"
	"github.com/berth-registry/berth/internal/infra/eventsink/natstest"
	"github.com/berth-registry/berth/internal/infra/eventsink/sinktest"
)

const password = "the-password-of-nats"

const users = `authorization { users = [
  { user: "berth", password: "` + password + `", permissions: { publish: [ "berth.>" ], subscribe: "_INBOX.>" } }
  { user: "reader", password: "reader" }
] }`

func open(t *testing.T, s nats.Settings) eventsink.Sink {
	t.Helper()
	sink, err := nats.New(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sink.Close(); err != nil {
			t.Error(err)
		}
	})
	return sink
}

// reader collects what is published, over all that happens to the server.
type reader struct {
	mu   sync.Mutex
	got  []sinktest.Received
	subj []string
	conn *client.Conn
}

func read(t *testing.T, server *natstest.Server, options ...client.Option) *reader {
	t.Helper()
	r := &reader{}
	var err error
	r.conn, err = client.Connect("nats://"+server.Address, append(options, client.MaxReconnects(-1), client.ReconnectWait(10*time.Millisecond), client.ReconnectJitter(0, 0))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.conn.Close)
	_, err = r.conn.Subscribe("berth.>", func(m *client.Msg) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, sinktest.Received{ID: m.Header.Get("Nats-Msg-Id"), Body: string(m.Data)})
		r.subj = append(r.subj, m.Subject)
	})
	if err == nil {
		err = r.conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *reader) received() []sinktest.Received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]sinktest.Received(nil), r.got...)
}

func (r *reader) subjects() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.subj...)
}

func TestCoreSuite(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Target {
		server := natstest.Start(t, users)
		r := read(t, server, client.UserInfo("reader", "reader"))
		return sinktest.Target{
			New: func(t *testing.T) eventsink.Sink {
				return open(t, nats.Settings{URL: "nats://" + server.Address, User: "berth", Password: password})
			},
			Received: r.received, Down: server.Down, Secrets: []string{password},
			Up: func() {
				server.Up()
				sinktest.Until(t, "the reader is back", func() error { return r.conn.FlushTimeout(time.Second) })
			},
		}
	})
}

func TestJetStreamSuite(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Target {
		server := natstest.Start(t, "")
		stream(t, server)
		return sinktest.Target{
			New: func(t *testing.T) eventsink.Sink {
				return open(t, nats.Settings{URL: "nats://" + server.Address, JetStream: true})
			},
			Received: func() []sinktest.Received { return stored(t, server) }, Down: server.Down, Up: server.Up, Distinct: true,
		}
	})
}

func connect(t *testing.T, server *natstest.Server) (*client.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := client.Connect("nats://" + server.Address)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

func stream(t *testing.T, server *natstest.Server) {
	t.Helper()
	conn, js := connect(t, server)
	defer conn.Close()
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"berth.>"}}); err != nil {
		t.Fatal(err)
	}
}

// stored is what the stream holds.
func stored(t *testing.T, server *natstest.Server) (all []sinktest.Received) {
	t.Helper()
	conn, js := connect(t, server)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := js.Stream(ctx, "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	state := s.CachedInfo().State
	for n := state.FirstSeq; n <= state.LastSeq && state.Msgs > 0; n++ {
		m, err := s.GetMsg(ctx, n)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, sinktest.Received{ID: m.Header.Get("Nats-Msg-Id"), Body: string(m.Data)})
	}
	return all
}

func TestSubjects(t *testing.T) {
	server := natstest.Start(t, "")
	r := read(t, server)
	scan := sinktest.Message("x", 2)
	scan.Group, scan.DetailType, scan.Source = "", "Inspector2 Finding", "aws.inspector2"
	scan.Event = []byte(`{"account":"111122223333","region":"us-east-1","detail":{"repository-name":"arn:aws:ecr:us-east-1:111122223333:repository/a.b"}}`)
	lists := scan
	lists.Event = []byte(`{"account":"111122223333","region":"us-east-1","detail":{"repository-name":["a","b"]}}`)
	for _, c := range []struct {
		template string
		m        eventsink.Message
		want     string
	}{
		{"", sinktest.Message("team/app", 1), "berth.111122223333.us-east-1.team/app"},
		{"", sinktest.Message("team/a.b*>", 1), "berth.111122223333.us-east-1.team/a%2Eb%2A%3E"},
		{"berth.{source}.{detail-type}.{repository}", scan, "berth.aws%2Einspector2.Inspector2-Finding.a%2Eb"},
		{"berth.x-{repository}", lists, "berth.x-_"},
		{"berth.all", lists, "berth.all"},
	} {
		if err := open(t, nats.Settings{URL: "nats://" + server.Address, Subject: c.template}).Send(t.Context(), c.m); err != nil {
			t.Fatal(err)
		}
		sinktest.Until(t, c.want, func() error {
			if got := r.subjects(); len(got) == 0 || got[len(got)-1] != c.want {
				return fmt.Errorf("%q", got)
			}
			return nil
		})
	}
}

func TestRefusals(t *testing.T) {
	server := natstest.Start(t, users+"\nmax_payload: 1000\n")
	at := nats.Settings{URL: "nats://" + server.Address, User: "berth", Password: password}
	if err := open(t, at).Send(t.Context(), sinktest.With(sinktest.Message("a", 1), strings.Repeat("x", 2000))); !eventsink.IsPermanent(err) {
		t.Errorf("a large message: %v", err)
	}
	elsewhere := at
	elsewhere.Subject = "elsewhere.{repository}"
	sink := open(t, elsewhere)
	for range 2 {
		if err := sink.Send(t.Context(), sinktest.Message("a", 1)); err == nil || eventsink.IsPermanent(err) || !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
			t.Errorf("a subject that is not allowed: %v", err)
		}
	}
	wrong := at
	wrong.Password = "wrong-password"
	if err := open(t, wrong).Send(t.Context(), sinktest.Message("a", 1)); err == nil || eventsink.IsPermanent(err) || strings.Contains(err.Error(), "wrong-password") {
		t.Errorf("a wrong password: %v", err)
	}
	reader := nats.Settings{URL: at.URL, User: "reader", Password: "reader", JetStream: true}
	if err := open(t, reader).Send(t.Context(), sinktest.Message("a", 1)); err == nil || eventsink.IsPermanent(err) || !strings.Contains(err.Error(), "no stream") {
		t.Errorf("no stream: %v", err)
	}
	closed := open(t, at)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := closed.Send(t.Context(), sinktest.Message("a", 1)); err == nil {
		t.Error("a closed sink sends")
	}
}

func TestSigningIn(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	byKey := natstest.Start(t, `authorization { users = [ { nkey: "`+public+`" } ] }`)
	byToken := natstest.Start(t, `authorization { token: "the-token" }`)
	for _, s := range []nats.Settings{{URL: "nats://" + byKey.Address, NKey: string(seed)}, {URL: "nats://" + byToken.Address, Token: "the-token"}} {
		if err := open(t, s).Send(t.Context(), sinktest.Message("a", 1)); err != nil {
			t.Error(err)
		}
	}
	if err := open(t, nats.Settings{URL: "nats://" + byToken.Address, Token: "another"}).Send(t.Context(), sinktest.Message("a", 1)); err == nil {
		t.Error("another token does")
	}
}

func TestSettings(t *testing.T) {
	for what, s := range map[string]nats.Settings{
		"no URL":        {},
		"HTTP":          {URL: "http://example.com"},
		"a password":    {URL: "nats://a:b@example.com"},
		"a second one":  {URL: "nats://example.com,example.org"},
		"a placeholder": {URL: "nats://a", Subject: "a.{b}"},
		"an open one":   {URL: "nats://a", Subject: "a.{account"},
		"a closed one":  {URL: "nats://a", Subject: "a.account}"},
		"wildcards":     {URL: "nats://a", Subject: "a.>"},
		"spaces":        {URL: "nats://a", Subject: "a b"},
		"no token":      {URL: "nats://a", Subject: "a..b"},
		"the server's":  {URL: "nats://a", Subject: "$SYS.a"},
		"long":          {URL: "nats://a", Subject: strings.Repeat("a", 300)},
		"two ways in":   {URL: "nats://a", Token: "a", User: "b", Password: "c"},
		"no user":       {URL: "nats://a", Password: "c"},
		"an nkey":       {URL: "nats://a", NKey: "SUxx"},
		"creds":         {URL: "nats://a", Creds: "x"},
		"a CA":          {URL: "nats://a", CA: "x"},
	} {
		if _, err := nats.New(s); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	if _, err := nats.New(nats.Settings{URL: "nats://a:4222, tls://b:4222", Subject: "berth.{account}"}); err != nil {
		t.Error(err)
	}
}
