package template

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Config is what a Service stands on. Everything is needed but the functions.
type Config struct {
	DB           *sqldb.DB
	Clock        clock.Clock
	Registries   *registry.Service
	Repositories *repository.Service
	Entities     *entity.Service
	Access       *authz.Service
	// CheckLifecycle validates a lifecycle policy within the account's quotas, and
	// PutLifecycleTx gives it to a repository in the transaction that makes it.
	CheckLifecycle func(text string, limits quota.Limits) error
	PutLifecycleTx func(ctx context.Context, tx *sqldb.Tx, r repository.Repository, text string) error
}

// Service stores templates and makes repositories by them.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{Config: c} }

// check validates a template as it is to be stored.
func (s *Service) check(t *Template, limits quota.Limits) error {
	if err := t.validate(); err != nil {
		return err
	}
	if err := repository.CheckTags(t.Tags, limits.ResourceTags); err != nil {
		return err
	}
	if t.Lifecycle == "" {
		return nil
	}
	return s.CheckLifecycle(t.Lifecycle, limits)
}

// update runs fn in a transaction. errs.StorageFull when the database has no
// room.
func (s *Service) update(ctx context.Context, fn func(tx *sqldb.Tx) error) error {
	err := s.DB.Update(ctx, fn)
	if errors.Is(err, sqldb.ErrFull) {
		return repository.StorageFull(err)
	}
	return err
}

// Create stores a template and returns it, with the service-linked role made if
// it is not there. errs.TemplateExists for a prefix that has one,
// errs.InvalidParameter, errs.InvalidResourceTag, errs.TooManyResourceTags and
// errs.Validation for its settings, an *entity.UnknownPrincipal for its policy.
func (s *Service) Create(ctx context.Context, t Template) (Template, error) {
	t.CreatedAt = s.now()
	t.UpdatedAt = t.CreatedAt
	if t.Encryption.Type == "" {
		t.Encryption.Type = repository.AES256
	}
	t.AppliedFor = normal(t.AppliedFor)
	limits, err := s.Repositories.Quotas.Limits(ctx, t.Registry.Account)
	if err != nil {
		return Template{}, err
	}
	if err := s.check(&t, limits); err != nil {
		return Template{}, err
	}
	if _, err := s.Entities.EnsureServiceRole(ctx, t.Registry.Account, service); err != nil {
		return Template{}, err
	}
	var shown Template
	err = s.update(ctx, func(tx *sqldb.Tx) error {
		if err := s.Registries.EnsureTx(ctx, tx, t.Registry); err != nil {
			return err
		}
		args, err := s.row(ctx, tx, t, true)
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `INSERT INTO repository_template (`+columns+`, prefix_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
			ON CONFLICT (account_id, region, prefix_key) DO NOTHING`, append(args, key(t.Prefix))...)
		if err != nil {
			return err
		}
		if n == 0 {
			return errs.New(errs.TemplateExists, "The repository creation template with the prefix '%s' already exists in the registry with id '%s'", t.Prefix, t.Registry.Account)
		}
		shown, err = s.getTx(ctx, tx, t.Registry, t.Prefix)
		return err
	})
	return shown, err
}

// Update changes a template and returns it as it is then. It fails as Create
// does, and with errs.TemplateNotFound.
func (s *Service) Update(ctx context.Context, reg name.Registry, prefix string, c Change) (Template, error) {
	limits, err := s.Repositories.Quotas.Limits(ctx, reg.Account)
	if err != nil {
		return Template{}, err
	}
	var shown Template
	err = s.update(ctx, func(tx *sqldb.Tx) error {
		t, err := storedTx(ctx, tx, reg, prefix)
		if err != nil {
			return err
		}
		c.into(&t)
		t.AppliedFor, t.UpdatedAt = normal(t.AppliedFor), s.now()
		if err := s.check(&t, limits); err != nil {
			return err
		}
		// A policy that stays is pinned already, perhaps to somebody who has gone.
		args, err := s.row(ctx, tx, t, c.Policy != nil)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE repository_template SET description = $4, encryption = $5, kms_key = $6, tag_mutability = $7, mutability_filters = $8, resource_tags = $9,
			policy = $10, lifecycle_policy = $11, applied_for = $12, custom_role = $13, created_at = $14, updated_at = $15, prefix = $3
			WHERE account_id = $1 AND region = $2 AND prefix_key = $16`, append(args, key(prefix))...)
		if err != nil {
			return err
		}
		shown, err = s.getTx(ctx, tx, reg, prefix)
		return err
	})
	return shown, err
}

// Delete removes a template and returns it; repositories that it has made stay
// as they are. errs.TemplateNotFound.
func (s *Service) Delete(ctx context.Context, reg name.Registry, prefix string) (Template, error) {
	var shown Template
	err := s.update(ctx, func(tx *sqldb.Tx) (err error) {
		if shown, err = s.getTx(ctx, tx, reg, prefix); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM repository_template WHERE account_id = $1 AND region = $2 AND prefix_key = $3`, string(reg.Account), string(reg.Region), key(prefix))
		return err
	})
	return shown, err
}

