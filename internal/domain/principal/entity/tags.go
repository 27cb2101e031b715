package entity

import (
	"context"
	"regexp"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// tagForm is what keys and values of tags are made of (IAM API reference, Tag).
var tagForm = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// checkTags checks tags that come in together.
func checkTags(tags []Tag) error {
	seen := map[string]bool{}
	for _, t := range tags {
		key := fold(t.Key)
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > 128 || utf8.RuneCountInString(t.Value) > 256 || !tagForm.MatchString(t.Key) || !tagForm.MatchString(t.Value):
			return errs.New(errs.InvalidInput, "The tag with the key %q is not valid.", t.Key)
		case len(key) >= 4 && key[:4] == "aws:":
			return errs.New(errs.InvalidInput, "Tag keys must not start with aws:, which is reserved for AWS.")
		case seen[key]:
			return errs.New(errs.InvalidInput, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[key] = true
	}
	return nil
}

func tagsOf(ctx context.Context, tx *sqldb.Tx, owner string) (map[string]string, error) {
	tags := map[string]string{}
	_, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
		var k, v string
		err := row.Scan(&k, &v)
		tags[k] = v
		return struct{}{}, err
	}, `SELECT tag_key, tag_value FROM iam_tag WHERE owner = $1`, owner)
	return tags, err
}

// putTags adds tags and returns all that the entity has then.
func (s *Service) putTags(ctx context.Context, tx *sqldb.Tx, e Entity, tags []Tag) (map[string]string, error) {
	for _, t := range tags {
		if _, err := tx.Exec(ctx, `INSERT INTO iam_tag (owner, key_fold, tag_key, tag_value) VALUES ($1, $2, $3, $4)
			ON CONFLICT (owner, key_fold) DO UPDATE SET tag_key = excluded.tag_key, tag_value = excluded.tag_value`, e.ID, fold(t.Key), t.Key, t.Value); err != nil {
			return nil, err
		}
	}
	all, err := tagsOf(ctx, tx, e.ID)
	if err == nil && len(all) > maxTags {
		err = limit("TagsPer"+e.Kind.title(), maxTags)
	}
	return all, err
}

// Tag adds tags to a user or a role, service-linked ones too. A key that is
// there in another case is replaced. errs.EntityLimit for more than 50.
func (s *Service) Tag(ctx context.Context, account name.AccountID, kind Kind, entityName string, tags []Tag) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		e, err := s.GetTx(ctx, tx, account, kind, entityName)
		if err != nil {
			return err
		}
		_, err = s.putTags(ctx, tx, e, tags)
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
		for _, key := range keys {
			if _, err := tx.Exec(ctx, `DELETE FROM iam_tag WHERE owner = $1 AND key_fold = $2`, e.ID, fold(key)); err != nil {
				return err
			}
		}
		return nil
	})
}
