package rule

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Lengths of tags in characters (API reference, Tag), and AWS's own name space.
const (
	maxTagKey   = 128
	maxTagValue = 256
	reserved    = "aws:"
)

func checkTags(tags map[string]string) error {
	for k, v := range tags {
		switch {
		case k == "" || utf8.RuneCountInString(k) > maxTagKey || utf8.RuneCountInString(v) > maxTagValue:
			return errs.New(errs.Validation, "The tag with the key %q is not valid: a key has 1 to %d characters, a value %d at most.", k, maxTagKey, maxTagValue)
		case strings.HasPrefix(strings.ToLower(k), reserved):
			return errs.New(errs.Validation, "Tag keys that begin with %s are reserved for AWS; choose another one than %q.", reserved, k)
		}
		if err := errors.Join(storable("Tags", k), storable("Tags", v)); err != nil {
			return err
		}
	}
	if len(tags) > MaxTags {
		return errs.New(errs.Validation, "A resource can have %d tags at most.", MaxTags)
	}
	return nil
}

// Tags are those of a rule, or of the default bus. errs.EventResourceNotFound,
// errs.Validation for text that is no ARN.
func (s *Service) Tags(ctx context.Context, home name.Registry, arn string) (tags map[string]string, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		tags, _, err = tagsTx(ctx, tx, home, arn)
		return err
	})
	return tags, err
}

// Tag sets tags of a rule, or of the default bus. errs.EventResourceNotFound,
// errs.Validation.
func (s *Service) Tag(ctx context.Context, home name.Registry, arn string, set map[string]string) error {
	if err := checkTags(set); err != nil {
		return err
	}
	return s.retag(ctx, home, arn, func(tags map[string]string) error {
		maps.Copy(tags, set)
		return checkTags(tags)
	})
}

// Untag takes tags away; keys that are not there are passed over.
// errs.EventResourceNotFound, errs.Validation for text that is no ARN.
func (s *Service) Untag(ctx context.Context, home name.Registry, arn string, keys []string) error {
	return s.retag(ctx, home, arn, func(tags map[string]string) error {
		for _, k := range keys {
			delete(tags, k)
		}
		return nil
	})
}

func (s *Service) retag(ctx context.Context, home name.Registry, arn string, edit func(map[string]string) error) error {
	return s.change(ctx, home, func(tx *sqldb.Tx) error {
		tags, ruleID, err := tagsTx(ctx, tx, home, arn)
		if err != nil {
			return err
		}
		if err := edit(tags); err != nil {
			return err
		}
		text, err := json.Marshal(tags)
		if err != nil {
			return err
		}
		if ruleID == 0 {
			_, err = tx.Exec(ctx, `UPDATE event_bus SET tags = $3 WHERE account_id = $1 AND region = $2`, string(home.Account), string(home.Region), string(text))
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE event_rule SET tags = $2 WHERE id = $1`, ruleID, string(text))
		return err
	})
}

// tagsTx reads the tags of what the ARN names, and the id of the rule, 0 for the bus.
func tagsTx(ctx context.Context, tx *sqldb.Tx, home name.Registry, arn string) (tags map[string]string, ruleID int64, err error) {
	named, err := name.ParseARN(arn)
	if err != nil {
		return nil, 0, errs.New(errs.Validation, "Parameter ResourceARN is not valid. Reason: Provided Arn is not in correct format.")
	}
	if named == BusARN(home) {
		var text string
		err := tx.QueryRow(ctx, `SELECT tags FROM event_bus WHERE account_id = $1 AND region = $2`, string(home.Account), string(home.Region)).Scan(&text)
		if errors.Is(err, sqldb.ErrNoRows) {
			return map[string]string{}, 0, nil
		}
		if err != nil {
			return nil, 0, err
		}
		err = json.Unmarshal([]byte(text), &tags)
		return tags, 0, err
	}
	ruleName, ok := strings.CutPrefix(named.Resource, "rule/")
	if !ok || named != ARN(home, ruleName) || storable("ResourceARN", arn) != nil {
		return nil, 0, errs.New(errs.EventResourceNotFound, "Resource %s not found.", arn)
	}
	found, err := findTx(ctx, tx, home, ruleName)
	return found.Tags, found.ID, err
}
