package trails

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// keyBits is the length of the keys that sign digests, as of CloudTrail's.
const keyBits = 2048

// Key is the public half of a key that has signed digests.
type Key struct {
	// Fingerprint names the key in digests: the first 16 bytes of the SHA-256 of its
	// PKCS #1 form, in hexadecimal, so that it is as long as CloudTrail's.
	Fingerprint string
	Public      *rsa.PublicKey
	CreatedAt   time.Time
}

// Fingerprint is a key's name in digests.
func Fingerprint(k *rsa.PublicKey) string {
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(k))
	return hex.EncodeToString(sum[:16])
}

// PublicKeys returns all keys that digests were ever signed with, the oldest first.
func (s *Service) PublicKeys(ctx context.Context) (all []Key, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (Key, error) {
			var k Key
			var created int64
			var public []byte
			if err := row.Scan(&k.Fingerprint, &created, &public); err != nil {
				return Key{}, err
			}
			k.CreatedAt = timeOf(created)
			k.Public, err = x509.ParsePKCS1PublicKey(public)
			return k, err
		}, `SELECT id, created_at, public_key FROM trail_key ORDER BY generation`)
		return err
	})
	return all, err
}

// signing returns the fingerprint of the key that signs new digests, and makes it on
// first use.
func (s *Service) signing(ctx context.Context) (id string, err error) {
	newest := func(tx *sqldb.Tx) error {
		ids, err := sqldb.Collect(ctx, tx, sqldb.One[string], `SELECT id FROM trail_key ORDER BY generation DESC LIMIT 1`)
		if len(ids) > 0 {
			id = ids[0]
		}
		return err
	}
	if err := s.DB.View(ctx, newest); err != nil || id != "" {
		return id, err
	}
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return "", err
	}
	made, public := Fingerprint(&private.PublicKey), x509.MarshalPKCS1PublicKey(&private.PublicKey)
	dataKey := make([]byte, 32)
	_, _ = rand.Read(dataKey) // crypto/rand does not fail
	wrapped, err := s.Keys.Wrap(ctx, "", dataKey, keyContext(made))
	if err != nil {
		return "", fmt.Errorf("the key that signs digests cannot be sealed: %w", err)
	}
	aead, err := aeadOf(dataKey)
	if err != nil {
		return "", err
	}
	sealed := aead.Seal(nil, nil, x509.MarshalPKCS1PrivateKey(private), keyContext(made))
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		// Another node may have made one meanwhile.
		_, err := tx.Exec(ctx, `INSERT INTO trail_key (id, generation, created_at, public_key, data_key, sealed) VALUES ($1, 1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			made, micros(s.now()), public, wrapped, sealed)
		return err
	})
	if err != nil {
		return "", err
	}
	err = s.DB.View(ctx, newest)
	return id, err
}

// keyContext is what the private half of a key is bound to.
func keyContext(id string) []byte { return []byte("audit/trail-key/" + id) }

func aeadOf(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sign signs a text with a key, and returns the signature in hexadecimal. The same text
// has always the same signature.
func (s *Service) sign(ctx context.Context, id, text string) (string, error) {
	var wrapped, sealed []byte
	err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT data_key, sealed FROM trail_key WHERE id = $1`, id).Scan(&wrapped, &sealed)
	})
	if err != nil {
		return "", err
	}
	dataKey, err := s.Keys.Unwrap(ctx, wrapped, keyContext(id))
	if err != nil {
		return "", fmt.Errorf("the key %s that signs digests cannot be opened; if the database was restored, restore the keyring with it: %w", id, err)
	}
	aead, err := aeadOf(dataKey)
	if err != nil {
		return "", err
	}
	plain, err := aead.Open(nil, nil, sealed, keyContext(id))
	if err != nil {
		return "", fmt.Errorf("the key %s that signs digests was altered: %w", id, err)
	}
	private, err := x509.ParsePKCS1PrivateKey(plain)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, private, crypto.SHA256, sum[:])
	return hex.EncodeToString(signature), err
}
