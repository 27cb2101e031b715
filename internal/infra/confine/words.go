package confine

import (
	"strings"
	"sync"
	"unicode"
)

const (
	// headSize and tailSize are how much of stderr is kept: a Go program that dies says
	// why first, and then where, at any length.
	headSize = 4 << 10
	tailSize = 60 << 10
	// lineSize bounds what of a first line goes into a reason.
	lineSize = 200
)

// words keeps the beginning and the end of what is written to it.
type words struct {
	mu    sync.Mutex
	head  []byte
	tail  []byte // a ring once it is full
	at    int    // where the ring begins
	whole int64  // bytes written
}

// Write never fails.
func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(b)
	w.whole += int64(n)
	take := min(headSize-len(w.head), n)
	w.head = append(w.head, b[:take]...)
	b = b[take:]
	b = b[max(0, len(b)-tailSize):]
	take = min(tailSize-len(w.tail), len(b))
	w.tail = append(w.tail, b[:take]...)
	for b = b[take:]; len(b) > 0; {
		n := copy(w.tail[w.at:], b)
		w.at, b = (w.at+n)%tailSize, b[n:]
	}
	return n, nil
}

func (w *words) bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := append([]byte{}, w.head...)
	if w.whole > int64(len(w.head)+len(w.tail)) {
		all = append(all, "\n...\n"...)
	}
	return append(append(all, w.tail[w.at:]...), w.tail[:w.at]...)
}

// firstLine is the first line that is not empty, fit to be shown.
func (w *words) firstLine() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	line, _, _ := strings.Cut(strings.TrimSpace(string(w.head)), "\n")
	line = line[:min(len(line), lineSize)]
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(line, ""))
}
