package reserve_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/blobstore/reserve"
	"github.com/berth-registry/berth/internal/infra/blobstore/storetest"
	"github.com/berth-registry/berth/internal/infra/clock"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) blobstore.Store {
		return reserve.New(memory.New(), 100, func() (uint64, error) { return 100, nil }, clock.System{})
	}, storetest.InMemory())
}

func TestBelowTheMark(t *testing.T) {
	ctx := t.Context()
	clk := clock.NewFake(time.Unix(1_800_000_000, 0))
	free, failure, looks := uint64(1000), error(nil), 0
	s := reserve.New(memory.New(), 100, func() (uint64, error) { looks++; return free, failure }, clk)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	full := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, blobstore.ErrFull) {
			t.Errorf("%s: %v, want ErrFull", what, err)
		}
	}
	begin := func(key string) blobstore.State {
		t.Helper()
		w, err := s.Create(ctx, key, blobstore.Placement{})
		must("create", err)
		_, err = w.Write([]byte("bytes"))
		must("write", err)
		state, err := w.Suspend(ctx)
		must("suspend", err)
		return state
	}
	complete, partial := begin("complete"), begin("partial")
	under, err := s.Create(ctx, "under-way", blobstore.Placement{})
	must("create", err)
	if looks != 1 {
		t.Errorf("%d looks within one second, want 1", looks)
	}

	free = 99
	_, err = s.Create(ctx, "within-the-second", blobstore.Placement{})
	must("create within the second", err)
	clk.Advance(time.Second)
	_, err = s.Create(ctx, "more", blobstore.Placement{})
	full("create", err)
	w, err := s.Resume(ctx, "partial", partial)
	must("resume", err)
	n, err := w.Write([]byte("more"))
	full("write after resume", err)
	if n != 0 {
		t.Errorf("%d bytes were taken", n)
	}
	free = 1000 // what has failed goes on failing
	clk.Advance(time.Second)
	_, err = w.Write([]byte("more"))
	full("write again", err)
	_, err = w.Suspend(ctx)
	full("suspend after a failed write", err)
	_, err = w.Commit(ctx)
	full("commit after a failed write", err)
	must("close", w.Close())

	free = 0
	clk.Advance(time.Second)
	_, err = s.Create(ctx, "more", blobstore.Placement{})
	full("create", err)
	_, err = under.Write([]byte("goes on"))
	must("write of what is under way", err)
	o, err := under.Commit(ctx)
	must("commit of what is under way", err)
	w, err = s.Resume(ctx, "complete", complete)
	must("resume", err)
	_, err = w.Commit(ctx)
	must("commit of an upload that has its bytes", err)
	r, err := s.Open(ctx, o, 0, -1)
	must("open", err)
	if text, err := io.ReadAll(r); err != nil || string(text) != "goes on" {
		t.Errorf("read %q, %v", text, err)
	}
	must("close", r.Close())
	must("delete", s.Delete(ctx, o.Key))

	free = 100
	clk.Advance(time.Second)
	w, err = s.Resume(ctx, "partial", partial)
	must("resume with room again", err)
	_, err = w.Write([]byte(" and more"))
	must("write with room again", err)
	free = 0
	clk.Advance(time.Second)
	_, err = w.Write([]byte(" to the end"))
	must("write of a resumed upload under way", err)
	_, err = w.Commit(ctx)
	must("commit", err)

	failure = errors.New("no such call")
	clk.Advance(time.Second)
	w, err = s.Create(ctx, "unknown", blobstore.Placement{})
	must("create when nobody knows", err)
	must("close", w.Close())
	clk.Advance(-time.Hour) // a clock that goes back does not hold the answer for an hour
	failure, free = nil, 0
	_, err = s.Create(ctx, "back", blobstore.Placement{})
	full("create after the clock went back", err)
}
