package eventing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/event/destination"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/eventsink/awsclient"
	"github.com/berth-registry/berth/internal/infra/eventsink/eventbridge"
	"github.com/berth-registry/berth/internal/infra/eventsink/file"
	"github.com/berth-registry/berth/internal/infra/eventsink/nats"
	"github.com/berth-registry/berth/internal/infra/eventsink/sns"
	"github.com/berth-registry/berth/internal/infra/eventsink/sqs"
	"github.com/berth-registry/berth/internal/infra/eventsink/webhook"
)

// The names of secrets among destination.Secrets.Values. HeaderPrefix and a header's name
// is that of a webhook's header.
const (
	HeaderPrefix       = "header:"
	SecretAccessKey    = "secretAccessKey"
	SecretSessionToken = "sessionToken"
	SecretPassword     = "password"
	SecretToken        = "token"
	SecretNKey         = "nkey"
	SecretCreds        = "creds"
	maxHeaders         = 50
	anyHeaders         = HeaderPrefix + "*"
)

// WebhookSettings are the settings of a webhook. Headers are among its secrets.
type WebhookSettings struct {
	URL string `json:"url"`
	// TimeoutSeconds is for a whole try, 0 for 15, 60 at most.
	TimeoutSeconds int `json:"timeoutSeconds,omitempty"`
	// CA is certificates in PEM to trust in place of the system's.
	CA string `json:"ca,omitempty"`
}

// FileSettings are the settings of a file.
type FileSettings struct {
	// Path is below the directory that the operator has configured.
	Path string `json:"path"`
}

// AWSSettings are what queues, topics and buses have.
type AWSSettings struct {
	// Region is "" for that of the ARN, Endpoint "" for AWS's own. Without an access key
	// the server's own credentials of AWS are taken.
	Region      string `json:"region,omitempty"`
	Endpoint    string `json:"endpoint,omitempty"`
	AccessKeyID string `json:"accessKeyId,omitempty"`
}

// SQSSettings are the settings of a queue.
type SQSSettings struct {
	AWSSettings
	// QueueURL is "" where the endpoint, the account and the name make it.
	QueueURL string `json:"queueUrl,omitempty"`
}

// SNSSettings are the settings of a topic.
type SNSSettings struct{ AWSSettings }

// EventBridgeSettings are the settings of a bus.
type EventBridgeSettings struct {
	AWSSettings
	// SourcePrefix takes the place of "aws." in sources, "" for "berth.".
	SourcePrefix string `json:"sourcePrefix,omitempty"`
	// IDMember is the member of the detail that gets the event's id, "" for none.
	IDMember string `json:"idMember,omitempty"`
}

// NATSSettings are the settings of a NATS server and subject.
type NATSSettings struct {
	// URL is a server or several, with commas between.
	URL string `json:"url"`
	// Subject is a template, "" for "berth.{account}.{region}.{repository}".
	Subject   string `json:"subject,omitempty"`
	JetStream bool   `json:"jetstream,omitempty"`
	User      string `json:"user,omitempty"`
	CA        string `json:"ca,omitempty"`
}

// Maker makes sinks of destinations.
type Maker struct {
	// AllowPrivate and AllowHTTP are whether webhooks may be at addresses that are not
	// public ones, and without TLS.
	AllowPrivate, AllowHTTP bool
	// Files is the directory below which destinations write files, "" for nowhere.
	Files string
	Clock clock.Clock
}

// Check says what is wrong with a destination, in words for operators.
func (m Maker) Check(o destination.Opened) error {
	s, err := m.Make(o)
	if err != nil {
		return err
	}
	return s.Close()
}

// Make makes the sink of a destination. It connects to nothing.
func (m Maker) Make(o destination.Opened) (eventsink.Sink, error) {
	switch o.Kind {
	case destination.Webhook:
		return m.webhook(o)
	case destination.File:
		s, err := settings[FileSettings](o)
		if err != nil {
			return nil, err
		}
		return file.New(file.Settings{Directory: m.Files, Path: s.Path})
	case destination.NATS:
		s, err := settings[NATSSettings](o, SecretPassword, SecretToken, SecretNKey, SecretCreds)
		if err != nil {
			return nil, err
		}
		v := o.Secrets.Values
		return nats.New(nats.Settings{
			URL: s.URL, Subject: s.Subject, JetStream: s.JetStream, User: s.User, CA: s.CA,
			Password: v[SecretPassword], Token: v[SecretToken], NKey: v[SecretNKey], Creds: v[SecretCreds],
		})
	case destination.SQS:
		s, err := settings[SQSSettings](o, SecretAccessKey, SecretSessionToken)
		if err != nil {
			return nil, err
		}
		return sqs.New(sqs.Settings{Settings: s.client(o), ARN: o.ARN, QueueURL: s.QueueURL})
	case destination.SNS:
		s, err := settings[SNSSettings](o, SecretAccessKey, SecretSessionToken)
		if err != nil {
			return nil, err
		}
		return sns.New(sns.Settings{Settings: s.client(o), ARN: o.ARN})
	case destination.EventBridge:
		s, err := settings[EventBridgeSettings](o, SecretAccessKey, SecretSessionToken)
		if err != nil {
			return nil, err
		}
		return eventbridge.New(eventbridge.Settings{Settings: s.client(o), ARN: o.ARN, SourcePrefix: s.SourcePrefix, IDMember: s.IDMember})
	}
	return nil, fmt.Errorf("%q is no kind of destination", o.Kind)
}

func (m Maker) webhook(o destination.Opened) (eventsink.Sink, error) {
	s, err := settings[WebhookSettings](o, anyHeaders)
	if err != nil {
		return nil, err
	}
	in := webhook.Settings{
		URL: s.URL, CA: s.CA, Timeout: time.Duration(s.TimeoutSeconds) * time.Second,
		Headers: map[string]string{}, AllowPrivate: m.AllowPrivate, AllowHTTP: m.AllowHTTP, Clock: m.Clock,
	}
	for name, value := range o.Secrets.Values {
		in.Headers[strings.TrimPrefix(name, HeaderPrefix)] = value
	}
	if len(in.Headers) > maxHeaders {
		return nil, fmt.Errorf("a webhook has %d headers at most", maxHeaders)
	}
	for _, held := range o.Secrets.Signing {
		in.Secrets = append(in.Secrets, webhook.Secret{Value: held.Value, Until: held.Until})
	}
	return webhook.New(in)
}

func (s AWSSettings) client(o destination.Opened) awsclient.Settings {
	return awsclient.Settings{
		Region: s.Region, Endpoint: s.Endpoint, AccessKeyID: s.AccessKeyID,
		SecretAccessKey: o.Secrets.Values[SecretAccessKey], SessionToken: o.Secrets.Values[SecretSessionToken],
	}
}

// settings reads a destination's settings strictly, and refuses secrets of other kinds.
func settings[S any](o destination.Opened, secrets ...string) (s S, err error) {
	for name := range o.Secrets.Values {
		if !slices.Contains(secrets, name) && (!slices.Contains(secrets, anyHeaders) || !strings.HasPrefix(name, HeaderPrefix)) {
			return s, fmt.Errorf("a destination of the kind %s has no secret %q", o.Kind, name)
		}
	}
	d := json.NewDecoder(bytes.NewReader(o.Settings))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, fmt.Errorf("the settings are none of the kind %s: %w", o.Kind, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return s, errors.New("something stands behind the settings")
	}
	return s, nil
}
