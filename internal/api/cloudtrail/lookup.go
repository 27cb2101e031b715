package cloudtrail

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/errs"
)

// lookupInput is what LookupEvents takes. CloudTrail has an error of its own for numbers of
// results, where AWS's framework would have refused them.
type lookupInput LookupEventsInput

// Validate holds the input against the limits of the service model.
func (in *lookupInput) Validate() error {
	rest := LookupEventsInput(*in)
	rest.MaxResults = nil
	if err := rest.Validate(); err != nil {
		return err
	}
	if n := in.MaxResults; n != nil && (*n < 1 || *n > lookup.MaxLimit) {
		return errs.New(errs.PageSizeInvalid, "A max results value of %d is invalid. Specify max results between 1 and %d.", *n, lookup.MaxLimit)
	}
	return nil
}

func invalidToken() error {
	return errs.New(errs.InvalidInput, "The token is not valid, or it was used before in a request with different parameters.")
}

func (a *API) lookupEvents(ctx context.Context, c *aws.Call, in *lookupInput) (*LookupEventsOutput, error) {
	q := lookup.Query{Account: c.Registry.Account, Region: c.Region, Limit: lookup.MaxLimit}
	switch {
	case in.EventCategory != nil:
		return nil, errs.New(errs.InvalidParameter, "There are no Insights events here. Leave EventCategory out.")
	case len(in.LookupAttributes) > 1:
		return nil, errs.New(errs.LookupAttributesInvalid, "You can specify one lookup attribute only.")
	case in.StartTime != nil && in.EndTime != nil && in.StartTime.After(in.EndTime.Time):
		return nil, errs.New(errs.TimeRangeInvalid, "The start time must not be after the end time.")
	}
	if in.MaxResults != nil {
		q.Limit = int(*in.MaxResults)
	}
	if in.StartTime != nil {
		q.From = in.StartTime.Time
	}
	if in.EndTime != nil {
		q.To = in.EndTime.Time
	}
	for _, at := range in.LookupAttributes {
		q.Attribute, q.Value = string(*at.AttributeKey), *at.AttributeValue
		if q.Attribute == lookup.ReadOnly {
			if q.Value = strings.ToLower(q.Value); q.Value != "true" && q.Value != "false" {
				return nil, errs.New(errs.LookupAttributesInvalid, "The value of the attribute ReadOnly has to be true or false.")
			}
		}
	}
	before, err := a.tokens.Cursor(scope(q), in.NextToken)
	if err != nil {
		return nil, invalidToken()
	}
	q.Before = lookup.Cursor(before)
	page, next, err := a.Lookup.Find(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &LookupEventsOutput{Events: []Event{}, NextToken: a.tokens.Token(scope(q), string(next))}
	for _, e := range page {
		out.Events = append(out.Events, eventShape(e))
	}
	return out, nil
}

// scope is what a page token belongs to: all that the pages of one search have in common.
func scope(q lookup.Query) string {
	return strings.Join([]string{"LookupEvents", string(q.Account), string(q.Region), q.Attribute, q.Value, when(q.From), when(q.To)}, "\x00")
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMicro(), 10)
}

func eventShape(e lookup.Event) Event {
	out := Event{
		EventId: &e.ID, EventName: &e.Name, ReadOnly: new(strconv.FormatBool(e.ReadOnly)), AccessKeyId: optional(e.AccessKeyID), EventTime: shape.At(e.Time),
		EventSource: &e.Source, Username: optional(e.Username), Resources: []Resource{}, CloudTrailEvent: &e.Record,
	}
	for _, r := range e.Resources {
		out.Resources = append(out.Resources, Resource{ResourceType: optional(r.Type), ResourceName: &r.Name})
	}
	return out
}
