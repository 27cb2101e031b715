package layer

import (
	"context"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// measureLife is how long a sum of sizes is gone by. What this node adds meanwhile
// is added to it: only layers that are finished at the same moment, or within this
// time on other nodes, can go over a quota together.
const measureLife = 5 * time.Second

// usage remembers what registries and repositories hold, where a quota asks for
// it. The zero value is ready.
type usage struct {
	mu   sync.Mutex
	held map[usageKey]measured
}

// usageKey is a registry, or with an id a repository.
type usageKey struct {
	registry   name.Registry
	repository int64
}

type measured struct {
	bytes int64
	at    time.Time
}

// maxMeasured bounds the memory.
const maxMeasured = 10_000

// add counts a layer that is new to a repository, or to its registry.
func (u *usage) add(r repository.Repository, size int64, toRepository, toRegistry bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for k, isNew := range map[usageKey]bool{{registry: r.Registry}: toRegistry, {r.Registry, r.ID}: toRepository} {
		if m, ok := u.held[k]; ok && isNew {
			m.bytes += size
			u.held[k] = m
		}
	}
}

func (u *usage) get(k usageKey, now time.Time) (int64, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	m, ok := u.held[k]
	return m.bytes, ok && now.Sub(m.at) < measureLife
}

func (u *usage) put(k usageKey, bytes int64, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.held == nil || len(u.held) >= maxMeasured {
		u.held = map[usageKey]measured{}
	}
	u.held[k] = measured{bytes, now}
}

const (
	registryBytes   = `SELECT CAST(COALESCE(sum(size), 0) AS BIGINT) FROM blob WHERE account_id = $1 AND region = $2`
	repositoryBytes = `SELECT CAST(COALESCE(sum(b.size), 0) AS BIGINT) FROM layer l JOIN blob b ON b.id = l.blob_id WHERE l.repository_id = $1`
)

// Usage is what a registry holds, in bytes before sealing, each layer once
// whichever repositories hold it; or what one repository does.
func (s *Service) Usage(ctx context.Context, reg name.Registry, r *repository.Repository) (bytes int64, err error) {
	query, args := registryBytes, []any{string(reg.Account), string(reg.Region)}
	if r != nil {
		query, args = repositoryBytes, []any{r.ID}
	}
	err = s.durable.View(ctx, func(tx *sqldb.Tx) error { return tx.QueryRow(ctx, query, args...).Scan(&bytes) })
	return bytes, err
}

// fits refuses, with errs.LimitExceeded, bytes that would go over a storage quota.
// A layer that is there already takes no room; d is "" while its digest is not
// known. Nothing is asked of the database where no quota is set.
func (s *Service) fits(ctx context.Context, r repository.Repository, l quota.Limits, d name.Digest, size int64) error {
	if l.RepositoryStorageBytes > 0 {
		used, there, err := s.measure(ctx, r, &r, d)
		if err != nil {
			return err
		}
		if !there && used > l.RepositoryStorageBytes-size {
			return errs.New(errs.LimitExceeded, "The repository with name '%s' in registry with id '%s' would hold more than its storage quota of %d bytes. Delete images, or ask for a higher quota.",
				r.Name, r.Registry.Account, l.RepositoryStorageBytes)
		}
	}
	if l.StorageBytes > 0 {
		used, there, err := s.measure(ctx, r, nil, d)
		if err != nil {
			return err
		}
		if !there && used > l.StorageBytes-size {
			return errs.New(errs.LimitExceeded, "The registry with id '%s' in region '%s' would hold more than its storage quota of %d bytes. Delete images, or ask for a higher quota.",
				r.Registry.Account, r.Registry.Region, l.StorageBytes)
		}
	}
	return nil
}

// mountFits is fits for a layer of another repository, whose size is looked up only
// where a quota is set. A layer that is not there is for the mount to find.
func (s *Service) mountFits(ctx context.Context, from, to repository.Repository, d name.Digest) error {
	limits, err := s.quotas.RepositoryLimits(ctx, to.Registry.Account, to.Name)
	if err != nil || limits.StorageBytes == 0 && limits.RepositoryStorageBytes == 0 {
		return err
	}
	source, err := s.lookup(ctx, from, d, false)
	if errs.Is(err, errs.LayersNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.fits(ctx, to, limits, d, source.Size)
}

// measure says how many bytes the registry of r holds, or the repository given,
// and whether it holds the digest.
func (s *Service) measure(ctx context.Context, r repository.Repository, only *repository.Repository, d name.Digest) (used int64, there bool, err error) {
	key, query, args := usageKey{registry: r.Registry}, `SELECT 1 FROM blob WHERE account_id = $1 AND region = $2 AND key_id = $3 AND digest = $4`,
		[]any{string(r.Registry.Account), string(r.Registry.Region), r.Encryption.KeyID, string(d)}
	if only != nil {
		key.repository, query, args = r.ID, `SELECT 1 FROM layer WHERE repository_id = $1 AND digest = $2`, []any{r.ID, string(d)}
	}
	if d != "" {
		err = s.durable.View(ctx, func(tx *sqldb.Tx) (err error) {
			there, err = exists(ctx, tx, query, args...)
			return err
		})
		if err != nil || there {
			return 0, there, err
		}
	}
	used, known := s.usage.get(key, s.clock.Now())
	if known {
		return used, false, nil
	}
	if used, err = s.Usage(ctx, r.Registry, only); err == nil {
		s.usage.put(key, used, s.clock.Now())
	}
	return used, false, err
}
