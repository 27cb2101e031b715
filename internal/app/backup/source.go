package backup

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/berth-registry/berth/internal/app/backends"
	"github.com/berth-registry/berth/internal/app/backup/dump"
	"github.com/berth-registry/berth/internal/domain/layer/collect"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// The two places of a region's objects.
const (
	placeMain    = "main"
	placeArchive = "archive"
)

// Ref names an object as it is stored.
type Ref struct {
	Region name.Region `json:"region"`
	Place  string      `json:"place"` // main or archive
	Key    string      `json:"key"`
	Size   int64       `json:"size"` // bytes as stored
}

// Source is a deployment that a backup is made of: one that this process has opened
// (Local), or that of a running server (Remote).
type Source interface {
	// Dump writes all rows; see the package's dump format.
	Dump(ctx context.Context, w io.Writer) error
	// Keyring is the whole keyring, as keyring.Export has it.
	Keyring(ctx context.Context) ([]byte, error)
	// Object opens an object. blobstore.ErrNotFound and blobstore.ErrCorrupt are
	// findings about it; every other error is one of reading.
	Object(ctx context.Context, r Ref) (io.ReadCloser, error)
	// Hold keeps all objects for life, until Extend or Release. Both fail for a
	// hold that is no longer live.
	Hold(ctx context.Context, owner string, life time.Duration) (id string, err error)
	Extend(ctx context.Context, id string, life time.Duration) error
	Release(ctx context.Context, id string) error
}

var (
	_ Source = (*Local)(nil)
	_ Source = (*Remote)(nil)
)

// Local is the deployment behind backends that are open.
type Local struct {
	Backends *backends.Backends
	Clock    clock.Clock
	Log      *slog.Logger
	// Header has the program's version and the default registry.
	Header dump.Header
}

func (l *Local) collector() *collect.Service {
	return collect.New(collect.Config{DB: l.Backends.Durable, Clock: l.Clock, Log: l.Log})
}

// Dump implements Source.
func (l *Local) Dump(ctx context.Context, w io.Writer) error {
	h := l.Header
	h.Taken = l.Clock.Now().UTC()
	return dump.Write(ctx, l.Backends.Durable, h, w)
}

// Keyring implements Source.
func (l *Local) Keyring(ctx context.Context) ([]byte, error) { return l.Backends.Keys.Export(ctx) }

// Object implements Source.
func (l *Local) Object(ctx context.Context, r Ref) (io.ReadCloser, error) {
	store, err := storeOf(l.Backends, r)
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, blobstore.Object{Key: r.Key, Size: r.Size}, 0, -1)
}

// storeOf is where an object stands, as it is stored.
func storeOf(b *backends.Backends, r Ref) (blobstore.Store, error) {
	stores := b.Raw
	if r.Place == placeArchive {
		stores = b.RawArchives
	}
	store, ok := stores[r.Region]
	if !ok {
		return nil, fmt.Errorf("there are layers in the region %s, which is not among the regions served here: add it (--regions)", r.Region)
	}
	return store, nil
}

// Hold implements Source.
func (l *Local) Hold(ctx context.Context, owner string, life time.Duration) (string, error) {
	h, err := l.collector().Hold(ctx, owner, life)
	return h.ID, err
}

// Extend implements Source.
func (l *Local) Extend(ctx context.Context, id string, life time.Duration) error {
	return l.collector().Held(id, life).Extend(ctx)
}

// Release implements Source.
func (l *Local) Release(ctx context.Context, id string) error {
	return l.collector().Held(id, 0).Release(ctx)
}
