package repository

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Delete removes the repository. Without force a repository that has images is
// refused with errs.RepositoryNotEmpty, and one with deletion protection is
// refused with errs.DeletionProtected in any case.
//
// A repository with a recovery window is hidden with all that it holds, until it
// is restored or Remove comes for it. Any other goes at once, in a transaction in
// which before has run: it releases what the repository holds.
func (s *Service) Delete(ctx context.Context, reg name.Registry, repo name.Repository, force bool, before func(context.Context, *sqldb.Tx, Repository) error) (Repository, error) {
	var r Repository
	err := s.update(ctx, func(tx *sqldb.Tx) error {
		found, err := s.GetTx(ctx, tx, reg, repo)
		if err != nil {
			return err
		}
		if r, err = s.Lock(ctx, tx, found); err != nil {
			return err
		}
		settings, from, err := settingsTx(ctx, tx, r.ID)
		if err != nil {
			return err
		}
		if settings.DeletionProtection {
			return protected(r, from[DeletionProtection])
		}
		if r.Images > 0 && !force {
			return errs.New(errs.RepositoryNotEmpty, "The repository with name '%s' in registry with id '%s' cannot be deleted because it still contains images", repo, reg.Account)
		}
		if settings.RecoveryWindow > 0 {
			err = s.hide(ctx, tx, r, settings.RecoveryWindow)
		} else if err = before(ctx, tx, r); err == nil {
			_, err = tx.Exec(ctx, `DELETE FROM repository WHERE id = $1`, r.ID)
		}
		if err != nil {
			return err
		}
		s.changedAfter(tx, r)
		_, err = s.Registries.AddRepositoriesTx(ctx, tx, reg, -1)
		return err
	})
	if err == nil {
		s.sealers.forget(r.ID)
	}
	return r, err
}

// hide gives the repository a name that no client can address: the grammar of
// names (name.RepositoryPattern) has no colon.
func (s *Service) hide(ctx context.Context, tx *sqldb.Tx, r Repository, window time.Duration) error {
	now := s.Clock.Now()
	_, err := tx.Exec(ctx, `UPDATE repository SET deleted_name = name, name = $2, deleted_at = $3, expires_at = $4 WHERE id = $1`,
		r.ID, "deleted:"+strconv.FormatInt(r.ID, 10), now.UnixMicro(), now.Add(window).UnixMicro())
	return err
}

// Stored finds a repository by its number, deleted or not, or returns
// errs.RepositoryNotFound.
func (s *Service) Stored(ctx context.Context, id int64) (Repository, error) {
	var r Repository
	err := s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		r, err = s.storedTx(ctx, tx, id, "")
		return err
	})
	return r, err
}

// LockStored reads a repository by its number, deleted or not, and holds its row
// until the transaction ends. errs.RepositoryNotFound.
func (s *Service) LockStored(ctx context.Context, tx *sqldb.Tx, id int64) (Repository, error) {
	s.contentsAfter(tx, id)
	return s.storedTx(ctx, tx, id, tx.ForUpdate())
}

