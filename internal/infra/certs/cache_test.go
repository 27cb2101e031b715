package certs_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/berth-registry/berth/internal/infra/certs"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func newCache(t *testing.T, s certs.Store, dir string) *certs.Cache {
	t.Helper()
	ring, err := keyring.Open(filepath.Join(dir, "keyring"), clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := certs.NewCache(s, ring)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCache(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		store := certs.NewDatabase(db, clock.NewFake(time.Unix(1, 0)))
		dir := t.TempDir()
		// Two nodes: the same database and keys.
		one, two := newCache(t, store, dir), newCache(t, store, dir)
		if _, err := one.Get(ctx, "a"); !errors.Is(err, autocert.ErrCacheMiss) {
			t.Fatalf("nothing is there: %v", err)
		}
		if err := one.Delete(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		for _, secret := range [][]byte{[]byte("a private key"), []byte("another"), {}} {
			if err := one.Put(ctx, "a", secret); err != nil {
				t.Fatal(err)
			}
			if got, err := two.Get(ctx, "a"); err != nil || !bytes.Equal(got, secret) {
				t.Fatalf("%q, %v", got, err)
			}
			stored, found, err := store.Get(ctx, "a")
			if err != nil || !found || len(secret) > 0 && bytes.Contains(stored, secret) {
				t.Fatalf("stored in the clear, or not at all: %q, %v", stored, err)
			}
			// What is sealed for one name does not open for another, nor when it was
			// altered, nor with other keys.
			stored[len(stored)-1] ^= 1
			for name, content := range map[string][]byte{"b": stored, "c": stored[:5], "d": nil} {
				if err := store.Put(ctx, name, content); err != nil {
					t.Fatal(err)
				}
				if got, err := two.Get(ctx, name); err == nil || errors.Is(err, autocert.ErrCacheMiss) {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
			stored[len(stored)-1] ^= 1
			if err := store.Put(ctx, "b", stored); err != nil {
				t.Fatal(err)
			}
			if got, err := two.Get(ctx, "b"); err == nil {
				t.Errorf("under another name: %q", got)
			}
			if got, err := newCache(t, store, t.TempDir()).Get(ctx, "a"); err == nil {
				t.Errorf("with other keys: %q", got)
			}
		}
		if err := two.Delete(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := one.Get(ctx, "a"); !errors.Is(err, autocert.ErrCacheMiss) {
			t.Errorf("deleted: %v", err)
		}
	})
}
