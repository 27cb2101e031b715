package quota

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/revcache"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// CacheLife bounds how long a node may go on with a value that another node has
// changed.
const CacheLife = 2 * time.Second

// maxCached bounds the accounts whose values are in memory.
const maxCached = 10_000

// Source gives the limits that hold for an account.
type Source interface {
	Limits(ctx context.Context, account name.AccountID) (Limits, error)
	// RepositoryLimits are Limits with what is set for the repository itself.
	RepositoryLimits(ctx context.Context, account name.AccountID, repo name.Repository) (Limits, error)
}

// Fixed gives every account the same limits.
func Fixed(l Limits) Source { return fixed(l) }

type fixed Limits

func (f fixed) Limits(context.Context, name.AccountID) (Limits, error) { return Limits(f), nil }

func (f fixed) RepositoryLimits(context.Context, name.AccountID, name.Repository) (Limits, error) {
	return Limits(f), nil
}

var (
	_ Source = fixed{}
	_ Source = (*Service)(nil)
)

// Config is what a Service stands on.
type Config struct {
	DB    *sqldb.DB
	Clock clock.Clock
	Log   *slog.Logger
	// Limits are the deployment's, Rates its request rates; nil Rates limit only
	// accounts that have rates of their own.
	Limits Limits
	Rates  Rates
	// Share says that there may be other nodes on the database, which the rates
	// are shared with. Without it nothing is asked of the database in the
	// background.
	Share bool
}

// Service knows the values that hold for accounts, and admits their requests.
type Service struct {
	db     *sqldb.DB
	clk    clock.Clock
	log    *slog.Logger
	limits Limits
	values *revcache.Cache[name.AccountID, accountValues]

	share      bool
	table      atomic.Pointer[rateTable]
	refreshing sync.Mutex // held by one Refresh at a time
	buckets    buckets
	sleepers   atomic.Int64
	exchanging exchanging
}

// New makes a Service. Rates that accounts have of their own hold from the first
// Refresh on, which Run repeats where there are other nodes.
func New(c Config) *Service {
	s := &Service{
		db: c.DB, clk: c.Clock, log: c.Log, limits: c.Limits, share: c.Share,
		values: revcache.New[name.AccountID, accountValues](c.Clock, CacheLife, maxCached),
	}
	s.table.Store(&rateTable{common: c.Rates, revision: -1})
	s.buckets.init(c.Clock.Now(), c.Share)
	s.exchanging.init()
	return s
}

// accountValues are the values of one account.
type accountValues struct {
	limits Limits
	// storage is the RepositoryStorageBytes of repositories that have their own.
	storage map[name.Repository]int64
}

// Limits reads what holds for an account: the deployment's values with the
// account's own in their place. A change on this node is seen at once, one on
// another within CacheLife.
func (s *Service) Limits(ctx context.Context, account name.AccountID) (Limits, error) {
	v, err := s.accountValues(ctx, account)
	return v.limits, err
}

// RepositoryLimits is Limits with the values that the repository has of its own,
// which are RepositoryStorageBytes; they hold for the name in every region.
func (s *Service) RepositoryLimits(ctx context.Context, account name.AccountID, repo name.Repository) (Limits, error) {
	v, err := s.accountValues(ctx, account)
	if own, ok := v.storage[repo]; ok {
		v.limits.RepositoryStorageBytes = own
	}
	return v.limits, err
}

func (s *Service) accountValues(ctx context.Context, account name.AccountID) (accountValues, error) {
	return s.values.Get(ctx, account, revcache.Source[accountValues]{
		Revision: func(ctx context.Context) (revision int64, err error) {
			err = s.db.View(ctx, func(tx *sqldb.Tx) error {
				revision, err = revisionTx(ctx, tx)
				return err
			})
			return revision, err
		},
		Load: func(ctx context.Context) (v accountValues, revision int64, err error) {
			var rows []setValue
			err = s.db.View(ctx, func(tx *sqldb.Tx) error {
				if revision, err = revisionTx(ctx, tx); err != nil {
					return err
				}
				rows, err = setTx(ctx, tx, account)
				return err
			})
			return s.lay(rows), revision, err
		},
	})
}