func (s *Service) storedTx(ctx context.Context, tx *sqldb.Tx, id int64, lock string) (Repository, error) {
	r, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM repository WHERE id = $1`+lock, id))
	if errors.Is(err, sqldb.ErrNoRows) {
		return Repository{}, errs.New(errs.RepositoryNotFound, "The repository with the number %d does not exist", id)
	}
	return r, err
}

// ListDeleted returns up to limit deleted repositories of the registry that can
// be restored, in the order of their numbers after the given one; those that had
// the name, or all for "".
func (s *Service) ListDeleted(ctx context.Context, reg name.Registry, repo name.Repository, after int64, limit int) ([]Repository, error) {
	var all []Repository
	err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
		query, args := `SELECT `+columns+` FROM repository WHERE account_id = $1 AND region = $2 AND deleted_at <> 0 AND id > $3`,
			[]any{string(reg.Account), string(reg.Region), after, limit}
		if repo != "" {
			query += ` AND deleted_name = $5`
			args = append(args, string(repo))
		}
		var err error
		all, err = sqldb.Collect(ctx, tx, scan, query+` ORDER BY id LIMIT $4`, args...)
		return err
	})
	return all, err
}

// Overdue returns the numbers of up to limit deleted repositories whose window
// has ended, whatever their registry, after the given one.
func (s *Service) Overdue(ctx context.Context, after int64, limit int) ([]int64, error) {
	var all []int64
	err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		all, err = sqldb.Collect(ctx, tx, sqldb.One[int64],
			`SELECT id FROM repository WHERE deleted_at <> 0 AND expires_at <= $1 AND id > $2 ORDER BY id LIMIT $3`, s.Clock.Now().UnixMicro(), after, limit)
		return err
	})
	return all, err
}

// Undelete brings a deleted repository back with all that it holds, under its old
// name, or under another one where as is not "".
//
// errs.RepositoryNotFound when there is no deleted repository with the number;
// errs.RepositoryExists when the name is taken; errs.LimitExceeded.
func (s *Service) Undelete(ctx context.Context, id int64, as name.Repository) (Repository, error) {
	r, err := s.Stored(ctx, id)
	if err != nil {
		return Repository{}, err
	}
	limits, err := s.Quotas.Limits(ctx, r.Registry.Account)
	if err != nil {
		return Repository{}, err
	}
	limits = limits.In(r.Registry)
	exists := func() error {
		return errs.New(errs.RepositoryExists, "The repository with name '%s' already exists in the registry with id '%s'. Restore the deleted one under another name.", r.Name, r.Registry.Account)
	}
	err = s.update(ctx, func(tx *sqldb.Tx) error {
		var err error
		if r, err = s.LockStored(ctx, tx, id); err != nil {
			return err
		}
		if r.DeletedAt.IsZero() {
			return errs.New(errs.RepositoryNotFound, "The repository with name '%s' in the registry with id '%s' is not deleted", r.Name, r.Registry.Account)
		}
		if as != "" {
			r.Name = as
		}
		r.DeletedAt, r.ExpiresAt = time.Time{}, time.Time{}
		if _, err := s.GetTx(ctx, tx, r.Registry, r.Name); !errs.Is(err, errs.RepositoryNotFound) {
			if err == nil {
				err = exists()
			}
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE repository SET name = $2, deleted_name = '', deleted_at = 0, expires_at = 0 WHERE id = $1`, id, string(r.Name)); err != nil {
			return err
		}
		count, err := s.Registries.AddRepositoriesTx(ctx, tx, r.Registry, 1)
		if err != nil {
			return err
		}
		if count > limits.RepositoriesPerRegistry {
			return errs.New(errs.LimitExceeded, "The registry with id '%s' already has the maximum allowed number of repositories which is '%d'", r.Registry.Account, limits.RepositoriesPerRegistry)
		}
		return s.accessChangedTx(ctx, tx, r)
	})
	if sqldb.IsUnique(err) { // made at the same moment
		err = exists()
	}
	if err != nil {
		return Repository{}, err
	}
	return r, nil
}

// Remove removes a deleted repository for good, if its window has ended by then,
// in a transaction in which before has run: it releases what the repository
// holds. removed is false for one that has been restored or has time left, and
// for one that has gone.
func (s *Service) Remove(ctx context.Context, id int64, then time.Time, before func(context.Context, *sqldb.Tx, Repository) error) (removed bool, err error) {
	err = s.update(ctx, func(tx *sqldb.Tx) error {
		removed = false
		r, err := s.LockStored(ctx, tx, id)
		if errs.Is(err, errs.RepositoryNotFound) {
			return nil
		}
		if err != nil || r.DeletedAt.IsZero() || r.ExpiresAt.After(then) {
			return err
		}
		if err := before(ctx, tx, r); err != nil {
			return err
		}
		removed = true
		_, err = tx.Exec(ctx, `DELETE FROM repository WHERE id = $1`, id)
		return err
	})
	return removed && err == nil, err
}
