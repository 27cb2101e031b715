package rule

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/pattern"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Put is a rule to be made or replaced.
type Put struct {
	Home name.Registry
	Name string
	// Pattern is the event pattern.
	Pattern string
	// State is Enabled where it is "".
	State       State
	Description string
	RoleARN     string
	// Tags are those of a new rule; one that is there keeps its own.
	Tags map[string]string
}

// change runs fn while it holds the bus of home, which then has a new revision.
func (s *Service) change(ctx context.Context, home name.Registry, fn func(tx *sqldb.Tx) error) error {
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO event_bus (account_id, region, revision, tags) VALUES ($1, $2, $3, '{}')
			ON CONFLICT (account_id, region) DO UPDATE SET revision = excluded.revision`, string(home.Account), string(home.Region), sqldb.NewID())
		if err != nil {
			return err
		}
		return fn(tx)
	})
	if errors.Is(err, sqldb.ErrFull) {
		return errs.Wrap(err, errs.StorageFull, "There is no storage space left. Ask the registry's operator to make room, then try again.")
	}
	return err
}

// storable refuses text that no column takes.
func storable(member, text string) error {
	if strings.ContainsRune(text, 0) {
		return errs.New(errs.Validation, "Parameter %s is not valid. Reason: It must not have the character NUL.", member)
	}
	return nil
}

// Put makes a rule or replaces one, which keeps its targets and tags.
// errs.EventPatternInvalid, errs.LimitExceeded, errs.Validation.
func (s *Service) Put(ctx context.Context, p Put) (Rule, error) {
	if p.Pattern == "" {
		return Rule{}, errs.New(errs.Validation, "Parameter(s) EventPattern or ScheduleExpression must be specified.")
	}
	if _, err := pattern.Parse(p.Pattern); err != nil {
		return Rule{}, err
	}
	if err := errors.Join(storable("Description", p.Description), storable("RoleArn", p.RoleARN)); err != nil {
		return Rule{}, err
	}
	if err := checkTags(p.Tags); err != nil {
		return Rule{}, err
	}
	if p.State == "" {
		p.State = Enabled
	}
	if p.Tags == nil {
		p.Tags = map[string]string{}
	}
	tags, err := json.Marshal(p.Tags)
	if err != nil {
		return Rule{}, err
	}
	var made Rule
	now := s.now()
	err = s.change(ctx, p.Home, func(tx *sqldb.Tx) error {
		old, err := findTx(ctx, tx, p.Home, p.Name)
		switch {
		case err == nil:
			made = old
			made.Pattern, made.State, made.Description, made.RoleARN, made.UpdatedAt = p.Pattern, p.State, p.Description, p.RoleARN, now
			_, err := tx.Exec(ctx, `UPDATE event_rule SET pattern = $2, state = $3, description = $4, role_arn = $5, updated_at = $6 WHERE id = $1`,
				old.ID, p.Pattern, string(p.State), p.Description, p.RoleARN, now.UnixMicro())
			return err
		case !errs.Is(err, errs.EventResourceNotFound):
			return err
		}
		made = Rule{
			ID: sqldb.NewID(), Home: p.Home, Name: p.Name, Pattern: p.Pattern, State: p.State, Description: p.Description, RoleARN: p.RoleARN,
			Tags: p.Tags, CreatedAt: now, UpdatedAt: now,
		}
		_, err = tx.Exec(ctx, `INSERT INTO event_rule (`+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			made.ID, string(p.Home.Account), string(p.Home.Region), p.Name, string(p.State), p.Pattern, p.Description, p.RoleARN, string(tags), now.UnixMicro(), now.UnixMicro())
		if err != nil {
			return err
		}
		var many int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM event_rule WHERE account_id = $1 AND region = $2`, string(p.Home.Account), string(p.Home.Region)).Scan(&many); err != nil {
			return err
		}
		if many > MaxRules {
			return errs.New(errs.LimitExceeded, "The requested resource exceeds the maximum number allowed. An event bus can have %d rules; delete one first.", MaxRules)
		}
		return nil
	})
	return made, err
}

// Find reads a rule. errs.EventResourceNotFound.
func (s *Service) Find(ctx context.Context, home name.Registry, ruleName string) (found Rule, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		found, err = findTx(ctx, tx, home, ruleName)
		return err
	})
	return found, err
}

func findTx(ctx context.Context, tx *sqldb.Tx, home name.Registry, ruleName string) (Rule, error) {
	found, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM event_rule WHERE account_id = $1 AND region = $2 AND name = $3`,
		string(home.Account), string(home.Region), ruleName))
	if errors.Is(err, sqldb.ErrNoRows) {
		err = missing(ruleName)
	}
	return found, err
}

// List returns a page of at most limit rules, by name, whose names begin with prefix
// and come after the name after, and whether more follow.
func (s *Service) List(ctx context.Context, home name.Registry, prefix, after string, limit int) (page []Rule, more bool, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		page, err = sqldb.Collect(ctx, tx, scan, `SELECT `+columns+` FROM event_rule
			WHERE account_id = $1 AND region = $2 AND name > $3 AND substr(name, 1, length($4)) = $4 ORDER BY name LIMIT $5`,
			string(home.Account), string(home.Region), after, prefix, int64(limit)+1)
		return err
	})
	page, more = cut(page, limit)
	return page, more, err
}

// cut takes off what was read to know whether more follows.
func cut[T any](page []T, limit int) ([]T, bool) {
	if len(page) > limit {
		return page[:limit], true
	}
	return page, false
}

// Delete removes a rule, or finds none. errs.Validation while it has targets.
func (s *Service) Delete(ctx context.Context, home name.Registry, ruleName string) error {
	return s.change(ctx, home, func(tx *sqldb.Tx) error {
		found, err := findTx(ctx, tx, home, ruleName)
		if errs.Is(err, errs.EventResourceNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		var targets int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM event_target WHERE rule_id = $1`, found.ID).Scan(&targets); err != nil {
			return err
		}
		if targets > 0 {
			return errs.New(errs.Validation, "Rule can't be deleted since it has targets.")
		}
		_, err = tx.Exec(ctx, `DELETE FROM event_rule WHERE id = $1`, found.ID)
		return err
	})
}

// SetState puts a rule in force, or out of it. errs.EventResourceNotFound.
func (s *Service) SetState(ctx context.Context, home name.Registry, ruleName string, state State) error {
	return s.change(ctx, home, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE event_rule SET state = $4, updated_at = $5 WHERE account_id = $1 AND region = $2 AND name = $3`,
			string(home.Account), string(home.Region), ruleName, string(state), s.now().UnixMicro())
		if err == nil && n == 0 {
			err = missing(ruleName)
		}
		return err
	})
}
