package entity

import (
	"context"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// pair finds a group and a user.
func (s *Service) pair(ctx context.Context, tx *sqldb.Tx, account name.AccountID, group, user string) (g, u Entity, err error) {
	if u, err = s.GetTx(ctx, tx, account, User, user); err != nil {
		return g, u, err
	}
	g, err = s.GetTx(ctx, tx, account, Group, group)
	return g, u, err
}

// AddUser puts a user into a group; once more changes nothing. errs.EntityLimit
// when the user is in as many groups as it may be.
func (s *Service) AddUser(ctx context.Context, account name.AccountID, group, user string) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		g, u, err := s.pair(ctx, tx, account, group, user)
		if err != nil {
			return err
		}
		added, err := tx.Exec(ctx, `INSERT INTO iam_membership (user_id, group_id) VALUES ($1, $2) ON CONFLICT (user_id, group_id) DO NOTHING`, u.ID, g.ID)
		if err != nil || added == 0 {
			return err
		}
		var n int64
		err = tx.QueryRow(ctx, `SELECT count(*) FROM iam_membership WHERE user_id = $1`, u.ID).Scan(&n)
		if err == nil && n > maxMemberships {
			return limit("GroupsPerUser", maxMemberships)
		}
		return err
	})
}

// RemoveUser takes a user out of a group, if it is in it.
func (s *Service) RemoveUser(ctx context.Context, account name.AccountID, group, user string) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		g, u, err := s.pair(ctx, tx, account, group, user)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM iam_membership WHERE user_id = $1 AND group_id = $2`, u.ID, g.ID)
		return err
	})
}

// Members returns the group and its users, as List does.
func (s *Service) Members(ctx context.Context, account name.AccountID, group, after string, limit int) (g Entity, users []Entity, err error) {
	err = s.p.View(ctx, func(tx *sqldb.Tx) error {
		if g, err = s.GetTx(ctx, tx, account, Group, group); err != nil {
			return err
		}
		users, err = sqldb.Collect(ctx, tx, scan, `SELECT `+columns+tables+`JOIN iam_membership m ON m.user_id = e.id WHERE m.group_id = $1 AND e.name_key > $2
			ORDER BY e.name_key LIMIT $3`, g.ID, fold(after), limit)
		return err
	})
	return g, users, err
}

// GroupsOf returns all groups of a user by their name.
func (s *Service) GroupsOf(ctx context.Context, account name.AccountID, user string) (groups []Entity, err error) {
	err = s.p.View(ctx, func(tx *sqldb.Tx) error {
		u, err := s.GetTx(ctx, tx, account, User, user)
		if err != nil {
			return err
		}
		groups, err = sqldb.Collect(ctx, tx, scan, `SELECT `+columns+tables+`JOIN iam_membership m ON m.group_id = e.id WHERE m.user_id = $1 ORDER BY e.name_key`, u.ID)
		return err
	})
	return groups, err
}
