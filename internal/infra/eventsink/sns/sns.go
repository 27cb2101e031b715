// Package sns publishes events to a topic of Amazon SNS, or of a service that speaks its
// protocol. On FIFO topics the events of a repository are a message group, and the
// event's id tells duplicates.
//
// It makes no topics and no subscriptions.
package sns

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/eventsink/awsclient"
)

// Settings are a topic's.
type Settings struct {
	awsclient.Settings
	// ARN is the topic's: arn:aws:sns:us-east-1:111122223333:images.
	ARN string
}

type sink struct {
	client *sns.Client
	topic  string
	fifo   bool
}

// New checks the settings and returns the sink. It connects to nothing.
func New(s Settings) (eventsink.Sink, error) {
	t, err := awsclient.Parse(s.ARN, "sns", "arn:aws:sns:us-east-1:111122223333:images")
	if err != nil {
		return nil, err
	}
	c, err := awsclient.Load(s.Settings, t)
	if err != nil {
		return nil, err
	}
	return &sink{client: sns.NewFromConfig(c), topic: s.ARN, fifo: awsclient.IsFIFO(t.Resource)}, nil
}

// Send publishes the message's body.
func (s *sink) Send(ctx context.Context, m eventsink.Message) error {
	ctx, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	in := &sns.PublishInput{TopicArn: aws.String(s.topic), Message: aws.String(string(m.Body))}
	if s.fifo {
		in.MessageGroupId, in.MessageDeduplicationId = aws.String(awsclient.Group(m)), aws.String(m.ID)
	}
	_, err := s.client.Publish(ctx, in)
	return awsclient.Failed("the topic", err, "InvalidParameter", "InvalidParameterException", "InvalidParameterValue", "ParameterValueInvalid")
}

// Close does nothing: connections end by themselves.
func (s *sink) Close() error { return nil }
