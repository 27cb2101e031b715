package transfer

import (
	"net/http"
	"testing"
)

func TestReadRange(t *testing.T) {
	const tag = `"sha256:00"`
	for _, c := range []struct {
		value, ifRange string
		size           int64
		want           Span
		ok, fails      bool
	}{
		{value: "", size: 10},
		{value: "bytes=0-0", size: 10, want: Span{0, 0}, ok: true},
		{value: "bytes=2-5", size: 10, want: Span{2, 5}, ok: true},
		{value: "bytes=2-", size: 10, want: Span{2, 9}, ok: true},
		{value: "bytes=2-99", size: 10, want: Span{2, 9}, ok: true},
		{value: "bytes=-3", size: 10, want: Span{7, 9}, ok: true},
		{value: "bytes=-30", size: 10, want: Span{0, 9}, ok: true},
		{value: "bytes= 1-2 ", size: 10, want: Span{1, 2}, ok: true},
		{value: "bytes=2-9223372036854775807", size: 10, want: Span{2, 9}, ok: true},
		{value: "bytes=1-2", ifRange: tag, size: 10, want: Span{1, 2}, ok: true},
		{value: "bytes=1-2", ifRange: `W/` + tag, size: 10}, // the strong comparison: not the same
		{value: "bytes=1-2", ifRange: `"other"`, size: 10},
		{value: "bytes=1-2,4-5", size: 10},
		{value: "items=1-2", size: 10},
		{value: "bytes=0-", size: 0},
		{value: "bytes=10-", size: 10, fails: true},
		{value: "bytes=5-4", size: 10, fails: true},
		{value: "bytes=-0", size: 10, fails: true},
		{value: "bytes=", size: 10, fails: true},
		{value: "bytes=-", size: 10, fails: true},
		{value: "bytes=5", size: 10, fails: true},
		{value: "bytes=+1-2", size: 10, fails: true},
		{value: "bytes=1--2", size: 10, fails: true},
		{value: "bytes=0x1-2", size: 10, fails: true},
		{value: "bytes=99999999999999999999-", size: 10, fails: true},
	} {
		h := http.Header{"Range": {c.value}, "If-Range": {c.ifRange}}
		got, ok, err := ReadRange(h, c.size, tag)
		if (err != nil) != c.fails || ok != c.ok || ok && got != c.want {
			t.Errorf("Range %q, If-Range %q of %d bytes: %+v %v %v", c.value, c.ifRange, c.size, got, ok, err)
		}
	}
}

func TestReadContentRange(t *testing.T) {
	for value, want := range map[string]Span{
		"0-0": {0, 0}, "10-19": {10, 19}, " 10-19 ": {10, 19}, "bytes 10-19/100": {10, 19}, "bytes 10-19/*": {10, 19}, "bytes=10-19": {10, 19},
	} {
		got, ok, err := ReadContentRange(http.Header{"Content-Range": {value}})
		if !ok || err != nil || got != want {
			t.Errorf("Content-Range %q: %+v %v %v", value, got, ok, err)
		}
	}
	for _, wrong := range []string{"10", "-10", "10-", "10-9", "a-b", "+1-2", "1-2-3", "bytes */100", "1.0-2"} {
		if _, ok, err := ReadContentRange(http.Header{"Content-Range": {wrong}}); !ok || err == nil {
			t.Errorf("Content-Range %q is taken", wrong)
		}
	}
	if _, ok, err := ReadContentRange(http.Header{}); ok || err != nil {
		t.Error("no Content-Range is one")
	}
}

func TestMatches(t *testing.T) {
	const tag = `"x"`
	for value, want := range map[string]bool{
		`"x"`: true, `W/"x"`: true, `*`: true, `"a", "x"`: true, `"a" , W/"x"`: true,
		``: false, `"a"`: false, `x`: false, `"xx"`: false,
	} {
		if got := Matches(http.Header{"If-None-Match": {value}}, tag); got != want {
			t.Errorf("If-None-Match %q: %v", value, got)
		}
	}
	if !Matches(http.Header{"If-None-Match": {`"a"`, `"x"`}}, tag) {
		t.Error("a second header line is not read")
	}
}
