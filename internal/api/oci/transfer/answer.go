package transfer

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"time"
)

// BufferSize is a good size for the buffer that Begin is given, in bytes.
const BufferSize = 128 << 10

// Answer is what a request is answered with when all went well.
type Answer struct {
	Status int
	Header http.Header
	// Body is the content, or Content where it is streamed.
	Body    []byte
	Content io.Reader
	// Size is the content's length in bytes, also where none is sent (HEAD).
	Size int64

	// Sent is how many bytes of the content Write has handed to the connection.
	Sent int64

	first []byte      // what Begin has read
	to    io.WriterTo // content that sends itself
}

// ContentError is a failure to read content, as apart from one to send it.
type ContentError struct{ Cause error }

// Error says what was being done.
func (e *ContentError) Error() string { return "reading the content: " + e.Cause.Error() }

// Unwrap gives the cause.
func (e *ContentError) Unwrap() error { return e.Cause }

// Prepare asks streamed content that can send itself whether it can be read, before
// anything is promised to the client: content that cannot is then an error and no
// broken transfer. With errors.ErrUnsupported the content wants Begin.
func (a *Answer) Prepare() error {
	if a.Content == nil {
		return nil
	}
	content, ok := a.Content.(interface {
		io.WriterTo
		Begin() error
	})
	if !ok {
		return errors.ErrUnsupported
	}
	if err := content.Begin(); err != nil {
		return err
	}
	a.to = content
	return nil
}

// Begin reads the first bytes of streamed content, as many as fit the buffer,
// for the same end. The buffer is used until Write is done.
func (a *Answer) Begin(buffer []byte) error {
	if a.Content == nil {
		return nil
	}
	n, err := io.ReadFull(a.Content, buffer[:min(int64(len(buffer)), a.Size)])
	a.first = buffer[:n]
	return err
}

// Write sends the answer to a request of the method. After an error the client
// has seen fewer bytes than announced, or has gone; an error of the content's
// is a *ContentError.
func (a *Answer) Write(w http.ResponseWriter, rc *http.ResponseController, method string, stall time.Duration) error {
	h := w.Header()
	maps.Copy(h, a.Header)
	without := a.Status == http.StatusNoContent || a.Status == http.StatusNotModified
	if !without {
		h["Content-Length"] = []string{strconv.FormatInt(a.Size, 10)}
	}
	w.WriteHeader(a.Status)
	if without || a.Size == 0 || method == http.MethodHead {
		return nil
	}
	out := newWriter(w, rc, stall)
	var err error
	if a.to != nil {
		err = a.sendItself(out, out.base())
	} else {
		err = a.send(out)
	}
	if err != nil {
		return err
	}
	return out.base().finish()
}

// sendItself has the content write itself.
func (a *Answer) sendItself(out io.Writer, w *writer) (err error) {
	a.Sent, err = a.to.WriteTo(out)
	switch {
	case err != nil && w.err == nil:
		return &ContentError{Cause: err}
	case err == nil && a.Sent < a.Size:
		return &ContentError{Cause: io.ErrUnexpectedEOF}
	}
	return err
}

// send writes the content; what Begin has not read passes through its buffer.
func (a *Answer) send(out io.Writer) error {
	if a.Content == nil {
		n, err := out.Write(a.Body)
		a.Sent = int64(n)
		return err
	}
	buffer, left := a.first[:cap(a.first)], a.Size
	for {
		n, err := out.Write(a.first)
		if a.Sent += int64(n); err != nil {
			return err
		}
		if left -= int64(len(a.first)); left == 0 {
			return nil
		}
		n, err = io.ReadAtLeast(a.Content, buffer[:min(int64(len(buffer)), left)], 1)
		if err != nil {
			return &ContentError{Cause: err}
		}
		a.first = buffer[:n]
	}
}