// lay puts an account's own values in the place of the deployment's. A name that
// this program does not know is of a newer one, and changes nothing.
func (s *Service) lay(rows []setValue) accountValues {
	v := accountValues{limits: s.limits}
	quotas := All()
	for _, row := range rows {
		at := slices.IndexFunc(quotas, func(q Quota) bool { return q.Name == row.name })
		switch {
		case at < 0:
		case row.repository == "":
			quotas[at].set(&v.limits, row.value)
		case quotas[at].PerRepository:
			if v.storage == nil {
				v.storage = map[name.Repository]int64{}
			}
			v.storage[row.repository] = row.value
		}
	}
	return v
}

// setValue is a row of quota_value of one account.
type setValue struct {
	repository name.Repository
	name       string
	value      int64
}

func setTx(ctx context.Context, tx *sqldb.Tx, account name.AccountID) ([]setValue, error) {
	return sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (v setValue, err error) {
		return v, row.Scan(&v.repository, &v.name, &v.value)
	}, `SELECT repository, name, value FROM quota_value WHERE account_id = $1`, string(account))
}

func revisionTx(ctx context.Context, tx *sqldb.Tx) (revision int64, err error) {
	return revision, tx.QueryRow(ctx, `SELECT revision FROM quota_revision WHERE id = 1`).Scan(&revision)
}

// Set gives the account, or one repository of it, a value of its own. The
// account has to exist, the repository need not. errs.InvalidParameter for an
// unknown name, a value out of bounds, and a repository's value that only an
// account can have.
func (s *Service) Set(ctx context.Context, account name.AccountID, repo name.Repository, named string, value int64) error {
	q, err := findFor(named, repo)
	if err != nil {
		return err
	}
	if err := q.check(value); err != nil {
		return err
	}
	return s.change(ctx, account, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO quota_value (account_id, repository, name, value) VALUES ($1, $2, $3, $4)
			ON CONFLICT (account_id, repository, name) DO UPDATE SET value = excluded.value`, string(account), string(repo), named, value)
		return err
	})
}

// Unset gives the value up, so that the deployment's holds again, or for a
// repository the account's. errs.InvalidParameter for an unknown name and for
// one that is not set.
func (s *Service) Unset(ctx context.Context, account name.AccountID, repo name.Repository, named string) error {
	if _, err := findFor(named, repo); err != nil {
		return err
	}
	return s.change(ctx, account, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM quota_value WHERE account_id = $1 AND repository = $2 AND name = $3`, string(account), string(repo), named)
		if err == nil && n == 0 {
			return errs.New(errs.InvalidParameter, "%s is not set there.", named)
		}
		return err
	})
}

func findFor(named string, repo name.Repository) (Quota, error) {
	q, err := find(named)
	if err == nil && repo != "" && !q.PerRepository {
		err = errs.New(errs.InvalidParameter, "%s is set for an account, not for a repository.", named)
	}
	return q, err
}

