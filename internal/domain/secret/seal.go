package secret

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/keys"
)

// accountKey is the key that secrets are sealed with when none is named.
const accountKey = "alias/aws/secretsmanager"

// sealed is a version as the database keeps it.
type sealed struct {
	id, form       string
	dataKey, bytes []byte
}

// The forms of a value.
const (
	formString = "string"
	formBinary = "binary"
)

// key finds the key that a caller named, and makes the account's own on first use.
// errs.KeyFailure when it cannot be used.
func (s *Service) key(ctx context.Context, home name.Registry, named string) (id string, err error) {
	var k keys.Key
	if named == "" || named == accountKey {
		k, err = s.Keys.Create(ctx, string(home.Account), string(home.Region), accountKey)
	} else {
		k, err = s.Keys.Resolve(ctx, string(home.Account), string(home.Region), named)
	}
	if err == nil && !k.Enabled {
		err = keys.ErrDisabled
	}
	if err != nil {
		return "", unsealable(err)
	}
	return k.ID, nil
}

// bound is what a version's bytes and data key belong to: they open for it only.
func bound(of Secret, version string) []byte {
	return []byte("secret/" + strconv.FormatInt(of.ID, 10) + "/" + version)
}

// seal protects the value of a new version under a data key of its own.
// errs.KeyFailure.
func (s *Service) seal(ctx context.Context, of Secret, version string, c Content) (*sealed, error) {
	dataKey := make([]byte, 32)
	_, _ = rand.Read(dataKey) // crypto/rand does not fail
	aead, err := aeadOf(dataKey)
	if err != nil {
		return nil, err
	}
	v := &sealed{id: version, form: formString}
	if c.Binary {
		v.form = formBinary
	}
	if v.dataKey, err = s.Keys.Wrap(ctx, of.keyID, dataKey, bound(of, version)); err != nil {
		return nil, unsealable(err)
	}
	v.bytes = aead.Seal(nil, nil, c.Data, bound(of, version))
	return v, nil
}

// open is the reverse. errs.SecretUndecryptable.
func (s *Service) open(ctx context.Context, of Secret, v sealed) (Content, error) {
	dataKey, err := s.Keys.Unwrap(ctx, v.dataKey, bound(of, v.id))
	if err != nil {
		return Content{}, unopenable(err)
	}
	aead, err := aeadOf(dataKey)
	if err != nil {
		return Content{}, err
	}
	plain, err := aead.Open(nil, nil, v.bytes, bound(of, v.id))
	if err != nil {
		return Content{}, unopenable(err)
	}
	return Content{Binary: v.form == formBinary, Data: plain}, nil
}

func aeadOf(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// unsealable and unopenable say that a key cannot be used, to write and to read. What
// is no failure of a key itself stays one of ours.
func unsealable(cause error) error {
	return keyFailure(cause, errs.KeyFailure, "Secrets Manager can't encrypt the protected secret text using the provided KMS key. Check that the KMS key is available, enabled, and not in an invalid state.")
}

func unopenable(cause error) error {
	return keyFailure(cause, errs.SecretUndecryptable, "Secrets Manager can't decrypt the protected secret text using the provided KMS key.")
}

func keyFailure(cause error, code errs.Code, text string) error {
	if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("a secret's key: %w", cause)
	}
	return errs.Wrap(cause, code, "%s", text)
}

// tokenOr is the token, or a new id for a version in its place: a random UUID.
func tokenOr(token string) string {
	if token != "" {
		return token
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand does not fail
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
