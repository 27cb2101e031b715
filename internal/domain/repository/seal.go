package repository

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"sync"
	"time"
)

// sealers keeps the opened data keys of repositories in use, so that a pull
// does not ask the key manager each time.
type sealers struct {
	mu   sync.RWMutex
	byID map[int64]sealer
}

type sealer struct {
	aead  cipher.AEAD
	until time.Time
}

const (
	// sealerLife bounds how long a node goes on with a key that was disabled.
	sealerLife = 30 * time.Second
	// maxSealers bounds the memory for opened keys.
	maxSealers = 10_000
)

func (c *sealers) forget(id int64) {
	c.mu.Lock()
	delete(c.byID, id)
	c.mu.Unlock()
}

// Seal protects bytes that the database keeps for the repository, bound to a
// context: what was sealed under one context does not open under another. With
// sealing off it returns them as they are. errs.KeyFailure when the
// repository's key cannot be used.
func (s *Service) Seal(ctx context.Context, r Repository, context string, plain []byte) ([]byte, error) {
	aead, err := s.sealer(ctx, r)
	if err != nil || aead == nil {
		return plain, err
	}
	return aead.Seal(nil, nil, plain, []byte(context)), nil
}

// Unseal opens what Seal made. errs.KeyFailure when the key cannot be used or
// the bytes were altered.
func (s *Service) Unseal(ctx context.Context, r Repository, context string, sealed []byte) ([]byte, error) {
	aead, err := s.sealer(ctx, r)
	if err != nil || aead == nil {
		return sealed, err
	}
	plain, err := aead.Open(nil, nil, sealed, []byte(context))
	if err != nil {
		return nil, KeyFailure(err)
	}
	return plain, nil
}

// sealer opens the repository's data key; nil where the repository has none.
func (s *Service) sealer(ctx context.Context, r Repository) (cipher.AEAD, error) {
	if len(r.dataKey) == 0 {
		return nil, nil
	}
	now := s.Clock.Now()
	s.sealers.mu.RLock()
	c, ok := s.sealers.byID[r.ID]
	s.sealers.mu.RUnlock()
	if ok && now.Before(c.until) {
		return c.aead, nil
	}
	dataKey, err := s.Keys.Unwrap(ctx, r.dataKey, sealContext(r.ID))
	if err != nil {
		return nil, KeyFailure(err)
	}
	block, err := aes.NewCipher(dataKey)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	s.sealers.mu.Lock()
	defer s.sealers.mu.Unlock()
	if s.sealers.byID == nil || len(s.sealers.byID) >= maxSealers {
		s.sealers.byID = map[int64]sealer{}
	}
	s.sealers.byID[r.ID] = sealer{aead: aead, until: now.Add(sealerLife)}
	return aead, nil
}
