package managed

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Version is a version of a policy.
type Version struct {
	// Number is 3 for v3. No number is given twice.
	Number int64
	// Document as it was given.
	Document string
	Default  bool
	Created  time.Time
}

// ID is what the API calls the version: "v3".
func (v Version) ID() string { return VersionID(v.Number) }

// VersionID is what the API calls a version by its number.
func VersionID(number int64) string { return "v" + strconv.FormatInt(number, 10) }

// ParseVersion reads "v3"; 0, which no version has, for any other text.
func ParseVersion(id string) int64 {
	digits, found := strings.CutPrefix(id, "v")
	n, err := strconv.ParseInt(digits, 10, 64)
	if !found || err != nil || n < 1 || VersionID(n) != id {
		return 0
	}
	return n
}

func noVersion(arn string, number int64) error {
	return errs.New(errs.EntityNotFound, "Policy %s version %s does not exist or is not attachable.", arn, VersionID(number))
}

func putVersion(ctx context.Context, tx *sqldb.Tx, id string, number int64, document string, now int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO iam_policy_version (policy_id, version, document, created_at) VALUES ($1, $2, $3, $4)`, id, number, document, now)
	return err
}

// CreateVersion adds a version. Errors are those of Get and Create, and
// errs.EntityLimit while the policy has its five.
func (s *Service) CreateVersion(ctx context.Context, account name.AccountID, arn, document string, makeDefault bool) (v Version, err error) {
	if err := checkDocument(document); err != nil {
		return v, err
	}
	err = s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		p, err := s.own(ctx, tx, account, arn)
		if err != nil {
			return err
		}
		var held int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM iam_policy_version WHERE policy_id = $1`, p.ID).Scan(&held); err != nil {
			return err
		}
		if held >= MaxVersions {
			return errs.New(errs.EntityLimit, "A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", MaxVersions)
		}
		now := s.p.Now().UnixMicro()
		v = Version{Document: document, Default: makeDefault, Created: instant(now)}
		err = tx.QueryRow(ctx, `UPDATE iam_policy SET last_version = last_version + 1, updated_at = $2 WHERE id = $1 RETURNING last_version`, p.ID, now).Scan(&v.Number)
		if err != nil {
			return err
		}
		if err := putVersion(ctx, tx, p.ID, v.Number, document, now); err != nil || !makeDefault {
			return err
		}
		return setDefault(ctx, tx, p.ID, v.Number)
	})
	return v, err
}

func setDefault(ctx context.Context, tx *sqldb.Tx, id string, number int64) error {
	_, err := tx.Exec(ctx, `UPDATE iam_policy SET default_version = $2 WHERE id = $1`, id, number)
	return err
}

// Version finds one version. errs.EntityNotFound when there is none of the
// number; otherwise as Get.
func (s *Service) Version(ctx context.Context, account name.AccountID, arn string, number int64) (v Version, err error) {
	all, err := s.Versions(ctx, account, arn)
	if err != nil {
		return v, err
	}
	for _, v := range all {
		if v.Number == number {
			return v, nil
		}
	}
	return v, noVersion(arn, number)
}

// Versions lists a policy's versions, newest first. Errors are those of Get.
func (s *Service) Versions(ctx context.Context, account name.AccountID, arn string) (all []Version, err error) {
	err = s.p.View(ctx, func(tx *sqldb.Tx) error {
		p, err := s.get(ctx, tx, account, arn)
		if err != nil {
			return err
		}
		all, err = s.versions(ctx, tx, p)
		return err
	})
	return all, err
}

func (s *Service) versions(ctx context.Context, tx *sqldb.Tx, p Policy) ([]Version, error) {
	if p.AWS {
		own, _ := s.p.Managed().Get(p.ARN)
		all := make([]Version, len(own.Versions))
		for i, v := range own.Versions {
			all[i] = Version{Number: v.Number, Document: v.Text, Default: v.Number == own.Version, Created: v.Created}
		}
		return all, nil
	}
	return sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (Version, error) {
		var v Version
		var created int64
		err := row.Scan(&v.Number, &v.Document, &created)
		v.Created, v.Default = instant(created), v.Number == p.Default
		return v, err
	}, `SELECT version, document, created_at FROM iam_policy_version WHERE policy_id = $1 ORDER BY version DESC`, p.ID)
}

// DeleteVersion removes a version that is not the default one: else
// errs.EntityInUse.
func (s *Service) DeleteVersion(ctx context.Context, account name.AccountID, arn string, number int64) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		p, err := s.own(ctx, tx, account, arn)
		if err != nil {
			return err
		}
		if number == p.Default {
			return errs.New(errs.EntityInUse, "Cannot delete the default version of a policy.")
		}
		n, err := tx.Exec(ctx, `DELETE FROM iam_policy_version WHERE policy_id = $1 AND version = $2`, p.ID, number)
		if err == nil && n == 0 {
			return noVersion(arn, number)
		}
		return err
	})
}

// SetDefault makes a version the one that counts.
func (s *Service) SetDefault(ctx context.Context, account name.AccountID, arn string, number int64) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		p, err := s.own(ctx, tx, account, arn)
		if err != nil {
			return err
		}
		var there int64
		err = tx.QueryRow(ctx, `SELECT version FROM iam_policy_version WHERE policy_id = $1 AND version = $2`, p.ID, number).Scan(&there)
		if errors.Is(err, sqldb.ErrNoRows) {
			return noVersion(arn, number)
		}
		if err != nil {
			return err
		}
		return setDefault(ctx, tx, p.ID, number)
	})
}
