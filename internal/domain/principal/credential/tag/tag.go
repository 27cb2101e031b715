// Package tag keeps the tags of what is no user, role or policy: MFA devices and
// OIDC providers, by their ARN.
//
// Its functions run inside the transactions of principal/credential and
// principal/provider. It does not know what the tags' owners are, nor whether
// they exist.
package tag

import (
	"context"
	"strings"

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

// Check holds tags that come with one request against the rules that the
// service model does not state: no key twice, none of AWS's own.
func Check(tags []Tag) error {
	seen := map[string]bool{}
	for _, t := range tags {
		fold := strings.ToLower(t.Key)
		if seen[fold] {
			return errs.New(errs.InvalidInput, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[fold] = true
		if strings.HasPrefix(fold, reserved) {
			return errs.New(errs.InvalidInput, "Tag keys that begin with aws: are reserved for AWS; choose another one.")
		}
	}
	return nil
}

// Put sets tags of the owner; a key that is there in another case is replaced.
// errs.InvalidInput as of Check, errs.EntityLimit for more than Max.
func Put(ctx context.Context, tx *sqldb.Tx, owner string, tags []Tag) error {
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
		return errs.New(errs.EntityLimit, "The number of tags has reached the maximum limit.")
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
