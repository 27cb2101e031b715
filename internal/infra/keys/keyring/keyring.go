// Package keyring is the key manager of a deployment without a key service:
// all keys stand in one file that only Berth's user may read, or, for many
// nodes, in one row of their database, sealed under a master key that each node
// has.
//
// The file is JSON with mode 0600 and is replaced as a whole, synced, by a
// rename; the row holds the same JSON. Several processes may use one keyring: a
// change takes a lock and begins from what the keyring says then, and a process
// sees the changes of others within a second, or at once when it misses a key.
// Whoever loses the keyring (or the master key) loses all that was sealed under
// its keys, so it belongs into every backup; and one that cannot be understood
// is never replaced.
//
// It protects data keys and small derived secrets. What those seal, and which
// key a repository uses, is for others (blobstore/encrypted,
// domain/repository).
package keyring

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys"
)

// Errors that tell an administrator what to do; they come from Open and from
// methods that read the file again.
var (
	// ErrDamaged: the file cannot be understood, or is gone.
	ErrDamaged = errors.New("the keyring is damaged")
	// ErrExposed: others than its owner can read or write the file.
	ErrExposed = errors.New("the keyring is open to others")
)

const (
	// refreshPeriod is how long a change by another process may go unseen.
	refreshPeriod = time.Second
	// reloadLimit bounds one look at the keyring.
	reloadLimit = 5 * time.Second
)

// medium is where a keyring stands.
type medium interface {
	// load reads the keyring. errNone when there is none.
	load(ctx context.Context) (*ring, error)
	// initialize makes the keyring, unless another process was faster.
	initialize(ctx context.Context, now time.Time) (*ring, error)
	// same says whether the keyring is still as it was when r was read.
	same(ctx context.Context, r *ring) (bool, error)
	// update replaces the keyring by what do makes of it as it is then, and keeps
	// others from changing it meanwhile; nil leaves it as it is. do may run again.
	update(ctx context.Context, do func(*ring) (*fileForm, error)) (*ring, error)
}

var (
	_ medium = file{}
	_ medium = row{}
)

// Keyring is a keys.Manager over a file or a row.
type Keyring struct {
	medium medium
	clock  clock.Clock

	ring atomic.Pointer[ring] // what the keyring says; never changed in place

	mu      sync.Mutex // held while the file is looked at
	checked time.Time  // when it was looked at last
}

var _ keys.Manager = (*Keyring)(nil)

// Open reads the keyring at path, or makes one with a new default key if there
// is no file. A file that others may read is ErrExposed, one that is not a
// whole keyring ErrDamaged.
func Open(path string, clk clock.Clock) (*Keyring, error) {
	return open(context.Background(), file{path}, clk)
}

func open(ctx context.Context, m medium, clk clock.Clock) (*Keyring, error) {
	k := &Keyring{medium: m, clock: clk, checked: clk.Now()}
	r, err := m.load(ctx)
	if errors.Is(err, errNone) {
		r, err = m.initialize(ctx, clk.Now())
	}
	if err != nil {
		return nil, err
	}
	k.ring.Store(r)
	return k, nil
}

// Wrap implements keys.Manager.
func (k *Keyring) Wrap(_ context.Context, id string, dataKey, context []byte) ([]byte, error) {
	if len(dataKey) == 0 || len(dataKey) > keys.MaxDataKey {
		return nil, fmt.Errorf("keys: a data key has 1 to %d bytes, not %d", keys.MaxDataKey, len(dataKey))
	}
	key, err := k.usable(id)
	if err != nil {
		return nil, err
	}
	return key.wrap(dataKey, context), nil
}

