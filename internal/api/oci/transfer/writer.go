package transfer

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	// pieceSize bounds one write to a connection that fails for good when its
	// deadline passes, in bytes: so much a client has to take in the stall time.
	pieceSize = 128 << 10
	// directSize is from where on bytes in memory go around net/http's buffers.
	directSize = 64 << 10
	// looks is how many times within the stall time a direct transfer is looked at.
	looks = 4
)

// writer writes an answer and gives up when the client takes nothing.
type writer struct {
	w     io.Writer
	rc    *http.ResponseController
	stall time.Duration
	until time.Time // the connection's deadline
	err   error     // why the connection takes no more
}

// newWriter returns a writer that has ReadFrom where w has: such a w is expected to
// give bytes straight to a TCP connection.
func newWriter(w http.ResponseWriter, rc *http.ResponseController, stall time.Duration) interface {
	io.Writer
	base() *writer
} {
	out := &writer{w: w, rc: rc, stall: stall}
	if to, ok := w.(io.ReaderFrom); ok {
		return &directWriter{writer: out, to: to}
	}
	return out
}

func (w *writer) base() *writer { return w }

// allow gives the client so much time from now, or at least 7/8 of it: setting a
// deadline costs more than a write of a few bytes.
func (w *writer) allow(d time.Duration) {
	now := time.Now()
	if left := w.until.Sub(now); left < d-d/8 || left > d {
		w.until = now.Add(d)
		_ = w.rc.SetWriteDeadline(w.until) // see Body.deadline
	}
}

// Write writes, giving the client the stall time afresh with every piece.
func (w *writer) Write(p []byte) (total int, err error) {
	for more := true; more; more = len(p) > 0 {
		w.allow(w.stall)
		n, err := w.w.Write(p[:min(len(p), pieceSize)])
		total += n
		if err != nil {
			w.err = err
			return total, err
		}
		p = p[n:]
	}
	return total, nil
}

// finish sends what net/http still holds and takes the deadline off the
// connection, which the next request may use an hour later.
func (w *writer) finish() error {
	err := w.rc.Flush()
	if errors.Is(err, http.ErrNotSupported) {
		err = nil
	}
	_ = w.rc.SetWriteDeadline(time.Time{}) // see Body.deadline
	return err
}

// directWriter gives content to the connection in one go: a file moves within the
// kernel. It wakes a few times within the stall time to see that bytes move.
type directWriter struct {
	*writer
	to io.ReaderFrom
	in bytes.Reader // for Write
}

var _ io.ReaderFrom = (*directWriter)(nil)

// Write implements io.Writer.
func (w *directWriter) Write(p []byte) (int, error) {
	if len(p) < directSize {
		return w.writer.Write(p)
	}
	w.in.Reset(p)
	n, err := w.ReadFrom(&w.in)
	w.in.Reset(nil)
	return int(n), err
}

// ReadFrom implements io.ReaderFrom. An error of reading is told from one of the
// connection as far as that can be: the latter is kept in err.
func (w *directWriter) ReadFrom(src io.Reader) (total int64, err error) {
	moved := time.Now()
	for {
		w.allow(w.stall / looks)
		before := unread(src)
		n, err := w.to.ReadFrom(src)
		total += n
		switch {
		case err == nil:
			return total, nil
		case n > 0:
			moved = time.Now()
		}
		// A deadline that has passed leaves the connection as it is when all that was
		// taken from src has gone out, and net/http holds nothing.
		passed := errors.Is(err, os.ErrDeadlineExceeded) && before >= 0 && before-unread(src) == n && time.Since(moved) < w.stall
		if passed && w.rc.Flush() == nil {
			continue
		}
		if errors.As(err, new(*os.PathError)) { // a file's: a connection has net.OpError
			return total, err
		}
		w.err = err
		return total, err
	}
}

// unread is how many bytes a reader still has, or may give; -1 where that is not
// known.
func unread(src io.Reader) int64 {
	switch r := src.(type) {
	case *io.LimitedReader:
		return r.N
	case *bytes.Reader:
		return int64(r.Len())
	}
	return -1
}
