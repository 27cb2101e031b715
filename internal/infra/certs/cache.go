package certs

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"

	"golang.org/x/crypto/acme/autocert"

	"github.com/berth-registry/berth/internal/infra/keys"
)

// Store is where a Cache keeps what it has sealed. Names are short texts, the
// data is a few kilobytes.
type Store interface {
	// Get returns what was put last; false when there is nothing.
	Get(ctx context.Context, name string) (data []byte, found bool, err error)
	Put(ctx context.Context, name string, data []byte) error
	// Delete removes; it is no error when there is nothing.
	Delete(ctx context.Context, name string) error
}

// Cache is an autocert.Cache that seals what it stores: account key, private keys
// with their certificates, and the answers to challenges. Nodes with the same
// keys.Manager and Store read each other's, so that the authority may ask any of
// them, and only one of them renews.
type Cache struct {
	store Store
	seal  cipher.AEAD
}

var _ autocert.Cache = (*Cache)(nil)

// NewCache returns a cache over the store.
func NewCache(s Store, m keys.Manager) (*Cache, error) {
	key, err := m.Derive("ACME certificates", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Cache{store: s, seal: seal}, nil
}

// Get returns what was put under the name, or autocert.ErrCacheMiss.
func (c *Cache) Get(ctx context.Context, name string) ([]byte, error) {
	sealed, found, err := c.store.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, autocert.ErrCacheMiss
	}
	data, err := c.seal.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return nil, fmt.Errorf("what is stored for ACME as %q was altered, or sealed with another key: %w", name, err)
	}
	return data, nil
}

// Put seals and stores data.
func (c *Cache) Put(ctx context.Context, name string, data []byte) error {
	return c.store.Put(ctx, name, c.seal.Seal(nil, nil, data, []byte(name)))
}

// Delete removes what was put.
func (c *Cache) Delete(ctx context.Context, name string) error { return c.store.Delete(ctx, name) }
