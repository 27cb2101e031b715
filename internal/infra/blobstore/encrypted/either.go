package encrypted

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/keys"
)

// Either is a blobstore.Store over one inner store in which some objects are
// sealed and others are not. New ones are made as its setting says; each is read
// as it was made, and an unfinished one goes on as it was begun. So an operator
// can change the setting, and loses nothing.
//
// A State begins with one byte that says which of the two it is of.
type Either struct {
	plain  blobstore.Store
	sealed *Store
	seal   bool
}

var (
	_ blobstore.Store        = (*Either)(nil)
	_ blobstore.BatchDeleter = (*Either)(nil)
	_ blobstore.Redirector   = (*Either)(nil)
	_ blobstore.Forgetter    = (*Either)(nil)
)

// The first bytes of a State.
const (
	statePlain  = 'p'
	stateSealed = 's'
)

// NewEither returns a store that keeps its objects in inner, new ones sealed
// under keys of m where seal says so.
func NewEither(inner blobstore.Store, m keys.Manager, seal bool) *Either {
	return &Either{plain: inner, sealed: New(inner, m), seal: seal}
}

// Create implements blobstore.Store.
func (e *Either) Create(ctx context.Context, key string, p blobstore.Placement) (blobstore.Writer, error) {
	if e.seal {
		return begun(stateSealed)(e.sealed.Create(ctx, key, p))
	}
	return begun(statePlain)(e.plain.Create(ctx, key, p))
}

// Resume implements blobstore.Store.
func (e *Either) Resume(ctx context.Context, key string, state blobstore.State) (blobstore.Writer, error) {
	if err := blobstore.CheckKey(key); err != nil {
		return nil, err
	}
	if len(state) > 0 {
		switch state[0] {
		case statePlain:
			return begun(statePlain)(e.plain.Resume(ctx, key, state[1:]))
		case stateSealed:
			return begun(stateSealed)(e.sealed.Resume(ctx, key, state[1:]))
		}
	}
	return nil, fmt.Errorf("%w: resume %q: not a state of this store", blobstore.ErrCorrupt, key)
}

// Open implements blobstore.Store.
func (e *Either) Open(ctx context.Context, o blobstore.Object, offset, length int64) (io.ReadCloser, error) {
	if o.Sealed() {
		return e.sealed.Open(ctx, o, offset, length)
	}
	return e.plain.Open(ctx, o, offset, length)
}

// Delete implements blobstore.Store.
func (e *Either) Delete(ctx context.Context, key string) error { return e.plain.Delete(ctx, key) }

// List implements blobstore.Store.
func (e *Either) List(ctx context.Context, prefix string) iter.Seq2[blobstore.Info, error] {
	return e.plain.List(ctx, prefix)
}

// DeleteAll implements blobstore.BatchDeleter.
func (e *Either) DeleteAll(ctx context.Context, keys []string) (map[string]error, error) {
	return blobstore.DeleteAll(ctx, e.plain, keys)
}

// Redirect implements blobstore.Redirector. The bytes of a sealed object are of no
// use to a client.
func (e *Either) Redirect(ctx context.Context, o blobstore.Object, life time.Duration, contentType string) (string, bool, error) {
	if o.Sealed() {
		return "", false, nil
	}
	return blobstore.Redirect(ctx, e.plain, o, life, contentType)
}

// Forget implements blobstore.Forgetter.
func (e *Either) Forget(key string) { blobstore.Forget(e.plain, key) }

// begun marks the States of a Writer that was made.
func begun(kind byte) func(blobstore.Writer, error) (blobstore.Writer, error) {
	return func(w blobstore.Writer, err error) (blobstore.Writer, error) {
		if err != nil {
			return nil, err
		}
		return &markedWriter{w, kind}, nil
	}
}

// markedWriter puts the mark in front of its States.
type markedWriter struct {
	blobstore.Writer
	kind byte
}

// Suspend implements blobstore.Writer.
func (w *markedWriter) Suspend(ctx context.Context) (blobstore.State, error) {
	state, err := w.Writer.Suspend(ctx)
	if err != nil {
		return nil, err
	}
	marked := make(blobstore.State, 0, 1+len(state))
	return append(append(marked, w.kind), state...), nil
}
