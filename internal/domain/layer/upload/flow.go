package upload

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"time"
)

const (
	// bufferSize is the size of the pieces that bytes are read, hashed and stored
	// in, of longBuffers of them at a time; the others have shortSize, so that a
	// hundred uploads take 10 MiB and not 25. A request in flight has one or two,
	// and those of long bodies that are stored beside their reading, no more than
	// there are processors, pipeline more. That, and what the store's Writer holds,
	// is all the memory that an upload takes, whatever its size.
	bufferSize  = 256 << 10
	longBuffers = 16
	shortSize   = 64 << 10
	// pipelineAfter is how many bytes of a body are read, hashed and stored in turn
	// before another goroutine takes over the storing, which long bodies are worth.
	pipelineAfter = 1 << 20
	// pipeline is how many pieces wait between hashing and storing.
	pipeline = 2
	// lastPieces is how long a request that was told to stop takes what its
	// client has still sent.
	lastPieces = 100 * time.Millisecond
	// maxEmptyReads is how many reads in a row may bring nothing.
	maxEmptyReads = 100
)

// Interruptible is a body whose reading others can end. A body that is not is read
// by a goroutine of its own, which can be left behind.
type Interruptible interface {
	io.Reader
	// Interrupt has the reads that wait or begin after the given time fail with
	// os.ErrDeadlineExceeded. It may be called at any time, and more than once.
	Interrupt(after time.Duration)
}

// piece is a buffer on its way from the body to the store.
type piece struct {
	buffer []byte
	n      int
	err    error // io.EOF at the end
}

// drain takes the body to its end: limit, hash, store. When it returns, in.n
// bytes were stored and, unless the store has failed, hashed. More than limit
// bytes are errTooLong, and none of those beyond it are stored.
func (in *Received) drain(ctx context.Context, body io.Reader, limit int64) error {
	s := in.service
	next, end := s.pieces(ctx, body)
	defer end()
	store, finish := in.inTurn(ctx), func() error { return nil }
	var taken int64
	piped := false
	for {
		p := next()
		if int64(p.n) > limit-taken {
			s.buffers.Put(p.buffer)
			if stored := finish(); stored != nil {
				return stored
			}
			return errTooLong
		}
		if taken >= pipelineAfter && !piped {
			piped = true
			if s.enterPipeline() {
				defer s.leavePipeline()
				store, finish = in.beside(ctx)
			}
		}
		broken := p.err
		taken += int64(p.n)
		err := in.pass(p, store)
		if err == nil && broken == nil {
			continue
		}
		// What the store says concerns earlier bytes than what the body does.
		if stored := finish(); stored != nil {
			return stored
		}
		switch {
		case err != nil:
			return err
		case broken == io.EOF:
			return nil
		}
		return broken
	}
}

// pass hashes a piece and gives it to store, which frees it.
func (in *Received) pass(p piece, store func(piece) error) error {
	if p.n == 0 {
		in.service.buffers.Put(p.buffer)
		return nil
	}
	in.hash.Write(p.buffer[:p.n])
	return store(p)
}

// inTurn stores pieces in the goroutine that read them.
func (in *Received) inTurn(ctx context.Context) func(piece) error {
	return func(p piece) error {
		defer in.service.buffers.Put(p.buffer)
		return in.put(ctx, p.buffer[:p.n])
	}
}

// beside stores pieces in another goroutine, while the next ones are read and
// hashed. finish waits until it is through with all of them; after a failure of
// the store the rest is dropped, and store and finish return it.
func (in *Received) beside(ctx context.Context) (store func(piece) error, finish func() error) {
	pieces := make(chan piece, pipeline)
	done, failed := make(chan struct{}), make(chan struct{})
	var failure error // to be read once failed or done is closed
	go func() {
		defer close(done)
		for p := range pieces {
			if failure == nil {
				if failure = in.put(ctx, p.buffer[:p.n]); failure != nil {
					close(failed)
				}
			}
			in.service.buffers.Put(p.buffer)
		}
	}()
	store = func(p piece) error {
		select {
		case pieces <- p:
			return nil
		case <-failed:
			in.service.buffers.Put(p.buffer)
			return failure
		}
	}
	finish = func() error {
		close(pieces)
		<-done
		return failure
	}
	return store, finish
}

// enterPipeline says whether one more body can be stored beside its reading:
// with more of them nothing is won by it.
func (s *Service) enterPipeline() bool {
	if int(s.piped.Add(1)) <= max(runtime.GOMAXPROCS(0)/2, 2) {
		return true
	}
	s.piped.Add(-1)
	return false
}

func (s *Service) leavePipeline() { s.piped.Add(-1) }

// pieces gives the pieces of a body one after the other, the last one with an
// error: io.EOF, a *readError, or why ctx ended. A session that is told to stop
// does so although the client is silent, after it has had a moment for what the
// client sent before.
func (s *Service) pieces(ctx context.Context, body io.Reader) (next func() piece, end func()) {
	b, ok := body.(Interruptible)
	if !ok {
		return s.piecesBehind(ctx, body)
	}
	stop := context.AfterFunc(ctx, func() { b.Interrupt(lastPieces) })
	next = func() piece {
		p := s.read(b)
		if cause := context.Cause(ctx); cause != nil && errors.Is(p.err, os.ErrDeadlineExceeded) {
			p.err = cause
		}
		return p
	}
	return next, func() { stop() }
}

// piecesBehind reads the body in a goroutine that ends with the body's Read, at the
// latest when that is given up by whoever made the body.
func (s *Service) piecesBehind(ctx context.Context, body io.Reader) (next func() piece, end func()) {
	pieces := make(chan piece)
	stop := make(chan struct{})
	go func() {
		for {
			p := s.read(body)
			select {
			case pieces <- p:
			case <-stop:
				s.buffers.Put(p.buffer)
				return
			}
			if p.err != nil {
				return
			}
		}
	}()
	done := ctx.Done()
	var patience <-chan time.Time
	next = func() piece {
		for {
			select {
			case p := <-pieces:
				return p
			case <-done:
				// What the client sent before it went is mostly on its way.
				done, patience = nil, time.After(lastPieces)
			case <-patience:
				return piece{err: context.Cause(ctx)}
			}
		}
	}
	return next, func() { close(stop) }
}

func (s *Service) read(body io.Reader) piece {
	p := piece{buffer: s.buffers.Get(bufferSize)}
	p.n, p.err = fill(body, p.buffer)
	if p.err != nil && p.err != io.EOF {
		p.err = &readError{cause: p.err}
	}
	return p
}

// fill reads until p is full or the body ends. Unlike io.ReadFull it tells a
// body that ended from one that was cut off.
func fill(body io.Reader, p []byte) (int, error) {
	n, empty := 0, 0
	for n < len(p) {
		k, err := body.Read(p[n:])
		n += k
		if err != nil {
			return n, err
		}
		if k > 0 {
			empty = 0
		} else if empty++; empty == maxEmptyReads {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}
