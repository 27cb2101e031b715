package delivery

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/event/envelope"
	"github.com/berth-registry/berth/internal/domain/event/pattern"
	"github.com/berth-registry/berth/internal/domain/event/rule"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// routeBatch events are routed in one transaction at the most, and none is begun once
	// it has made routeRows deliveries.
	routeBatch = 200
	routeRows  = 1000
)

// routeAll routes until nothing is left.
func (s *Service) routeAll(ctx context.Context) error {
	for met := 0; ctx.Err() == nil; {
		waiting, err := s.waits(ctx)
		if err != nil || !waiting {
			return err
		}
		err = s.route(ctx)
		if met++; !sqldb.IsUnique(err) {
			met = 0
		}
		if err != nil && (met == 0 || met > 3) { // an id of ours that meets another node's is rare, and harmless
			return err
		}
	}
	return nil
}

// waits says whether there is anything to route; most looks find nothing, and looking
// needs no writer.
func (s *Service) waits(ctx context.Context) (waiting bool, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM event WHERE NOT routed)`).Scan(&waiting)
	})
	return waiting, err
}

// route makes the deliveries of a batch of events.
func (s *Service) route(ctx context.Context) error {
	var rows, bad int
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) (err error) {
		rows, bad = 0, 0
		// The lock has routers of other nodes wait here, at the first event that this one
		// holds, so that no later event of a repository overtakes.
		batch, err := sqldb.Collect(ctx, tx, scanStored,
			`SELECT id, account_id, region, kind, occurred_at, detail FROM event WHERE NOT routed ORDER BY id LIMIT $1`+tx.ForUpdate(), routeBatch)
		if err != nil {
			return err
		}
		now := s.Clock.Now()
		routes := map[name.Registry][]rule.Route{}
		var done []any
		for _, e := range batch {
			if rows >= routeRows {
				break
			}
			all, known := routes[e.Registry]
			if !known {
				if all, err = s.Rules.RoutesTx(ctx, tx, e.Registry.Account, e.Registry.Region); err != nil {
					return err
				}
				routes[e.Registry] = all
			}
			done = append(done, e.ID)
			if len(all) == 0 {
				continue
			}
			env, facts, ok := s.open(e)
			if !ok {
				continue
			}
			if facts == nil {
				bad++
				continue
			}
			for _, r := range all {
				if !r.Pattern.Match(*facts) {
					continue
				}
				for _, t := range r.Targets {
					if err := insert(ctx, tx, e, env, r, t, now); err != nil {
						return err
					}
					rows++
				}
			}
		}
		if len(done) == 0 {
			return nil
		}
		_, err = tx.Exec(ctx, `UPDATE event SET routed = TRUE WHERE id IN `+sqldb.In(1, len(done)), done...)
		return err
	})
	if err != nil {
		return err
	}
	s.unroutable.Add(int64(bad))
	if rows > 0 {
		put(s.delivering)
	}
	return nil
}

// open makes the envelope of an event, and what patterns are held against; false where
// EventBridge knows no such event. Facts are nil where the event cannot be read: waiting
// for that to change would hold up all others.
func (s *Service) open(e envelope.Stored) (envelope.Envelope, *pattern.Event, bool) {
	env, ok, err := envelope.Of(e)
	if err == nil && !ok {
		return env, nil, false
	}
	var facts pattern.Event
	if err == nil {
		facts, err = pattern.ParseEvent(env.Body)
	}
	if err != nil {
		s.Log.Error("a recorded event has no form that rules know, and goes nowhere", "event", e.ID, "kind", string(e.Kind), "error", err)
		return env, nil, true
	}
	return env, &facts, true
}

func scanStored(row sqldb.Scanner) (e envelope.Stored, err error) {
	var at int64
	var kind, detail string
	err = row.Scan(&e.ID, &e.Registry.Account, &e.Registry.Region, &kind, &at, &detail)
	e.Kind, e.OccurredAt, e.Detail = event.Kind(kind), time.UnixMicro(at).UTC(), []byte(detail)
	return e, err
}

// insert makes a delivery, and its lane where that has none. The lane is locked, also where it is
// there already: who has just sent its last delivery must not take it away now.
func insert(ctx context.Context, tx *sqldb.Tx, e envelope.Stored, env envelope.Envelope, r rule.Route, t rule.Target, now time.Time) error {
	if err := lane(ctx, tx, target{r.RuleID, t.ID}, env.Group, now); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO event_delivery
		(id, event_id, message_id, account_id, region, rule_id, rule_name, rule_arn, target_id, target_arn, ordering, detail_type, state, routed_at, since)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, $13, $13)`,
		sqldb.NewID(), e.ID, env.ID, string(e.Registry.Account), string(e.Registry.Region), r.RuleID, r.RuleName, r.RuleARN, t.ID, t.ARN, env.Group, env.DetailType, now.UnixMicro())
	return err
}

// lane makes a lane, due now, or locks the one that is there.
func lane(ctx context.Context, tx *sqldb.Tx, t target, ordering string, now time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO event_lane (rule_id, target_id, ordering, next_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (rule_id, target_id, ordering) DO UPDATE SET next_at = event_lane.next_at`, t.rule, t.id, ordering, now.UnixMicro())
	return err
}
