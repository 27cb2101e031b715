package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/infra/revcache"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// CacheLife bounds how long a node may go on with a repository policy or with
// resource tags that another node has changed.
const CacheLife = 2 * time.Second

// maxAccess bounds the repositories whose rows and policies are in memory.
const maxAccess = 20_000

// Access is what a repository says about who may do what with it.
type Access struct {
	// Policy is the repository policy, compiled; nil for none.
	Policy *policy.Named
	// Tags are the resource tags, for conditions.
	Tags map[string]string
}

type accessKey struct {
	registry name.Registry
	name     name.Repository
}

// Access reads the repository's policy and tags, at most CacheLife older than
// the database and never older than the last change on this node. A repository
// that is not there has none.
func (s *Service) Access(ctx context.Context, reg name.Registry, repo name.Repository) (Access, error) {
	return s.access.Get(ctx, accessKey{reg, repo}, revcache.Source[Access]{
		Revision: func(ctx context.Context) (revision int64, err error) {
			err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
				_, revision, err = accessRow(ctx, tx, reg, repo)
				return err
			})
			return revision, err
		},
		Load: func(ctx context.Context) (a Access, revision int64, err error) {
			var text string
			err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
				var id int64
				if id, revision, err = accessRow(ctx, tx, reg, repo); err != nil || id == 0 {
					return err
				}
				if a.Tags, err = tagsTx(ctx, tx, id); err != nil {
					return err
				}
				text, err = policyText(ctx, tx, id)
				return err
			})
			if err != nil || text == "" {
				return a, revision, err
			}
			document, err := policy.Parse(text, policy.Repository)
			if err != nil {
				return a, 0, fmt.Errorf("the policy of repository %s cannot be read: %w", repo, err)
			}
			a.Policy = &policy.Named{Name: "repository policy of " + reg.RepositoryARN(repo).String(), Document: document}
			return a, revision, nil
		},
	})
}

// accessRow reads the number under which the repository's access was last
// changed. It is new with every change and every repository, so that one made
// again under the same name is told from the one before.
func accessRow(ctx context.Context, tx *sqldb.Tx, reg name.Registry, repo name.Repository) (id, revision int64, err error) {
	err = tx.QueryRow(ctx, `SELECT id, access_revision FROM repository WHERE account_id = $1 AND region = $2 AND name = $3 AND deleted_at = 0`,
		string(reg.Account), string(reg.Region), string(repo)).Scan(&id, &revision)
	if errors.Is(err, sqldb.ErrNoRows) {
		return 0, -1, nil
	}
	if revision == 0 { // from before there were policies
		revision = id
	}
	return id, revision, err
}

func policyText(ctx context.Context, tx *sqldb.Tx, id int64) (string, error) {
	var text string
	err := tx.QueryRow(ctx, `SELECT document FROM repository_policy WHERE repository_id = $1`, id).Scan(&text)
	if errors.Is(err, sqldb.ErrNoRows) {
		return "", nil
	}
	return text, err
}

// accessChangedTx says that the transaction changes what Access reads.
func (s *Service) accessChangedTx(ctx context.Context, tx *sqldb.Tx, r Repository) error {
	_, err := tx.Exec(ctx, `UPDATE repository SET access_revision = $2 WHERE id = $1`, r.ID, sqldb.NewID())
	s.changedAfter(tx, r)
	return err
}

// SetPolicy stores the repository's policy in place of the one before.
// errs.RepositoryNotFound when there is no such repository.
func (s *Service) SetPolicy(ctx context.Context, reg name.Registry, repo name.Repository, d *policy.Document, pin registry.PinPolicy) error {
	return s.update(ctx, func(tx *sqldb.Tx) error {
		r, err := s.lockNamed(ctx, tx, reg, repo)
		if err != nil {
			return err
		}
		pinned, err := pin(ctx, tx, d)
		if err != nil {
			return err
		}
		if err := putPolicy(ctx, tx, r.ID, pinned); err != nil {
			return err
		}
		return s.accessChangedTx(ctx, tx, r)
	})
}

func putPolicy(ctx context.Context, tx *sqldb.Tx, id int64, pinned *policy.Document) error {
	_, err := tx.Exec(ctx, `INSERT INTO repository_policy (repository_id, document) VALUES ($1, $2)
		ON CONFLICT (repository_id) DO UPDATE SET document = excluded.document`, id, pinned.JSON())
	return err
}

func (s *Service) lockNamed(ctx context.Context, tx *sqldb.Tx, reg name.Registry, repo name.Repository) (Repository, error) {
	r, err := s.GetTx(ctx, tx, reg, repo)
	if err != nil {
		return Repository{}, err
	}
	return s.Lock(ctx, tx, r)
}

// Policy reads the repository's policy, its principals shown by show.
// errs.RepositoryNotFound, or errs.RepositoryPolicyNotFound when it has none.
func (s *Service) Policy(ctx context.Context, reg name.Registry, repo name.Repository, show registry.PinPolicy) (*policy.Document, error) {
	var d *policy.Document
	err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
		r, err := s.GetTx(ctx, tx, reg, repo)
		if err != nil {
			return err
		}
		d, err = shownPolicy(ctx, tx, r, show)
		return err
	})
	return d, err
}

func shownPolicy(ctx context.Context, tx *sqldb.Tx, r Repository, show registry.PinPolicy) (*policy.Document, error) {
	text, err := policyText(ctx, tx, r.ID)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, errs.New(errs.RepositoryPolicyNotFound, "Repository policy does not exist for the repository with name '%s' in the registry with id '%s'", r.Name, r.Registry.Account)
	}
	d, err := policy.Parse(text, policy.Repository)
	if err != nil {
		return nil, fmt.Errorf("the policy of repository %s cannot be read: %w", r.Name, err)
	}
	return show(ctx, tx, d)
}

// DeletePolicy removes the repository's policy and returns it. It fails as
// Policy does.
func (s *Service) DeletePolicy(ctx context.Context, reg name.Registry, repo name.Repository, show registry.PinPolicy) (*policy.Document, error) {
	var d *policy.Document
	err := s.update(ctx, func(tx *sqldb.Tx) error {
		r, err := s.lockNamed(ctx, tx, reg, repo)
		if err != nil {
			return err
		}
		if d, err = shownPolicy(ctx, tx, r, show); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM repository_policy WHERE repository_id = $1`, r.ID); err != nil {
			return err
		}
		return s.accessChangedTx(ctx, tx, r)
	})
	return d, err
}
