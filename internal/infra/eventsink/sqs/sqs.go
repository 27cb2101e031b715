// Package sqs sends events to a queue of Amazon SQS, or of a service that speaks its
// protocol. On FIFO queues the events of a repository are a message group, and the
// event's id tells duplicates.
//
// It makes no queues, and reads none.
package sqs

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/eventsink/awsclient"
)

// Settings are a queue's.
type Settings struct {
	awsclient.Settings
	// ARN is the queue's: arn:aws:sqs:us-east-1:111122223333:images.
	ARN string
	// QueueURL is its URL; "" makes it of the ARN: the endpoint, account and name.
	QueueURL string
}

type sink struct {
	client *sqs.Client
	queue  string
	fifo   bool
}

// New checks the settings and returns the sink. It connects to nothing.
func New(s Settings) (eventsink.Sink, error) {
	t, err := awsclient.Parse(s.ARN, "sqs", "arn:aws:sqs:us-east-1:111122223333:images")
	if err != nil {
		return nil, err
	}
	c, err := awsclient.Load(s.Settings, t)
	if err != nil {
		return nil, err
	}
	if s.QueueURL == "" {
		s.QueueURL = queueURL(s.Endpoint, c.Region, t)
	} else if u, err := url.Parse(s.QueueURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("the queue's URL is none; take one such as https://sqs.us-east-1.amazonaws.com/111122223333/images")
	}
	return &sink{client: sqs.NewFromConfig(c), queue: s.QueueURL, fifo: awsclient.IsFIFO(t.Resource)}, nil
}

func queueURL(endpoint, region string, t awsclient.Target) string {
	if endpoint == "" {
		domain := "amazonaws.com"
		if t.Partition == "aws-cn" {
			domain = "amazonaws.com.cn"
		}
		endpoint = "https://sqs." + region + "." + domain
	}
	return strings.TrimSuffix(endpoint, "/") + "/" + t.Account + "/" + t.Resource
}

// Send puts the message's body into the queue.
func (s *sink) Send(ctx context.Context, m eventsink.Message) error {
	ctx, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	in := &sqs.SendMessageInput{QueueUrl: aws.String(s.queue), MessageBody: aws.String(string(m.Body))}
	switch {
	case s.fifo:
		in.MessageGroupId, in.MessageDeduplicationId = aws.String(awsclient.Group(m)), aws.String(m.ID)
	case m.Parameters.MessageGroupID != "": // of standard queues: fair ones
		in.MessageGroupId = aws.String(awsclient.Group(m))
	}
	_, err := s.client.SendMessage(ctx, in)
	return awsclient.Failed("the queue", err, "InvalidMessageContents", "InvalidParameterValue", "MissingParameter")
}

// Close does nothing: connections end by themselves.
func (s *sink) Close() error { return nil }
