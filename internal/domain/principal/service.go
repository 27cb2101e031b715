package principal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// AccessKey is a pair of access key id and secret with the principal it stands for.
type AccessKey struct {
	ID        string
	Secret    string
	Principal Principal
	Enabled   bool
}

// cacheLife bounds how long a node may go on using an access key that another
// node has changed.
const cacheLife = 5 * time.Second

// Service stores accounts and access keys.
type Service struct {
	db     *sqldb.DB
	clk    clock.Clock
	secret cipher.AEAD
	token  cipher.AEAD

	mu    sync.RWMutex
	cache map[string]cachedKey
}

type cachedKey struct {
	key   AccessKey
	found bool
	until time.Time
}

// maxCached bounds the cache of access keys; unknown ids are cached too, so
// that guessing costs no database read each time.
const maxCached = 10_000

// New returns the service. It fails when the key manager cannot derive the keys
// that seal secrets and tokens.
func New(db *sqldb.DB, m keys.Manager, clk clock.Clock) (*Service, error) {
	s := &Service{db: db, clk: clk, cache: map[string]cachedKey{}}
	var err error
	if s.secret, err = deriveAEAD(m, "access key secrets"); err != nil {
		return nil, err
	}
	if s.token, err = deriveAEAD(m, "authorization tokens"); err != nil {
		return nil, err
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

// EnsureAccount makes the account if it is not there.
func (s *Service) EnsureAccount(ctx context.Context, account name.AccountID) error {
	return s.db.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO account (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING`,
			string(account), string(account), s.clk.Now().UnixMicro())
		return err
	})
}

// Accounts lists all account ids, in order.
func (s *Service) Accounts(ctx context.Context) ([]name.AccountID, error) {
	var all []name.AccountID
	err := s.db.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (name.AccountID, error) {
			var id string
			err := row.Scan(&id)
			return name.AccountID(id), err
		}, `SELECT id FROM account ORDER BY id`)
		return err
	})
	return all, err
}

// HasRootKey says whether the account's root user has an access key.
func (s *Service) HasRootKey(ctx context.Context, account name.AccountID) (bool, error) {
	var n int64
	err := s.db.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM access_key WHERE account_id = $1 AND principal = $2`,
			string(account), RootARN(account)).Scan(&n)
	})
	return n > 0, err
}

// PutRootKey stores an access key of the account's root user; one with the same
// id gets the new secret.
func (s *Service) PutRootKey(ctx context.Context, account name.AccountID, id, secret string) error {
	sealed := s.secret.Seal(nil, nil, []byte(secret), []byte(id))
	err := s.db.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO access_key (id, account_id, principal, secret, enabled, created_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (id) DO UPDATE SET account_id = excluded.account_id, principal = excluded.principal, secret = excluded.secret, enabled = excluded.enabled`,
			id, string(account), RootARN(account), sealed, true, s.clk.Now().UnixMicro())
		return err
	})
	s.mu.Lock()
	delete(s.cache, id)
	s.mu.Unlock()
	return err
}

// AccessKey finds an access key. A change made on another node is seen within
// five seconds.
func (s *Service) AccessKey(ctx context.Context, id string) (AccessKey, bool, error) {
	now := s.clk.Now()
	s.mu.RLock()
	c, ok := s.cache[id]
	s.mu.RUnlock()
	if ok && now.Before(c.until) {
		return c.key, c.found, nil
	}
	key, found, err := s.load(ctx, id)
	if err != nil {
		return AccessKey{}, false, err
	}
	s.mu.Lock()
	if len(s.cache) >= maxCached {
		clear(s.cache)
	}
	s.cache[id] = cachedKey{key: key, found: found, until: now.Add(cacheLife)}
	s.mu.Unlock()
	return key, found, nil
}

func (s *Service) load(ctx context.Context, id string) (AccessKey, bool, error) {
	var account, arn string
	var sealed []byte
	k := AccessKey{ID: id}
	err := s.db.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT account_id, principal, secret, enabled FROM access_key WHERE id = $1`, id).
			Scan(&account, &arn, &sealed, &k.Enabled)
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return AccessKey{}, false, nil
	}
	if err != nil {
		return AccessKey{}, false, err
	}
	secret, err := s.secret.Open(nil, nil, sealed, []byte(id))
	if err != nil {
		return AccessKey{}, false, fmt.Errorf("the secret of access key %s cannot be opened with this keyring: %w", id, err)
	}
	k.Secret = string(secret)
	k.Principal = Principal{Account: name.AccountID(account), ARN: arn, ID: account, AccessKeyID: id}
	return k, true, nil
}

// NewAccessKeyPair makes a random access key id in AWS's form and a secret.
func NewAccessKeyPair() (id, secret string) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	raw := make([]byte, 16+30)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	text := make([]byte, 16)
	for i := range text {
		text[i] = letters[int(raw[i])%len(letters)]
	}
	return "AKIA" + string(text), base64.StdEncoding.EncodeToString(raw[16:])
}
