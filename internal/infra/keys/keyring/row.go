package keyring

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Migrations makes the table of a keyring in a database: the files in
// "migrations". Their numbers are part of domain/schema's order.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// MasterKeySize is the size in bytes of the key that seals a keyring in a
// database.
const MasterKeySize = 32

// infoRow is HKDF's info for the key that seals the row.
const infoRow = "berth keyring: in a database"

// ErrMasterKey says that the keyring in the database was sealed under another
// master key.
var ErrMasterKey = errors.New("the master key does not open the keyring in the database: give this node the master key that the deployment's first node was started with")

// row is a keyring in the one row of its table. The content is sealed by
// AES-256-GCM, with the revision as associated data.
type row struct {
	db   *sqldb.DB
	aead cipher.AEAD
}

// OpenDatabase reads the keyring in the database, or makes one with a new
// default key if there is none. Give it a handle of its own: keys are looked up
// within transactions of others. A master key that did not seal it is
// ErrMasterKey, a keyring that is not whole ErrDamaged.
func OpenDatabase(ctx context.Context, db *sqldb.DB, master []byte, clk clock.Clock) (*Keyring, error) {
	m, err := newRow(db, master)
	if err != nil {
		return nil, err
	}
	return open(ctx, m, clk)
}

// InDatabase says whether the database holds a keyring.
func InDatabase(ctx context.Context, db *sqldb.DB) (bool, error) {
	var n int64
	err := db.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM keyring`).Scan(&n)
	})
	return n > 0, err
}

// ImportDatabase makes the keyring in the database from what Export wrote. One
// that is there already stays as it is and is an error, unless it says the same.
func ImportDatabase(ctx context.Context, db *sqldb.DB, master, exported []byte) error {
	m, err := newRow(db, master)
	if err != nil {
		return err
	}
	form, err := decodeExport(exported)
	if err != nil {
		return err
	}
	r, err := m.insert(ctx, form)
	if err != nil {
		return err
	}
	return sameKeyring(r.form, form)
}

func newRow(db *sqldb.DB, master []byte) (row, error) {
	if len(master) != MasterKeySize {
		return row{}, fmt.Errorf("keyring: a master key has %d bytes, not %d", MasterKeySize, len(master))
	}
	key, err := hkdf.Key(sha256.New, master, nil, infoRow, 32)
	if err != nil {
		return row{}, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return row{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return row{db, aead}, err
}

func (m row) load(ctx context.Context) (r *ring, err error) {
	err = m.db.View(ctx, func(tx *sqldb.Tx) (err error) {
		r, err = m.read(ctx, tx, "")
		return err
	})
	return r, err
}

func (m row) initialize(ctx context.Context, now time.Time) (*ring, error) {
	return m.insert(ctx, newForm(now))
}

func (m row) same(ctx context.Context, r *ring) (bool, error) {
	var revision int64
	err := m.db.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT revision FROM keyring WHERE id = 1`).Scan(&revision)
	})
	return err == nil && revision == r.revision, err
}

func (m row) update(ctx context.Context, do func(*ring) (*fileForm, error)) (r *ring, err error) {
	err = m.db.Update(ctx, func(tx *sqldb.Tx) (err error) {
		if r, err = m.read(ctx, tx, tx.ForUpdate()); err != nil {
			if errors.Is(err, errNone) {
				err = fmt.Errorf("%w: its row is gone while Berth uses it: bring it back, from a backup if need be, before this process ends", ErrDamaged)
			}
			return err
		}
		form, err := do(r)
		if err != nil || form == nil {
			return err
		}
		revision := r.revision + 1
		if r, err = complete(form); err != nil {
			return err
		}
		r.revision = revision
		sealed, err := m.seal(form, revision)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE keyring SET revision = $1, sealed = $2 WHERE id = 1`, revision, sealed)
		return err
	})
	return r, err
}

// insert makes the row, unless another node was faster, and returns what then
// stands in it.
func (m row) insert(ctx context.Context, form *fileForm) (r *ring, err error) {
	if _, err := complete(form); err != nil {
		return nil, err
	}
	sealed, err := m.seal(form, 1)
	if err != nil {
		return nil, err
	}
	err = m.db.Update(ctx, func(tx *sqldb.Tx) (err error) {
		if _, err := tx.Exec(ctx, `INSERT INTO keyring (id, revision, sealed) VALUES (1, 1, $1) ON CONFLICT (id) DO NOTHING`, sealed); err != nil {
			return err
		}
		r, err = m.read(ctx, tx, "")
		return err
	})
	return r, err
}

// read reads and opens the row; lock is appended to the query.
func (m row) read(ctx context.Context, tx *sqldb.Tx, lock string) (*ring, error) {
	var revision int64
	var sealed []byte
	err := tx.QueryRow(ctx, `SELECT revision, sealed FROM keyring WHERE id = 1`+lock).Scan(&revision, &sealed)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, errNone
	}
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	plain, err := m.aead.Open(nil, nil, sealed, associated(revision))
	if err != nil {
		return nil, ErrMasterKey
	}
	form, err := decode(plain)
	if err != nil {
		return nil, fmt.Errorf("%w: in the database: %w", ErrDamaged, err)
	}
	r, err := prepare(form)
	if err != nil {
		return nil, fmt.Errorf("%w: in the database: %w", ErrDamaged, err)
	}
	r.revision = revision
	return r, nil
}

func (m row) seal(form *fileForm, revision int64) ([]byte, error) {
	plain, err := encode(form)
	if err != nil {
		return nil, err
	}
	return m.aead.Seal(nil, nil, plain, associated(revision)), nil
}

func associated(revision int64) []byte {
	return binary.BigEndian.AppendUint64([]byte(infoRow), uint64(revision))
}
