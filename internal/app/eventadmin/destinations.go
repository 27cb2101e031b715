package eventadmin

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/app/adminwire"
	"github.com/berth-registry/berth/internal/app/eventing"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/destination"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/eventsink"
)

// Destinations administers destinations. Everything is needed.
type Destinations struct {
	Destinations *destination.Service
	Senders      *eventing.Senders
	// Default is the account and region of requests that name none; Regions are those
	// that are served.
	Default name.Registry
	Regions []name.Region
}

// DestinationHome is whose rules may send to a destination.
type DestinationHome struct {
	Account name.AccountID `json:"account,omitempty"` // "": the default one
	Region  name.Region    `json:"region,omitempty"`  // "": the default one
}

// home reads it. errs.InvalidParameter.
func (s Destinations) home(in DestinationHome) (name.Registry, error) {
	out := s.Default
	if in.Account != "" {
		account, err := name.ParseAccountID(string(in.Account))
		if err != nil {
			return name.Registry{}, errs.New(errs.InvalidParameter, "%q is no account. An account's id has 12 digits.", in.Account)
		}
		out.Account = account
	}
	if in.Region != "" {
		if !slices.Contains(s.Regions, in.Region) {
			return name.Registry{}, errs.New(errs.InvalidParameter, "The region %q is not served here. There are %q.", in.Region, s.Regions)
		}
		out.Region = in.Region
	}
	return out, nil
}

// Destination is a destination as operators see it.
type Destination struct {
	Name     string           `json:"name"`
	Kind     destination.Kind `json:"kind"`
	Account  name.AccountID   `json:"account"`
	Region   name.Region      `json:"region"`
	ARN      string           `json:"arn"`
	Settings json.RawMessage  `json:"settings"`
	// Secrets are the names of those that it has; what they are is not shown.
	Secrets []string  `json:"secrets"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`
}

func destinationOf(d destination.Destination) Destination {
	return Destination{
		Name: d.Name, Kind: d.Kind, Account: d.Home.Account, Region: d.Home.Region, ARN: d.ARN, Settings: d.Settings,
		Secrets: append([]string{}, d.SecretNames...), Created: d.CreatedAt, Changed: d.ChangedAt, // "[]" in JSON
	}
}

// DestinationCreate asks for a destination. What settings and secrets there are is
// eventing's.
type DestinationCreate struct {
	DestinationHome
	Name     string            `json:"name"`
	Kind     destination.Kind  `json:"kind"`
	ARN      string            `json:"arn,omitempty"` // of a queue, a topic or a bus
	Settings json.RawMessage   `json:"settings,omitempty"`
	Secrets  map[string]string `json:"secrets,omitempty"`
	// SigningSecret is a webhook's, "" for one that is made.
	SigningSecret string `json:"signingSecret,omitempty"`
}

// DestinationSecret is a destination with the secret that was made for it.
type DestinationSecret struct {
	Destination
	SigningSecret string `json:"signingSecret,omitempty"`
}

// Create makes a destination.
func (s Destinations) Create(ctx context.Context, in DestinationCreate) (DestinationSecret, error) {
	home, err := s.home(in.DestinationHome)
	if err != nil {
		return DestinationSecret{}, err
	}
	d, secret, err := s.Destinations.Create(ctx, destination.Create{
		Home: home, Name: in.Name, Kind: in.Kind, ARN: in.ARN, Settings: in.Settings, Values: in.Secrets, Signing: in.SigningSecret,
	})
	return DestinationSecret{destinationOf(d), secret}, err
}

// DestinationList is destinations, by account, region and name.
type DestinationList struct {
	Destinations []Destination `json:"destinations"`
}

// List lists destinations; without an account those of all, and so for the region.
func (s Destinations) List(ctx context.Context, in DestinationHome) (DestinationList, error) {
	if _, err := s.home(in); err != nil {
		return DestinationList{}, err
	}
	all, err := s.Destinations.List(ctx, in.Account, in.Region)
	out := DestinationList{[]Destination{}} // "[]" in JSON
	for _, d := range all {
		out.Destinations = append(out.Destinations, destinationOf(d))
	}
	return out, err
}

// DestinationTarget names a destination.
type DestinationTarget struct {
	DestinationHome
	// Destination is its name or its ARN.
	Destination string `json:"destination"`
	Force       bool   `json:"force,omitempty"` // for a deletion alone
}

// Show shows a destination.
func (s Destinations) Show(ctx context.Context, in DestinationTarget) (Destination, error) {
	home, err := s.home(in.DestinationHome)
	if err != nil {
		return Destination{}, err
	}
	d, err := s.Destinations.Describe(ctx, home, in.Destination)
	return destinationOf(d), err
}

// Delete removes a destination.
func (s Destinations) Delete(ctx context.Context, in DestinationTarget) (Destination, error) {
	home, err := s.home(in.DestinationHome)
	if err != nil {
		return Destination{}, err
	}
	d, err := s.Destinations.Delete(ctx, home, in.Destination, in.Force)
	return destinationOf(d), err
}

// RotateSecret gives a webhook a new signing secret beside its old one.
func (s Destinations) RotateSecret(ctx context.Context, in DestinationTarget) (DestinationSecret, error) {
	home, err := s.home(in.DestinationHome)
	if err != nil {
		return DestinationSecret{}, err
	}
	d, secret, err := s.Destinations.RotateSecret(ctx, home, in.Destination)
	return DestinationSecret{destinationOf(d), secret}, err
}

// DestinationTest is what came of a sample event.
type DestinationTest struct {
	// ID is the event's.
	ID string `json:"id"`
	// Error is why it was not taken, "" when it was; Permanent, that trying again would
	// not help.
	Error     string `json:"error,omitempty"`
	Permanent bool   `json:"permanent,omitempty"`
}

// Test sends a sample event to a destination.
func (s Destinations) Test(ctx context.Context, in DestinationTarget) (DestinationTest, error) {
	home, err := s.home(in.DestinationHome)
	if err != nil {
		return DestinationTest{}, err
	}
	id, err := s.Senders.Try(ctx, home, in.Destination)
	if id == "" || errs.CodeOf(err) != errs.Internal { // nothing was sent
		return DestinationTest{ID: id}, err
	}
	out := DestinationTest{ID: id, Permanent: eventsink.IsPermanent(err)}
	if err != nil {
		out.Error = err.Error()
	}
	return out, nil
}

// Routes adds the administration of destinations.
func (s Destinations) Routes(mux *http.ServeMux) {
	mux.HandleFunc("POST /events/destinations/create", adminwire.Answer(s.Create))
	mux.HandleFunc("POST /events/destinations/list", adminwire.Answer(s.List))
	mux.HandleFunc("POST /events/destinations/show", adminwire.Answer(s.Show))
	mux.HandleFunc("POST /events/destinations/delete", adminwire.Answer(s.Delete))
	mux.HandleFunc("POST /events/destinations/rotate-secret", adminwire.Answer(s.RotateSecret))
	mux.HandleFunc("POST /events/destinations/test", adminwire.Answer(s.Test))
}
