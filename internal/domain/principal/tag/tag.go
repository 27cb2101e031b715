// Package tag keeps the tags of all that IAM has: users, roles and policies by
// their unique id, MFA devices and OIDC providers by their ARN.
//
// Its functions run inside the transactions of the packages beside it. It does
// not know what the tags' owners are, nor whether they exist.
package tag

import (
	"context"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Max is how many tags one resource can have (IAM user guide, "IAM and STS
// quotas").
const Max = 50

// reserved is AWS's own name space.
const reserved = "aws:"

// Tag is a key with its value. Keys differ in more than case.
type Tag struct {
	Key, Value string
}

// form is what keys and values are made of (IAM API reference, Tag).
var form = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// Lengths in characters (IAM API reference, Tag).
const (
	maxKey   = 128
	maxValue = 256
)

// Check holds tags that come with one request against the rules: their form, no
// key twice, none of AWS's own. errs.InvalidInput otherwise.
func Check(tags []Tag) error {
	seen := map[string]bool{}
	for _, t := range tags {
		fold := strings.ToLower(t.Key)
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > maxKey || utf8.RuneCountInString(t.Value) > maxValue || !form.MatchString(t.Key) || !form.MatchString(t.Value):
			return errs.New(errs.InvalidInput, "The tag with the key %q is not valid.", t.Key)
		case strings.HasPrefix(fold, reserved):
			return errs.New(errs.InvalidInput, "Tag keys that begin with aws: are reserved for AWS; choose another one.")
		case seen[fold]:
			return errs.New(errs.InvalidInput, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[fold] = true
	}
	return nil
}

// Put sets tags of the owner; a key that is there in another case is replaced.
// The kind of the owner ("User") names the quota. errs.InvalidInput as of Check,
// errs.EntityLimit for more than Max.
func Put(ctx context.Context, tx *sqldb.Tx, owner, kind string, tags []Tag) error {
	if err := Check(tags); err != nil {
		return err
	}
	for _, t := range tags {
		_, err := tx.Exec(ctx, `INSERT INTO iam_tag (owner, key_fold, tag_key, tag_value) VALUES ($1, $2, $3, $4)
			ON CONFLICT (owner, key_fold) DO UPDATE SET tag_key = excluded.tag_key, tag_value = excluded.tag_value`,
			owner, strings.ToLower(t.Key), t.Key, t.Value)
		if err != nil {
			return err
		}
	}
	var n int64
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM iam_tag WHERE owner = $1`, owner).Scan(&n); err != nil {
		return err
	}
	if n > Max {
		return errs.New(errs.EntityLimit, "Cannot exceed quota for TagsPer%s: %d", kind, Max)
	}
	return nil
}

// Remove takes tags away; keys that the owner has not are passed over.
func Remove(ctx context.Context, tx *sqldb.Tx, owner string, keys []string) error {
	for _, k := range keys {
		if _, err := tx.Exec(ctx, `DELETE FROM iam_tag WHERE owner = $1 AND key_fold = $2`, owner, strings.ToLower(k)); err != nil {
			return err
		}
	}
	return nil
}

// Clear takes all tags of the owner away, which has gone.
func Clear(ctx context.Context, tx *sqldb.Tx, owner string) error {
	_, err := tx.Exec(ctx, `DELETE FROM iam_tag WHERE owner = $1`, owner)
	return err
}

// Load lists the owner's tags by their keys without regard to case.
func Load(ctx context.Context, tx *sqldb.Tx, owner string) ([]Tag, error) {
	return sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (Tag, error) {
		var t Tag
		err := row.Scan(&t.Key, &t.Value)
		return t, err
	}, `SELECT tag_key, tag_value FROM iam_tag WHERE owner = $1 ORDER BY key_fold`, owner)
}

// Map is Load for who looks tags up by their keys.
func Map(ctx context.Context, tx *sqldb.Tx, owner string) (map[string]string, error) {
	all, err := Load(ctx, tx, owner)
	tags := make(map[string]string, len(all))
	for _, t := range all {
		tags[t.Key] = t.Value
	}
	return tags, err
}
