// Package eventsink is where events go: what is sent, and what every target of events
// can do. The targets are its sub-packages: webhook, file, sqs, sns, nats and
// eventbridge.
//
// It does not decide which event goes where, when a failed one is sent again, or when
// it is given up; domain/event/delivery does.
package eventsink

import (
	"context"
	"errors"
	"time"
)

// Message is one event for one target.
type Message struct {
	// ID is the event's id, a UUID. It is the same in every try, so that receivers
	// know duplicates by it.
	ID string
	// Body is what the target gets: the event itself, or what the target's input makes
	// of it. It is JSON or, from an input transformer, any text.
	Body []byte
	// Event is the whole event in EventBridge's envelope, for targets that take it
	// apart.
	Event []byte
	// Time is when the event occurred.
	Time time.Time
	// Source and DetailType are the event's: "aws.ecr", "ECR Image Action".
	Source, DetailType string
	// Group is what messages are in order by: the repository's ARN, "" for none.
	Group string
	// Rule is the ARN of the rule that sends it.
	Rule string
	// Try is 1 for the first.
	Try int
	// Parameters are the target's own settings for this rule.
	Parameters Parameters
}

// Parameters are what a target of a rule may set for itself, by EventBridge's names.
type Parameters struct {
	// MessageGroupID is SqsParameters.MessageGroupId; "" takes the Group of the message.
	MessageGroupID string `json:"messageGroupId,omitempty"`
	// Header, Query and Path are HttpParameters, for webhooks.
	Header map[string]string `json:"header,omitempty"`
	Query  map[string]string `json:"query,omitempty"`
	Path   []string          `json:"path,omitempty"`
}

// Sink takes messages. It is safe for concurrent use.
type Sink interface {
	// Send returns once the target has taken the message for good. An error says that
	// it may not have; one that is or wraps a Permanent one, that trying again does not
	// help. The error's text is for operators and holds no secret.
	Send(ctx context.Context, m Message) error
	// Close gives connections up.
	Close() error
}

// Permanent marks a failure that no later try can mend. It is nil if err is.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

// IsPermanent says whether err is or wraps a Permanent one.
func IsPermanent(err error) bool {
	var p *permanent
	return errors.As(err, &p)
}

type permanent struct{ error }

// Unwrap gives the failure itself.
func (p *permanent) Unwrap() error { return p.error }
