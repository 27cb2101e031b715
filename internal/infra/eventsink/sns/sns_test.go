package sns_test

import (
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/eventsink/awsclient"
	"github.com/berth-registry/berth/internal/infra/eventsink/awstest"
	"github.com/berth-registry/berth/internal/infra/eventsink/sinktest"
	"github.com/berth-registry/berth/internal/infra/eventsink/sns"
)

const (
	topic = "arn:aws:sns:eu-west-1:111122223333:images"
	fifo  = topic + ".fifo"
)

func open(t *testing.T, s *awstest.Server, arn string) eventsink.Sink {
	t.Helper()
	sink, err := sns.New(sns.Settings{ARN: arn, Settings: awsclient.Settings{
		Endpoint: s.URL(), AccessKeyID: awstest.AccessKeyID, SecretAccessKey: awstest.SecretAccessKey,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

func suite(t *testing.T, arn string) {
	sinktest.Run(t, func(t *testing.T) sinktest.Target {
		s := awstest.Start(t, topic, fifo)
		return sinktest.Target{
			New: func(t *testing.T) eventsink.Sink { return open(t, s, arn) },
			Received: func() (all []sinktest.Received) {
				for _, m := range s.Taken(arn) {
					all = append(all, sinktest.Received{ID: m.Deduplication, Body: m.Body})
				}
				return all
			},
			Down: s.Down, Up: s.Up, Secrets: []string{awstest.SecretAccessKey}, Anonymous: arn == topic, Distinct: arn == fifo,
		}
	})
}

func TestSuite(t *testing.T)     { suite(t, topic) }
func TestFIFOSuite(t *testing.T) { suite(t, fifo) }

func TestFailures(t *testing.T) {
	s := awstest.Start(t, topic)
	if err := open(t, s, topic).Send(t.Context(), sinktest.With(sinktest.Message("a", 1), "\x01")); !eventsink.IsPermanent(err) {
		t.Errorf("a body that no topic takes: %v", err)
	}
	if err := open(t, s, fifo).Send(t.Context(), sinktest.Message("a", 1)); err == nil || eventsink.IsPermanent(err) || !strings.Contains(err.Error(), "ResourceNotFound") {
		t.Errorf("no topic: %v", err)
	}
	if _, err := sns.New(sns.Settings{ARN: "arn:aws:sqs:eu-west-1:111122223333:images"}); err == nil {
		t.Error("a queue is taken for a topic")
	}
}
