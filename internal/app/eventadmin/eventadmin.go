// Package eventadmin is what the administration socket does with events: it lists what
// could not be delivered, has it sent again, or drops it (this file), and keeps the
// destinations.
//
// It holds no rules of its own; those are in domain/event/delivery and
// domain/event/destination. App gives it its routes.
package eventadmin

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/berth-registry/berth/internal/app/adminwire"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/delivery"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Deliveries administers deliveries.
type Deliveries struct {
	Delivery *delivery.Service
}

// Delivery is an event on its way to a target, as operators see it.
type Delivery struct {
	// ID is a number that JavaScript would round, so it is text.
	ID         string         `json:"id"`
	Account    name.AccountID `json:"account"`
	Region     name.Region    `json:"region"`
	EventID    string         `json:"eventId"`
	DetailType string         `json:"detailType"`
	Repository string         `json:"repository,omitempty"` // an ARN
	Rule       string         `json:"rule"`
	Target     string         `json:"target"`
	TargetARN  string         `json:"targetArn"`
	State      delivery.State `json:"state"`
	Occurred   time.Time      `json:"occurred"`
	Attempts   int64          `json:"attempts"`
	Tried      time.Time      `json:"tried,omitzero"`
	LastError  string         `json:"lastError,omitempty"`
	// Next is when a pending one is tried; absent where others of its repository go first.
	Next            time.Time       `json:"next,omitzero"`
	Died            time.Time       `json:"died,omitzero"`
	DeadLetter      string          `json:"deadLetter,omitempty"` // an ARN
	DeadLetterSent  bool            `json:"deadLetterSent,omitempty"`
	DeadLetterError string          `json:"deadLetterError,omitempty"`
	Event           json.RawMessage `json:"event,omitempty"` // when one is shown
}

func shown(d delivery.Delivery) Delivery {
	return Delivery{
		ID: strconv.FormatInt(d.ID, 10), Account: d.Registry.Account, Region: d.Registry.Region, EventID: d.MessageID, DetailType: d.DetailType,
		Repository: d.Repository, Rule: d.Rule, Target: d.Target, TargetARN: d.TargetARN, State: d.State, Occurred: d.OccurredAt, Attempts: d.Attempts,
		Tried: d.TriedAt, LastError: d.LastError, Next: d.NextAt, Died: d.DiedAt, DeadLetter: d.DeadLetter, DeadLetterSent: d.LetterSent,
		DeadLetterError: d.LetterError, Event: d.Event,
	}
}

// ListRequest asks for a page of deliveries.
type ListRequest struct {
	State      delivery.State  `json:"state,omitempty"`      // "": all
	Account    name.AccountID  `json:"account,omitempty"`    // "": all
	Rule       string          `json:"rule,omitempty"`       // "": all
	Repository name.Repository `json:"repository,omitempty"` // "": all
	After      string          `json:"after,omitempty"`      // of the page before
}

// Page is a page of deliveries, oldest first.
type Page struct {
	Deliveries []Delivery `json:"deliveries"`
	After      string     `json:"after,omitempty"` // "": there is no further page
}

// pageSize is how many deliveries a page has.
const pageSize = 200

// List lists deliveries.
func (s Deliveries) List(ctx context.Context, in ListRequest) (Page, error) {
	f := delivery.Filter{State: in.State, Account: in.Account, Rule: in.Rule, Repository: in.Repository, Limit: pageSize}
	if in.After != "" {
		after, err := parse(in.After)
		if err != nil {
			return Page{}, err
		}
		f.After = after
	}
	all, next, err := s.Delivery.List(ctx, f)
	out := Page{Deliveries: []Delivery{}} // "[]" in JSON
	for _, d := range all {
		out.Deliveries = append(out.Deliveries, shown(d))
	}
	if next != 0 {
		out.After = strconv.FormatInt(next, 10)
	}
	return out, err
}

// Target names a delivery.
type Target struct {
	ID string `json:"id"`
}

func parse(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 0 {
		return 0, errs.New(errs.InvalidParameter, "%q is no id of a delivery. Take one from berth events list.", id)
	}
	return n, nil
}

// Show shows a delivery with its event.
func (s Deliveries) Show(ctx context.Context, in Target) (Delivery, error) {
	id, err := parse(in.ID)
	if err != nil {
		return Delivery{}, err
	}
	d, err := s.Delivery.Show(ctx, id)
	return shown(d), err
}

// Done is the answer of a change: the delivery that it was about.
type Done struct {
	ID string `json:"id"`
}

// Retry has a delivery sent again.
func (s Deliveries) Retry(ctx context.Context, in Target) (Done, error) {
	return change(ctx, in, s.Delivery.Retry)
}

// Drop removes a delivery.
func (s Deliveries) Drop(ctx context.Context, in Target) (Done, error) {
	return change(ctx, in, s.Delivery.Drop)
}

func change(ctx context.Context, in Target, do func(context.Context, int64) error) (Done, error) {
	id, err := parse(in.ID)
	if err != nil {
		return Done{}, err
	}
	return Done(in), do(ctx, id)
}

// Routes adds the administration of deliveries.
func (s Deliveries) Routes(mux *http.ServeMux) {
	mux.HandleFunc("POST /events/list", adminwire.Answer(s.List))
	mux.HandleFunc("POST /events/show", adminwire.Answer(s.Show))
	mux.HandleFunc("POST /events/retry", adminwire.Answer(s.Retry))
	mux.HandleFunc("POST /events/drop", adminwire.Answer(s.Drop))
}
