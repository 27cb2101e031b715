// Package destination keeps where events may be sent: webhooks, files, queues and
// topics, NATS and other buses, of an account and region each, with their settings and,
// sealed, their secrets. Rules name them by ARN.
//
// It does not know what settings mean, which Config.Check says, and sends nothing
// (infra/eventsink, wired in app/eventing). Which event goes where is domain/event/rule.
package destination

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Kind is what a destination is.
type Kind string

// The kinds.
const (
	Webhook     Kind = "webhook"
	File        Kind = "file"
	NATS        Kind = "nats"
	SQS         Kind = "sqs"
	SNS         Kind = "sns"
	EventBridge Kind = "eventbridge"
)

// Kinds are all kinds.
func Kinds() []Kind { return []Kind{Webhook, File, NATS, SQS, SNS, EventBridge} }

// named says whether a destination of the kind has an ARN of its own, as AWS gives it;
// ok is false for what is no kind.
func (k Kind) named() (own, ok bool) {
	switch k {
	case Webhook, File, NATS:
		return false, true
	case SQS, SNS, EventBridge:
		return true, true
	}
	return false, false
}

const (
	// Overlap is how long a webhook's old secret signs beside its new one.
	Overlap = 24 * time.Hour

	// maxDestinations is how many an account has in a region; AWS has 3,000 API
	// destinations, which are made by programs there, and by operators here.
	maxDestinations = 1000
	// maxSettings bounds settings and secrets, in bytes of JSON each.
	maxSettings = 64 << 10
)

// nameForm is that of EventBridge's API destinations.
var nameForm = regexp.MustCompile(`^[.\-_A-Za-z0-9]{1,64}$`)

// Destination is one, without its secrets.
type Destination struct {
	// ID is never used again; Version counts changes, from 1.
	ID, Version int64
	// Home is the account and region whose rules may name it.
	Home name.Registry
	Name string
	Kind Kind
	ARN  string
	// Settings are the kind's, a JSON object.
	Settings json.RawMessage
	// SecretNames say which secrets there are, in order; "signing" is a webhook's.
	SecretNames          []string
	CreatedAt, ChangedAt time.Time
}

// Signing is a secret that a webhook signs with.
type Signing struct {
	Value string `json:"value"`
	// Until is when it signs no more, zero for never.
	Until time.Time `json:"until,omitzero"`
}

// Secrets are those of a destination.
type Secrets struct {
	// Signing are a webhook's, the newest first.
	Signing []Signing `json:"signing,omitempty"`
	// Values are the kind's others by their names.
	Values map[string]string `json:"values,omitempty"`
}

// Opened is a destination with its secrets.
type Opened struct {
	Destination
	Secrets Secrets
}

// Config is what a Service stands on. All is needed but InUse.
type Config struct {
	DB    *sqldb.DB
	Keys  keys.Manager
	Clock clock.Clock
	// Check says what is wrong with settings and secrets, in words for operators.
	Check func(Opened) error
	// NewSecret makes a webhook's secret.
	NewSecret func() string
	// InUse names the rules that send to an ARN; nil knows of none.
	InUse func(ctx context.Context, account name.AccountID, region name.Region, arn string) ([]string, error)
}

// Service keeps destinations.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{Config: c} }

// Create is a destination to be made.
type Create struct {
	Home name.Registry
	Name string
	Kind Kind
	// ARN is that of a queue, topic or bus; the others are given theirs.
	ARN      string
	Settings json.RawMessage
	Values   map[string]string
	// Signing is a webhook's secret, "" for one that is made.
	Signing string
}