// List returns up to limit templates of the registry in the byte order of their
// prefixes, from the first after the given prefix. With prefixes it is only those
// of them that are there.
func (s *Service) List(ctx context.Context, reg name.Registry, prefixes []string, after string, limit int) ([]Template, error) {
	query := `SELECT ` + columns + ` FROM repository_template WHERE account_id = $1 AND region = $2 AND prefix_key > $3`
	args := []any{string(reg.Account), string(reg.Region), key(after), limit}
	if len(prefixes) == 0 {
		return s.query(ctx, query+` ORDER BY prefix_key LIMIT $4`, args...)
	}
	var keys []string
	for _, p := range prefixes {
		if k := key(p); k > key(after) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	var all []Template
	for len(keys) > 0 && len(all) < limit {
		n := min(len(keys), maxAsked)
		more, err := s.query(ctx, query+` AND prefix_key IN `+sqldb.In(5, n)+` ORDER BY prefix_key LIMIT $4`, append(slices.Clone(args), texts(keys[:n])...)...)
		if err != nil {
			return nil, err
		}
		all, keys = append(all, more...), keys[n:]
	}
	return all[:min(len(all), limit)], nil
}

// maxAsked bounds the prefixes that one statement asks for.
const maxAsked = 500

// Match finds the template that holds for a repository of that name, made for
// that reason: of those that are for the trigger the one with the longest prefix
// in front of a slash, and ROOT for everything else.
func (s *Service) Match(ctx context.Context, reg name.Registry, repo name.Repository, trigger Trigger) (t Template, found bool, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		t, found, err = matchTx(ctx, tx, reg, repo, trigger)
		if err != nil || !found {
			return err
		}
		return s.show(ctx, tx, &t)
	})
	return t, found, err
}

func matchTx(ctx context.Context, tx *sqldb.Tx, reg name.Registry, repo name.Repository, trigger Trigger) (Template, bool, error) {
	keys := covering(repo)
	found, err := sqldb.Collect(ctx, tx, scan, `SELECT `+columns+` FROM repository_template WHERE account_id = $1 AND region = $2 AND prefix_key IN `+sqldb.In(3, len(keys)),
		append([]any{string(reg.Account), string(reg.Region)}, texts(keys)...)...)
	if err != nil {
		return Template{}, false, err
	}
	t, ok := choose(found, keys, trigger)
	return t, ok, nil
}

// InUse says in which regions the account has templates, while the service is the
// one whose role makes repositories by them. It is an entity.InUse.
func (s *Service) InUse(ctx context.Context, account name.AccountID, of string) (regions []name.Region, err error) {
	if of != service {
		return nil, nil
	}
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		regions, err = sqldb.Collect(ctx, tx, sqldb.One[name.Region], `SELECT DISTINCT region FROM repository_template WHERE account_id = $1 ORDER BY region`, string(account))
		return err
	})
	return regions, err
}

const columns = `account_id, region, prefix, description, encryption, kms_key, tag_mutability, mutability_filters, resource_tags, policy, lifecycle_policy, applied_for, custom_role, created_at, updated_at`