// Unwrap implements keys.Manager.
func (k *Keyring) Unwrap(_ context.Context, wrapped, context []byte) ([]byte, error) {
	h, err := parseHeader(wrapped)
	if err != nil {
		return nil, err
	}
	key, err := k.usable(h.id)
	if err != nil {
		return nil, err
	}
	if h.version > len(key.versions) {
		// Another process may have rotated the key a moment ago.
		err := k.refresh()
		if key = k.ring.Load().byID[h.id]; key == nil || h.version > len(key.versions) {
			return nil, errors.Join(fmt.Errorf("%w: version %d of key %s", keys.ErrNotFound, h.version, h.id), err)
		}
	}
	return key.unwrap(h, wrapped, context)
}

// Derive implements keys.Manager.
func (k *Keyring) Derive(purpose string, size int) ([]byte, error) {
	if size < 1 || size > keys.MaxDerived {
		return nil, fmt.Errorf("keys: 1 to %d bytes can be derived, not %d", keys.MaxDerived, size)
	}
	first := k.ring.Load().standard.form.Versions[0]
	return hkdf.Key(sha256.New, first.Material, nil, infoDerive+purpose, size)
}

// Resolve implements keys.Manager.
func (k *Keyring) Resolve(_ context.Context, account, region, ref string) (keys.Key, error) {
	missing := fmt.Errorf("%w: %q in account %s and region %s", keys.ErrNotFound, ref, account, region)
	id, alias, ok := parseRef(account, region, ref)
	if !ok {
		return keys.Key{}, missing
	}
	key, err := k.find(func(r *ring) *key {
		if alias != "" {
			return r.byAlias[aliasName{account, region, alias}]
		}
		if key := r.byID[id]; key != nil && key != r.standard && key.form.Account == account && key.form.Region == region {
			return key
		}
		return nil
	}, missing)
	if err != nil {
		return keys.Key{}, err
	}
	return key.describe(), nil
}

// parseRef takes apart what names a key of the account and region: an alias or
// an ID, alone or in an ARN.
func parseRef(account, region, ref string) (id, alias string, ok bool) {
	if strings.HasPrefix(ref, aliasPrefix) {
		return "", ref, true
	}
	if !strings.HasPrefix(ref, "arn:") {
		return ref, "", ref != ""
	}
	parts := strings.SplitN(ref, ":", 6)
	if len(parts) != 6 || parts[1] == "" || parts[2] != "kms" || parts[3] != region || parts[4] != account {
		return "", "", false
	}
	if strings.HasPrefix(parts[5], aliasPrefix) {
		return "", parts[5], true
	}
	id, ok = strings.CutPrefix(parts[5], "key/")
	return id, "", ok
}

// Create implements keys.Manager.
func (k *Keyring) Create(ctx context.Context, account, region, alias string) (keys.Key, error) {
	if account == "" || region == "" {
		return keys.Key{}, errors.New("keys: a key has an account and a region")
	}
	if alias != "" && !validAlias(alias) {
		return keys.Key{}, fmt.Errorf("keys: alias %q: want alias/ and 1 to 250 of [a-zA-Z0-9/_-]", alias)
	}
	name := aliasName{account, region, alias}
	if key := k.current().byAlias[name]; key != nil {
		return key.describe(), nil
	}
	id := ""
	r, err := k.update(ctx, func(r *ring) (*fileForm, error) {
		if key := r.byAlias[name]; key != nil {
			id = key.form.ID
			return nil, nil
		}
		f := r.form.clone()
		key := newKey(k.clock.Now())
		key.Account, key.Region = account, region
		if alias != "" {
			key.Aliases = []string{alias}
		}
		id = key.ID
		f.Keys = append(f.Keys, key)
		return f, nil
	})
	if err != nil {
		return keys.Key{}, err
	}
	return r.byID[id].describe(), nil
}

// Rotate implements keys.Manager.
func (k *Keyring) Rotate(ctx context.Context, id string) (keys.Key, error) {
	return k.change(ctx, id, func(key *keyForm, _ bool) error {
		if !key.Enabled {
			return fmt.Errorf("%w: %s", keys.ErrDisabled, key.ID)
		}
		key.Versions = append(key.Versions, newVersion(k.clock.Now()))
		return nil
	})
}

