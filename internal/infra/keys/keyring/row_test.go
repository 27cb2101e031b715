package keyring

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/keys/keystest"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

var master = bytes.Repeat([]byte{7}, MasterKeySize)

func migrated(t *testing.T, db *sqldb.DB) *sqldb.DB {
	t.Helper()
	dir, err := fs.Sub(Migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context(), "keyring_version", dir); err != nil {
		t.Fatal(err)
	}
	return db
}

func openRow(t *testing.T, db *sqldb.DB) *Keyring {
	t.Helper()
	k, err := OpenDatabase(t.Context(), db, master, clock.NewFake(start))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestManagerInDatabase(t *testing.T) {
	keystest.Run(t, func(t *testing.T) keys.Manager { return openRow(t, migrated(t, sqldbtest.SQLite(t))) })
	t.Run("postgres", func(t *testing.T) {
		keystest.Run(t, func(t *testing.T) keys.Manager { return openRow(t, migrated(t, sqldbtest.Postgres(t))) })
	})
}

// TestNodes: what one node changes another sees within a second, and what it has
// never heard of at once; both make the first keyring at the same time.
func TestNodes(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		migrated(t, db)
		made := make(chan *Keyring)
		for range 2 {
			go func() {
				k, err := OpenDatabase(t.Context(), db, master, clock.NewFake(start))
				if err != nil {
					t.Error(err)
				}
				made <- k
			}()
		}
		a, b := <-made, <-made
		if a == nil || b == nil {
			return
		}
		key := wrapAndOpen(t, a, b, "")
		created, err := a.Create(t.Context(), account, region, "alias/x")
		if err != nil {
			t.Fatal(err)
		}
		wrapAndOpen(t, a, b, created.ID)
		if _, err := a.Rotate(t.Context(), created.ID); err != nil {
			t.Fatal(err)
		}
		wrapAndOpen(t, a, b, created.ID)
		if _, err := b.SetEnabled(t.Context(), created.ID, false); err != nil {
			t.Fatal(err)
		}
		a.clock.(*clock.Fake).Advance(time.Second)
		if _, err := a.Wrap(t.Context(), created.ID, key, nil); !errors.Is(err, keys.ErrDisabled) {
			t.Errorf("a key that another node disabled: %v", err)
		}
	})
}

func wrapAndOpen(t *testing.T, a, b *Keyring, id string) []byte {
	t.Helper()
	plain := []byte("0123456789abcdef")
	wrapped, err := a.Wrap(t.Context(), id, plain, []byte("c"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.Unwrap(t.Context(), wrapped, []byte("c"))
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("the other node: %x, %v", got, err)
	}
	return plain
}

func TestMasterKey(t *testing.T) {
	db := migrated(t, sqldbtest.SQLite(t))
	if has, err := InDatabase(t.Context(), db); err != nil || has {
		t.Errorf("an empty database: %t, %v", has, err)
	}
	openRow(t, db)
	if has, err := InDatabase(t.Context(), db); err != nil || !has {
		t.Errorf("after the first start: %t, %v", has, err)
	}
	other := bytes.Repeat([]byte{8}, MasterKeySize)
	if _, err := OpenDatabase(t.Context(), db, other, clock.NewFake(start)); !errors.Is(err, ErrMasterKey) {
		t.Errorf("another master key: %v", err)
	}
	if _, err := OpenDatabase(t.Context(), db, other[1:], clock.NewFake(start)); err == nil {
		t.Error("a short master key was taken")
	}
}

// TestMove: a keyring goes from a file into a database and back, and opens what
// was sealed before.
func TestMove(t *testing.T) {
	db := migrated(t, sqldbtest.SQLite(t))
	first := openFile(t, newPath(t))
	exported, err := first.Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time nothing is left to do
		if err := ImportDatabase(t.Context(), db, master, exported); err != nil {
			t.Fatal(err)
		}
	}
	moved := openRow(t, db)
	wrapAndOpen(t, first, moved, "")
	if exported, err = moved.Export(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keyring.json")
	if err := Import(t.Context(), path, exported); err != nil {
		t.Fatal(err)
	}
	wrapAndOpen(t, moved, openFile(t, path), "")
	// Nothing takes the place of what is there.
	other := openFile(t, newPath(t))
	strange, err := other.Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := ImportDatabase(t.Context(), db, master, strange); err == nil {
		t.Error("another keyring was taken into the database")
	}
	if err := Import(t.Context(), path, strange); err == nil {
		t.Error("another keyring was taken into the file")
	}
	if err := Import(t.Context(), path, exported[:len(exported)/2]); !errors.Is(err, ErrDamaged) {
		t.Errorf("half a keyring: %v", err)
	}
	wrapAndOpen(t, moved, openFile(t, path), "")
}
