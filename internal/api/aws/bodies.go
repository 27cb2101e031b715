package aws

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// The memory that the bodies of calls may take together, beyond the first
// freeBody bytes of each. Bodies are read before signatures can be verified, so
// without a bound strangers decide how much memory that is.
const (
	freeBody   = 64 << 10
	bodyMemory = 256 << 20
	// bodyStep is what a body takes of it at a time.
	bodyStep = 1 << 20
	// bodyWait is how long a body waits for others to make room.
	bodyWait = 10 * time.Second
)

// bodies hands out bodyMemory.
type bodies struct{ room *semaphore.Weighted }

func newBodies() bodies { return bodies{semaphore.NewWeighted(bodyMemory)} }

// read reads a body to its end. It holds memory for what has come, not for what
// was announced, and returns what it took; the caller gives it back with done,
// after an error as well.
func (b bodies) read(ctx context.Context, r io.Reader) (body []byte, taken int64, err error) {
	body = make([]byte, 0, 512)
	for {
		if len(body) == cap(body) {
			grown := 2 * cap(body)
			if grown > freeBody {
				grown = max(grown, bodyStep)
				more := int64(grown) - taken
				if err := b.take(ctx, more); err != nil {
					return nil, taken, err
				}
				taken += more
			}
			body = append(make([]byte, 0, grown), body...)
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, taken, nil
		}
		if err != nil {
			return nil, taken, err
		}
	}
}

// take waits for room.
func (b bodies) take(ctx context.Context, n int64) error {
	if b.room.TryAcquire(n) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, bodyWait)
	defer cancel()
	if err := b.room.Acquire(ctx, n); err != nil {
		return errs.New(errs.Throttled, "Rate exceeded")
	}
	return nil
}

// done gives back what read took.
func (b bodies) done(taken int64) { b.room.Release(taken) }
