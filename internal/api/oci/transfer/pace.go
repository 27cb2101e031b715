// Package transfer moves the bodies of requests and answers: it cuts transfers
// that stand still, reads ranges and validators out of headers, and streams
// content.
//
// It knows nothing of what the bytes are; api/oci does.
package transfer

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// Bounds on clients that are slow or that have more to say than is wanted. A
// transfer has no limit in total, however long it takes; it is cut when
// nothing moves.
const (
	// DefaultStall is how long a transfer may stand still.
	DefaultStall = time.Minute
	// maxDrain and maxDrainTime bound what is still read of the body of a
	// refused request, so that the client gets to read the answer.
	maxDrain     = 16 << 20
	maxDrainTime = 5 * time.Second
)

// Body reads a request body and cuts it when no byte comes for a while.
// Deadlines of sockets are moments of the machine's clock, so this does not
// ask a clock of the program's.
//
// A row may end the reading from outside (Interrupt), or leave a reader behind that
// still waits for bytes; End sends it away. A nil Body is that of a request without one.
type Body struct {
	body  io.Reader
	rc    *http.ResponseController
	stall time.Duration

	mu      sync.Mutex
	set     time.Time
	reading bool
	ended   bool
	// interrupted: the deadline is Interrupt's.
	interrupted bool
	// err is how reading ended: io.EOF, or why the body broke off. Reading
	// may end without either when the reader lost interest.
	err error
}

// NewBody paces the body of the request that rc controls; nil for a request without one.
func NewBody(body io.ReadCloser, rc *http.ResponseController, stall time.Duration) *Body {
	if body == nil || body == http.NoBody {
		return nil
	}
	return &Body{body: body, rc: rc, stall: stall}
}

// Stalled says whether the error of Broken is that nothing came.
func Stalled(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// errInterrupted stands for the failure of a Read that Interrupt has ended, which is
// not the client's doing.
var errInterrupted = errors.New("the reading was ended")

// Interrupt has a Read that waits, and later ones, fail with os.ErrDeadlineExceeded
// once the time given is over: the row has no use for more. It may be called by
// any goroutine at any time.
func (b *Body) Interrupt(after time.Duration) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended && !b.interrupted && b.err == nil {
		b.interrupted = true
		if b.set.IsZero() {
			b.set = time.Now() // who was not read from yet has not stalled
		}
		b.deadline(time.Now().Add(after))
	}
}

// errEnded is what a reader gets that was left behind.
var errEnded = errors.New("the request is over")

// Read reads, giving the client the stall time afresh with every byte.
func (b *Body) Read(p []byte) (int, error) {
	if b == nil {
		return 0, io.EOF
	}
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		return 0, errEnded
	}
	b.reading = true
	if now := time.Now(); !b.interrupted && now.Sub(b.set) > b.stall/8 {
		b.set = now
		b.deadline(now.Add(b.stall))
	}
	b.mu.Unlock()
	n, err := b.body.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	if err == nil || b.ended {
		return n, err
	}
	b.err = err
	// net/http ends the request's context when a deadline passes, and whoever hears of
	// that interrupts: a client that has stalled has done so all the same.
	if b.interrupted && Stalled(err) && time.Since(b.set) < b.stall {
		b.err = errInterrupted
	}
	if errors.Is(err, io.EOF) {
		// The server now watches the connection for the client's leaving. An
		// old deadline would look like that and cancel a slow commit.
		b.deadline(time.Time{})
	}
	return n, err
}

// deadline sets the connection's. One that has none is paced by nothing, which
// only a test's connection is.
func (b *Body) deadline(t time.Time) { _ = b.rc.SetReadDeadline(t) }

// Broken gives the reason when the body ended before its end: the client
// stalled, went away, or sent less than it announced. A row that ended the reading
// has its own reason.
func (b *Body) Broken() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(b.err, io.EOF) || errors.Is(b.err, errInterrupted) {
		return nil
	}
	return b.err
}

// Drain reads what is left of a refused request's body, within the bounds, so
// that the client gets to read the answer.
func (b *Body) Drain() {
	if b == nil {
		return
	}
	b.mu.Lock()
	idle := !b.reading && b.err == nil
	b.mu.Unlock()
	if !idle {
		return
	}
	b.deadline(time.Now().Add(min(maxDrainTime, b.stall)))
	_, _ = io.CopyN(io.Discard, b.body, maxDrain) // net/http closes the connection on what cannot be read
	b.deadline(time.Time{})
}

// End is the last use of the body, before the answer is written. net/http then
// reads what is left of a short body by itself, without a limit in time: unread
// says to give it one. It gets nothing from a body that broke, and a reader that
// was left behind is sent away, since net/http would wait for it, and with it
// the client for its answer.
//
// It says whether the connection can take another request: a failure to read from
// it cancels, in net/http, whatever comes on it later.
func (b *Body) End(unread bool) (reusable bool) {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	switch {
	case b.reading, b.err != nil && !errors.Is(b.err, io.EOF):
		b.deadline(time.Unix(1, 0))
		return false
	case unread && b.err == nil:
		b.deadline(time.Now().Add(min(maxDrainTime, b.stall)))
	}
	return true
}
