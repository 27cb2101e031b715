// Package rule keeps which events go where: the rules of the default event bus of each
// account and region, with their targets, as EventBridge has them, and what of them
// holds for an event that has occurred.
//
// It does not own the language of patterns (event/pattern), what targets are given
// (event/transform), the destinations behind targets (event/destination), nor the
// delivery (event/delivery); and the API is api/events.
package rule

import (
	"encoding/json"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/pattern"
	"github.com/berth-registry/berth/internal/domain/event/transform"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// DefaultBus is the one event bus that an account has in a region: events of AWS
// services come to no other one.
const DefaultBus = "default"

// Quotas (EventBridge user guide, "Amazon EventBridge quotas", and the API reference,
// TagResource).
const (
	// MaxRules bounds the rules of one account and region.
	MaxRules = 300
	// MaxTargets bounds the targets of one rule.
	MaxTargets = 5
	// MaxTags bounds the tags of a rule or a bus.
	MaxTags = 50
)

// The retry policy of targets (API reference, RetryPolicy).
const (
	// DefaultAttempts is how often a failed event is tried again, and the most that can
	// be asked for.
	DefaultAttempts = 185
	// DefaultAge is how old an event may get before it is given up, and the most that
	// can be asked for; MinAge is the least.
	DefaultAge = 24 * time.Hour
	MinAge     = time.Minute
)

// State says whether a rule is in force, in EventBridge's words.
type State string

// The states. EnabledForAll also takes read-only management events from CloudTrail,
// which are not sent here: it is Enabled under its own name.
const (
	Enabled       State = "ENABLED"
	Disabled      State = "DISABLED"
	EnabledForAll State = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
)

// Rule is a rule without its targets.
type Rule struct {
	ID   int64
	Home name.Registry
	Name string
	// Pattern is the event pattern as it was given.
	Pattern     string
	State       State
	Description string
	// RoleARN is kept and given back; nothing takes the role on.
	RoleARN              string
	Tags                 map[string]string
	CreatedAt, UpdatedAt time.Time
}

// ARN names the rule.
func (r Rule) ARN() name.ARN { return ARN(r.Home, r.Name) }

// ARN is that of a rule of the default bus, made or not.
func ARN(home name.Registry, ruleName string) name.ARN { return arnOf(home, "rule/"+ruleName) }

// BusARN is that of the default bus.
func BusARN(home name.Registry) name.ARN { return arnOf(home, "event-bus/"+DefaultBus) }

func arnOf(home name.Registry, resource string) name.ARN {
	return name.ARN{Partition: home.Region.Partition(), Service: "events", Region: home.Region, Account: home.Account, Resource: resource}
}

// Route is a rule in force that has targets, ready to be held against an event.
type Route struct {
	RuleID            int64
	RuleName, RuleARN string
	Pattern           pattern.Pattern
	Targets           []Target
}

// Target is where a rule sends events, as the delivery sees it.
type Target struct {
	// ID is the target's own name within its rule, ARN the destination's.
	ID, ARN    string
	Input      transform.Input
	Parameters eventsink.Parameters
	// MaxAttempts is how often an event is tried again after its first try failed, 0 to
	// DefaultAttempts; MaxAge how old it may get, MinAge to DefaultAge.
	MaxAttempts int
	MaxAge      time.Duration
	// DeadLetterARN is the destination of what is given up, "" for none.
	DeadLetterARN string
}

// Settings are what a target of a rule was set to, for those who set and list it.
type Settings struct {
	ID  string `json:"-"`
	ARN string `json:"-"`
	// RoleARN is kept and given back; nothing takes the role on.
	RoleARN    string               `json:"roleArn,omitempty"`
	Input      transform.Input      `json:"input"`
	Parameters eventsink.Parameters `json:"parameters"`
	// Attempts and AgeSeconds are of the retry policy, nil for the defaults.
	Attempts      *int64 `json:"attempts,omitempty"`
	AgeSeconds    *int64 `json:"ageSeconds,omitempty"`
	DeadLetterARN string `json:"deadLetterArn,omitempty"`
}

// target is the same with the defaults filled in.
func (s Settings) target() Target {
	t := Target{
		ID: s.ID, ARN: s.ARN, Input: s.Input, Parameters: s.Parameters, DeadLetterARN: s.DeadLetterARN,
		MaxAttempts: DefaultAttempts, MaxAge: DefaultAge,
	}
	if s.Attempts != nil {
		t.MaxAttempts = int(*s.Attempts)
	}
	if s.AgeSeconds != nil {
		t.MaxAge = time.Duration(*s.AgeSeconds) * time.Second
	}
	return t
}

// Failure is a target that was refused while others of the call were not.
type Failure struct {
	TargetID string
	Reason   *errs.Error
}

func missing(ruleName string) error {
	return errs.New(errs.EventResourceNotFound, "Rule %s does not exist on EventBus %s.", ruleName, DefaultBus)
}

const columns = `id, account_id, region, name, state, pattern, description, role_arn, tags, created_at, updated_at`

func scan(row sqldb.Scanner) (Rule, error) {
	var r Rule
	var tags string
	var created, updated int64
	err := row.Scan(&r.ID, &r.Home.Account, &r.Home.Region, &r.Name, &r.State, &r.Pattern, &r.Description, &r.RoleARN, &tags, &created, &updated)
	if err != nil {
		return Rule{}, err
	}
	r.CreatedAt, r.UpdatedAt = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	err = json.Unmarshal([]byte(tags), &r.Tags)
	return r, err
}

const targetColumns = `t.id, t.arn, t.settings`

func scanSettings(row sqldb.Scanner) (Settings, error) {
	var s Settings
	var text string
	if err := row.Scan(&s.ID, &s.ARN, &text); err != nil {
		return Settings{}, err
	}
	err := json.Unmarshal([]byte(text), &s)
	return s, err
}
