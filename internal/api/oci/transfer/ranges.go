package transfer

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// ErrRange is a Range header that asks for bytes which are not there, or that
// is written wrongly.
var ErrRange = errors.New("range not satisfiable")

// Span is a run of bytes, both ends inclusive.
type Span struct{ First, Last int64 }

// Length is the number of bytes.
func (s Span) Length() int64 { return s.Last - s.First + 1 }

// ContentRange is the header that goes with the span of content of a size.
func (s Span) ContentRange(size int64) string {
	return "bytes " + strconv.FormatInt(s.First, 10) + "-" + strconv.FormatInt(s.Last, 10) + "/" + strconv.FormatInt(size, 10)
}

// ReadRange reads the Range header of a GET for content of the given size and
// validator (RFC 9110, section 14). ok is false when the whole is to be sent:
// without the header, with a unit other than bytes, with several ranges, for
// an empty content, or where If-Range names another version of the content.
func ReadRange(h http.Header, size int64, etag string) (s Span, ok bool, err error) {
	value := h.Get("Range")
	spec, isBytes := strings.CutPrefix(value, "bytes=")
	if !isBytes || size == 0 || strings.Contains(spec, ",") {
		return Span{}, false, nil
	}
	if v := h.Get("If-Range"); v != "" && v != etag {
		return Span{}, false, nil
	}
	first, last, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !dash {
		return Span{}, false, ErrRange
	}
	if first == "" { // the last n bytes
		n, err := Number(last)
		if err != nil || n == 0 {
			return Span{}, false, ErrRange
		}
		return Span{max(size-n, 0), size - 1}, true, nil
	}
	s.First, err = Number(first)
	if err != nil || s.First >= size {
		return Span{}, false, ErrRange
	}
	s.Last = size - 1
	if last != "" {
		n, err := Number(last)
		if err != nil || n < s.First {
			return Span{}, false, ErrRange
		}
		s.Last = min(n, s.Last)
	}
	return s, true, nil
}

// ReadContentRange reads the Content-Range of an upload, which the
// distribution specification writes without a unit, "0-1023". HTTP's own
// spelling, "bytes 0-1023/2048" is taken too. ok is false without the header.
func ReadContentRange(h http.Header) (s Span, ok bool, err error) {
	value := strings.TrimSpace(h.Get("Content-Range"))
	if value == "" {
		return Span{}, false, nil
	}
	for _, unit := range []string{"bytes ", "bytes="} {
		value = strings.TrimPrefix(value, unit)
	}
	value, _, _ = strings.Cut(value, "/")
	first, last, dash := strings.Cut(value, "-")
	if !dash {
		return Span{}, true, ErrRange
	}
	if s.First, err = Number(first); err != nil {
		return Span{}, true, ErrRange
	}
	if s.Last, err = Number(last); err != nil || s.Last < s.First {
		return Span{}, true, ErrRange
	}
	return s, true, nil
}

// Number reads decimal digits only: no sign, no space.
func Number(s string) (int64, error) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, ErrRange
	}
	return strconv.ParseInt(s, 10, 64)
}

// Matches says whether an If-None-Match header names the validator. The weak
// comparison is the right one for it (RFC 9110, section 13.1.2).
func Matches(h http.Header, etag string) bool {
	for _, line := range h.Values("If-None-Match") {
		for v := range strings.SplitSeq(line, ",") {
			v = strings.TrimPrefix(strings.TrimSpace(v), "W/")
			if v == "*" || v == etag {
				return true
			}
		}
	}
	return false
}
