// Package keys holds the keys that protect what Berth stores: it wraps and
// unwraps data keys under named keys and derives keys for Berth's own use.
// Providers (a local keyring file now) pass the suite in keys/keystest.
//
// It does not seal bytes itself; blobstore/encrypted and the domain's small
// secrets do, with data keys from here.
package keys

import (
	"context"
	"errors"
	"time"
)

// Errors of every provider.
var (
	// ErrNotFound: no key has that id, ARN or alias.
	ErrNotFound = errors.New("keys: no such key")
	// ErrDisabled: the key exists and may not be used.
	ErrDisabled = errors.New("keys: the key is disabled")
	// ErrUnwrap: the wrapped key was altered, or belongs to another context.
	ErrUnwrap = errors.New("keys: the wrapped key does not authenticate")
)

// Key describes one named key.
type Key struct {
	// ID is the stable name of the key, a UUID; "" is never a key's ID: the
	// empty id stands for Berth's own default key in Wrap.
	ID string
	// Aliases are its other names, "alias/aws/ecr" for example.
	Aliases []string
	// Account and Region own the key; both are empty for the default key,
	// which belongs to Berth.
	Account, Region string
	Enabled         bool
	CreatedAt       time.Time
	// Versions is the number of versions of the key material; Rotate adds one.
	Versions int
}

// ARN is the key's name across accounts, for a partition such as "aws". The
// default key has none: "".
func (k Key) ARN(partition string) string {
	if k.Account == "" {
		return ""
	}
	return "arn:" + partition + ":kms:" + k.Region + ":" + k.Account + ":key/" + k.ID
}

// MaxDataKey and MaxDerived are the greatest lengths of a data key and of
// derived bytes, MaxWrapped that of a wrapped key.
const (
	MaxDataKey = 64
	MaxDerived = 64
	MaxWrapped = 512
)

// Manager wraps data keys. All methods may be called from many goroutines.
type Manager interface {
	// Wrap seals a data key (1 to 64 bytes) under the newest version of the
	// key with this ID ("" = the default key). What it returns names the key
	// and its version, and is at most 512 bytes long. ErrNotFound, ErrDisabled.
	Wrap(ctx context.Context, id string, dataKey, context []byte) ([]byte, error)
	// Unwrap opens what Wrap made, with the same context. ErrDisabled when
	// the key was disabled since, ErrNotFound when this Manager does not have
	// the key or its version (keys restored from an old backup), else
	// ErrUnwrap.
	Unwrap(ctx context.Context, wrapped, context []byte) ([]byte, error)
	// Derive returns size bytes (1 to 64) that depend only on the default
	// key's first version and purpose: for sealing tokens and signing URLs.
	Derive(purpose string, size int) ([]byte, error)
	// Resolve finds a key of the account and region by ID, "alias/..." or ARN
	// (of the key or of an alias); ErrNotFound also for keys of others and for
	// the default key. A disabled key is found.
	Resolve(ctx context.Context, account, region, ref string) (Key, error)
	// Create makes a key with an alias ("alias/" and 1 to 250 of
	// [a-zA-Z0-9/_-], or ""). An alias that exists in the account and region
	// returns the key that has it.
	Create(ctx context.Context, account, region, alias string) (Key, error)
	// Rotate adds a new version to the key ("" = the default key): later
	// Wraps use it, older wrapped keys still open. ErrNotFound, ErrDisabled.
	Rotate(ctx context.Context, id string) (Key, error)
	// SetEnabled allows or forbids the use of a key. The default key cannot be
	// disabled.
	SetEnabled(ctx context.Context, id string, enabled bool) (Key, error)
	// List returns all keys, the default key too, ordered by ID.
	List(ctx context.Context) ([]Key, error)
}