// Create makes a destination. It returns a webhook's secret, which is not shown again.
// errs.InvalidParameter, errs.LimitExceeded, errs.KeyFailure.
func (s *Service) Create(ctx context.Context, c Create) (Destination, string, error) {
	own, ok := c.Kind.named()
	switch {
	case !ok:
		return Destination{}, "", invalid("%q is no kind of destination. There are %s.", c.Kind, kindsText())
	case !nameForm.MatchString(c.Name):
		return Destination{}, "", invalid("%q is no name of a destination. It has 1 to 64 letters, digits, dots, hyphens and underscores.", c.Name)
	case own && c.ARN == "":
		return Destination{}, "", invalid("A destination of the kind %s has the ARN of what it is. Give it.", c.Kind)
	case !own && c.ARN != "":
		return Destination{}, "", invalid("A destination of the kind %s is given its ARN. Leave it out.", c.Kind)
	case c.Kind != Webhook && c.Signing != "":
		return Destination{}, "", invalid("A destination of the kind %s signs nothing. Leave the signing secret out.", c.Kind)
	}
	now := s.Clock.Now().UTC().Truncate(time.Microsecond)
	o := Opened{Destination: Destination{
		ID: sqldb.NewID(), Version: 1, Home: c.Home, Name: c.Name, Kind: c.Kind, ARN: c.ARN, Settings: c.Settings, CreatedAt: now, ChangedAt: now,
	}, Secrets: Secrets{Values: c.Values}}
	if !own {
		id, err := uuid.NewRandom()
		if err != nil {
			return Destination{}, "", err
		}
		o.ARN = name.ARN{Partition: c.Home.Region.Partition(), Service: "events", Region: c.Home.Region, Account: c.Home.Account, Resource: "api-destination/" + c.Name + "/" + id.String()}.String()
	}
	if c.Kind == Webhook {
		if c.Signing == "" {
			c.Signing = s.NewSecret()
		}
		o.Secrets.Signing = []Signing{{Value: c.Signing}}
	}
	if err := s.check(&o); err != nil {
		return Destination{}, "", err
	}
	sealed, err := s.seal(ctx, o)
	if err != nil {
		return Destination{}, "", err
	}
	if err := s.DB.Update(ctx, func(tx *sqldb.Tx) error { return insertTx(ctx, tx, o.Destination, sealed) }); err != nil {
		return Destination{}, "", err
	}
	return o.Destination, c.Signing, nil
}

// check looks at settings and secrets, and makes the form of both that is kept.
func (s *Service) check(o *Opened) error {
	var settings map[string]json.RawMessage
	if len(o.Settings) == 0 {
		o.Settings = json.RawMessage("{}")
	}
	if err := json.Unmarshal(o.Settings, &settings); err != nil || settings == nil {
		return invalid("The settings of a destination are a JSON object.")
	}
	if len(o.Settings) > maxSettings {
		return invalid("The settings of a destination have %d bytes at most.", maxSettings)
	}
	o.SecretNames = o.Secrets.names()
	if err := s.Check(*o); err != nil {
		return invalid("The destination %s cannot be made: %s.", o.Name, strings.TrimSuffix(err.Error(), "."))
	}
	return nil
}

// RotateSecret gives a webhook a new secret, and lets the old one sign beside it for the
// time of Overlap. It returns the new one, which is not shown again.
// errs.EventResourceNotFound, errs.InvalidParameter for other kinds, errs.KeyFailure.
func (s *Service) RotateSecret(ctx context.Context, home name.Registry, ref string) (Destination, string, error) {
	for {
		at, err := s.Describe(ctx, home, ref)
		if err != nil {
			return Destination{}, "", err
		}
		if at.Kind != Webhook {
			return Destination{}, "", invalid("The destination %s is of the kind %s, and only webhooks have a signing secret.", at.Name, at.Kind)
		}
		o, err := s.Open(ctx, home.Account, home.Region, at.ARN)
		if err != nil {
			return Destination{}, "", err
		}
		now := s.Clock.Now().UTC().Truncate(time.Microsecond)
		made := s.NewSecret()
		held := []Signing{{Value: made}}
		for _, old := range o.Secrets.Signing {
			if old.Until.IsZero() {
				old.Until = now.Add(Overlap)
			}
			if now.Before(old.Until) {
				held = append(held, old)
			}
		}
		o.Secrets.Signing, o.ChangedAt = held, now
		if err := s.check(&o); err != nil {
			return Destination{}, "", err
		}
		sealed, err := s.seal(ctx, o)
		if err != nil {
			return Destination{}, "", err
		}
		changed := false
		err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
			n, err := tx.Exec(ctx, `UPDATE event_destination SET version = version + 1, data_key = $3, sealed = $4, changed_at = $5 WHERE id = $1 AND version = $2`,
				o.ID, o.Version, sealed.dataKey, sealed.bytes, now.UnixMicro())
			changed = n == 1
			return err
		})
		if err != nil {
			return Destination{}, "", err
		}
		if changed {
			o.Version++
			return o.Destination, made, nil
		}
		// Another one has changed it meanwhile, or removed it: look again.
	}
}

func invalid(format string, args ...any) error {
	return errs.New(errs.InvalidParameter, format, args...)
}

func kindsText() string {
	var all []string
	for _, k := range Kinds() {
		all = append(all, string(k))
	}
	return strings.Join(all, ", ")
}
