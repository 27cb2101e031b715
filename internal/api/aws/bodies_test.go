package aws

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/berth-registry/berth/internal/domain/errs"
)

func TestBodiesAreReadWhole(t *testing.T) {
	b := newBodies()
	for _, n := range []int{0, 1, 511, 512, 513, freeBody, freeBody + 1, bodyStep, bodyStep + 1, 5 * bodyStep} {
		content := bytes.Repeat([]byte{7}, n)
		got, taken, err := b.read(t.Context(), iotest.HalfReader(bytes.NewReader(content)))
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes: %d came, %v", n, len(got), err)
		}
		// What is taken is the memory that is held, beyond what is free.
		if n < freeBody && taken != 0 || n > freeBody && taken < int64(cap(got)) {
			t.Errorf("%d bytes in %d: %d taken", n, cap(got), taken)
		}
		b.done(taken)
	}
	if !b.room.TryAcquire(bodyMemory) {
		t.Error("not everything was given back")
	}
}

// TestBodiesTakeWhatIsThere fills the memory: small bodies are read all the same,
// a larger one is refused as too many requests, and what it took is given back.
func TestBodiesTakeWhatIsThere(t *testing.T) {
	b := newBodies()
	if !b.room.TryAcquire(bodyMemory - bodyStep) {
		t.Fatal("the memory is not free at the start")
	}
	if _, taken, err := b.read(t.Context(), bytes.NewReader(make([]byte, freeBody-1))); err != nil || taken != 0 {
		t.Errorf("a small body: %d taken, %v", taken, err)
	}
	// A client that has gone waits no longer, as one does whose time is up.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, taken, err := b.read(ctx, bytes.NewReader(make([]byte, 3*bodyStep)))
	var refused *errs.Error
	if !errors.As(err, &refused) || refused.Code != errs.Throttled || taken != bodyStep {
		t.Errorf("a large body: %d taken, %v", taken, err)
	}
	b.done(taken)
	if !b.room.TryAcquire(bodyStep) {
		t.Error("what a refused body took is gone")
	}
	b.done(bodyMemory)
	broken := errors.New("cut")
	_, taken, err = b.read(t.Context(), io.MultiReader(bytes.NewReader(make([]byte, 2*bodyStep)), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || taken < 2*bodyStep {
		t.Errorf("a broken body: %d taken, %v", taken, err)
	}
}
