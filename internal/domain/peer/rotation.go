package peer

import (
	"context"
	"errors"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// keepOld is how long an old private key stays once all peers know a newer one:
// longer than the peers' nodes need to hear of it from each other.
const keepOld = 10 * time.Minute

// Rotate makes a new key and returns it. Nobody knows it yet: every peer has to be
// told (Untold), and is sent requests under the key that it knows until then.
func (s *Service) Rotate(ctx context.Context) (PublicKey, error) {
	if _, err := s.Key(ctx); err != nil { // there is an old one
		return PublicKey{}, err
	}
	key, sealed, err := s.newKey()
	if err != nil {
		return PublicKey{}, err
	}
	return key, s.change(ctx, func(tx *sqldb.Tx) error {
		var newest int64
		if err := tx.QueryRow(ctx, `SELECT max(generation) FROM peer_identity`).Scan(&newest); err != nil {
			return err
		}
		return s.addSignerTx(ctx, tx, newest+1, key, sealed)
	})
}

// Untold are the peers that do not know this deployment's newest key.
func (s *Service) Untold(ctx context.Context) ([]Peer, error) {
	b, err := s.book(ctx)
	if err != nil || len(b.signers) == 0 {
		return nil, err
	}
	var all []Peer
	for _, p := range b.peers {
		if p.Told < b.signers[len(b.signers)-1].Generation {
			all = append(all, p)
		}
	}
	return all, nil
}

// SignerFor is the key to sign requests to the peer with: the newest that it knows.
func (s *Service) SignerFor(ctx context.Context, p Peer) (Signer, error) {
	b, err := s.book(ctx)
	if err != nil {
		return Signer{}, err
	}
	for _, one := range b.signers {
		if one.Generation >= p.Told { // ascending
			return one, nil
		}
	}
	return Signer{}, errs.New(errs.Unavailable, "This deployment has lost the key that the peer %s knows. Give the peer the key that berth peer key prints.", p.Name)
}

// Told notes that the peer knows the generation of our keys. It never goes back,
// unless back says so: when the peer has shown that it knows only an older one.
func (s *Service) Told(ctx context.Context, peer string, generation int64, back bool) error {
	return s.change(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE peer SET told = $2, told_at = $3 WHERE name = $1 AND (told < $2 OR $4)`, peer, generation, s.Clock.Now().UnixMicro(), back)
		return err
	})
}

// Prune removes the private keys that no peer needs any more: those before the
// oldest that a peer knows, ten minutes after the last peer was told.
func (s *Service) Prune(ctx context.Context) error {
	b, err := s.book(ctx)
	if err != nil || len(b.signers) < 2 {
		return err
	}
	for _, p := range b.peers {
		if p.Told <= b.signers[0].Generation {
			return nil // still needed
		}
	}
	return s.change(ctx, func(tx *sqldb.Tx) error {
		before := s.Clock.Now().Add(-keepOld).UnixMicro()
		_, err := tx.Exec(ctx, `DELETE FROM peer_identity
			WHERE generation < (SELECT max(generation) FROM peer_identity)
			AND EXISTS (SELECT 1 FROM peer_identity newer WHERE newer.generation = peer_identity.generation + 1 AND newer.created_at < $1)
			AND NOT EXISTS (SELECT 1 FROM peer WHERE told <= peer_identity.generation OR told_at >= $1)`, before)
		return err
	})
}

// Learn stores the key that a peer says it will sign with, in a request signed with
// the key of the fingerprint by. Both hold until the new one is first used; another
// that was announced before and never used is forgotten. generation is the peer's
// own count of its keys.
// errs.Validation when a later key is known already, errs.EntityExists when the key
// is another peer's, errs.EntityNotFound when the peer has been removed meanwhile.
func (s *Service) Learn(ctx context.Context, peer string, by Fingerprint, key PublicKey, generation int64) error {
	if generation < 1 {
		return errs.New(errs.Validation, "A new key has a number from 1 on.")
	}
	return s.change(ctx, func(tx *sqldb.Tx) error {
		var signer int64
		err := tx.QueryRow(ctx, `SELECT generation FROM peer_key WHERE fingerprint = $1 AND peer = $2`, string(by), peer).Scan(&signer)
		if errors.Is(err, sqldb.ErrNoRows) {
			return notFound(peer)
		}
		if err != nil {
			return err
		}
		var owner string
		var known int64
		err = tx.QueryRow(ctx, `SELECT peer, generation FROM peer_key WHERE fingerprint = $1`, string(key.Fingerprint())).Scan(&owner, &known)
		switch {
		case err == nil && owner != peer:
			return errs.New(errs.EntityExists, "The key is another peer's.")
		case err == nil && known >= generation:
			return nil // told before
		case err == nil && key.Fingerprint() == by: // its own key, to which an operator gave no number
			_, err = tx.Exec(ctx, `UPDATE peer_key SET generation = $2 WHERE fingerprint = $1`, string(by), generation)
			return err
		case err != nil && !errors.Is(err, sqldb.ErrNoRows):
			return err
		}
		var newest int64
		if err := tx.QueryRow(ctx, `SELECT max(generation) FROM peer_key WHERE peer = $1`, peer).Scan(&newest); err != nil {
			return err
		}
		if newest >= generation {
			return errs.New(errs.Validation, "A later key is known already.")
		}
		if _, err := tx.Exec(ctx, `DELETE FROM peer_key WHERE peer = $1 AND fingerprint <> $2`, peer, string(by)); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO peer_key (fingerprint, peer, public_key, generation, added_at) VALUES ($1, $2, $3, $4, $5)`,
			string(key.Fingerprint()), peer, key[:], generation, s.Clock.Now().UnixMicro())
		return err
	})
}

// Used notes that the peer has signed a request with the key: from its newest one
// on, the others are refused.
func (s *Service) Used(ctx context.Context, p Peer, key PublicKey) error {
	if len(p.Keys) < 2 || key != p.Newest() {
		return nil
	}
	f := string(key.Fingerprint())
	return s.change(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM peer_key WHERE peer = $1
			AND generation < (SELECT generation FROM peer_key WHERE fingerprint = $2 AND peer = $1)`, p.Name, f)
		return err
	})
}
