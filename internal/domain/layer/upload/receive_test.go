package upload

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFill(t *testing.T) {
	p := make([]byte, 4)
	for _, c := range []struct {
		body io.Reader
		n    int
		err  error
	}{
		{strings.NewReader(""), 0, io.EOF},
		{strings.NewReader("abc"), 3, io.EOF},
		{strings.NewReader("abcd"), 4, nil},
		{strings.NewReader("abcde"), 4, nil},
		{io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(io.ErrUnexpectedEOF)), 2, io.ErrUnexpectedEOF},
		{idle{}, 0, io.ErrNoProgress},
	} {
		n, err := fill(c.body, p)
		if n != c.n || !errors.Is(err, c.err) {
			t.Errorf("%v: got %d, %v", c, n, err)
		}
	}
}

// idle never brings anything and never ends.
type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestAddPart(t *testing.T) {
	type request struct {
		n   int64
		cut bool
	}
	for _, c := range []struct {
		requests []request
		parts    int64
		small    bool
	}{
		{[]request{{10, false}}, 1, false},
		{[]request{{3, false}}, 1, false},                                               // the last may be small
		{[]request{{3, false}, {10, false}}, 2, true},                                   // now it is not the last
		{[]request{{10, false}, {3, false}}, 2, false},                                  //
		{[]request{{3, true}, {4, false}, {10, false}}, 2, false},                       // one part in two requests
		{[]request{{1, true}, {1, true}, {1, false}, {10, false}}, 2, true},             // still small
		{[]request{{5, false}, {4, true}, {1, true}, {5, false}, {1, false}}, 3, false}, //
	} {
		var u row
		var received int64
		for _, r := range c.requests {
			u.addPart(r.n, r.cut, 5)
			received += r.n
		}
		if u.parts != c.parts || u.smallPart != c.small || u.received != received {
			t.Errorf("%v: got %+v", c.requests, u)
		}
	}
}
