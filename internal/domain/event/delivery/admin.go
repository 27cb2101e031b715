package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/envelope"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// State is how far a delivery is. What was delivered is not kept.
type State string

// The states.
const (
	Pending State = "pending"
	Dead    State = "dead"
)

// Delivery is an event on its way to a target, as operators see it.
type Delivery struct {
	ID       int64
	Registry name.Registry
	// MessageID is the event's id, as the target sees it.
	MessageID  string
	DetailType string
	// Repository is the ARN that the event is in order by, "" for none.
	Repository        string
	Rule, RuleARN     string
	Target, TargetARN string
	State             State
	OccurredAt        time.Time
	// Attempts are how many tries have failed, at TriedAt the last, with LastError.
	Attempts  int64
	TriedAt   time.Time
	LastError string
	// NextAt is when a pending one is tried next; zero where others of its repository go
	// first.
	NextAt time.Time
	DiedAt time.Time
	// DeadLetter is the ARN where a dead one is sent, LetterSent whether it is there;
	// LetterError, why it is not.
	DeadLetter, LetterError string
	LetterSent              bool
	// Event is the event itself; Show gives it alone.
	Event json.RawMessage
}

// Filter chooses deliveries; its zero value, all.
type Filter struct {
	State   State
	Account name.AccountID
	Rule    string
	// Repository is a name, which may be that of several registries' repositories.
	Repository name.Repository
	// After is the ID of the last one of the page before; Limit how many a page has, 1 to
	// 1,000, 0: 100.
	After int64
	Limit int
}

const deliveryColumns = `d.id, d.account_id, d.region, d.message_id, d.detail_type, d.ordering, d.rule_name, d.rule_arn, d.target_id, d.target_arn,
	d.state, e.occurred_at, d.attempts, d.tried_at, d.last_error, d.died_at, d.letter, d.letter_error, d.letter_at, d.rule_id,
	COALESCE((SELECT l.next_at FROM event_lane l WHERE d.state = 0 AND l.rule_id = d.rule_id AND l.target_id = d.target_id AND l.ordering = d.ordering
		AND NOT EXISTS (SELECT 1 FROM event_delivery f WHERE f.rule_id = d.rule_id AND f.target_id = d.target_id AND f.ordering = d.ordering
			AND f.state = 0 AND f.event_id < d.event_id)), 0)
	FROM event_delivery d JOIN event e ON e.id = d.event_id`

// stored is a delivery with what the rows alone need.
type stored struct {
	Delivery
	rule int64
}

func scanDelivery(row sqldb.Scanner) (d stored, err error) {
	var state, occurred, tried, died, letterAt, next int64
	err = row.Scan(&d.ID, &d.Registry.Account, &d.Registry.Region, &d.MessageID, &d.DetailType, &d.Repository, &d.Rule, &d.RuleARN, &d.Target, &d.TargetARN,
		&state, &occurred, &d.Attempts, &tried, &d.LastError, &died, &d.DeadLetter, &d.LetterError, &letterAt, &d.rule, &next)
	d.State = Pending
	if state == 1 {
		d.State = Dead
	}
	d.OccurredAt, d.TriedAt, d.DiedAt, d.NextAt = at(occurred), at(tried), at(died), at(next)
	d.LetterSent = d.State == Dead && d.DeadLetter != "" && letterAt == 0 && d.LetterError == ""
	return d, err
}

func at(micro int64) time.Time {
	if micro == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}

