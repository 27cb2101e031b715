package usage

import (
	"context"
	"errors"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// lease is how long a node may be at a task before others take it for gone. All tasks
// can be done twice, at once or one after the other, and come out the same.
const lease = 10 * time.Minute

// The tasks, as usage_task has them, and in what slots of time each is done once.
const (
	taskGauges  = "gauges"
	taskStorage = "storage"
	taskExpire  = "expire"
)

// once does a task where nobody has done it for the slot yet, or is at it.
func (s *Service) once(ctx context.Context, task string, slot int64, do func() error) error {
	now := s.c.Clock.Now()
	var claimed int64
	err := s.c.DB.View(ctx, func(tx *sqldb.Tx) error { // as a rule there is nothing to do
		return tx.QueryRow(ctx, `SELECT count(*) FROM usage_task WHERE name = $1 AND done < $2 AND leased_until <= $3`, task, slot, now.UnixMicro()).Scan(&claimed)
	})
	if err != nil || claimed == 0 {
		return err
	}
	err = s.c.DB.Update(ctx, func(tx *sqldb.Tx) (err error) {
		claimed, err = tx.Exec(ctx, `UPDATE usage_task SET leased_until = $1 WHERE name = $2 AND done < $3 AND leased_until <= $4`,
			now.Add(lease).UnixMicro(), task, slot, now.UnixMicro())
		return err
	})
	if err != nil || claimed == 0 {
		return err
	}
	if err := do(); err != nil {
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
		defer cancel()
		return errors.Join(err, s.c.DB.Update(back, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(back, `UPDATE usage_task SET leased_until = 0 WHERE name = $1 AND leased_until = $2`, task, now.Add(lease).UnixMicro())
			return err
		}))
	}
	return s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE usage_task SET done = $1, leased_until = 0 WHERE name = $2 AND done < $1`, slot, task)
		return err
	})
}

// Sample looks how many repositories and images there are, once in five minutes, and what
// they take, once an hour; on one of the nodes that call it.
func (s *Service) Sample(ctx context.Context) error {
	now := s.c.Clock.Now()
	slot, hour := floorDiv(minuteOf(now), gaugeMinutes)*gaugeMinutes, hourOf(now)
	return errors.Join(
		s.once(ctx, taskGauges, slot, func() error { return s.sampleGauges(ctx, slot) }),
		s.once(ctx, taskStorage, hour, func() error { return s.sampleStorage(ctx, hour) }))
}

// Expire removes points older than Keep, days older than KeepMonths, and what only they
// speak of, once in an hour; on one of the nodes that call it.
func (s *Service) Expire(ctx context.Context) error {
	now := s.c.Clock.Now()
	return s.once(ctx, taskExpire, hourOf(now), func() error {
		if err := s.expirePoints(ctx, minuteOf(now.Add(-Keep))); err != nil {
			return err
		}
		return s.expireDays(ctx, firstDay(now))
	})
}

// firstDay is the first day that is kept.
func firstDay(now time.Time) int64 {
	now = now.UTC()
	return dayOf(time.Date(now.Year(), now.Month()-KeepMonths, 1, 0, 0, 0, 0, time.UTC))
}

// perExpiry is how many series are looked at in one transaction.
const perExpiry = 500

// expirePoints removes points before a minute. Of what is kept as changes, the last one
// before it says what held then, and stays.
func (s *Service) expirePoints(ctx context.Context, before int64) error {
	type series struct{ id, metric, last int64 }
	for after := int64(0); ; {
		var all []series
		err := s.c.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
			all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (one series, err error) {
				return one, row.Scan(&one.id, &one.metric, &one.last)
			}, `SELECT s.id, s.metric, s.last_at FROM usage_series s WHERE s.id > $1 AND (s.last_at < $2 OR EXISTS (SELECT 1 FROM usage_point p WHERE p.series_id = s.id
				AND p.minute < CASE WHEN s.metric < $3 THEN $2 ELSE (SELECT max(l.minute) FROM usage_point l WHERE l.series_id = s.id AND l.minute <= $2) END))
				ORDER BY s.id LIMIT `+itoa(perExpiry), after, before, int64(repositories))
			return err
		})
		if err != nil || len(all) == 0 {
			return err
		}
		after = all[len(all)-1].id
		err = s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
			for _, one := range all {
				if err := expireSeries(ctx, tx, one.id, kind(one.metric), before); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

func expireSeries(ctx context.Context, tx *sqldb.Tx, id int64, metric kind, before int64) error {
	// Who counts moves last_at in the transaction that writes a point, so that a series
	// with a new point is not removed.
	n, err := tx.Exec(ctx, `DELETE FROM usage_series WHERE id = $1 AND last_at < $2`, id, before)
	if err != nil {
		return err
	}
	switch {
	case n > 0:
		_, err = tx.Exec(ctx, `DELETE FROM usage_point WHERE series_id = $1`, id)
	case metric >= repositories: // kept as changes
		_, err = tx.Exec(ctx, `DELETE FROM usage_point WHERE series_id = $1 AND minute < (SELECT max(minute) FROM usage_point WHERE series_id = $1 AND minute <= $2)`, id, before)
	default:
		_, err = tx.Exec(ctx, `DELETE FROM usage_point WHERE series_id = $1 AND minute < $2`, id, before)
	}
	return err
}

// expireDays removes days before one, a day at a time.
func (s *Service) expireDays(ctx context.Context, before int64) error {
	for {
		var oldest, rows int64
		err := s.c.DB.View(ctx, func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT COALESCE(min(day), 0), count(day) FROM (SELECT day FROM usage_day ORDER BY day LIMIT 1) AS d`).Scan(&oldest, &rows)
		})
		if err != nil {
			return err
		}
		if rows == 0 || oldest >= before {
			break
		}
		err = s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM usage_day WHERE day = $1`, oldest)
			return err
		})
		if err != nil {
			return err
		}
	}
	return s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		for _, statement := range []string{`DELETE FROM usage_repository WHERE last_day < $1`, `DELETE FROM usage_tags WHERE last_day < $1`} {
			if _, err := tx.Exec(ctx, statement, before); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `DELETE FROM usage_hour WHERE hour < $1`, before*hoursPerDay)
		return err
	})
}