// SetEnabled implements keys.Manager.
func (k *Keyring) SetEnabled(ctx context.Context, id string, enabled bool) (keys.Key, error) {
	return k.change(ctx, id, func(key *keyForm, standard bool) error {
		if standard && !enabled {
			return errors.New("keys: Berth's default key cannot be disabled: tokens and all that is sealed under no other key depend on it")
		}
		key.Enabled = enabled
		return nil
	})
}

// List implements keys.Manager.
func (k *Keyring) List(context.Context) ([]keys.Key, error) {
	r := k.current()
	list := make([]keys.Key, 0, len(r.byID))
	for _, key := range r.byID {
		list = append(list, key.describe())
	}
	slices.SortFunc(list, func(a, b keys.Key) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// change applies do to one key in the file.
func (k *Keyring) change(ctx context.Context, id string, do func(key *keyForm, standard bool) error) (keys.Key, error) {
	r, err := k.update(ctx, func(r *ring) (*fileForm, error) {
		key := r.byID[r.resolveID(id)]
		if key == nil {
			return nil, fmt.Errorf("%w: %s", keys.ErrNotFound, id)
		}
		id = key.form.ID
		f := r.form.clone()
		i := slices.IndexFunc(f.Keys, func(form keyForm) bool { return form.ID == id })
		return f, do(&f.Keys[i], key == r.standard)
	})
	if err != nil {
		return keys.Key{}, err
	}
	return r.byID[id].describe(), nil
}

// update replaces the keyring by what do makes of its newest content; nil leaves
// it as it is.
func (k *Keyring) update(ctx context.Context, do func(*ring) (*fileForm, error)) (*ring, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, err := k.medium.update(ctx, do)
	if err != nil {
		return nil, err
	}
	k.ring.Store(r)
	return r, nil
}

// usable finds a key that may be used; "" is the default key.
func (k *Keyring) usable(id string) (*key, error) {
	key, err := k.find(func(r *ring) *key { return r.byID[r.resolveID(id)] }, keys.ErrNotFound)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, id)
	}
	if !key.form.Enabled {
		return nil, fmt.Errorf("%w: %s", keys.ErrDisabled, key.form.ID)
	}
	return key, nil
}

// find looks a key up, in the file as it is now if it is not known. The error
// when there is none is missing, with what stood against reading the file.
func (k *Keyring) find(look func(*ring) *key, missing error) (*key, error) {
	if key := look(k.current()); key != nil {
		return key, nil
	}
	err := k.refresh()
	if key := look(k.ring.Load()); key != nil {
		return key, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", missing, err)
	}
	return nil, missing
}

// current is what the file said not longer than refreshPeriod ago. While the
// file cannot be read, it is what the file said last: keys that are in use
// stay usable.
func (k *Keyring) current() *ring {
	if k.mu.TryLock() {
		if now := k.clock.Now(); now.Sub(k.checked) >= refreshPeriod {
			k.checked = now
			_ = k.reload() // the next change or miss says what is wrong
		}
		k.mu.Unlock()
	}
	return k.ring.Load()
}

// refresh reads the file again if it is another one.
func (k *Keyring) refresh() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reload()
}

// reload is refresh with mu held. It does not depend on who asks: the answer
// serves everybody.
func (k *Keyring) reload() error {
	ctx, cancel := context.WithTimeout(context.Background(), reloadLimit)
	defer cancel()
	same, err := k.medium.same(ctx, k.ring.Load())
	if err != nil || same {
		return err
	}
	r, err := k.medium.load(ctx)
	if err != nil {
		return err
	}
	k.ring.Store(r)
	return nil
}

// Export writes the whole keyring as its file is written: for a backup, or to
// move to another kind of keyring. It opens everything, so keep it as safe.
func (k *Keyring) Export(ctx context.Context) ([]byte, error) {
	r, err := k.medium.load(ctx)
	if err != nil {
		return nil, err
	}
	return encode(r.form)
}
