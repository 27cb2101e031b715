package sqs_test

import (
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/eventsink/awsclient"
	"github.com/berth-registry/berth/internal/infra/eventsink/awstest"
	"github.com/berth-registry/berth/internal/infra/eventsink/sinktest"
	"github.com/berth-registry/berth/internal/infra/eventsink/sqs"
)

const (
	queue = "arn:aws:sqs:us-east-1:111122223333:images"
	fifo  = queue + ".fifo"
)

func open(t *testing.T, s *awstest.Server, arn string) eventsink.Sink {
	t.Helper()
	sink, err := sqs.New(sqs.Settings{ARN: arn, Settings: awsclient.Settings{
		Endpoint: s.URL() + "/", AccessKeyID: awstest.AccessKeyID, SecretAccessKey: awstest.SecretAccessKey,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

func suite(t *testing.T, arn string) {
	sinktest.Run(t, func(t *testing.T) sinktest.Target {
		s := awstest.Start(t, queue, fifo)
		return sinktest.Target{
			New: func(t *testing.T) eventsink.Sink { return open(t, s, arn) },
			Received: func() (all []sinktest.Received) {
				for _, m := range s.Taken(arn) {
					all = append(all, sinktest.Received{ID: m.Deduplication, Body: m.Body})
				}
				return all
			},
			Down: s.Down, Up: s.Up, Secrets: []string{awstest.SecretAccessKey}, Anonymous: arn == queue, Distinct: arn == fifo,
		}
	})
}

func TestSuite(t *testing.T)     { suite(t, queue) }
func TestFIFOSuite(t *testing.T) { suite(t, fifo) }

func TestGroups(t *testing.T) {
	s := awstest.Start(t, queue, fifo)
	own := sinktest.Message("b", 2)
	own.Parameters.MessageGroupID = "mine"
	none := sinktest.Message("c", 3)
	none.Group = ""
	long := sinktest.Message(strings.Repeat("d", 200), 4)
	for _, m := range []eventsink.Message{sinktest.Message("a", 1), own, none, long} {
		for _, arn := range []string{queue, fifo} {
			if err := open(t, s, arn).Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	groups := func(arn string) (all []string) {
		for _, m := range s.Taken(arn) {
			all = append(all, m.Group)
		}
		return all
	}
	got := groups(fifo)
	if got[0] != "arn:aws:ecr:us-east-1:111122223333:repository/a" || got[1] != "mine" || got[2] != "aws.ecr" || !strings.HasPrefix(got[3], "sha256-") {
		t.Errorf("%q", got)
	}
	if got := strings.Join(groups(queue), ","); got != ",mine,," {
		t.Errorf("%q", got)
	}
}

func TestFailures(t *testing.T) {
	s := awstest.Start(t, queue)
	if err := open(t, s, queue).Send(t.Context(), sinktest.With(sinktest.Message("a", 1), "\x01")); !eventsink.IsPermanent(err) {
		t.Errorf("a body that no queue takes: %v", err)
	}
	// What the operator can mend.
	if err := open(t, s, fifo).Send(t.Context(), sinktest.Message("a", 1)); err == nil || eventsink.IsPermanent(err) || !strings.Contains(err.Error(), "ResourceNotFound") {
		t.Errorf("no queue: %v", err)
	}
	sink, err := sqs.New(sqs.Settings{ARN: queue, Settings: awsclient.Settings{Endpoint: s.URL(), AccessKeyID: awstest.AccessKeyID, SecretAccessKey: "wrong"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Send(t.Context(), sinktest.Message("a", 1)); err == nil || eventsink.IsPermanent(err) || !strings.Contains(err.Error(), "InvalidSignatureException") {
		t.Errorf("a wrong secret: %v", err)
	}
}

func TestSettings(t *testing.T) {
	for what, s := range map[string]sqs.Settings{
		"no ARN":         {},
		"a topic":        {ARN: "arn:aws:sns:us-east-1:111122223333:images"},
		"an endpoint":    {ARN: queue, Settings: awsclient.Settings{Endpoint: "example.com"}},
		"half a key":     {ARN: queue, Settings: awsclient.Settings{AccessKeyID: "a"}},
		"a token alone":  {ARN: queue, Settings: awsclient.Settings{SessionToken: "a"}},
		"no queue's URL": {ARN: queue, QueueURL: "images"},
	} {
		if _, err := sqs.New(s); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	// Without fixed credentials the SDK looks for some when it sends.
	t.Setenv("AWS_ACCESS_KEY_ID", awstest.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", awstest.SecretAccessKey)
	server := awstest.Start(t, queue)
	sink, err := sqs.New(sqs.Settings{ARN: queue, Settings: awsclient.Settings{Endpoint: server.URL()}, QueueURL: server.URL() + "/111122223333/images"})
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Send(t.Context(), sinktest.Message("a", 1)); err != nil || len(server.Taken(queue)) != 1 {
		t.Error(err)
	}
}
