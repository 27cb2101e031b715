package managed

import (
	"context"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// tagForm is what keys and values of tags are made of (IAM API reference, Tag).
var tagForm = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// checkTags holds tags that come in together against the rules.
func checkTags(tags []Tag) error {
	seen := map[string]bool{}
	for _, t := range tags {
		key := fold(t.Key)
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > 128 || utf8.RuneCountInString(t.Value) > 256 || !tagForm.MatchString(t.Key) || !tagForm.MatchString(t.Value):
			return errs.New(errs.InvalidInput, "The tag with the key %q is not valid.", t.Key)
		case strings.HasPrefix(key, "aws:"):
			return errs.New(errs.InvalidInput, "Tag keys that begin with aws: are reserved for AWS; choose another one.")
		case seen[key]:
			return errs.New(errs.InvalidInput, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[key] = true
	}
	return nil
}

// putTags adds tags and returns all that the policy has then.
func putTags(ctx context.Context, tx *sqldb.Tx, id string, tags []Tag) ([]Tag, error) {
	for _, t := range tags {
		if _, err := tx.Exec(ctx, `INSERT INTO iam_tag (owner, key_fold, tag_key, tag_value) VALUES ($1, $2, $3, $4)
			ON CONFLICT (owner, key_fold) DO UPDATE SET tag_key = excluded.tag_key, tag_value = excluded.tag_value`, id, fold(t.Key), t.Key, t.Value); err != nil {
			return nil, err
		}
	}
	all, err := tagsOf(ctx, tx, id)
	if err == nil && len(all) > MaxTags {
		err = limit("TagsPerPolicy", MaxTags)
	}
	return all, err
}

// tagsOf lists a policy's tags by their keys without regard to case.
func tagsOf(ctx context.Context, tx *sqldb.Tx, id string) ([]Tag, error) {
	return sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (Tag, error) {
		var t Tag
		err := row.Scan(&t.Key, &t.Value)
		return t, err
	}, `SELECT tag_key, tag_value FROM iam_tag WHERE owner = $1 ORDER BY key_fold`, id)
}

// Tag adds tags to a policy; one that is there, in any case of its key, is
// replaced. errs.EntityLimit for more than 50.
func (s *Service) Tag(ctx context.Context, account name.AccountID, arn string, tags []Tag) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		p, err := s.own(ctx, tx, account, arn)
		if err != nil {
			return err
		}
		_, err = putTags(ctx, tx, p.ID, tags)
		return err
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
		for _, key := range keys {
			if _, err := tx.Exec(ctx, `DELETE FROM iam_tag WHERE owner = $1 AND key_fold = $2`, p.ID, fold(key)); err != nil {
				return err
			}
		}
		return nil
	})
}
