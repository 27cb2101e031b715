package peer

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// Bounds on what is still read of the body of a refused request, so that the other
// side gets to read the answer while it still sends.
const (
	maxDrain     = 16 << 20
	maxDrainTime = 5 * time.Second
)

// pacedBody reads a request's body and cuts it when no byte comes for a while. It has
// no limit in total. Deadlines of sockets are moments of the machine's clock, so this
// does not ask one of the program's.
//
// Whoever reads has done so when the request is answered: a Destination leaves no
// reader behind.
type pacedBody struct {
	body  io.Reader
	rc    *http.ResponseController
	stall time.Duration
	set   time.Time
	err   error // how reading ended
}

// Read reads, giving the other side the stall time afresh with every byte.
func (b *pacedBody) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.set) > b.stall/8 {
		b.set = now
		b.deadline(now.Add(b.stall))
	}
	n, err := b.body.Read(p)
	if err != nil {
		b.err = err
	}
	if errors.Is(err, io.EOF) {
		// The server now watches the connection for the other side's leaving. An old
		// deadline would look like that and cancel a slow commit.
		b.deadline(time.Time{})
	}
	return n, err
}

// deadline sets the connection's; one that has none is a test's.
func (b *pacedBody) deadline(t time.Time) { _ = b.rc.SetReadDeadline(t) }

// broken says whether the body ended before its end.
func (b *pacedBody) broken() bool { return b.err != nil && !errors.Is(b.err, io.EOF) }

// ended says whether there is nothing more to read.
func (b *pacedBody) ended() bool { return b.err != nil }

// drain reads what is left of a refused request's body, within the bounds.
func (b *pacedBody) drain() {
	if b.err != nil {
		return
	}
	b.deadline(time.Now().Add(min(maxDrainTime, b.stall)))
	_, b.err = io.CopyN(io.Discard, b.body, maxDrain)
}

// end is the last use of the body, before the answer. What net/http still reads of it
// by itself has a limit in time; a body read to its end leaves no deadline behind,
// since the connection would look dead to a slow commit, or to the next request.
func (b *pacedBody) end() {
	if errors.Is(b.err, io.EOF) {
		b.deadline(time.Time{})
		return
	}
	b.deadline(time.Now().Add(min(maxDrainTime, b.stall)))
}
