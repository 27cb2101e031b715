// Package trailstoretest is the suite that every trailstore.Store passes.
//
// It does not make the stores.
package trailstoretest

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/infra/trailstore"
)

// Run holds an empty store to what trailstore.Store promises.
func Run(t *testing.T, s trailstore.Store) {
	ctx := t.Context()
	metadata := map[string]string{"signature": "00ff", "signature-algorithm": "SHA256withRSA"}
	list := func(prefix string) []string {
		t.Helper()
		var keys []string
		if err := s.List(ctx, prefix, func(key string) error { keys = append(keys, key); return nil }); err != nil {
			t.Fatal(err)
		}
		return keys
	}
	if _, err := s.Get(ctx, "a/none"); !errors.Is(err, trailstore.ErrNotFound) {
		t.Errorf("an object that is not there: %v", err)
	}
	if got := list(""); len(got) != 0 {
		t.Errorf("an empty store has %q", got)
	}
	// "a-b/x" is before "a/x" in the order of bytes, and "a.json" between them.
	want := []string{"a-b/x.json.gz", "a.json", "a/b/c.json.gz", "a/x", "b"}
	for i, key := range want {
		m := metadata
		if i%2 == 1 {
			m = nil
		}
		for _, body := range []string{"before", "body of " + key} { // the second takes the first one's place
			if err := s.Put(ctx, key, []byte(body), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, key := range want {
		o, err := s.Get(ctx, key)
		if err != nil || string(o.Body) != "body of "+key {
			t.Errorf("%s: %q, %v", key, o.Body, err)
		}
		if i%2 == 0 && !maps.Equal(o.Metadata, metadata) || i%2 == 1 && len(o.Metadata) > 0 {
			t.Errorf("%s has the metadata %v", key, o.Metadata)
		}
	}
	if got := list(""); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := list("a/"); !slices.Equal(got, want[2:4]) {
		t.Errorf("got %q", got)
	}
	if got := list("a/b/c.j"); !slices.Equal(got, want[2:3]) {
		t.Errorf("got %q", got)
	}
	if got := list("c/"); len(got) != 0 {
		t.Errorf("got %q", got)
	}
	enough := errors.New("enough")
	seen := 0
	if err := s.List(ctx, "a", func(string) error { seen++; return enough }); !errors.Is(err, enough) || seen != 1 {
		t.Errorf("%d, %v", seen, err)
	}
	large := bytes.Repeat([]byte{0, 255, 10, 31}, 2<<20)
	if err := s.Put(ctx, "large.gz", large, nil); err != nil {
		t.Fatal(err)
	}
	if o, err := s.Get(ctx, "large.gz"); err != nil || !bytes.Equal(o.Body, large) {
		t.Errorf("%d bytes, %v", len(o.Body), err)
	}
	for _, key := range []string{"", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "a b", "a\\b", "a.sig", "ü", strings.Repeat("a", 901)} {
		if err := s.Put(ctx, key, nil, nil); !errors.Is(err, trailstore.ErrKey) {
			t.Errorf("Put %q: %v", key, err)
		}
		if _, err := s.Get(ctx, key); !errors.Is(err, trailstore.ErrKey) {
			t.Errorf("Get %q: %v", key, err)
		}
	}
}
