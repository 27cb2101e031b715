package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/event/envelope"
	"github.com/berth-registry/berth/internal/domain/event/rule"
	"github.com/berth-registry/berth/internal/domain/event/transform"
	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// head is the first delivery of a lane, with all that sending it takes.
type head struct {
	id       int64
	attempts int64 // before this one
	ruleName string
	ruleARN  string
	routedAt time.Time
	since    time.Time
	event    envelope.Stored
	target   rule.Target
	gone     bool // the target is
}

const headColumns = `d.id, d.attempts, d.rule_name, d.rule_arn, d.routed_at, d.since, e.id, e.account_id, e.region, e.kind, e.occurred_at, e.detail`

func scanHead(row sqldb.Scanner) (h head, err error) {
	var routed, since int64
	h.event, err = scanStored(behind{row, []any{&h.id, &h.attempts, &h.ruleName, &h.ruleARN, &routed, &since}})
	h.routedAt, h.since = time.UnixMicro(routed).UTC(), time.UnixMicro(since).UTC()
	return h, err
}

// behind scans columns of its own in front of those that it is asked for.
type behind struct {
	row   sqldb.Scanner
	first []any
}

// Scan reads all.
func (b behind) Scan(dest ...any) error { return b.row.Scan(append(b.first, dest...)...) }

// sendHead sends the first delivery of a lane; more says whether to go on with the next.
func (s *Service) sendHead(ctx context.Context, t target, ordering string) (more bool, err error) {
	var h head
	found := true
	err = s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		h, err = scanHead(tx.QueryRow(ctx, `SELECT `+headColumns+` FROM event_delivery d JOIN event e ON e.id = d.event_id
			WHERE d.rule_id = $1 AND d.target_id = $2 AND d.ordering = $3 AND d.state = 0 ORDER BY d.event_id LIMIT 1`, t.rule, t.id, ordering))
		if errors.Is(err, sqldb.ErrNoRows) {
			found = false
			return nil
		}
		if err != nil {
			return err
		}
		found = true
		h.target, found, err = s.Rules.TargetTx(ctx, tx, t.rule, t.id)
		h.gone, found = !found, true
		return err
	})
	switch {
	case err != nil:
		return false, err
	case !found: // an operator has dropped it
		return false, s.inLane(ctx, t, ordering, func(context.Context, *sqldb.Tx) (bool, error) { return true, nil })
	case h.gone:
		return false, s.dropTarget(ctx, t, h)
	}
	try, cancel := context.WithTimeout(ctx, s.Options.Timeout)
	defer cancel()
	sendErr := s.send(try, h)
	if sendErr != nil && ctx.Err() != nil {
		return false, ctx.Err() // it was cut off, and that is no failure of the target
	}
	if sendErr != nil {
		return s.failed(ctx, t, ordering, h, sendErr)
	}
	err = s.inLane(ctx, t, ordering, func(ctx context.Context, tx *sqldb.Tx) (bool, error) {
		_, err := tx.Exec(ctx, `DELETE FROM event_delivery WHERE id = $1 AND state = 0`, h.id)
		return true, err
	})
	if err == nil {
		s.sent.Add(1)
	}
	return err == nil, err
}

// send sends a delivery. What cannot be made into a message now, cannot later.
func (s *Service) send(ctx context.Context, h head) error {
	m, err := message(h)
	if err != nil {
		return eventsink.Permanent(err)
	}
	return call(func() error { return s.Send(ctx, h.event.Registry.Account, h.event.Registry.Region, h.target.ARN, m) })
}

// message is what a target gets.
func message(h head) (eventsink.Message, error) {
	m, err := whole(h)
	if err != nil {
		return eventsink.Message{}, err
	}
	m.Body, err = h.target.Input.Apply(m.Event, transform.Rule{ARN: h.ruleARN, Name: h.ruleName, IngestionTime: h.routedAt})
	if err != nil {
		return eventsink.Message{}, fmt.Errorf("the target's input cannot be made of the event: %w", err)
	}
	m.Parameters = h.target.Parameters
	return m, nil
}

// whole is the event as a message, without what a target makes of it.
func whole(h head) (eventsink.Message, error) {
	env, ok, err := envelope.Of(h.event)
	if err == nil && !ok {
		err = errors.New("rules do not know events of the kind " + string(h.event.Kind))
	}
	if err != nil {
		return eventsink.Message{}, err
	}
	return eventsink.Message{
		ID: env.ID, Body: env.Body, Event: env.Body, Time: h.event.OccurredAt, Source: env.Source, DetailType: env.DetailType,
		Group: env.Group, Rule: h.ruleARN, Try: int(h.attempts) + 1,
	}, nil
}

// call turns a panic into an error: a poisonous message takes no others with it.
func call(send func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return send()
}

