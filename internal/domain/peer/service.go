package peer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/revcache"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// CacheLife bounds how long a node may go on with peers and keys that another node
// has changed.
const CacheLife = 2 * time.Second

// Config is what a Service stands on.
type Config struct {
	DB    *sqldb.DB
	Clock clock.Clock
	Log   *slog.Logger
	// Secrets seals the private keys (principal.Service).
	Secrets interface {
		SealSecret(what string, plain []byte) []byte
		OpenSecret(what string, sealed []byte) ([]byte, error)
	}
}

// Service keeps this deployment's identity and its peers.
type Service struct {
	Config
	cache *revcache.Cache[struct{}, *book]

	mu       sync.Mutex
	contacts map[string]contact // by the peer's name: what this node has noted last
}

// New returns the service.
func New(c Config) *Service {
	return &Service{
		Config: c, cache: revcache.New[struct{}, *book](c.Clock, CacheLife, 1), contacts: map[string]contact{},
	}
}

// book is all that decides about requests, as it was read.
type book struct {
	signers []Signer // the newest last; empty before the first use
	peers   []Peer   // by name
	byURL   map[string]int
	byKey   map[Fingerprint]int
}

// book reads all, at most CacheLife older than the database.
func (s *Service) book(ctx context.Context) (*book, error) {
	return s.cache.Get(ctx, struct{}{}, revcache.Source[*book]{
		Revision: func(ctx context.Context) (revision int64, err error) {
			err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
				revision, err = revisionTx(ctx, tx)
				return err
			})
			return revision, err
		},
		Load: func(ctx context.Context) (b *book, revision int64, err error) {
			err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
				if revision, err = revisionTx(ctx, tx); err != nil {
					return err
				}
				b, err = s.readTx(ctx, tx)
				return err
			})
			return b, revision, err
		},
	})
}

// Refresh has the next question read the database anew: for who was told by a peer
// that a key is none of those it knows.
func (s *Service) Refresh() { s.cache.Forget(nil) }

func revisionTx(ctx context.Context, tx *sqldb.Tx) (revision int64, err error) {
	err = tx.QueryRow(ctx, `SELECT revision FROM peer_revision WHERE id = 1`).Scan(&revision)
	if errors.Is(err, sqldb.ErrNoRows) {
		return 0, nil
	}
	return revision, err
}

