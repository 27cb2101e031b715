// Package sinktest is the suite that all targets of events pass, and what their tests
// share. It is test support.
//
// It does not own the servers of a kind: awstest and natstest do.
package sinktest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/eventsink"
)

// Target is a running target, and how to make sinks for it.
type Target struct {
	// New makes a sink for it.
	New func(t *testing.T) eventsink.Sink
	// Received is what has arrived, in order.
	Received func() []Received
	// Down and Up take the target away and bring it back.
	Down, Up func()
	// Secrets are what no error may show.
	Secrets []string
	// Body is what is to arrive of a message; nil for its Body.
	Body func(m eventsink.Message) string
	// Anonymous says that ids do not arrive; Distinct, that the target itself drops what
	// it has already.
	Anonymous, Distinct bool
	// JSON says that bodies are JSON objects only.
	JSON bool
}

// Received is a message that has arrived.
type Received struct{ ID, Body string }

// Message is the n-th message of a repository.
func Message(repository string, n int) eventsink.Message {
	const account, region = "111122223333", "us-east-1"
	id := fmt.Sprintf("6a7e8feb-b491-4cf7-a9f1-%012x", n)
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	event := fmt.Appendf(nil, `{"version":"0","id":%q,"detail-type":"ECR Image Action","source":"aws.ecr","account":%q,"time":%q,"region":%q,"resources":[],`+
		`"detail":{"action-type":"PUSH","repository-name":%q,"n":%d}}`, id, account, at.Format(time.RFC3339), region, repository, n)
	return eventsink.Message{
		ID: id, Body: event, Event: event, Time: at, Source: "aws.ecr", DetailType: "ECR Image Action",
		Group: "arn:aws:ecr:" + region + ":" + account + ":repository/" + repository,
		Rule:  "arn:aws:events:" + region + ":" + account + ":rule/images", Try: 1,
	}
}

// With is the message with another body.
func With(m eventsink.Message, body string) eventsink.Message {
	m.Body = []byte(body)
	return m
}

// Run runs the suite. make makes a target with nothing in it.
func Run(t *testing.T, make func(t *testing.T) Target) {
	each := func(name string, fn func(t *testing.T, target Target, s eventsink.Sink)) {
		t.Run(name, func(t *testing.T) {
			target := make(t)
			s := target.New(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			fn(t, target, s)
		})
	}
	each("in order", inOrder)
	each("bodies", bodies)
	each("again", again)
	each("at once", atOnce)
	each("cancelled", cancelled)
	each("away", away)
	each("closed", closed)
}

func (x Target) want(m eventsink.Message) Received {
	r := Received{m.ID, string(m.Body)}
	if x.Body != nil {
		r.Body = x.Body(m)
	}
	if x.Anonymous {
		r.ID = ""
	}
	return r
}

// arrived waits until exactly these have come, in this order.
func (x Target) arrived(t *testing.T, want ...Received) {
	t.Helper()
	Until(t, "what arrived", func() error {
		if got := x.Received(); !slices.Equal(got, want) {
			return fmt.Errorf("%.2000q, want %.2000q", got, want)
		}
		return nil
	})
}

func send(t *testing.T, s eventsink.Sink, m eventsink.Message) {
	t.Helper()
	if err := s.Send(t.Context(), m); err != nil {
		t.Fatalf("Send: %v", err)
	}
}

func inOrder(t *testing.T, x Target, s eventsink.Sink) {
	var want []Received
	for n := range 20 {
		m := Message("team/app", n)
		send(t, s, m)
		want = append(want, x.want(m))
	}
	x.arrived(t, want...)
}

func bodies(t *testing.T, x Target, s eventsink.Sink) {
	texts := []string{`{"a":"ü ☃ 🐳 \u2028 <&> \"quoted\""}`, `{"long":"` + strings.Repeat("x", 200_000) + `"}`}
	if !x.JSON {
		texts = append(texts, "a line of text, in which an image was pushed", `"a JSON string"`)
	}
	var want []Received
	for n, text := range texts {
		m := With(Message("team/app", n), text)
		send(t, s, m)
		want = append(want, x.want(m))
	}
	x.arrived(t, want...)
}

func again(t *testing.T, x Target, s eventsink.Sink) {
	m := Message("team/app", 1)
	send(t, s, m)
	m.Try = 2
	send(t, s, m)
	last := Message("team/app", 2)
	send(t, s, last)
	want := []Received{x.want(m), x.want(m), x.want(last)}
	if x.Distinct {
		want = want[1:]
	}
	x.arrived(t, want...)
}

func atOnce(t *testing.T, x Target, s eventsink.Sink) {
	const repositories, each = 8, 10
	var wg sync.WaitGroup
	var want []Received
	for r := range repositories {
		for n := range each {
			want = append(want, x.want(Message(fmt.Sprint("app", r), r*each+n)))
		}
		wg.Go(func() {
			for n := range each {
				if err := s.Send(t.Context(), Message(fmt.Sprint("app", r), r*each+n)); err != nil {
					t.Errorf("Send: %v", err)
				}
			}
		})
	}
	wg.Wait()
	Until(t, "all arrived", func() error {
		got := x.Received()
		if len(got) != len(want) {
			return fmt.Errorf("%d of %d", len(got), len(want))
		}
		// Of one repository they are in order.
		slices.SortStableFunc(got, func(a, b Received) int { return strings.Compare(repositoryOf(a), repositoryOf(b)) })
		if !slices.Equal(got, want) {
			return fmt.Errorf("%.2000q, want %.2000q", got, want)
		}
		return nil
	})
}

func repositoryOf(r Received) string {
	_, after, _ := strings.Cut(r.Body, `"repository-name":`)
	name, _, _ := strings.Cut(after, ",")
	return name
}

func cancelled(t *testing.T, x Target, s eventsink.Sink) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Send(ctx, Message("team/app", 1)); err == nil || eventsink.IsPermanent(err) {
		t.Errorf("a cancelled Send: %v", err)
	}
	m := Message("team/app", 2)
	send(t, s, m)
	x.arrived(t, x.want(m))
}

func away(t *testing.T, x Target, s eventsink.Sink) {
	first, second := Message("team/app", 1), Message("team/app", 2)
	send(t, s, first)
	x.arrived(t, x.want(first))
	x.Down()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := s.Send(ctx, second)
		cancel()
		switch {
		case err == nil:
			t.Fatal("a target that is away has taken a message")
		case eventsink.IsPermanent(err):
			t.Errorf("a target that is away fails for good: %v", err)
		}
		for _, secret := range x.Secrets {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows a secret: %v", err)
			}
		}
	}
	x.Up()
	Until(t, "Send, once the target is back", func() error { return s.Send(t.Context(), second) })
	x.arrived(t, x.want(first), x.want(second))
	// And a new sink finds it too.
	other := x.New(t)
	third := Message("team/app", 3)
	send(t, other, third)
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	x.arrived(t, x.want(first), x.want(second), x.want(third))
}

func closed(t *testing.T, x Target, s eventsink.Sink) {
	m := Message("team/app", 1)
	send(t, s, m)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	x.arrived(t, x.want(m))
}
