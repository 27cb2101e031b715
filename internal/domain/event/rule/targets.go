package rule

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// PutTargets adds targets to a rule, in place of those that have their ids. Targets that
// go nowhere known are left out and returned. errs.EventResourceNotFound for the rule,
// errs.LimitExceeded, errs.Validation; then nothing is put.
func (s *Service) PutTargets(ctx context.Context, home name.Registry, ruleName string, targets []Settings) ([]Failure, error) {
	if _, err := s.Find(ctx, home, ruleName); err != nil {
		return nil, err
	}
	for _, t := range targets {
		if err := t.check(); err != nil {
			return nil, err
		}
	}
	var failures []Failure
	var good []Settings
	for _, t := range targets {
		switch reason, err := s.unknown(ctx, home, t); {
		case err != nil:
			return nil, err
		case reason != nil:
			failures = append(failures, Failure{t.ID, reason})
		default:
			good = append(good, t)
		}
	}
	if len(good) == 0 {
		return failures, nil
	}
	err := s.change(ctx, home, func(tx *sqldb.Tx) error {
		of, err := findTx(ctx, tx, home, ruleName)
		if err != nil {
			return err
		}
		for _, t := range good {
			text, err := json.Marshal(t)
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `INSERT INTO event_target (rule_id, id, arn, settings) VALUES ($1, $2, $3, $4)
				ON CONFLICT (rule_id, id) DO UPDATE SET arn = excluded.arn, settings = excluded.settings`, of.ID, t.ID, t.ARN, string(text))
			if err != nil {
				return err
			}
		}
		var many int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM event_target WHERE rule_id = $1`, of.ID).Scan(&many); err != nil {
			return err
		}
		if many > MaxTargets {
			return errs.New(errs.LimitExceeded, "The requested resource exceeds the maximum number allowed. A rule can have %d targets; remove some of rule %s, or make another rule with the same event pattern.", MaxTargets, ruleName)
		}
		return nil
	})
	return failures, err
}

// check holds a target against what EventBridge refuses of a whole call.
func (s Settings) check() error {
	for _, arn := range []string{s.ARN, s.DeadLetterARN} {
		if _, err := name.ParseARN(arn); err != nil && (arn != "" || arn == s.ARN) {
			return errs.New(errs.Validation, "Parameter %s is not valid. Reason: Provided Arn is not in correct format.", arn)
		}
		if err := storable("Arn", arn); err != nil {
			return err
		}
	}
	return s.Input.CheckFor(s.ID)
}

// unknown says why the destinations of a target cannot be had, nil if they can.
func (s *Service) unknown(ctx context.Context, home name.Registry, t Settings) (*errs.Error, error) {
	for _, arn := range []string{t.ARN, t.DeadLetterARN} {
		if arn == "" {
			continue
		}
		err := s.Known(ctx, home.Account, home.Region, arn)
		reason, ok := errors.AsType[*errs.Error](err)
		switch {
		case err == nil:
		case !ok || reason.Code == errs.Internal || reason.Code == errs.Unavailable:
			return nil, err
		case reason.Code == errs.EventResourceNotFound:
			return errs.New(errs.EventResourceNotFound, "No destination of the account in the region has the ARN %s. An administrator makes one with `berth events destination create`, and lists those there are with `berth events destination list`.", arn), nil
		default:
			return reason, nil
		}
	}
	return nil, nil
}

// Targets returns a page of at most limit targets of a rule, by their ids, after the id
// after, and whether more follow. errs.EventResourceNotFound.
func (s *Service) Targets(ctx context.Context, home name.Registry, ruleName, after string, limit int) (page []Settings, more bool, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		of, err := findTx(ctx, tx, home, ruleName)
		if err != nil {
			return err
		}
		page, err = sqldb.Collect(ctx, tx, scanSettings, `SELECT `+targetColumns+` FROM event_target t WHERE t.rule_id = $1 AND t.id > $2 ORDER BY t.id LIMIT $3`,
			of.ID, after, int64(limit)+1)
		return err
	})
	page, more = cut(page, limit)
	return page, more, err
}

// RemoveTargets takes targets from a rule and returns those that it has not.
// errs.EventResourceNotFound for the rule.
func (s *Service) RemoveTargets(ctx context.Context, home name.Registry, ruleName string, ids []string) (failures []Failure, err error) {
	err = s.change(ctx, home, func(tx *sqldb.Tx) error {
		failures = nil
		of, err := findTx(ctx, tx, home, ruleName)
		if err != nil {
			return err
		}
		for _, id := range ids {
			n, err := tx.Exec(ctx, `DELETE FROM event_target WHERE rule_id = $1 AND id = $2`, of.ID, id)
			if err != nil {
				return err
			}
			if n == 0 {
				failures = append(failures, Failure{id, errs.New(errs.EventResourceNotFound, "Rule %s does not have a target with the Id %s.", ruleName, id)})
			}
		}
		return nil
	})
	return failures, err
}

// NamesByTarget returns a page of at most limit names of the rules that send to the
// destination, after the name after, and whether more follow.
func (s *Service) NamesByTarget(ctx context.Context, home name.Registry, arn, after string, limit int) (page []string, more bool, err error) {
	if err := storable("TargetArn", arn); err != nil {
		return nil, false, err
	}
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		page, err = sqldb.Collect(ctx, tx, sqldb.One[string], `SELECT r.name FROM event_rule r
			WHERE r.account_id = $1 AND r.region = $2 AND r.name > $3 AND EXISTS (SELECT 1 FROM event_target t WHERE t.rule_id = r.id AND t.arn = $4)
			ORDER BY r.name LIMIT $5`, string(home.Account), string(home.Region), after, arn, int64(limit)+1)
		return err
	})
	page, more = cut(page, limit)
	return page, more, err
}