// change runs fn in a transaction that changes values of an account, and has
// them hold on this node when it returns.
func (s *Service) change(ctx context.Context, account name.AccountID, fn func(tx *sqldb.Tx) error) error {
	err := s.db.Update(ctx, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE quota_revision SET revision = $1 WHERE id = 1`, sqldb.NewID()); err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return err
		}
		rows, err := setTx(ctx, tx, account)
		if err != nil {
			return err
		}
		if l := s.lay(rows).limits; l.MinPartBytes > l.MaxPartBytes {
			return errs.New(errs.InvalidParameter, "The account's min-part-bytes would be larger than its max-part-bytes.")
		}
		tx.AfterCommit(func() { s.values.Forget(func(k name.AccountID) bool { return k == account }) })
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.Refresh(ctx); err != nil {
		return fmt.Errorf("the change is stored and holds within %s: %w", CacheLife, err)
	}
	return nil
}

// Value is one adjustable value as it holds somewhere.
type Value struct {
	Name  string `json:"name"`
	Title string `json:"title"` // AWS's
	Unit  Unit   `json:"unit"`
	// Value holds, Default would if nothing were set: the deployment's. 0 is no
	// limit where Unlimited says so.
	Value     int64 `json:"value"`
	Default   int64 `json:"default"`
	Unlimited bool  `json:"unlimited"`
	// Set says where the value was set: account, repository, or "" for nowhere.
	Set string `json:"set"`
	// Adjustable says whether AWS raises it on request.
	Adjustable bool `json:"adjustable"`
}

// Text writes a number as one of this value: with KiB, MiB, GiB or TiB where
// they divide it, and "unlimited".
func (v Value) Text(n int64) string { return text(n, v.Unit, v.Unlimited) }

// Where a value was set.
const (
	setForAccount    = "account"
	setForRepository = "repository"
)

// List returns all values as they hold for the account, and for one repository
// of it where one is given: first the limits in the table's order, then the
// rates that AWS publishes and those that are set, by name.
func (s *Service) List(ctx context.Context, account name.AccountID, repo name.Repository) ([]Value, error) {
	var rows []setValue
	err := s.db.View(ctx, func(tx *sqldb.Tx) (err error) {
		rows, err = setTx(ctx, tx, account)
		return err
	})
	if err != nil {
		return nil, err
	}
	own, where := map[string]int64{}, map[string]string{}
	for _, row := range rows {
		switch {
		case row.repository == "" && where[row.name] == "":
			own[row.name], where[row.name] = row.value, setForAccount
		case row.repository != "" && row.repository == repo:
			own[row.name], where[row.name] = row.value, setForRepository
		}
	}
	var all []Value
	add := func(q Quota, otherwise int64) {
		v := Value{
			Name: q.Name, Title: q.Title, Unit: q.Unit, Unlimited: q.Unlimited, Adjustable: q.Adjustable,
			Value: otherwise, Default: otherwise, Set: where[q.Name],
		}
		if v.Set != "" {
			v.Value = own[q.Name]
		}
		all = append(all, v)
	}
	for _, q := range All() {
		add(q, q.get(s.limits))
	}
	common := s.table.Load().common
	actions := slices.Concat(slices.Collect(maps.Keys(ECRRates())), slices.Collect(maps.Keys(common)))
	for named := range own {
		if action, ok := strings.CutPrefix(named, ratePrefix); ok {
			actions = append(actions, action)
		}
	}
	slices.Sort(actions)
	for _, action := range slices.Compact(actions) {
		if q, err := find(ratePrefix + action); err == nil {
			add(q, common[action])
		}
	}
	return all, nil
}

// Refresh reads the rates that accounts have of their own, if any has changed.
func (s *Service) Refresh(ctx context.Context) error {
	s.refreshing.Lock() // so that an older reading does not replace a newer one
	defer s.refreshing.Unlock()
	table := s.table.Load()
	next := &rateTable{common: table.common}
	err := s.db.View(ctx, func(tx *sqldb.Tx) (err error) {
		if next.revision, err = revisionTx(ctx, tx); err != nil || next.revision == table.revision {
			return err
		}
		next.own = map[ownRate]int64{}
		_, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
			var account name.AccountID
			var named string
			var value int64
			err := row.Scan(&account, &named, &value)
			if action, ok := strings.CutPrefix(named, ratePrefix); ok {
				next.own[ownRate{account, action}] = value
			}
			return struct{}{}, err
		}, `SELECT account_id, name, value FROM quota_value WHERE repository = '' AND name LIKE 'rate:%'`)
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the accounts' request rates: %w", err)
	}
	if next.revision != table.revision {
		s.table.Store(next)
	}
	return nil
}
