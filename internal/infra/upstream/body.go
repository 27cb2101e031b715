package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// contentRange is a Content-Range header (RFC 9110, 14.4).
type contentRange struct {
	first, last int64 // -1 where the range was refused: "bytes */size"
	size        int64 // -1 unknown
}

// parseContentRange reads a Content-Range header in bytes.
func parseContentRange(value string) (contentRange, bool) {
	unit, rest, ok := strings.Cut(strings.TrimSpace(value), " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return contentRange{}, false
	}
	span, size, ok := strings.Cut(strings.TrimSpace(rest), "/")
	if !ok {
		return contentRange{}, false
	}
	r := contentRange{first: -1, last: -1, size: -1}
	if size != "*" {
		if r.size, ok = digits(size); !ok {
			return contentRange{}, false
		}
	}
	if span == "*" {
		return r, r.size >= 0
	}
	first, last, ok := strings.Cut(span, "-")
	if !ok {
		return contentRange{}, false
	}
	var ok1, ok2 bool
	r.first, ok1 = digits(first)
	r.last, ok2 = digits(last)
	return r, ok1 && ok2 && r.first <= r.last && (r.size < 0 || r.last < r.size)
}

// digits reads a number of digits only.
func digits(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// body is a blob on its way. It has to be read by one goroutine and closed.
type body struct {
	t      call
	cancel context.CancelCauseFunc
	broken func(error) error // makes a failure of an error while reading
	resp   *http.Response
	stall  *time.Timer // fires where nothing comes for too long
	wait   time.Duration
	left   int64 // bytes that are still due, -1 unknown
	err    error // what reading ended with
}

// Read reads, and gives up where nothing comes for too long.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	b.stall.Reset(b.wait)
	n, err := b.resp.Body.Read(p)
	b.stall.Stop()
	if b.left >= 0 {
		if int64(n) > b.left {
			n, err = int(b.left), nil
			b.err = b.t.fail(Invalid, b.resp.StatusCode, "sends more bytes than it said")
		}
		b.left -= int64(n)
	}
	switch {
	case b.err != nil:
		return n, b.err
	case errors.Is(err, io.EOF) && b.left > 0:
		b.err = b.t.fail(Unavailable, b.resp.StatusCode, "broke off %d bytes before the end", b.left)
	case errors.Is(err, io.EOF):
		b.err = io.EOF
	case err != nil:
		b.err = b.broken(err)
	}
	return n, b.err
}

// Close ends the request, whether it was read to its end or not.
func (b *body) Close() error {
	b.stall.Stop()
	if b.err == nil {
		b.err = errors.New("upstream: read after close")
	}
	_ = b.resp.Body.Close() // how it ends is of no interest to who has what he wants
	b.cancel(context.Canceled)
	return nil
}