// failed writes that a try has failed: the delivery waits for its next, and with it its
// lane, or it is dead, and the lane goes on.
func (s *Service) failed(ctx context.Context, t target, ordering string, h head, sendErr error) (more bool, err error) {
	attempts := h.attempts + 1
	var dead bool
	err = s.inLane(ctx, t, ordering, func(ctx context.Context, tx *sqldb.Tx) (bool, error) {
		now := s.Clock.Now()
		wait := s.wait(attempts, sendErr)
		dead = eventsink.IsPermanent(sendErr) || h.attempts >= int64(h.target.MaxAttempts) || now.Add(wait).Sub(h.since) > h.target.MaxAge
		state, died, letterAt := int64(0), int64(0), int64(0)
		if dead {
			state, died = 1, now.UnixMicro()
			if h.target.DeadLetterARN != "" {
				letterAt = now.UnixMicro()
			}
		}
		n, err := tx.Exec(ctx, `UPDATE event_delivery SET attempts = $2, tried_at = $3, last_error = $4, target_arn = $5, state = $6, died_at = $7, letter = $8, letter_at = $9
			WHERE id = $1 AND state = 0`,
			h.id, attempts, now.UnixMicro(), storable(sendErr.Error()), h.target.ARN, state, died, h.target.DeadLetterARN, letterAt)
		if err != nil || n == 0 || dead {
			return true, err
		}
		_, err = tx.Exec(ctx, `UPDATE event_lane SET next_at = $4 WHERE rule_id = $1 AND target_id = $2 AND ordering = $3`, t.rule, t.id, ordering, now.Add(wait).UnixMicro())
		return false, err
	})
	if err != nil {
		return false, err
	}
	s.failures.Add(1)
	attrs := []any{"rule", h.ruleARN, "target", t.id, "delivery", h.id, "attempt", attempts, "error", sendErr}
	if dead {
		s.died.Add(1)
		s.Log.Error("an event could not be delivered and is in the list of the dead (berth events list --state dead)", attrs...)
	} else {
		s.Log.Debug("an event could not be delivered and will be sent again", attrs...)
	}
	return dead, nil
}

// inLane changes a lane's deliveries under its lock, so that the router and other nodes
// neither add one nor send one meanwhile. Where do says that the first may be another now, the
// lane is due at once, or goes away if it is empty.
func (s *Service) inLane(ctx context.Context, t target, ordering string, do func(context.Context, *sqldb.Tx) (next bool, err error)) error {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	return s.DB.Update(end, func(tx *sqldb.Tx) error { return s.inLaneTx(end, tx, t, ordering, do) })
}

func (s *Service) inLaneTx(ctx context.Context, tx *sqldb.Tx, t target, ordering string, do func(context.Context, *sqldb.Tx) (next bool, err error)) error {
	now := s.Clock.Now()
	if err := lane(ctx, tx, t, ordering, now); err != nil {
		return err
	}
	next, err := do(ctx, tx)
	if err != nil || !next {
		return err
	}
	n, err := tx.Exec(ctx, `DELETE FROM event_lane WHERE rule_id = $1 AND target_id = $2 AND ordering = $3
		AND NOT EXISTS (SELECT 1 FROM event_delivery WHERE rule_id = $1 AND target_id = $2 AND ordering = $3 AND state = 0)`, t.rule, t.id, ordering)
	if err != nil || n == 1 {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE event_lane SET next_at = $4 WHERE rule_id = $1 AND target_id = $2 AND ordering = $3 AND next_at > $4`, t.rule, t.id, ordering, now.UnixMicro())
	return err
}

// dropTarget drops what waits for a target that is gone, as EventBridge does.
func (s *Service) dropTarget(ctx context.Context, t target, h head) error {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	var n int64
	err := s.DB.Update(end, func(tx *sqldb.Tx) (err error) {
		n = 0
		_, found, err := s.Rules.TargetTx(end, tx, t.rule, t.id)
		if err != nil || found {
			return err
		}
		// The lanes first, which waits for a router that has just added to one.
		if _, err := tx.Exec(end, `DELETE FROM event_lane WHERE rule_id = $1 AND target_id = $2`, t.rule, t.id); err != nil {
			return err
		}
		n, err = tx.Exec(end, `DELETE FROM event_delivery WHERE rule_id = $1 AND target_id = $2 AND state = 0`, t.rule, t.id)
		return err
	})
	if err == nil && n > 0 {
		s.dropped.Add(n)
		s.Log.Warn("deliveries of events were dropped, since their target or its rule was removed", "rule", h.ruleARN, "target", t.id, "deliveries", n)
	}
	return err
}

// maxText is how many bytes of a failure are kept.
const maxText = 2000

// storable is a text as a row can hold it.
func storable(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?")
}
