// Package catalog owns what public registries say of themselves: their aliases, display
// names and badges, and the descriptions and logos of their repositories.
//
// It does not own repositories (domain/repository) nor images, and not what is made of
// all this for readers: catalog/gallery has that. Which aliases may be had is decided by
// catalog/alias, and logos are read by catalog/logo; both are pure. Who may ask is for the
// edges to say.
//
// Whatever changes here that the gallery shows sets changed_at of the catalog entries
// concerned, in the same transaction.
package catalog

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/revcache"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// CacheLife bounds how long a node may go on with an alias or a registry that another
// node has changed.
const CacheLife = 2 * time.Second

const (
	// maxAliases bounds the aliases that are in memory, those that nobody has among them.
	// A flood of made-up names pushes out known ones at random, rarely any given one: at
	// thousands of names a second still less often than CacheLife has it read again.
	maxAliases = 20_000
	// maxRegistries bounds the registries that are in memory.
	maxRegistries = 10_000
	// maxDecoding bounds the logos that are decoded at once, each of which may take
	// logo.Memory.
	maxDecoding = 2
)

// Config is what a Service stands on. Everything is needed but Log.
type Config struct {
	DB    *sqldb.DB
	Clock clock.Clock
	// Log is told what operators have decided; nil: nobody is.
	Log          *slog.Logger
	Repositories *repository.Service
}

// Service keeps the catalog.
type Service struct {
	Config
	aliases    *revcache.Cache[name.Alias, name.AccountID] // "" for an alias that is not active
	registries *revcache.Cache[name.AccountID, Registry]
	decoding   chan struct{} // has room for maxDecoding
}

// New returns the service.
func New(c Config) *Service {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{
		Config:     c,
		aliases:    revcache.New[name.Alias, name.AccountID](c.Clock, CacheLife, maxAliases),
		registries: revcache.New[name.AccountID, Registry](c.Clock, CacheLife, maxRegistries),
		decoding:   make(chan struct{}, maxDecoding),
	}
}

// AliasStatus is how an alias stands.
type AliasStatus string

// What there is (ECR Public API model, RegistryAliasStatus).
const (
	Active   AliasStatus = "ACTIVE"
	Pending  AliasStatus = "PENDING"
	Rejected AliasStatus = "REJECTED"
)

// Alias is a name of a public registry, or one that was asked for.
type Alias struct {
	Name    name.Alias
	Account name.AccountID
	Status  AliasStatus
	// Default is the one that the registry was given with its first repository; Primary
	// the active one that its addresses show.
	Default, Primary bool
	RequestedAt      time.Time
	DecidedAt        time.Time // zero while nobody has decided
	Reason           string    // why it was rejected
}

// Registry is what is said of the public registry of an account.
type Registry struct {
	Account     name.AccountID
	DisplayName string // "": none
	Verified    bool
	// Aliases are those of every status, the default one first, then by name. There is
	// none before the first repository or request.
	Aliases []Alias
}

// Primary is the alias that the registry's addresses show; "" while there is none.
func (r Registry) Primary() name.Alias {
	for _, a := range r.Aliases {
		if a.Primary && a.Status == Active {
			return a.Name
		}
	}
	return ""
}

// Registry reads what is said of the public registry of an account: nothing, without an
// error, for one that has nothing public yet. It is at most CacheLife older than the
// database and never older than the last change on this node.
func (s *Service) Registry(ctx context.Context, account name.AccountID) (Registry, error) {
	r, err := s.registries.Get(ctx, account, revcache.Source[Registry]{
		Revision: func(ctx context.Context) (revision int64, err error) {
			err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
				_, revision, err = registryRow(ctx, tx, account)
				return err
			})
			return revision, err
		},
		Load: func(ctx context.Context) (r Registry, revision int64, err error) {
			err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
				if r, revision, err = registryRow(ctx, tx, account); err != nil || revision == none {
					return err
				}
				r.Aliases, err = sqldb.Collect(ctx, tx, scanAlias, `SELECT `+aliasColumns+` FROM public_alias
					WHERE account_id = $1 ORDER BY is_default DESC, alias`, string(account))
				return err
			})
			return r, revision, err
		},
	})
	r.Aliases = slices.Clone(r.Aliases) // what is in memory is nobody's to change
	return r, err
}

// none is the revision of what is not there.
const none int64 = -1

// registryRow reads the row of a public registry; the revision is none without one.
func registryRow(ctx context.Context, tx *sqldb.Tx, account name.AccountID) (r Registry, revision int64, err error) {
	r.Account = account
	err = tx.QueryRow(ctx, `SELECT display_name, verified, revision FROM public_registry WHERE account_id = $1`, string(account)).Scan(&r.DisplayName, &r.Verified, &revision)
	if errors.Is(err, sqldb.ErrNoRows) {
		return r, none, nil
	}
	return r, revision, err
}

