// Package eventbridge sends events on to a bus of Amazon EventBridge, or of a service
// that speaks its protocol, by PutEvents.
//
// EventBridge takes no events whose source begins with "aws.", so the source's prefix is
// another one there; and it gives each event an id of its own, so the first one is lost
// unless the detail is to hold it.
package eventbridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/eventsink/awsclient"
)

// DefaultSourcePrefix stands in place of "aws." in the source of events.
const DefaultSourcePrefix = "berth."

// Settings are a bus's.
type Settings struct {
	awsclient.Settings
	// ARN is the bus's: arn:aws:events:us-east-1:111122223333:event-bus/default.
	ARN string
	// SourcePrefix takes the place of "aws.", "" for DefaultSourcePrefix. "aws." leaves
	// the source alone, for services that take it.
	SourcePrefix string
	// IDMember is a member that the detail gets, with the event's id; "" adds none.
	IDMember string
}

type sink struct {
	Settings
	client *eventbridge.Client
}

var (
	prefixForm = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}\.$`)
	memberForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)
)

// New checks the settings and returns the sink. It connects to nothing.
func New(s Settings) (eventsink.Sink, error) {
	const example = "arn:aws:events:us-east-1:111122223333:event-bus/default"
	t, err := awsclient.Parse(s.ARN, "events", example)
	if err != nil {
		return nil, err
	}
	if bus, ok := strings.CutPrefix(t.Resource, "event-bus/"); !ok || bus == "" {
		return nil, fmt.Errorf("%q is no ARN of an event bus; take one such as %s", s.ARN, example)
	}
	if s.SourcePrefix == "" {
		s.SourcePrefix = DefaultSourcePrefix
	}
	if !prefixForm.MatchString(s.SourcePrefix) {
		return nil, fmt.Errorf("%q is no prefix of a source; take one such as %s", s.SourcePrefix, DefaultSourcePrefix)
	}
	if s.IDMember != "" && !memberForm.MatchString(s.IDMember) {
		return nil, fmt.Errorf("%q is no name of a member; take one such as event-id", s.IDMember)
	}
	c, err := awsclient.Load(s.Settings, t)
	if err != nil {
		return nil, err
	}
	return &sink{Settings: s, client: eventbridge.NewFromConfig(c)}, nil
}

// Send puts the event onto the bus. Where the target's input has made something else of
// it, that is the detail, and has to be a JSON object.
func (s *sink) Send(ctx context.Context, m eventsink.Message) error {
	ctx, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	entry, err := s.entry(m)
	if err != nil {
		return eventsink.Permanent(err)
	}
	out, err := s.client.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{entry}})
	if err != nil {
		return awsclient.Failed("the bus", err, "ValidationException")
	}
	for _, e := range out.Entries {
		if e.ErrorCode == nil {
			continue
		}
		err := fmt.Errorf("the bus: %s: %s", *e.ErrorCode, aws.ToString(e.ErrorMessage))
		switch *e.ErrorCode {
		case "InvalidArgument", "MalformedDetail", "ValidationException":
			return eventsink.Permanent(err)
		}
		return err
	}
	if len(out.Entries) != 1 || out.FailedEntryCount != 0 {
		return errors.New("the bus has not said that it took the event")
	}
	return nil
}

func (s *sink) entry(m eventsink.Message) (types.PutEventsRequestEntry, error) {
	var event struct {
		Resources []string        `json:"resources"`
		Detail    json.RawMessage `json:"detail"`
	}
	if err := json.Unmarshal(m.Event, &event); err != nil {
		return types.PutEventsRequestEntry{}, errors.New("the event is no JSON object")
	}
	detail := []byte(event.Detail)
	if !bytes.Equal(m.Body, m.Event) {
		detail = m.Body
	}
	detail, err := s.identified(detail, m.ID)
	if err != nil {
		return types.PutEventsRequestEntry{}, err
	}
	source := m.Source
	if rest, ok := strings.CutPrefix(source, "aws."); ok {
		source = s.SourcePrefix + rest
	}
	return types.PutEventsRequestEntry{
		EventBusName: aws.String(s.ARN), Source: aws.String(source), DetailType: aws.String(m.DetailType),
		Detail: aws.String(string(detail)), Time: aws.Time(m.Time), Resources: event.Resources,
	}, nil
}

// identified is the detail with the event's id, as its last member.
func (s *sink) identified(detail []byte, id string) ([]byte, error) {
	detail = bytes.TrimSpace(detail)
	var members map[string]json.RawMessage
	if err := json.Unmarshal(detail, &members); err != nil || members == nil {
		return nil, errors.New("the input of a target that is an event bus has to be a JSON object; remove InputPath or InputTransformer, or have them make one")
	}
	if _, there := members[s.IDMember]; s.IDMember == "" || there {
		return detail, nil
	}
	value, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	comma := ","
	if len(members) == 0 {
		comma = ""
	}
	return fmt.Appendf(nil, "%s%s%q:%s}", detail[:len(detail)-1], comma, s.IDMember, value), nil
}

// Close does nothing: connections end by themselves.
func (s *sink) Close() error { return nil }
