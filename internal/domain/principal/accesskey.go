package principal

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/revcache"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// AccessKey is a pair of access key id and secret with the principal it stands for.
type AccessKey struct {
	ID        string
	Secret    string
	Principal Principal
	Enabled   bool
	// Expires is the end of a temporary key; zero: it has none.
	Expires time.Time
}

type cachedKey struct {
	key   AccessKey
	found bool
}

// HasRootKey says whether the account's root user has an access key.
func (s *Service) HasRootKey(ctx context.Context, account name.AccountID) (bool, error) {
	var n int64
	err := s.db.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM access_key WHERE account_id = $1 AND user_id = ''`, string(account)).Scan(&n)
	})
	return n > 0, err
}

// PutRootKey stores an access key of the account's root user; one with the same
// id gets the new secret.
func (s *Service) PutRootKey(ctx context.Context, account name.AccountID, id, secret string) error {
	return s.Change(ctx, account, func(tx *sqldb.Tx) error {
		return s.PutKeyTx(ctx, tx, account, "", id, secret)
	})
}

// PutKeyTx stores an access key of a user, or of the root user where user is
// "", inside of Change; one with the same id gets the new secret.
func (s *Service) PutKeyTx(ctx context.Context, tx *sqldb.Tx, account name.AccountID, user, id, secret string) error {
	_, err := tx.Exec(ctx, `INSERT INTO access_key (id, account_id, user_id, secret, enabled, created_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (id) DO UPDATE SET account_id = excluded.account_id, user_id = excluded.user_id, secret = excluded.secret, enabled = excluded.enabled`,
		id, string(account), user, s.SealSecret(id, []byte(secret)), true, s.clk.Now().UnixMicro())
	return err
}

// AccessKey finds a permanent access key. A change made on another node is seen
// within CacheLife.
func (s *Service) AccessKey(ctx context.Context, id string) (AccessKey, bool, error) {
	c, err := s.keys.Get(ctx, id, revcache.Source[cachedKey]{
		// A key's row is as cheap to read as a revision would be.
		Revision: func(context.Context) (int64, error) { return s.clk.Now().UnixNano(), nil },
		Load: func(ctx context.Context) (cachedKey, int64, error) {
			key, found, err := s.load(ctx, id)
			return cachedKey{key: key, found: found}, 0, err
		},
	})
	return c.key, c.found, err
}

// Credentials finds what a request is signed with: a permanent key, which comes
// without a session token, or the temporary one that the token holds. It is not
// found when the user or role behind it has gone.
func (s *Service) Credentials(ctx context.Context, id, sessionToken string) (AccessKey, bool, error) {
	if sessionToken == "" {
		if strings.HasPrefix(id, PrefixTemporaryKey) {
			return AccessKey{}, false, nil
		}
		return s.AccessKey(ctx, id)
	}
	p, secret, err := s.openSession(sessionToken)
	if err != nil || p.AccessKeyID != id {
		return AccessKey{}, false, nil
	}
	who, err := s.Identity(ctx, p)
	if err != nil || !who.Found {
		return AccessKey{}, false, err
	}
	return AccessKey{ID: id, Secret: secret, Principal: p, Enabled: true, Expires: p.Session.Expires}, true, nil
}

func (s *Service) load(ctx context.Context, id string) (AccessKey, bool, error) {
	var account, user string
	var kind, path, userName *string
	var sealed []byte
	k := AccessKey{ID: id}
	err := s.db.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT k.account_id, k.user_id, k.secret, k.enabled, e.kind, e.path, e.name FROM access_key k
			LEFT JOIN iam_entity e ON e.id = k.user_id WHERE k.id = $1`, id).
			Scan(&account, &user, &sealed, &k.Enabled, &kind, &path, &userName)
	})
	if errors.Is(err, sqldb.ErrNoRows) || err == nil && user != "" && kind == nil {
		return AccessKey{}, false, nil
	}
	if err != nil {
		return AccessKey{}, false, err
	}
	secret, err := s.OpenSecret(id, sealed)
	if err != nil {
		return AccessKey{}, false, err
	}
	k.Secret = string(secret)
	k.Principal = Root(name.AccountID(account))
	if user != "" {
		k.Principal = Principal{Account: name.AccountID(account), ARN: EntityARN(name.AccountID(account), *kind, *path, *userName), ID: user, Entity: user}
	}
	k.Principal.AccessKeyID = id
	return k, true, nil
}
