package storetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

func (s *suite) testWrite(t *testing.T) {
	store := s.open(t)
	for i, size := range boundaries {
		want := content(uint64(i), size)
		for _, piece := range []int{1000, 32 << 10, Segment, Segment + 1, 3 * Segment, 1 << 20} {
			key := fmt.Sprintf("write/%d/%d", size, piece)
			w := create(t.Context(), t, store, key)
			put(t, w, want, piece)
			o := commit(t.Context(), t, w, key)
			if err := w.Close(); err != nil {
				t.Errorf("close after commit: %v", err)
			}
			expect(t.Context(), t, s.reopen(t, store), o, want)
		}
	}
}

func (s *suite) testEmpty(t *testing.T) {
	store := s.open(t)
	at := commit(t.Context(), t, create(t.Context(), t, store, "empty/once"), "empty/once")
	expect(t.Context(), t, store, at, nil)

	w := create(t.Context(), t, store, "empty/resumed")
	if n, err := w.Write(nil); n != 0 || err != nil {
		t.Fatalf("writing nothing: %d, %v", n, err)
	}
	w = resume(t.Context(), t, s.reopen(t, store), "empty/resumed", suspend(t.Context(), t, w), 0)
	w = resume(t.Context(), t, s.reopen(t, store), "empty/resumed", suspend(t.Context(), t, w), 0)
	expect(t.Context(), t, store, commit(t.Context(), t, w, "empty/resumed"), nil)
}

func (s *suite) testKeys(t *testing.T) {
	store := s.open(t)
	good := []string{
		"a", "A-z_0.9", "..a", "a..", "...", "-", "x/b/c/d/e/f/g",
		strings.Repeat("n", blobstore.MaxKeySegment),
		strings.Repeat("d/", (blobstore.MaxKey-1)/2) + "f",
	}
	for i, key := range good {
		want := content(uint64(i), 10)
		expect(t.Context(), t, store, object(t.Context(), t, store, key, want), want)
	}
	bad := []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/..", "a b", "a\x00b", "a\\b", "ä", "a:b",
		strings.Repeat("n", blobstore.MaxKeySegment+1),
		strings.Repeat("d/", blobstore.MaxKey/2) + "f",
	}
	for _, key := range bad {
		if w, err := store.Create(t.Context(), key, blobstore.Placement{}); err == nil {
			closeWriter(t, w)
			t.Errorf("created %q", key)
		}
		if _, err := store.Resume(t.Context(), key, nil); err == nil {
			t.Errorf("resumed %q", key)
		}
		if _, err := store.Open(t.Context(), blobstore.Object{Key: key}, 0, -1); err == nil {
			t.Errorf("opened %q", key)
		}
		if err := store.Delete(t.Context(), key); err == nil {
			t.Errorf("deleted %q", key)
		}
	}
}

func (s *suite) testEnded(t *testing.T) {
	store := s.open(t)
	ends := map[string]func(w blobstore.Writer) error{
		"suspend": func(w blobstore.Writer) error { _, err := w.Suspend(t.Context()); return err },
		"commit":  func(w blobstore.Writer) error { _, err := w.Commit(t.Context()); return err },
		"close":   func(w blobstore.Writer) error { return w.Close() },
	}
	for name, end := range ends {
		w := create(t.Context(), t, store, "ended/"+name)
		put(t, w, content(1, Segment+5), Segment)
		if err := end(w); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err := w.Write([]byte("x"))
		wantError(t, err, blobstore.ErrEnded, "write after "+name)
		_, err = w.Suspend(t.Context())
		wantError(t, err, blobstore.ErrEnded, "suspend after "+name)
		_, err = w.Commit(t.Context())
		wantError(t, err, blobstore.ErrEnded, "commit after "+name)
		closeWriter(t, w)
		closeWriter(t, w)
	}
}

func (s *suite) testNotFound(t *testing.T) {
	store := s.open(t)
	p := content(1, Segment+9)
	o := object(t.Context(), t, store, "found/a", p)

	missing := o
	missing.Key = "found/none"
	if s.sealed {
		// Its data key belongs to another object and says so first.
		_, err := read(t.Context(), store, missing, 0, -1)
		wantError(t, err, blobstore.ErrKey, "another object's seal")
	} else {
		_, err := read(t.Context(), store, missing, 0, -1)
		wantError(t, err, blobstore.ErrNotFound, "open what never was")
	}

	if err := store.Delete(t.Context(), o.Key); err != nil {
		t.Fatal(err)
	}
	_, err := read(t.Context(), store, o, 0, -1)
	wantError(t, err, blobstore.ErrNotFound, "open what was deleted")
	for _, key := range []string{o.Key, "found/none", "nowhere/none"} {
		if err := store.Delete(t.Context(), key); err != nil {
			t.Errorf("delete what is not there: %v", err)
		}
	}

	w := create(t.Context(), t, store, "found/unfinished")
	put(t, w, p, len(p))
	state := suspend(t.Context(), t, w)
	if err := store.Delete(t.Context(), "found/unfinished"); err != nil {
		t.Fatal(err)
	}
	_, err = store.Resume(t.Context(), "found/unfinished", state)
	wantError(t, err, blobstore.ErrNotFound, "resume what was deleted")

	w = create(t.Context(), t, store, "found/finished")
	put(t, w, p, len(p))
	state = suspend(t.Context(), t, w)
	o = commit(t.Context(), t, resume(t.Context(), t, store, "found/finished", state, len(p)), "found/finished")
	_, err = s.reopen(t, store).Resume(t.Context(), "found/finished", state)
	wantError(t, err, blobstore.ErrNotFound, "resume what was committed")
	expect(t.Context(), t, store, o, p)
}

