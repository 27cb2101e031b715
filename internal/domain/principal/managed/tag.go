package managed

import (
	"context"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/tag"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Tag adds tags to a policy; one that is there, in any case of its key, is
// replaced. errs.EntityLimit for more than 50.
func (s *Service) Tag(ctx context.Context, account name.AccountID, arn string, tags []Tag) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		p, err := s.own(ctx, tx, account, arn)
		if err != nil {
			return err
		}
		return tag.Put(ctx, tx, p.ID, "Policy", tags)
	})
}

// Untag takes tags away, whatever the case of their keys; those that are not
// there are passed over.
func (s *Service) Untag(ctx context.Context, account name.AccountID, arn string, keys []string) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		p, err := s.own(ctx, tx, account, arn)
		if err != nil {
			return err
		}
		return tag.Remove(ctx, tx, p.ID, keys)
	})
}
