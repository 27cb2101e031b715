package principal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal/awsmanaged"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/revcache"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// CacheLife bounds how long a node may go on with what another node has
// changed: keys, users, roles, policies, organizations. On the node that took
// a change it holds at once.
const CacheLife = 2 * time.Second

// Bounds of the caches, in entries.
const (
	maxKeys       = 10_000 // unknown ids are cached too, so that guessing costs no database read each time
	maxIdentities = 10_000
	maxDocuments  = 10_000
	maxTokens     = 10_000
)

// Service stores accounts and access keys, seals and opens sessions and tokens,
// and reads identities.
type Service struct {
	db      *sqldb.DB
	clk     clock.Clock
	managed *awsmanaged.Catalog
	secret  cipher.AEAD
	token   cipher.AEAD
	session cipher.AEAD
	usage   usage

	keys       *revcache.Cache[string, cachedKey]
	identities *revcache.Cache[identityKey, *Identity]
	// sessionDocuments are session policies as compiled, by access key id.
	sessionDocuments *revcache.Cache[string, []policy.Named]
	// tokens are what tokens say that were opened before, by their digests.
	tokens *revcache.Cache[tokenKey, tokenClaims]
}

// New returns the service. It fails when the key manager cannot derive the keys
// that seal secrets and tokens.
func New(db *sqldb.DB, m keys.Manager, clk clock.Clock) (*Service, error) {
	managed, err := awsmanaged.Load()
	if err != nil {
		return nil, err
	}
	s := &Service{
		db: db, clk: clk, managed: managed,
		keys:             revcache.New[string, cachedKey](clk, CacheLife, maxKeys),
		identities:       revcache.New[identityKey, *Identity](clk, CacheLife, maxIdentities),
		sessionDocuments: revcache.New[string, []policy.Named](clk, CacheLife, maxDocuments),
		tokens:           revcache.New[tokenKey, tokenClaims](clk, TokenLife, maxTokens),
	}
	for purpose, to := range map[string]*cipher.AEAD{
		"access key secrets": &s.secret, "authorization tokens": &s.token, "session tokens": &s.session,
	} {
		if *to, err = deriveAEAD(m, purpose); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func deriveAEAD(m keys.Manager, purpose string) (cipher.AEAD, error) {
	key, err := m.Derive(purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("the keyring cannot derive the key for %s: %w", purpose, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Managed are AWS's own managed policies.
func (s *Service) Managed() *awsmanaged.Catalog { return s.managed }

// SealSecret seals bytes that belong to a principal, such as the seed of an MFA
// device, bound to what they are for.
func (s *Service) SealSecret(what string, plain []byte) []byte {
	return s.secret.Seal(nil, nil, plain, []byte(what))
}

// OpenSecret opens what SealSecret made for the same purpose.
func (s *Service) OpenSecret(what string, sealed []byte) ([]byte, error) {
	plain, err := s.secret.Open(nil, nil, sealed, []byte(what))
	if err != nil {
		return nil, fmt.Errorf("the secret of %s cannot be opened with this keyring: %w", what, err)
	}
	return plain, nil
}

// Change runs fn in a transaction that changes what decides about an account's
// principals. Changes of one account come one after the other; once Change has
// returned, this node decides by the new state, and the others do within
// CacheLife. errs.EntityNotFound when there is no such account,
// errs.StorageFull when the database has no room.
func (s *Service) Change(ctx context.Context, account name.AccountID, fn func(tx *sqldb.Tx) error) error {
	err := s.db.Update(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE account SET revision = revision + 1 WHERE id = $1`, string(account))
		if err != nil {
			return err
		}
		if n == 0 {
			return errs.New(errs.EntityNotFound, "The account with id %s cannot be found.", account)
		}
		tx.AfterCommit(func() { s.Forget(account) })
		return fn(tx)
	})
	if errors.Is(err, sqldb.ErrFull) {
		return errs.Wrap(err, errs.StorageFull, "The registry has no storage space left. Ask its operator to make room, then try again.")
	}
	return err
}

// View runs fn in a reading transaction.
func (s *Service) View(ctx context.Context, fn func(tx *sqldb.Tx) error) error {
	return s.db.View(ctx, fn)
}

// Now is the service's time.
func (s *Service) Now() time.Time { return s.clk.Now() }

// Forget has this node read anew what it knows of the accounts' principals; of
// all when none is named.
func (s *Service) Forget(accounts ...name.AccountID) {
	s.keys.Forget(nil)
	s.sessionDocuments.Forget(nil)
	if len(accounts) == 0 {
		s.identities.Forget(nil)
		return
	}
	for _, a := range accounts {
		s.identities.Forget(func(k identityKey) bool { return k.account == a })
	}
}