// List gives a page of deliveries, oldest first, and the ID to go on after, 0 at the end.
func (s *Service) List(ctx context.Context, f Filter) (page []Delivery, next int64, err error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	f.Limit = min(f.Limit, 1000)
	where, args := []string{`d.id > $1`}, []any{f.After, f.Limit + 1}
	add := func(condition, value string) {
		args = append(args, value)
		where = append(where, condition+placeholder(len(args)))
	}
	switch f.State {
	case "":
	case Pending:
		where = append(where, `d.state = 0`)
	case Dead:
		where = append(where, `d.state = 1`)
	default:
		return nil, 0, errs.New(errs.InvalidParameter, "%q is no state of a delivery. Take pending or dead.", string(f.State))
	}
	if f.Account != "" {
		add(`d.account_id = `, string(f.Account))
	}
	if f.Rule != "" {
		add(`d.rule_name = `, f.Rule)
	}
	if f.Repository != "" {
		escaped := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(string(f.Repository))
		add(`d.ordering LIKE `, `%:repository/`+escaped)
		where[len(where)-1] += ` ESCAPE '\'`
	}
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		page, next = nil, 0
		all, err := sqldb.Collect(ctx, tx, scanDelivery, `SELECT `+deliveryColumns+` WHERE `+strings.Join(where, ` AND `)+` ORDER BY d.id LIMIT $2`, args...)
		if len(all) > f.Limit {
			all = all[:f.Limit]
			next = all[f.Limit-1].ID
		}
		for _, d := range all {
			page = append(page, d.Delivery)
		}
		return err
	})
	return page, next, err
}

func placeholder(n int) string { return strings.Trim(sqldb.In(n, 1), "()") }

// Show gives a delivery with its event. errs.EventResourceNotFound.
func (s *Service) Show(ctx context.Context, id int64) (d Delivery, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		found, err := findTx(ctx, tx, id)
		if err != nil {
			return err
		}
		d = found.Delivery
		e, err := scanStored(tx.QueryRow(ctx, `SELECT e.id, e.account_id, e.region, e.kind, e.occurred_at, e.detail
			FROM event e JOIN event_delivery d ON d.event_id = e.id WHERE d.id = $1`, id))
		if err != nil {
			return err
		}
		env, _, err := envelope.Of(e)
		d.Event = env.Body
		return err
	})
	return d, err
}

func findTx(ctx context.Context, tx *sqldb.Tx, id int64) (stored, error) {
	d, err := scanDelivery(tx.QueryRow(ctx, `SELECT `+deliveryColumns+` WHERE d.id = $1`, id))
	if errors.Is(err, sqldb.ErrNoRows) {
		err = errs.New(errs.EventResourceNotFound, "There is no delivery %d. It may have been delivered meanwhile, or dropped: berth events list.", id)
	}
	return d, err
}

// Retry has a dead delivery sent again, with all of its target's tries and time, in front
// of what waits of its repository. For a pending one, the first of its repository is tried
// at once.
// errs.EventResourceNotFound, and errs.Validation where the target is gone.
func (s *Service) Retry(ctx context.Context, id int64) error {
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		d, err := findTx(ctx, tx, id)
		if err != nil {
			return err
		}
		t := target{d.rule, d.Target}
		_, found, err := s.Rules.TargetTx(ctx, tx, t.rule, t.id)
		if err != nil {
			return err
		}
		if !found {
			return errs.New(errs.Validation, "The delivery %d cannot be sent again: the rule %s has no target %s any more. Drop it: berth events drop %d.", id, d.Rule, d.Target, id)
		}
		return s.inLaneTx(ctx, tx, t, d.Repository, func(ctx context.Context, tx *sqldb.Tx) (bool, error) {
			_, err := tx.Exec(ctx, `UPDATE event_delivery SET state = 0, attempts = 0, since = $2, died_at = 0, letter = '', letter_at = 0, letter_tries = 0, letter_error = ''
				WHERE id = $1 AND state = 1`, id, s.Clock.Now().UnixMicro())
			return true, err
		})
	})
	if err == nil {
		put(s.delivering)
	}
	return err
}

// Drop removes a delivery, which then never comes. errs.EventResourceNotFound.
func (s *Service) Drop(ctx context.Context, id int64) error {
	return s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		d, err := findTx(ctx, tx, id)
		if err != nil {
			return err
		}
		return s.inLaneTx(ctx, tx, target{d.rule, d.Target}, d.Repository, func(ctx context.Context, tx *sqldb.Tx) (bool, error) {
			_, err := tx.Exec(ctx, `DELETE FROM event_delivery WHERE id = $1`, id)
			return true, err
		})
	})
}
