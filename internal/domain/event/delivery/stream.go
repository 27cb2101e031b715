package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// turns: a stream gives its target up after this many leases, so that the node serves
	// others, and other nodes this one.
	turns = 4

	// inARow deliveries of one repository are sent before another one's turn comes.
	inARow = 32

	// endTimeout bounds the transactions that say what became of a delivery.
	endTimeout = 30 * time.Second
)

// dispatch begins the streams of targets that have something due and that no node serves.
func (s *Service) dispatch(ctx, work context.Context, streams *sync.WaitGroup) error {
	var all []target
	err := s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (t target, err error) { return t, row.Scan(&t.rule, &t.id) },
			`SELECT DISTINCT l.rule_id, l.target_id FROM event_lane l LEFT JOIN event_stream s ON s.rule_id = l.rule_id AND s.target_id = l.target_id
			WHERE l.next_at <= $1 AND (s.owner IS NULL OR s.owner = $2 OR s.lease_until <= $1)`, s.Clock.Now().UnixMicro(), s.owner)
		return err
	})
	if err != nil {
		return err
	}
	for _, t := range all {
		wake, free := s.enter(t)
		if wake != nil {
			put(wake) // it runs here already
			continue
		}
		if !free {
			break
		}
		begun := time.Now()
		mine, err := s.take(ctx, t)
		if err != nil || !mine {
			s.leave(t)
			if err != nil {
				return err
			}
			continue
		}
		streams.Go(func() { s.stream(ctx, work, t, begun) })
	}
	return nil
}

// enter makes room for a stream here; wake is that of one that runs already.
func (s *Service) enter(t target) (wake chan struct{}, free bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if wake := s.streams[t]; wake != nil {
		return wake, false
	}
	if len(s.streams) >= s.Options.Streams {
		return nil, false
	}
	s.streams[t] = make(chan struct{}, 1)
	return nil, true
}

func (s *Service) leave(t target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, t)
}

func (s *Service) waker(t target) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[t]
}

// take leases a target to this node, or renews its lease; false where another has it.
func (s *Service) take(ctx context.Context, t target) (mine bool, err error) {
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		now := s.Clock.Now()
		n, err := tx.Exec(ctx, `INSERT INTO event_stream (rule_id, target_id, owner, lease_until) VALUES ($1, $2, $3, $4)
			ON CONFLICT (rule_id, target_id) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until
			WHERE event_stream.owner = excluded.owner OR event_stream.lease_until <= $5`,
			t.rule, t.id, s.owner, now.Add(s.Options.Lease).UnixMicro(), now.UnixMicro())
		mine = n == 1
		return err
	})
	return mine, err
}

// give ends the lease. One that cannot be ended runs out.
func (s *Service) give(t target) {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM event_stream WHERE rule_id = $1 AND target_id = $2 AND owner = $3`, t.rule, t.id, s.owner)
		return err
	})
	if err != nil {
		s.Log.Warn("a target of events could not be given up; other nodes wait for its lease to end", "rule", t.rule, "target", t.id, "error", err)
	}
}

// keep renews the lease three times within one, and ends the context with lost when it could
// not in time, or another node has the target: what is sent then might overtake.
func (s *Service) keep(ctx context.Context, t target, renewed time.Time, lost context.CancelFunc) {
	tick := time.NewTicker(s.Options.Lease / 3)
	defer tick.Stop()
	limit := s.Options.Lease * 5 / 6
	if time.Since(renewed) >= limit {
		lost()
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		begun := time.Now()
		try, cancel := context.WithDeadline(ctx, renewed.Add(limit))
		mine, err := s.take(try, t)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && mine:
			renewed = begun
		case err == nil:
			s.Log.Warn("another node sends to a target of events that this one sent to", "rule", t.rule, "target", t.id)
			lost()
			return
		case time.Since(renewed) >= limit:
			s.Log.Warn("the lease of a target of events could not be renewed in time; this node stops sending to it", "rule", t.rule, "target", t.id, "error", err)
			lost()
			return
		}
	}
}

// stream sends to a target for as long as something is due: of several repositories at
// once, of each one event after the other.
func (s *Service) stream(ctx, work context.Context, t target, begun time.Time) {
	held, lost := context.WithCancel(work)
	var keeper sync.WaitGroup
	keeper.Go(func() { s.keep(held, t, begun, lost) })
	defer func() {
		lost()
		keeper.Wait()
		s.give(t)
		s.leave(t)
		put(s.delivering) // something may have come since the last look
	}()
	wake, turn := s.waker(t), time.NewTimer(turns*s.Options.Lease)
	defer turn.Stop()
	ended := make(chan string, s.Options.Parallel)
	busy := map[string]bool{} // the lanes under way
	for stopping := false; ; {
		if !stopping && held.Err() == nil {
			due, err := s.due(held, t, busy)
			if err != nil && held.Err() == nil {
				s.Log.Warn("deliveries cannot be read; trying again", "error", err)
				stopping = true // dispatch begins anew
			}
			for _, ordering := range due {
				busy[ordering] = true
				go func() {
					s.sendLane(ctx, held, t, ordering)
					ended <- ordering
				}()
			}
		}
		if len(busy) == 0 {
			return
		}
		select {
		case ordering := <-ended:
			delete(busy, ordering)
		case <-wake:
		case <-turn.C:
			stopping = true
		case <-ctx.Done():
			stopping = true
			ordering := <-ended // there is nothing else to wait for
			delete(busy, ordering)
		}
	}
}

// due are lanes that are due, and not busy, as many as may be sent beside those.
func (s *Service) due(ctx context.Context, t target, busy map[string]bool) (free []string, err error) {
	if len(busy) >= s.Options.Parallel {
		return nil, nil
	}
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		all, err := sqldb.Collect(ctx, tx, sqldb.One[string],
			`SELECT ordering FROM event_lane WHERE rule_id = $1 AND target_id = $2 AND next_at <= $3 ORDER BY next_at LIMIT $4`,
			t.rule, t.id, s.Clock.Now().UnixMicro(), s.Options.Parallel+len(busy))
		free = nil
		for _, ordering := range all {
			if !busy[ordering] && len(busy)+len(free) < s.Options.Parallel {
				free = append(free, ordering)
			}
		}
		return err
	})
	return free, err
}

// sendLane sends the first deliveries of a lane, until one fails, none is left, or it is
// another lane's turn. It begins none once ctx has ended, and held ends the one under way.
func (s *Service) sendLane(ctx, held context.Context, t target, ordering string) {
	for range inARow {
		if ctx.Err() != nil || held.Err() != nil {
			return
		}
		more, err := s.sendHead(held, t, ordering)
		if err != nil && held.Err() == nil {
			s.Log.Warn("what became of a delivery of an event could not be read or written; it will be sent again", "rule", t.rule, "target", t.id, "error", err)
			pause(held, s.Options.Poll)
		}
		if err != nil || !more {
			return
		}
	}
}