// change runs fn in a transaction that changes what decides about requests. Such
// changes come one after the other: the row of the revision is their lock.
func (s *Service) change(ctx context.Context, fn func(tx *sqldb.Tx) error) error {
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO peer_revision (id, revision) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET revision = excluded.revision`, sqldb.NewID()); err != nil {
			return err
		}
		tx.AfterCommit(s.Refresh)
		return fn(tx)
	})
	if errors.Is(err, sqldb.ErrFull) {
		return errs.Wrap(err, errs.StorageFull, "The registry has no storage space left. Ask its operator to make room, then try again.")
	}
	return err
}

func (s *Service) readTx(ctx context.Context, tx *sqldb.Tx) (*book, error) {
	b := &book{byURL: map[string]int{}, byKey: map[Fingerprint]int{}}
	var err error
	if b.signers, err = s.signersTx(ctx, tx); err != nil {
		return nil, err
	}
	if b.peers, err = sqldb.Collect(ctx, tx, scanPeer, `SELECT name, url, insecure, accounts, created_at, told, seen_at, error, failed_at FROM peer ORDER BY name`); err != nil {
		return nil, err
	}
	names := map[string]int{}
	for i, p := range b.peers {
		names[p.Name], b.byURL[p.URL] = i, i
	}
	type row struct {
		peer string
		key  PublicKey
	}
	keys, err := sqldb.Collect(ctx, tx, func(r sqldb.Scanner) (k row, err error) {
		var raw []byte
		if err = r.Scan(&k.peer, &raw); err == nil && copy(k.key[:], raw) != len(k.key) {
			err = fmt.Errorf("a key of the peer %s is damaged", k.peer)
		}
		return k, err
	}, `SELECT peer, public_key FROM peer_key ORDER BY peer, generation`)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		i := names[k.peer]
		b.peers[i].Keys = append(b.peers[i].Keys, k.key)
		b.byKey[k.key.Fingerprint()] = i
	}
	return b, nil
}

func scanPeer(r sqldb.Scanner) (p Peer, err error) {
	var accounts string
	var created, seen, failed int64
	if err = r.Scan(&p.Name, &p.URL, &p.Insecure, &accounts, &created, &p.Told, &seen, &p.Error, &failed); err != nil {
		return p, err
	}
	p.CreatedAt, p.SeenAt, p.FailedAt = instant(created), instant(seen), instant(failed)
	if err = json.Unmarshal([]byte(accounts), &p.Accounts); err != nil {
		return p, fmt.Errorf("the accounts of the peer %s cannot be read: %w", p.Name, err)
	}
	return p, nil
}

func instant(micro int64) time.Time {
	if micro == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}

// sealedFor binds a sealed private key to its public one.
func sealedFor(k PublicKey) string { return "peer identity " + string(k.Fingerprint()) }

func (s *Service) signersTx(ctx context.Context, tx *sqldb.Tx) ([]Signer, error) {
	return sqldb.Collect(ctx, tx, func(r sqldb.Scanner) (one Signer, err error) {
		var public, sealed []byte
		if err = r.Scan(&one.Generation, &public, &sealed); err != nil {
			return one, err
		}
		copy(one.Key[:], public)
		seed, err := s.Secrets.OpenSecret(sealedFor(one.Key), sealed)
		if err != nil {
			return one, err
		}
		if len(seed) != ed25519.SeedSize {
			return one, fmt.Errorf("the private key %d of this deployment is damaged", one.Generation)
		}
		one.private = ed25519.NewKeyFromSeed(seed)
		return one, nil
	}, `SELECT generation, public_key, private_key FROM peer_identity ORDER BY generation`)
}

// addSignerTx stores a new key. It does nothing when the generation is taken.
func (s *Service) addSignerTx(ctx context.Context, tx *sqldb.Tx, generation int64, key PublicKey, sealed []byte) error {
	_, err := tx.Exec(ctx, `INSERT INTO peer_identity (generation, public_key, private_key, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (generation) DO NOTHING`,
		generation, key[:], sealed, s.Clock.Now().UnixMicro())
	return err
}

func (s *Service) newKey() (key PublicKey, sealed []byte, err error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return key, nil, err
	}
	copy(key[:], public)
	return key, s.Secrets.SealSecret(sealedFor(key), private.Seed()), nil
}

// Signers are this deployment's own keys, the newest last. There is none before Key
// was called for the first time.
func (s *Service) Signers(ctx context.Context) ([]Signer, error) {
	b, err := s.book(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Clone(b.signers), nil
}

// Key is this deployment's newest key; the first call on a database makes one.
func (s *Service) Key(ctx context.Context) (PublicKey, error) {
	b, err := s.book(ctx)
	if err != nil {
		return PublicKey{}, err
	}
	if len(b.signers) == 0 {
		key, sealed, err := s.newKey()
		if err != nil {
			return PublicKey{}, err
		}
		if err := s.change(ctx, func(tx *sqldb.Tx) error {
			var newest int64
			if err := tx.QueryRow(ctx, `SELECT COALESCE(max(generation), 0) FROM peer_identity`).Scan(&newest); err != nil || newest > 0 {
				return err
			}
			return s.addSignerTx(ctx, tx, 1, key, sealed)
		}); err != nil {
			return PublicKey{}, err
		}
		if b, err = s.book(ctx); err != nil {
			return PublicKey{}, err
		}
	}
	return b.signers[len(b.signers)-1].Key, nil
}

// ByURL finds the peer with the base address, in any way of writing it.
// errs.EntityNotFound when there is none.
func (s *Service) ByURL(ctx context.Context, address string) (Peer, error) {
	at, err := ParseURL(address)
	if err != nil {
		return Peer{}, err
	}
	b, err := s.book(ctx)
	if err != nil {
		return Peer{}, err
	}
	i, ok := b.byURL[at]
	if !ok {
		return Peer{}, errs.New(errs.EntityNotFound, "No peer has the address %s. Add it with berth peer add NAME --url %s --key KEY.", at, at)
	}
	return b.peers[i], nil
}

// ByName finds the peer of the name. errs.EntityNotFound when there is none.
func (s *Service) ByName(ctx context.Context, peer string) (Peer, error) {
	b, err := s.book(ctx)
	if err != nil {
		return Peer{}, err
	}
	for _, p := range b.peers {
		if p.Name == peer {
			return p, nil
		}
	}
	return Peer{}, notFound(peer)
}

func notFound(peer string) error {
	return errs.New(errs.EntityNotFound, "There is no peer named %q; berth peer list shows all.", cut(peer, 80))
}

// ByFingerprint finds the peer that signs with the key of the fingerprint, and the
// key; false when none does.
func (s *Service) ByFingerprint(ctx context.Context, f Fingerprint) (Peer, PublicKey, bool, error) {
	b, err := s.book(ctx)
	if err != nil {
		return Peer{}, PublicKey{}, false, err
	}
	i, ok := b.byKey[f]
	if !ok {
		return Peer{}, PublicKey{}, false, nil
	}
	k, ok := b.peers[i].key(f)
	return b.peers[i], k, ok, nil
}

// List reads all peers from the database, by name.
func (s *Service) List(ctx context.Context) ([]Peer, error) {
	var b *book
	err := s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		b, err = s.readTx(ctx, tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b.peers, nil
}

// Addition is what Add is given.
type Addition struct {
	Name, URL string
	Key       PublicKey
	// Accounts are those that the peer may speak for; none: it may send nothing.
	Accounts []name.AccountID
	// Insecure allows a URL of plain HTTP.
	Insecure bool
	// Replace has the peer of the name, if there is one, replaced in all.
	Replace bool
}

// maxPeers bounds the peers, all of which are in memory and asked every few minutes.
const maxPeers = 200

// Add stores a peer, which this deployment and its newest key are taken to be known to.
// errs.InvalidInput for what cannot be, errs.EntityExists when the name, the address
// or the key is another peer's already, errs.EntityLimit for more than 200 peers.
func (s *Service) Add(ctx context.Context, a Addition) (Peer, error) {
	if err := checkName(a.Name); err != nil {
		return Peer{}, err
	}
	address, err := ParseURL(a.URL)
	if err != nil {
		return Peer{}, err
	}
	if address[:5] == "http:" && !a.Insecure {
		return Peer{}, errs.New(errs.InvalidInput, "%s is plain HTTP: what is sent could be read on the way. Use https, or allow it with --insecure-http.", address)
	}
	own, err := s.Key(ctx)
	if err != nil {
		return Peer{}, err
	}
	if own == a.Key {
		return Peer{}, errs.New(errs.InvalidInput, "This is the key of this deployment itself. Run berth peer key on the other side, and give the key that it prints.")
	}
	accounts, err := json.Marshal(append([]name.AccountID{}, a.Accounts...))
	if err != nil {
		return Peer{}, err
	}
	err = s.change(ctx, func(tx *sqldb.Tx) error {
		now := s.Clock.Now().UnixMicro()
		created := now
		if a.Replace {
			err := tx.QueryRow(ctx, `SELECT created_at FROM peer WHERE name = $1`, a.Name).Scan(&created)
			if err != nil && !errors.Is(err, sqldb.ErrNoRows) {
				return err
			}
			if _, err := tx.Exec(ctx, `DELETE FROM peer WHERE name = $1`, a.Name); err != nil {
				return err
			}
		}
		if err := freeTx(ctx, tx, a, address); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO peer (name, url, insecure, accounts, created_at, told, told_at)
			VALUES ($1, $2, $3, $4, $5, (SELECT max(generation) FROM peer_identity), $6)`,
			a.Name, address, a.Insecure, string(accounts), created, now); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO peer_key (fingerprint, peer, public_key, generation, added_at) VALUES ($1, $2, $3, 0, $4)`,
			string(a.Key.Fingerprint()), a.Name, a.Key[:], now)
		return err
	})
	if err != nil {
		return Peer{}, err
	}
	s.forgetContact(a.Name)
	return s.ByName(ctx, a.Name)
}

// freeTx checks that nothing of the addition is another peer's.
func freeTx(ctx context.Context, tx *sqldb.Tx, a Addition, address string) error {
	for _, taken := range []struct{ query, value, text string }{
		{`SELECT name FROM peer WHERE name = $1`, a.Name, "A peer is named %s already. Change it with --replace, or choose another name."},
		{`SELECT name FROM peer WHERE url = $1`, address, "The peer %s has this address already. Remove it first with berth peer remove, or change it with berth peer add --replace."},
		{`SELECT peer FROM peer_key WHERE fingerprint = $1`, string(a.Key.Fingerprint()), "The peer %s has this key already. Remove it first with berth peer remove, or change it with berth peer add --replace."},
	} {
		var by string
		err := tx.QueryRow(ctx, taken.query, taken.value).Scan(&by)
		if err == nil {
			return errs.New(errs.EntityExists, taken.text, by)
		}
		if !errors.Is(err, sqldb.ErrNoRows) {
			return err
		}
	}
	var n int64
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM peer`).Scan(&n); err != nil {
		return err
	}
	if n >= maxPeers {
		return errs.New(errs.EntityLimit, "A deployment has at most %d peers. Remove one that is not needed with berth peer remove.", maxPeers)
	}
	return nil
}

// Remove forgets a peer: its requests are refused from then on, here at once and on
// other nodes within CacheLife. errs.EntityNotFound when there is none.
func (s *Service) Remove(ctx context.Context, peer string) error {
	err := s.change(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM peer WHERE name = $1`, peer)
		if err == nil && n == 0 {
			err = notFound(peer)
		}
		return err
	})
	if err == nil {
		s.forgetContact(peer)
	}
	return err
}
