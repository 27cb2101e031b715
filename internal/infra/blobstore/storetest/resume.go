package storetest

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// testResume interrupts once, at every boundary of every size.
func (s *suite) testResume(t *testing.T) {
	store := s.open(t)
	for i, size := range boundaries {
		want := content(uint64(i), size)
		for _, cut := range boundaries[:i+1] {
			key := fmt.Sprintf("resume/%d/%d", size, cut)
			w := create(t.Context(), t, store, key)
			put(t, w, want[:cut], 100_000)
			state := suspend(t.Context(), t, w)
			next := s.reopen(t, store)
			w = resume(t.Context(), t, next, key, state, cut)
			put(t, w, want[cut:], 100_000)
			expect(t.Context(), t, store, commit(t.Context(), t, w, key), want)
		}
	}
}

// testResumeChain interrupts one object at all boundaries.
func (s *suite) testResumeChain(t *testing.T) {
	store := s.open(t)
	want := content(7, boundaries[len(boundaries)-1])
	w := create(t.Context(), t, store, "chain")
	for i, at := range boundaries {
		put(t, w, want[w.Offset():at], 10_000)
		w = resume(t.Context(), t, s.reopen(t, store), "chain", suspend(t.Context(), t, w), at)
		if i%3 == 0 { // and for nothing
			w = resume(t.Context(), t, store, "chain", suspend(t.Context(), t, w), at)
		}
	}
	expect(t.Context(), t, store, commit(t.Context(), t, w, "chain"), want)
}

// testCutBack goes back to a State after more was written, kept and lost.
func (s *suite) testCutBack(t *testing.T) {
	store := s.open(t)
	for _, cut := range boundaries {
		for _, beyond := range []int{1, Segment - 1, Segment, 5*Segment + 3} {
			key := fmt.Sprintf("cut/%d/%d", cut, beyond)
			want := content(uint64(cut), cut+Segment/2+1)
			wrong := content(99, beyond)
			w := create(t.Context(), t, store, key)
			put(t, w, want[:cut], 100_000)
			state := suspend(t.Context(), t, w)

			w = resume(t.Context(), t, store, key, slices.Clone(state), cut)
			put(t, w, wrong, 30_000)
			closeWriter(t, w) // lost

			w = resume(t.Context(), t, store, key, state, cut)
			put(t, w, wrong, 30_000)
			suspend(t.Context(), t, w) // kept, and not used

			w = resume(t.Context(), t, s.reopen(t, store), key, state, cut)
			put(t, w, want[cut:], 100_000)
			expect(t.Context(), t, store, commit(t.Context(), t, w, key), want)

			straight := object(t.Context(), t, store, key+"-straight", want)
			if got, want := storedSize(t, store, key), storedSize(t, store, straight.Key); got != want {
				t.Errorf("%s takes %d bytes, and %d had it been written at once", key, got, want)
			}
		}
	}
}

// storedSize is the size of one object as the store lists it.
func storedSize(t *testing.T, store blobstore.Store, key string) int64 {
	t.Helper()
	for info, err := range store.List(t.Context(), key) {
		if err != nil {
			t.Fatal(err)
		}
		if info.Key == key {
			return info.Size
		}
	}
	t.Fatalf("%s is not listed", key)
	return 0
}

func (s *suite) testBadState(t *testing.T) {
	store := s.open(t)
	p := content(1, Segment+77)
	w := create(t.Context(), t, store, "state/a")
	put(t, w, p, len(p))
	state := suspend(t.Context(), t, w)
	for _, bad := range []blobstore.State{nil, {}, {0}, []byte("garbage"), state[:1], state[:len(state)-1], append(slices.Clone(state), 0)} {
		_, err := store.Resume(t.Context(), "state/a", bad)
		wantError(t, err, blobstore.ErrCorrupt, fmt.Sprintf("a state of %d bytes", len(bad)))
	}
	if s.sealed {
		for at := range len(state) {
			if at > 300 && at%1000 != 0 && at < len(state)-40 {
				continue
			}
			bad := slices.Clone(state)
			bad[at] ^= 0x10
			if w, err := store.Resume(t.Context(), "state/a", bad); err == nil {
				closeWriter(t, w)
				t.Errorf("resumed from a state altered at %d of %d", at, len(state))
			}
		}
		closeWriter(t, create(t.Context(), t, store, "state/b"))
		_, err := store.Resume(t.Context(), "state/b", state)
		wantError(t, err, blobstore.ErrKey, "another object's state")
	}
	// None of this harmed the object.
	w = resume(t.Context(), t, store, "state/a", state, len(p))
	expect(t.Context(), t, store, commit(t.Context(), t, w, "state/a"), p)
}

// testHistory writes, suspends, resumes and loses in any order, and compares
// with a slice of bytes.
func (s *suite) testHistory(t *testing.T) {
	store := s.open(t)
	number := 0
	rapid.Check(t, func(rt *rapid.T) {
		number++
		key := fmt.Sprintf("history/%d", number)
		ctx := t.Context()
		size := rapid.OneOf(
			rapid.IntRange(0, 300),
			rapid.IntRange(Segment-20, Segment+20),
			rapid.IntRange(0, 3*Segment),
		)
		piece := rapid.SampledFrom([]int{977, 32 << 10, Segment, 1 << 20})

		var model, saved []byte
		w := create(ctx, rt, store, key)
		state := suspend(ctx, rt, w)
		w = resume(ctx, rt, store, key, state, 0)
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"write", "write", "suspend", "lose", "abandon"}).Draw(rt, "step") {
			case "write":
				p := content(uint64(len(model)+number), size.Draw(rt, "size"))
				put(rt, w, p, piece.Draw(rt, "piece"))
				model = append(model, p...)
			case "suspend":
				state, saved = suspend(ctx, rt, w), slices.Clone(model)
				w = resume(ctx, rt, store, key, state, len(saved))
			case "lose":
				closeWriter(rt, w)
				model = slices.Clone(saved)
				w = resume(ctx, rt, store, key, state, len(saved))
			case "abandon":
				suspend(ctx, rt, w)
				model = slices.Clone(saved)
				w = resume(ctx, rt, store, key, state, len(saved))
			}
		}
		o := commit(ctx, rt, w, key)
		expect(ctx, rt, store, o, model)
		if err := store.Delete(ctx, key); err != nil {
			rt.Fatal(err)
		}
	})
}