// Resolve finds the account that has an active alias; every pull asks it. It is as fresh
// as Registry, takes no lock and writes nothing. errs.RegistryNotFound, also for what
// cannot be an alias: account ids are none.
func (s *Service) Resolve(ctx context.Context, alias string) (name.AccountID, error) {
	notFound := func() error {
		return errs.New(errs.RegistryNotFound, "The registry with alias '%s' does not exist", alias)
	}
	parsed, err := name.ParseAlias(alias)
	if err != nil {
		return "", notFound()
	}
	account, err := s.aliases.Get(ctx, parsed, revcache.Source[name.AccountID]{
		Revision: func(ctx context.Context) (int64, error) {
			_, revision, err := s.active(ctx, parsed)
			return revision, err
		},
		Load: func(ctx context.Context) (name.AccountID, int64, error) { return s.active(ctx, parsed) },
	})
	if err == nil && account == "" {
		return "", notFound()
	}
	return account, err
}

// active reads whose an active alias is, with the revision of that registry, which no
// other registry ever has; "" and none for one that nobody has.
func (s *Service) active(ctx context.Context, alias name.Alias) (account name.AccountID, revision int64, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		err := tx.QueryRow(ctx, `SELECT a.account_id, r.revision FROM public_alias a JOIN public_registry r ON r.account_id = a.account_id
			WHERE a.alias = $1 AND a.status = $2`, string(alias), string(Active)).Scan(&account, &revision)
		if errors.Is(err, sqldb.ErrNoRows) {
			account, revision = "", none
			return nil
		}
		return err
	})
	return account, revision, err
}

// SetDisplayName sets the name under which the gallery shows an account, 0 to 100
// characters (ECR Public API model, RegistryDisplayName); "" clears it. It makes no alias.
// errs.InvalidParameter.
func (s *Service) SetDisplayName(ctx context.Context, account name.AccountID, displayName string) error {
	if err := checkLine("displayName", displayName, MaxDisplayName); err != nil {
		return err
	}
	return s.update(ctx, func(tx *sqldb.Tx) error {
		if err := s.changeTx(ctx, tx, account); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE public_registry SET display_name = $2 WHERE account_id = $1`, string(account), displayName)
		return err
	})
}

// SetVerified gives an account the badge of the verified, or takes it back.
// errs.InvalidParameter for an account that is not there.
func (s *Service) SetVerified(ctx context.Context, account name.AccountID, verified bool) error {
	err := s.update(ctx, func(tx *sqldb.Tx) error {
		if err := s.changeTx(ctx, tx, account); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE public_registry SET verified = $2 WHERE account_id = $1`, string(account), verified)
		return err
	})
	if err == nil {
		s.Log.InfoContext(ctx, "whether an account is verified was set", "account", account, "verified", verified)
	}
	return err
}

// update runs fn in a transaction. errs.StorageFull when the database has no room.
func (s *Service) update(ctx context.Context, fn func(tx *sqldb.Tx) error) error {
	err := s.DB.Update(ctx, fn)
	if errors.Is(err, sqldb.ErrFull) {
		return repository.StorageFull(err)
	}
	return err
}

// ensureRowTx makes the row of a public registry, without an alias.
func (s *Service) ensureRowTx(ctx context.Context, tx *sqldb.Tx, account name.AccountID) error {
	there, err := sqldb.One[int64](tx.QueryRow(ctx, `SELECT count(*) FROM account WHERE id = $1`, string(account)))
	if err != nil {
		return err
	}
	if there == 0 {
		return errs.New(errs.InvalidParameter, "There is no account '%s'. berth account list shows those that there are.", account)
	}
	_, err = tx.Exec(ctx, `INSERT INTO public_registry (account_id, display_name, verified, revision, created_at) VALUES ($1, '', $2, $3, $4)
		ON CONFLICT (account_id) DO NOTHING`, string(account), false, sqldb.NewID(), s.Clock.Now().UnixMicro())
	return err
}

// changeTx says that the transaction changes a public registry, or these aliases, and
// holds its row until the transaction ends. It makes the row if there is none.
func (s *Service) changeTx(ctx context.Context, tx *sqldb.Tx, account name.AccountID, aliases ...name.Alias) error {
	if err := s.ensureRowTx(ctx, tx, account); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE public_registry SET revision = $2 WHERE account_id = $1`, string(account), sqldb.NewID()); err != nil {
		return err
	}
	tx.AfterCommit(func() {
		s.registries.Forget(func(k name.AccountID) bool { return k == account })
		if len(aliases) > 0 {
			s.aliases.Forget(func(k name.Alias) bool { return slices.Contains(aliases, k) })
		}
	})
	_, err := tx.Exec(ctx, `UPDATE catalog_entry SET changed_at = $3 WHERE repository_id IN
		(SELECT id FROM repository WHERE account_id = $1 AND region = $2)`, string(account), string(name.Public), s.Clock.Now().UnixMicro())
	return err
}
