// Package tagrule says with which tags a push is scanned, beyond ECR, whose scanning
// configuration knows repositories only.
//
// It owns its rules and the decision, which is pure. Whether a repository is scanned on
// push at all is the scanning configuration's to say (scan/rules); a rule here takes
// pushes away from that and adds none. domain/scan asks.
package tagrule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy/pattern"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The limits of what operators can set.
const (
	MaxRules = 100 // in a registry
	MaxTags  = 50  // patterns of a rule
)

// Rule has pushes into some repositories scanned with some tags only.
type Rule struct {
	// Repository is a filter, which tells the rule from others of the registry: a star
	// stands for any run of characters, and the whole name has to fit.
	Repository string
	// Tags are patterns of the same kind.
	Tags      []string
	CreatedAt time.Time
}

// Allows says whether a push into the repository with these tags is scanned: with one that
// a rule for the repository names, and with any or none where there is no rule for it.
func Allows(rules []Rule, repo name.Repository, tags []name.Tag) bool {
	covered := false
	for _, r := range rules {
		if !fits(r.Repository, string(repo)) {
			continue
		}
		covered = true
		for _, t := range tags {
			if slices.ContainsFunc(r.Tags, func(p string) bool { return fits(p, string(t)) }) {
				return true
			}
		}
	}
	return !covered
}

// fits says whether all of s is what the filter stands for.
func fits(filter, s string) bool {
	p, err := pattern.Compile(filter, pattern.Wildcards)
	return err == nil && p.Match(s, nil)
}

var (
	repositoryRE = regexp.MustCompile(`^[a-z0-9._/*-]{1,256}$`)
	tagRE        = regexp.MustCompile(`^[A-Za-z0-9._*-]{1,300}$`)
)

// Validate says what is wrong with a rule: errs.InvalidParameter.
func (r Rule) Validate() error {
	if !repositoryRE.MatchString(r.Repository) {
		return errs.New(errs.InvalidParameter, "%q cannot be a filter of repositories. Write a name, with * for any run of characters: team/*", r.Repository)
	}
	if len(r.Tags) == 0 || len(r.Tags) > MaxTags {
		return errs.New(errs.InvalidParameter, "A rule needs 1 to %d patterns of tags. To have every push scanned, delete the rule.", MaxTags)
	}
	for _, t := range r.Tags {
		if !tagRE.MatchString(t) {
			return errs.New(errs.InvalidParameter, "%q cannot be a pattern of tags. Write a tag, with * for any run of characters: release-*", t)
		}
	}
	return nil
}

// Config is what a Service stands on. Everything is needed.
type Config struct {
	DB         *sqldb.DB
	Clock      clock.Clock
	Registries *registry.Service
}

// Service keeps the rules.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{Config: c} }

// AllowsTx is Allows with the registry's rules, read in the caller's transaction: a push
// is asked about once, so nothing is kept in memory.
func (s *Service) AllowsTx(ctx context.Context, tx *sqldb.Tx, reg name.Registry, repo name.Repository, tags []name.Tag) (bool, error) {
	rules, err := rulesTx(ctx, tx, reg)
	return err == nil && Allows(rules, repo, tags), err
}

// Rules lists the rules of a registry by their filters.
func (s *Service) Rules(ctx context.Context, reg name.Registry) (all []Rule, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		all, err = rulesTx(ctx, tx, reg)
		return err
	})
	return all, err
}

func rulesTx(ctx context.Context, tx *sqldb.Tx, reg name.Registry) ([]Rule, error) {
	return sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (r Rule, err error) {
		var tags string
		var created int64
		if err := row.Scan(&r.Repository, &tags, &created); err != nil {
			return r, err
		}
		r.CreatedAt = time.UnixMicro(created).UTC()
		if err := json.Unmarshal([]byte(tags), &r.Tags); err != nil {
			return r, fmt.Errorf("the tag rule of %q cannot be read: %w", r.Repository, err)
		}
		return r, nil
	}, `SELECT repository, tags, created_at FROM scan_tag_rule WHERE account_id = $1 AND region = $2 ORDER BY repository`, string(reg.Account), string(reg.Region))
}

// Put stores a rule, in place of the one of its filter. It counts from the next push on.
// errs.InvalidParameter, errs.LimitExceeded.
func (s *Service) Put(ctx context.Context, reg name.Registry, r Rule) (Rule, error) {
	if err := r.Validate(); err != nil {
		return Rule{}, err
	}
	tags, err := json.Marshal(r.Tags)
	if err != nil {
		return Rule{}, err
	}
	r.CreatedAt = s.Clock.Now().UTC().Truncate(time.Millisecond)
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if err := s.Registries.EnsureTx(ctx, tx, reg); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO scan_tag_rule (account_id, region, repository, tags, created_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (account_id, region, repository) DO UPDATE SET tags = excluded.tags, created_at = excluded.created_at`,
			string(reg.Account), string(reg.Region), r.Repository, string(tags), r.CreatedAt.UnixMicro())
		if err != nil {
			return err
		}
		var n int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM scan_tag_rule WHERE account_id = $1 AND region = $2`, string(reg.Account), string(reg.Region)).Scan(&n); err != nil {
			return err
		}
		if n > MaxRules {
			return errs.New(errs.LimitExceeded, "The registry %s has %d tag rules. Delete one, or have one rule cover more repositories.", reg, MaxRules)
		}
		return nil
	})
	if errors.Is(err, sqldb.ErrFull) {
		return r, repository.StorageFull(err)
	}
	return r, err
}

// Delete removes the rule of a filter. errs.InvalidParameter when there is none.
func (s *Service) Delete(ctx context.Context, reg name.Registry, filter string) error {
	return s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM scan_tag_rule WHERE account_id = $1 AND region = $2 AND repository = $3`, string(reg.Account), string(reg.Region), filter)
		if err == nil && n == 0 {
			err = errs.New(errs.InvalidParameter, "The registry %s has no tag rule for %q. berth scan tags list shows them.", reg, filter)
		}
		return err
	})
}