func (s *suite) testList(t *testing.T) {
	store := s.open(t)
	list := func(ctx context.Context, prefix string) []string {
		t.Helper()
		got := []string{}
		for info, err := range store.List(ctx, prefix) {
			if err != nil {
				t.Fatalf("list %q: %v", prefix, err)
			}
			if info.Modified.IsZero() {
				t.Errorf("%s was modified at no time", info.Key)
			}
			got = append(got, info.Key)
		}
		slices.Sort(got)
		return got
	}
	if got := list(t.Context(), ""); len(got) != 0 {
		t.Fatalf("an empty store lists %q", got)
	}

	p := content(1, Segment+1)
	all := []string{"b/x/one", "b/x/two", "b/xy", "b1/unfinished", "c/d/e/unfinished"}
	for _, key := range all[:3] {
		object(t.Context(), t, store, key, p)
	}
	open := create(t.Context(), t, store, all[3])
	put(t, open, p, len(p))
	if s.buffered > 0 {
		suspend(t.Context(), t, open)
	}
	defer closeWriter(t, open)
	var large []byte // of which something is stored
	if s.inline > 0 {
		large = content(2, Segment+s.inline+1)
	}
	unfinished := create(t.Context(), t, store, all[4])
	put(t, unfinished, large, Segment)
	suspend(t.Context(), t, unfinished)

	for prefix, want := range map[string][]string{
		"":                  all,
		"b":                 all[:4],
		"b/":                all[:3],
		"b/x":               all[:3],
		"b/x/":              all[:2],
		"b/x/one":           all[:1],
		"b/x/one/":          {},
		"b/x/ones":          {},
		"c/d":               all[4:],
		"none/":             {},
		"../":               {},
		"b/../":             {},
		"/":                 {},
		"b//":               {},
		"c/d/e/unfinished":  all[4:],
		"c/d/e/unfinishedX": {},
	} {
		if got := list(t.Context(), prefix); !slices.Equal(got, want) {
			t.Errorf("prefix %q lists %q, want %q", prefix, got, want)
		}
	}
	for info, err := range store.List(t.Context(), "b/x/one") {
		if err != nil {
			t.Fatal(err)
		}
		if info.Size < int64(len(p)) {
			t.Errorf("%s takes %d bytes and holds %d", info.Key, info.Size, len(p))
		}
	}
	seen := 0
	for _, err := range store.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 2 {
			break
		}
	}
	if seen != 2 {
		t.Errorf("left the list after 2 and saw %d", seen)
	}

	if err := store.Delete(t.Context(), all[4]); err != nil {
		t.Fatal(err)
	}
	if got := list(t.Context(), ""); !slices.Equal(got, all[:4]) {
		t.Errorf("lists %q after a deletion", got)
	}

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	var last error
	for _, err := range store.List(canceled, "") {
		last = err
	}
	wantError(t, last, context.Canceled, "list with an ended context")

	// More than one batch of names.
	for i := range 1200 {
		w := create(t.Context(), t, store, fmt.Sprintf("many/%04d", i))
		put(t, w, large, Segment)
		if s.buffered > 0 {
			suspend(t.Context(), t, w)
		}
		closeWriter(t, w)
	}
	if got := list(t.Context(), "many/"); len(got) != 1200 || len(slices.Compact(got)) != 1200 {
		t.Errorf("lists %d of 1200 objects", len(got))
	}
}

func (s *suite) testHidden(t *testing.T) {
	store := s.open(t)
	p := content(1, 2*Segment+500)
	w := create(t.Context(), t, store, "hidden/a")
	put(t, w, p, Segment)
	state := suspend(t.Context(), t, w)
	o := commit(t.Context(), t, resume(t.Context(), t, store, "hidden/a", state, len(p)), "hidden/a")
	visible := func(b []byte, what string) {
		for at := 0; at+16 <= len(p); at += 8 {
			if bytes.Contains(b, p[at:at+16]) {
				t.Fatalf("%s holds the plaintext at %d", what, at)
			}
		}
	}
	visible(state, "the state")
	visible(o.Seal, "the seal")
	s.damage(t, store, o.Key, func(stored []byte) []byte {
		visible(stored, "the store")
		return stored
	})
	expect(t.Context(), t, store, o, p)
}
