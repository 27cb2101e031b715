package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// guard lends the caller's stream to the transport. The transport may still read after
// it has given an answer; once released, nobody does.
type guard struct {
	from io.Reader

	mu       sync.Mutex
	read     bool
	released bool
	err      error // how reading the caller's stream failed
}

var errReleased = errors.New("the request is over")

// Read reads the caller's stream.
func (g *guard) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.released {
		return 0, errReleased
	}
	g.read = true
	n, err := g.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		g.err = err
	}
	return n, err
}

// release waits for a Read that is under way, and lets no other begin.
func (g *guard) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.released = true
}

// begun says whether something was read, so that the stream cannot be sent again.
func (g *guard) begun() bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.read
}

// failed is how the caller's stream failed, if it did.
func (g *guard) failed() error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// watch ends a request in which nothing moves. It does not ask a clock of the
// program's: these are times of the network.
type watch struct {
	cancel context.CancelCauseFunc
	stall  time.Duration
	answer time.Duration
	timer  *time.Timer
}

// errStill ends a request in which nothing moves.
var errStill = errors.New("nothing came or went for too long")

// newWatch watches a request of which an answer is due within answer of its last byte.
// The context is the request's.
func newWatch(ctx context.Context, stall, answer time.Duration) (context.Context, *watch) {
	w := &watch{stall: stall, answer: answer}
	ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(answer, func() { w.cancel(errStill) })
	return ctx, w
}

func (w *watch) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// reason words how the request failed.
func reason(ctx context.Context, err error) string {
	if cause := context.Cause(ctx); cause != nil {
		return cause.Error()
	}
	return err.Error()
}

// body watches the sending of a body: the transport asks for more when it has got rid
// of what it had.
func (w *watch) body(from io.Reader) io.ReadCloser { return &watched{w: w, from: from} }

type watched struct {
	w    *watch
	from io.Reader
}

// Read gives the body's next bytes the stall time, and the answer its own after the
// last.
func (b *watched) Read(p []byte) (int, error) {
	b.w.timer.Reset(b.w.stall)
	n, err := b.from.Read(p)
	if err != nil {
		b.w.timer.Reset(b.w.answer)
	} else {
		b.w.timer.Reset(b.w.stall)
	}
	return n, err
}

// Close does nothing: the stream is the caller's.
func (b *watched) Close() error { return nil }
