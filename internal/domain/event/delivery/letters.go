package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// letterBatch dead letters are sent at once.
	letterBatch = 16
	// letterTries is how often a dead letter is tried: with the preset pauses for some
	// seven days, half of Keep's preset. The delivery stays in the list all the same.
	letterTries = 1000
)

// letter is a dead delivery on its way to the target's dead-letter destination.
type letter struct {
	head
	to      string
	tries   int64 // with this one
	claimed int64 // letter_at while this node has it
}

// sendLetters sends what is dead and has a dead-letter destination, until nothing is due.
func (s *Service) sendLetters(ctx, work context.Context) error {
	for ctx.Err() == nil {
		all, err := s.claimLetters(ctx)
		if err != nil || len(all) == 0 {
			return err
		}
		errs := make(chan error, len(all))
		var sending sync.WaitGroup
		for _, l := range all {
			sending.Go(func() {
				if err := s.sendLetter(work, l); err != nil {
					errs <- err
				}
			})
		}
		sending.Wait()
		select {
		case err := <-errs:
			return err
		default:
		}
	}
	return nil
}

// claimLetters takes what is due for as long as a lease.
func (s *Service) claimLetters(ctx context.Context) (all []letter, err error) {
	const due = ` FROM event_delivery WHERE letter_at > 0 AND letter_at <= $1`
	now := s.Clock.Now()
	waiting := false
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1`+due+`)`, now.UnixMicro()).Scan(&waiting)
	})
	if err != nil || !waiting {
		return nil, err
	}
	until := now.Add(s.Options.Lease).UnixMicro()
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		all = nil
		ids, err := sqldb.Collect(ctx, tx, sqldb.One[int64], `SELECT id`+due+` ORDER BY letter_at LIMIT $2`+tx.SkipLocked(), now.UnixMicro(), letterBatch)
		if err != nil || len(ids) == 0 {
			return err
		}
		args := []any{until}
		for _, id := range ids {
			args = append(args, id)
		}
		if _, err := tx.Exec(ctx, `UPDATE event_delivery SET letter_at = $1, letter_tries = letter_tries + 1 WHERE id IN `+sqldb.In(2, len(ids)), args...); err != nil {
			return err
		}
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (letter, error) {
			l := letter{claimed: until}
			var err error
			l.head, err = scanHead(behind{row, []any{&l.to, &l.tries}})
			return l, err
		}, `SELECT d.letter, d.letter_tries, `+headColumns+` FROM event_delivery d JOIN event e ON e.id = d.event_id WHERE d.id IN `+sqldb.In(1, len(ids)), args[1:]...)
		return err
	})
	return all, err
}

// sendLetter sends the event as it is, under its id, and writes what became of it.
func (s *Service) sendLetter(ctx context.Context, l letter) error {
	m, err := whole(l.head)
	if err == nil {
		m.Try = int(l.tries)
		try, cancel := context.WithTimeout(ctx, s.Options.Timeout)
		err = call(func() error {
			return s.Send(try, l.event.Registry.Account, l.event.Registry.Region, l.to, m)
		})
		cancel()
	} else {
		err = eventsink.Permanent(err)
	}
	if err != nil && ctx.Err() != nil {
		return nil // cut off; it is due again when the claim ends
	}
	next, text := int64(0), ""
	if err != nil {
		text = storable(err.Error())
		if !eventsink.IsPermanent(err) && l.tries < letterTries {
			next = s.Clock.Now().Add(s.wait(l.tries, err)).UnixMicro()
		} else {
			s.Log.Error("a dead letter could not be sent and is given up; the event stays in the list of the dead", "rule", l.ruleARN, "delivery", l.id, "to", l.to, "error", err)
		}
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	return s.DB.Update(end, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(end, `UPDATE event_delivery SET letter_at = $3, letter_error = $4 WHERE id = $1 AND state = 1 AND letter_at = $2`, l.id, l.claimed, next, text)
		return err
	})
}

// Expire removes what has been kept long enough: dead deliveries, and events that are
// routed and have no deliveries left. It goes in small transactions, until nothing is left or
// ctx ends.
func (s *Service) Expire(ctx context.Context) error {
	const page = 1000
	now := s.Clock.Now()
	for {
		var n int64
		err := s.DB.Update(ctx, func(tx *sqldb.Tx) (err error) {
			n, err = tx.Exec(ctx, `DELETE FROM event_delivery WHERE id IN (SELECT id FROM event_delivery WHERE state = 1 AND died_at < $1 ORDER BY died_at, id LIMIT $2) AND state = 1`,
				now.Add(-s.Keep).UnixMicro(), page)
			return err
		})
		if err != nil {
			return err
		}
		if n < page {
			break
		}
	}
	old := now.Add(-s.Retention)
	for after, more := int64(0), true; more; {
		err := s.DB.Update(ctx, func(tx *sqldb.Tx) (err error) {
			after, more, err = expirePage(ctx, tx, after, old, page)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// expirePage removes from the page of events behind an id those that may go. Ids ascend
// with time, so the first page that ends with a young one is the last.
func expirePage(ctx context.Context, tx *sqldb.Tx, after int64, old time.Time, page int) (last int64, more bool, err error) {
	type row struct{ id, at int64 }
	rows, err := sqldb.Collect(ctx, tx, func(r sqldb.Scanner) (e row, err error) { return e, r.Scan(&e.id, &e.at) },
		`SELECT id, occurred_at FROM event WHERE id > $1 ORDER BY id LIMIT $2`, after, page)
	if err != nil || len(rows) == 0 {
		return 0, false, err
	}
	end := rows[len(rows)-1]
	_, err = tx.Exec(ctx, `DELETE FROM event WHERE id > $1 AND id <= $2 AND occurred_at < $3 AND routed
		AND NOT EXISTS (SELECT 1 FROM event_delivery d WHERE d.event_id = event.id)`, after, end.id, old.UnixMicro())
	return end.id, len(rows) == page && end.at < old.UnixMicro(), err
}
