package collect

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// MaxHold is the longest life of a hold; whoever needs more extends it.
	MaxHold = 24 * time.Hour
	// holdSkew is what clocks of two nodes may differ: a hold keeps objects for so
	// much longer than it says.
	holdSkew = 30 * time.Second
	maxOwner = 200
)

// ErrHoldLost says that a hold has expired or was released: objects may have been
// deleted since, and what was copied under it must be copied anew.
var ErrHoldLost = errors.New("the hold on the deletion of objects has expired; begin again, and extend it in time")

// Hold keeps the objects of all garbage from being deleted, on all nodes, until it
// is released or expires. Reviews go on meanwhile.
type Hold struct {
	// ID is a UUID.
	ID string
	// Owner says who asked for it, for people.
	Owner string
	// Life is how long it lives after it was begun, and after each Extend.
	Life time.Duration

	service *Service
}

// Hold begins a hold. Once it has returned, every object stays that is named by a
// blob of a snapshot of the durable database that is taken while the hold lives.
// errs.InvalidParameter for a life that is not over 0 and at most MaxHold, and for
// an owner that is empty or longer than 200 bytes.
func (s *Service) Hold(ctx context.Context, owner string, life time.Duration) (Hold, error) {
	if life <= 0 || life > MaxHold {
		return Hold{}, errs.New(errs.InvalidParameter, "A hold lives for up to %s, not %s: take less, and extend it while it is needed.", MaxHold, life)
	}
	if owner == "" || len(owner) > maxOwner {
		return Hold{}, errs.New(errs.InvalidParameter, "A hold needs the name of its owner, in at most %d bytes.", maxOwner)
	}
	h := Hold{ID: uuid.NewString(), Owner: owner, Life: life, service: s}
	now := s.Clock.Now()
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		// Those of owners that have died.
		if _, err := tx.Exec(ctx, `DELETE FROM layer_hold WHERE expires_at <= $1`, now.Add(-time.Hour).UnixMicro()); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO layer_hold (id, owner, created_at, expires_at) VALUES ($1, $2, $3, $4)`,
			h.ID, owner, now.UnixMicro(), now.Add(life).UnixMicro())
		return err
	})
	return h, err
}

// Extend has the hold live for its Life from now on. ErrHoldLost when it has
// expired before.
func (h Hold) Extend(ctx context.Context) error {
	now := h.service.Clock.Now()
	var n int64
	err := h.service.DB.Update(ctx, func(tx *sqldb.Tx) (err error) {
		n, err = tx.Exec(ctx, `UPDATE layer_hold SET expires_at = $2 WHERE id = $1 AND expires_at > $3`, h.ID, now.Add(h.Life).UnixMicro(), now.UnixMicro())
		return err
	})
	if err == nil && n == 0 {
		err = ErrHoldLost
	}
	return err
}

// Release ends the hold. ErrHoldLost when it had expired before: what was done
// under it cannot be relied on.
func (h Hold) Release(ctx context.Context) error {
	now := h.service.Clock.Now().UnixMicro()
	var n int64
	err := h.service.DB.Update(ctx, func(tx *sqldb.Tx) (err error) {
		n, err = tx.Exec(ctx, `DELETE FROM layer_hold WHERE id = $1 AND expires_at > $2`, h.ID, now)
		return err
	})
	if err == nil && n == 0 {
		err = ErrHoldLost
	}
	return err
}

// isHeld looks for a live hold. In a claim it comes after the reading of the
// garbage: see the package's comment.
func isHeld(ctx context.Context, tx *sqldb.Tx, now time.Time) (bool, error) {
	return exists(ctx, tx, `SELECT 1 FROM layer_hold WHERE expires_at > $1 LIMIT 1`, now.Add(-holdSkew).UnixMicro())
}

// exists says whether the query has a row.
func exists(ctx context.Context, tx *sqldb.Tx, query string, args ...any) (bool, error) {
	var one int64
	err := tx.QueryRow(ctx, query, args...).Scan(&one)
	if errors.Is(err, sqldb.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
