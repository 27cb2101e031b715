package destination

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/infra/keys"
)

// signingName is what a webhook's secret is called among the names of secrets.
const signingName = "signing"

func (s Secrets) names() []string {
	all := slices.Sorted(maps.Keys(s.Values))
	if len(s.Signing) > 0 {
		all = append(all, signingName)
	}
	return all
}

// sealed is secrets as the database keeps them.
type sealed struct{ dataKey, bytes []byte }

// bound is what secrets and their data key belong to: they open for it only.
func bound(id int64) []byte { return []byte("event-destination/" + strconv.FormatInt(id, 10)) }

// seal protects secrets under a data key of their own. errs.KeyFailure.
func (s *Service) seal(ctx context.Context, o Opened) (sealed, error) {
	plain, err := json.Marshal(o.Secrets)
	if err != nil {
		return sealed{}, err
	}
	if len(plain) > maxSettings {
		return sealed{}, invalid("The secrets of a destination have %d bytes at most.", maxSettings)
	}
	dataKey := make([]byte, 32)
	_, _ = rand.Read(dataKey) // crypto/rand does not fail
	aead, err := aeadOf(dataKey)
	if err != nil {
		return sealed{}, err
	}
	wrapped, err := s.Keys.Wrap(ctx, "", dataKey, bound(o.ID))
	if err != nil {
		return sealed{}, keyFailure(err, o.Destination)
	}
	return sealed{wrapped, aead.Seal(nil, nil, plain, bound(o.ID))}, nil
}

// unseal is the reverse. errs.KeyFailure.
func (s *Service) unseal(ctx context.Context, d Destination, held sealed) (secrets Secrets, err error) {
	dataKey, err := s.Keys.Unwrap(ctx, held.dataKey, bound(d.ID))
	if err != nil {
		return Secrets{}, keyFailure(err, d)
	}
	aead, err := aeadOf(dataKey)
	if err != nil {
		return Secrets{}, err
	}
	plain, err := aead.Open(nil, nil, held.bytes, bound(d.ID))
	if err != nil {
		return Secrets{}, keyFailure(keys.ErrUnwrap, d)
	}
	return secrets, json.Unmarshal(plain, &secrets)
}

func aeadOf(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func keyFailure(cause error, d Destination) error {
	if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("the key of a destination's secrets: %w", cause)
	}
	return errs.Wrap(cause, errs.KeyFailure, "The secrets of the destination %s cannot be sealed or opened with this server's keys. See that its keyring is the one they were made with.", d.Name)
}
