package upstreamtest

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault is how the registry misbehaves, and at which requests. Several members
// may be set at once.
type Fault struct {
	Kind     Kind   // Any: at all requests
	Contains string // only at requests whose path contains it, such as a digest
	Skip     int    // lets so many requests pass first
	Times    int    // the fault goes away after so many requests, 0 never

	// Before answering:
	Hold    <-chan struct{} // waits until it is closed, or the client gone
	Delay   time.Duration   // waits so long, or until the client is gone
	Handler http.Handler    // answers in place of the registry
	// Status answers with an error in place of the registry, and with Header.
	Status int
	// Redirect answers with 307 to this address in place of the registry. "{digest}" in
	// it becomes the last part of the path. Another Registry serves the blobs that it
	// has itself at URL() + "/storage/{digest}", without a login.
	Redirect string

	// While the registry answers:
	Header      http.Header // replaces headers of the answer; a nil value takes one away
	IgnoreRange bool        // blobs are sent whole, with 200
	Corrupt     bool        // changes the first byte of the body
	CutAfter    int64       // breaks the connection off after so many bytes of the body, 0 never
	Trickle     int         // sends one write of so many bytes at a time, and flushes; 0 as it comes
	StallAfter  int64       // sends nothing more after so many bytes, until the client is gone; 0 never
	Endless     bool        // goes on with zeros after the body, without a Content-Length, until the client is gone
}

// Inject adds a fault, and returns what takes it away again. Of several faults
// that match a request the one that was added last is taken.
func (r *Registry) Inject(f Fault) (remove func()) {
	added := &f
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, added)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.faults = slices.DeleteFunc(r.faults, func(f *Fault) bool { return f == added })
	}
}

// Heal takes all faults away.
func (r *Registry) Heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = nil
}

// fault is what is wrong with one request. The lock is held.
func (r *Registry) fault(kind Kind, path string) Fault {
	for i, f := range slices.Backward(r.faults) {
		if (f.Kind != Any && f.Kind != kind) || !strings.Contains(path, f.Contains) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				r.faults = slices.Delete(r.faults, i, i+1)
			}
		}
		return *f
	}
	return Fault{}
}

// instead waits as the fault says, and answers where the registry shall not.
func (f Fault) instead(w *writer, req *http.Request, reference string) bool {
	if f.Hold != nil {
		select {
		case <-f.Hold:
		case <-req.Context().Done():
			return true
		}
	}
	if f.Delay > 0 {
		t := time.NewTimer(f.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-req.Context().Done():
			return true
		}
	}
	switch {
	case f.Handler != nil:
		f.Handler.ServeHTTP(w.ResponseWriter, req)
	case f.Status != 0:
		fail(w, f.Status, "FAULT")
	case f.Redirect != "":
		w.Header().Set("Location", strings.ReplaceAll(f.Redirect, "{digest}", reference))
		w.WriteHeader(http.StatusTemporaryRedirect)
	default:
		return false
	}
	return true
}

// writer writes an answer with its fault.
type writer struct {
	http.ResponseWriter
	ctx     context.Context
	fault   Fault
	left    int64 // until CutAfter
	written int64
	status  int
}

// WriteHeader writes the headers with those of the fault.
func (w *writer) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	for k, v := range w.fault.Header {
		if len(v) == 0 {
			w.Header()[http.CanonicalHeaderKey(k)] = nil
			continue
		}
		w.Header()[http.CanonicalHeaderKey(k)] = v
	}
	if w.fault.Endless {
		w.Header().Del("Content-Length")
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write writes a part of the body with the fault.
func (w *writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.fault.Corrupt && w.written == 0 && len(p) > 0 {
		p = slices.Clone(p)
		p[0] ^= 0xff
	}
	n := 0
	for part := range slices.Chunk(p, w.step(len(p))) {
		if w.fault.StallAfter > 0 && w.written+int64(len(part)) > w.fault.StallAfter {
			part = part[:w.fault.StallAfter-w.written]
		}
		cut := w.fault.CutAfter > 0 && int64(len(part)) >= w.left
		if cut {
			part = part[:w.left]
		}
		m, err := w.ResponseWriter.Write(part)
		n, w.written, w.left = n+m, w.written+int64(m), w.left-int64(m)
		if err != nil {
			return n, err
		}
		if w.fault.Trickle > 0 || w.fault.StallAfter > 0 || cut {
			w.flush()
		}
		if cut {
			panic(http.ErrAbortHandler) // net/http's way to break a connection off
		}
		if w.fault.StallAfter > 0 && w.written >= w.fault.StallAfter {
			<-w.ctx.Done()
			return n, w.ctx.Err()
		}
	}
	return n, nil
}

// step is how many bytes of n are written at a time.
func (w *writer) step(n int) int {
	if w.fault.Trickle > 0 {
		return w.fault.Trickle
	}
	return max(n, 1)
}

func (w *writer) flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() } // the next write tells

// finish ends an answer, or does not.
func (w *writer) finish() {
	zeros := make([]byte, 32<<10)
	for w.fault.Endless && w.ctx.Err() == nil {
		if _, err := w.Write(zeros); err != nil {
			return
		}
	}
}