// row is a template in the order of columns; pin says that the principals of its
// policy are to be pinned still.
func (s *Service) row(ctx context.Context, tx *sqldb.Tx, t Template, pin bool) ([]any, error) {
	text := ""
	if d := t.Policy; d != nil {
		if pin {
			var err error
			if d, err = s.Entities.PinPrincipals(ctx, tx, d); err != nil {
				return nil, err
			}
		}
		text = d.JSON()
	}
	var filters, tags, applied string
	for _, member := range []struct {
		to    *string
		from  any
		empty bool
	}{{&filters, t.Mutability.Filters, len(t.Mutability.Filters) == 0}, {&tags, t.Tags, len(t.Tags) == 0}, {&applied, t.AppliedFor, false}} {
		if member.empty {
			continue
		}
		b, err := json.Marshal(member.from)
		if err != nil {
			return nil, err
		}
		*member.to = string(b)
	}
	return []any{
		string(t.Registry.Account), string(t.Registry.Region), t.Prefix, t.Description, string(t.Encryption.Type), t.Encryption.KMSKey,
		string(t.Mutability.Setting), filters, tags, text, t.Lifecycle, applied, t.CustomRole, t.CreatedAt.UnixMicro(), t.UpdatedAt.UnixMicro(),
	}, nil
}

// scan reads a row; the principals of its policy stay pinned.
func scan(row sqldb.Scanner) (Template, error) {
	var t Template
	var account, region, encryption, mutability, filters, tags, document, applied string
	var created, updated int64
	if err := row.Scan(&account, &region, &t.Prefix, &t.Description, &encryption, &t.Encryption.KMSKey, &mutability, &filters, &tags, &document,
		&t.Lifecycle, &applied, &t.CustomRole, &created, &updated); err != nil {
		return Template{}, err
	}
	t.Registry = name.Registry{Account: name.AccountID(account), Region: name.Region(region)}
	t.Encryption.Type, t.Mutability.Setting = repository.EncryptionType(encryption), repository.TagMutability(mutability)
	t.CreatedAt, t.UpdatedAt = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	for _, member := range []struct {
		from string
		to   any
	}{{filters, &t.Mutability.Filters}, {tags, &t.Tags}, {applied, &t.AppliedFor}} {
		if member.from == "" {
			continue
		}
		if err := json.Unmarshal([]byte(member.from), member.to); err != nil {
			return Template{}, err
		}
	}
	if document != "" {
		var err error
		if t.Policy, err = policy.Parse(document, policy.Repository); err != nil {
			return Template{}, fmt.Errorf("the policy of the repository creation template %s of registry %s cannot be read: %w", t.Prefix, t.Registry, err)
		}
	}
	return t, nil
}

// show puts ARNs in place of the unique ids in the template's policy.
func (s *Service) show(ctx context.Context, tx *sqldb.Tx, t *Template) (err error) {
	if t.Policy != nil {
		t.Policy, err = s.Entities.ShowPrincipals(ctx, tx, t.Policy)
	}
	return err
}

// getTx reads one template as people read it. errs.TemplateNotFound.
func (s *Service) getTx(ctx context.Context, tx *sqldb.Tx, reg name.Registry, prefix string) (Template, error) {
	t, err := storedTx(ctx, tx, reg, prefix)
	if err != nil {
		return Template{}, err
	}
	err = s.show(ctx, tx, &t)
	return t, err
}

// storedTx reads one template as it is stored, and holds its row.
// errs.TemplateNotFound.
func storedTx(ctx context.Context, tx *sqldb.Tx, reg name.Registry, prefix string) (Template, error) {
	t, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM repository_template WHERE account_id = $1 AND region = $2 AND prefix_key = $3`+tx.ForUpdate(),
		string(reg.Account), string(reg.Region), key(prefix)))
	if errors.Is(err, sqldb.ErrNoRows) {
		return Template{}, notFound(reg, prefix)
	}
	return t, err
}

// query reads templates as people read them.
func (s *Service) query(ctx context.Context, query string, args ...any) (all []Template, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		if all, err = sqldb.Collect(ctx, tx, scan, query, args...); err != nil {
			return err
		}
		for i := range all {
			if err := s.show(ctx, tx, &all[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

func (s *Service) now() time.Time { return s.Clock.Now().UTC().Truncate(time.Millisecond) }

// normal is the list of triggers, each of them once.
func normal(triggers []Trigger) []Trigger {
	var once []Trigger
	for _, t := range triggers {
		if !slices.Contains(once, t) {
			once = append(once, t)
		}
	}
	return once
}

func texts(keys []string) []any {
	all := make([]any, len(keys))
	for i, k := range keys {
		all[i] = k
	}
	return all
}
