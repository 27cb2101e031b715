package eventbridge_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/eventsink/awsclient"
	"github.com/berth-registry/berth/internal/infra/eventsink/awstest"
	"github.com/berth-registry/berth/internal/infra/eventsink/eventbridge"
	"github.com/berth-registry/berth/internal/infra/eventsink/sinktest"
)

const bus = "arn:aws:events:us-east-1:111122223333:event-bus/default"

func open(t *testing.T, server *awstest.Server, s eventbridge.Settings) eventsink.Sink {
	t.Helper()
	s.ARN, s.Settings = bus, awsclient.Settings{Endpoint: server.URL(), AccessKeyID: awstest.AccessKeyID, SecretAccessKey: awstest.SecretAccessKey}
	sink, err := eventbridge.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

func TestSuite(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Target {
		s := awstest.Start(t, bus)
		return sinktest.Target{
			New: func(t *testing.T) eventsink.Sink { return open(t, s, eventbridge.Settings{IDMember: "event-id"}) },
			Received: func() (all []sinktest.Received) {
				for _, m := range s.Taken(bus) {
					detail, id, _ := strings.Cut(m.Body, `,"event-id":`)
					all = append(all, sinktest.Received{ID: strings.Trim(id, `"}`), Body: detail + "}"})
				}
				return all
			},
			Body: func(m eventsink.Message) string {
				var e struct{ Detail json.RawMessage }
				if err := json.Unmarshal(m.Body, &e); err == nil && e.Detail != nil {
					return string(e.Detail)
				}
				return string(m.Body)
			},
			Down: s.Down, Up: s.Up, Secrets: []string{awstest.SecretAccessKey}, JSON: true,
		}
	})
}

func TestEntries(t *testing.T) {
	server := awstest.Start(t, bus)
	m := sinktest.Message("team/app", 1)
	m.Event = []byte(strings.Replace(string(m.Event), `"resources":[]`, `"resources":["arn:a","arn:b"]`, 1))
	m.Body = m.Event
	send := func(s eventbridge.Settings, m eventsink.Message) error {
		return open(t, server, s).Send(t.Context(), m)
	}
	if err := send(eventbridge.Settings{}, m); err != nil {
		t.Fatal(err)
	}
	got := server.Taken(bus)[0]
	if got.Source != "berth.ecr" || got.DetailType != "ECR Image Action" || got.Time != "1772600767" || strings.Join(got.Resources, " ") != "arn:a arn:b" ||
		got.Body != `{"action-type":"PUSH","repository-name":"team/app","n":1}` {
		t.Errorf("%+v", got)
	}
	if err := send(eventbridge.Settings{SourcePrefix: "registry.example."}, m); err != nil || server.Taken(bus)[1].Source != "registry.example.ecr" {
		t.Error(err)
	}
	// AWS does not take its own sources.
	if err := send(eventbridge.Settings{SourcePrefix: "aws."}, m); err == nil || eventsink.IsPermanent(err) || !strings.Contains(err.Error(), "NotAuthorizedForSource") {
		t.Error(err)
	}
	for _, c := range []struct{ body, want string }{{`{}`, `{"id":"` + m.ID + `"}`}, {`{"id": 7 }`, `{"id": 7 }`}} {
		if err := send(eventbridge.Settings{IDMember: "id"}, sinktest.With(m, c.body)); err != nil {
			t.Fatal(err)
		}
		taken := server.Taken(bus)
		if got := taken[len(taken)-1].Body; got != c.want {
			t.Error(got)
		}
	}
	for _, body := range []string{"text", `"text"`, "[]", "null", ""} {
		if err := send(eventbridge.Settings{}, sinktest.With(m, body)); !eventsink.IsPermanent(err) {
			t.Errorf("%q: %v", body, err)
		}
	}
	other, err := eventbridge.New(eventbridge.Settings{ARN: bus + "2", Settings: awsclient.Settings{Endpoint: server.URL(), AccessKeyID: awstest.AccessKeyID, SecretAccessKey: awstest.SecretAccessKey}})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Send(t.Context(), m); err == nil || eventsink.IsPermanent(err) {
		t.Errorf("no bus: %v", err)
	}
}

func TestSettings(t *testing.T) {
	for what, s := range map[string]eventbridge.Settings{
		"a rule":     {ARN: "arn:aws:events:us-east-1:111122223333:rule/a"},
		"no bus":     {ARN: "arn:aws:events:us-east-1:111122223333:event-bus/"},
		"a prefix":   {ARN: bus, SourcePrefix: "berth"},
		"a member":   {ARN: bus, IDMember: `a"b`},
		"half a key": {ARN: bus, Settings: awsclient.Settings{SecretAccessKey: "x"}},
	} {
		if _, err := eventbridge.New(s); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}
