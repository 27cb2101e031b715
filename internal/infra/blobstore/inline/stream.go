package inline

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// writer holds what is written until it is more than a Seal may have, and writes
// to the inner store from then on.
type writer struct {
	key   string
	max   int
	begin func() (blobstore.Writer, error) // the object in the inner store
	held  []byte                           // all that was written, while inner is nil
	inner blobstore.Writer
	ended bool
	err   error // why the object could not be begun
}

var (
	_ blobstore.Writer = (*writer)(nil)
	_ blobstore.Lender = (*writer)(nil)
)

// Offset implements blobstore.Writer.
func (w *writer) Offset() int64 {
	if w.inner != nil {
		return w.inner.Offset()
	}
	return int64(len(w.held))
}

// Write implements blobstore.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if err := w.usable(); err != nil {
		return 0, err
	}
	if w.inner == nil {
		if len(w.held)+len(p) <= w.max {
			w.held = append(w.held, p...)
			return len(p), nil
		}
		if err := w.spill(); err != nil {
			return 0, err
		}
	}
	return w.inner.Write(p)
}

// Lend implements blobstore.Lender: the inner writer lends to whoever asks for more
// room than a Seal has.
func (w *writer) Lend(n int) []byte {
	if w.usable() != nil || w.inner == nil && (n <= w.max || w.spill() != nil) {
		return nil
	}
	return blobstore.Lend(w.inner, n)
}

// spill begins the object in the inner store.
func (w *writer) spill() error {
	inner, err := w.begin()
	if err == nil && len(w.held) > 0 {
		if _, err = inner.Write(w.held); err != nil {
			_ = inner.Close() // it has failed already
		}
	}
	if err != nil {
		w.err = err
		return err
	}
	w.inner, w.held = inner, nil
	return nil
}

// usable says why the writer can do no more. One whose inner writer is there leaves
// that to it.
func (w *writer) usable() error {
	switch {
	case w.err != nil:
		return w.err
	case w.ended && w.inner == nil:
		return fmt.Errorf("%w: %q", blobstore.ErrEnded, w.key)
	}
	return nil
}

// Suspend implements blobstore.Writer.
func (w *writer) Suspend(ctx context.Context) (blobstore.State, error) {
	if err := w.usable(); err != nil {
		return nil, err
	}
	if w.inner != nil {
		state, err := w.inner.Suspend(ctx)
		if err != nil || w.max <= 0 { // as it is, for programs that know no other
			return state, err
		}
		return append(blobstore.State{stateInner}, state...), nil
	}
	w.ended = true
	state := make(blobstore.State, 0, 1+binary.MaxVarintLen16+len(w.held))
	state = binary.AppendUvarint(append(state, stateHeld), uint64(len(w.held)))
	return append(state, w.held...), nil
}

// Commit implements blobstore.Writer.
func (w *writer) Commit(ctx context.Context) (blobstore.Object, error) {
	if err := w.usable(); err != nil {
		return blobstore.Object{}, err
	}
	if w.inner == nil && len(w.held) > w.max { // the setting was lowered meanwhile
		if err := w.spill(); err != nil {
			return blobstore.Object{}, err
		}
	}
	if w.inner != nil {
		return w.inner.Commit(ctx)
	}
	w.ended = true
	seal := make([]byte, 0, 1+len(w.held))
	seal = append(append(seal, blobstore.PlainWithin), w.held...)
	return blobstore.Object{Key: w.key, Size: int64(len(w.held)), Seal: seal}, nil
}

// Close implements blobstore.Writer.
func (w *writer) Close() error {
	w.ended = true
	if w.inner != nil {
		return w.inner.Close()
	}
	return nil
}

// reader reads bytes of a Seal.
type reader struct{ *bytes.Reader }

func newReader(p []byte) reader { return reader{bytes.NewReader(p)} }

// Begin implements blobstore.Beginner.
func (reader) Begin() error { return nil }

// Close implements io.Closer.
func (reader) Close() error { return nil }
