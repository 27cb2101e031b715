package entity

import (
	"context"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/tag"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// putTags adds tags and returns all that the entity has then.
func putTags(ctx context.Context, tx *sqldb.Tx, e Entity, tags []Tag) (map[string]string, error) {
	if err := tag.Put(ctx, tx, e.ID, e.Kind.title(), tags); err != nil {
		return nil, err
	}
	return tag.Map(ctx, tx, e.ID)
}

// Tag adds tags to a user or a role, service-linked ones too. A key that is
// there in another case is replaced. errs.EntityLimit for more than 50.
func (s *Service) Tag(ctx context.Context, account name.AccountID, kind Kind, entityName string, tags []Tag) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		e, err := s.GetTx(ctx, tx, account, kind, entityName)
		if err != nil {
			return err
		}
		_, err = putTags(ctx, tx, e, tags)
		return err
	})
}

// Untag takes tags away, whatever the case of their keys; those that are not
// there are passed over.
func (s *Service) Untag(ctx context.Context, account name.AccountID, kind Kind, entityName string, keys []string) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		e, err := s.GetTx(ctx, tx, account, kind, entityName)
		if err != nil {
			return err
		}
		return tag.Remove(ctx, tx, e.ID, keys)
	})
}
