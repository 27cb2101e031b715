package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/berth-registry/berth/internal/infra/confine"
)

// lastMoments is how long a process that fell silent may take to end by itself,
// which tells more about why than if it is killed.
const lastMoments = 5 * time.Second

// scanner is a process, as the server sees it. One request at a time uses it.
type scanner struct {
	p     *confine.Process
	log   *slog.Logger
	in    *bufio.Reader // its answers
	spool string
	// question is the size that a question may have.
	question int
	buffer   []byte // for a piece of a layer, on first use
	served   int
	idle     *time.Timer
}

// allowance is the time that a request has.
type allowance struct{ cpu, wall time.Duration }

// more is the allowance with a second for every minRate bytes.
func (a allowance) more(size int64) allowance {
	if size > 0 {
		d := time.Duration(size/minRate) * time.Second
		a.cpu, a.wall = a.cpu+d, a.wall+d
	}
	return a
}

// exchange sends a question, by the function, and waits for the answer. The function is told when an
// answer is there, or will never be; what fails in it while it writes is seen here. After
// an error the scanner is of no use any more.
func (s *scanner) exchange(ctx context.Context, a allowance, send func(t *stopwatch, answered <-chan struct{})) (frame, error) {
	if err := s.p.Allow(a.cpu); err != nil {
		return frame{}, err
	}
	forget := context.AfterFunc(ctx, func() { s.p.Kill("was not needed any more") })
	t := startWatch(a.wall, func() { s.p.Kill("took longer than " + a.wall.String()) })
	var f frame
	var err error
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if f, err = readFrame(s.in, maxAnswer); errors.Is(err, errGarbage) {
			s.p.Kill("answered " + err.Error()) // it may not even listen any more
		}
	}()
	send(t, answered)
	<-answered
	// An answer that comes in the moment of a kill is as good as none: the scanner is dead.
	if ended, late := !forget(), !t.stop(); err == nil && (ended || late) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && s.in.Buffered() > 0 {
		err = fmt.Errorf("%w: more than was asked for", errGarbage)
	}
	if err == nil && f.kind != kindAnswer && f.kind != kindRefused && f.kind != kindFailed {
		err = fmt.Errorf("%w: an answer of kind %q", errGarbage, f.kind)
	}
	if err != nil {
		return frame{}, s.crashed(ctx, err)
	}
	return f, nil
}

// here says whether a process that has had nothing to do still answers. If it does not, it is
// of no use any more; that is no fault of what it would be asked next. The error is that of ctx.
func (s *scanner) here(ctx context.Context, cpu time.Duration) (bool, error) {
	_, err := s.ask(ctx, allowance{cpu, startTime}, kindPing, struct{}{})
	if err != nil && ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return err == nil, nil
}

// ask sends a question that is one value.
func (s *scanner) ask(ctx context.Context, a allowance, k kind, v any) (frame, error) {
	var refused error
	f, err := s.exchange(ctx, a, func(_ *stopwatch, _ <-chan struct{}) {
		err := writeJSON(s.p.Stdin, k, v, s.question)
		if _, ok := errors.AsType[*tooLarge](err); ok {
			refused = &Refused{"the list of packages is too large: " + err.Error()}
			s.p.Kill("was not needed any more") // else it would wait for the question, and we for its answer
		}
	})
	if refused != nil {
		return frame{}, refused
	}
	return f, err
}

// layer sends a layer, and returns its error in reading it, if any, apart from the scanner's.
func (s *scanner) layer(ctx context.Context, a allowance, mediaType string, size int64, r io.Reader) (f frame, source, err error) {
	f, err = s.exchange(ctx, a, func(t *stopwatch, answered <-chan struct{}) {
		if writeJSON(s.p.Stdin, kindLayer, layerQuestion{mediaType}, s.question) != nil {
			return
		}
		source = s.stream(t, answered, size, r)
	})
	return f, source, err
}

// stream sends the bytes of a layer until they end or an answer is there, which may
// be that there is no need of them. It returns an error of the source, only.
func (s *scanner) stream(t *stopwatch, answered <-chan struct{}, size int64, r io.Reader) error {
	if s.buffer == nil {
		s.buffer = make([]byte, headerSize+chunkSize)
	}
	var sent int64
	for {
		select {
		case <-answered:
			_ = writeText(s.p.Stdin, kindEnd, "") // it fails where the process is dead, which its next user sees
			return nil
		default:
		}
		// It is not the process that is slow while we wait for the store.
		t.pause()
		n, err := r.Read(s.buffer[headerSize:])
		t.resume()
		sent += int64(n)
		if n > 0 && writeFrame(s.p.Stdin, kindData, s.buffer[:headerSize+n]) != nil {
			return nil
		}
		if errors.Is(err, io.EOF) && size > 0 && sent != size {
			err = fmt.Errorf("%w: it has %d bytes in the store, not %d", io.ErrUnexpectedEOF, sent, size)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			_ = writeText(s.p.Stdin, kindEnd, "") // as above
			return nil
		default:
			_ = writeText(s.p.Stdin, kindAbort, "") // as above
			return fmt.Errorf("worker: reading the layer from the store: %w", err)
		}
	}
}

// crashed says why there is no answer.
func (s *scanner) crashed(ctx context.Context, cause error) error {
	if errors.Is(cause, errGarbage) {
		return s.failed(ctx, "answered "+cause.Error())
	}
	timer := time.NewTimer(lastMoments)
	defer timer.Stop()
	select {
	case <-s.p.Done():
	case <-timer.C:
	}
	return s.failed(ctx, "stopped answering")
}

// failed ends the process, if it has not ended by itself, and says why: for the reason that is given, or its own.
func (s *scanner) failed(ctx context.Context, reason string) error {
	s.p.Kill(reason)
	if ended, ok := errors.AsType[*confine.Ended](s.p.Wait()); ok {
		reason = ended.Reason
		s.log.DebugContext(ctx, "last words of a scanner", "pid", s.p.PID(), "stderr", string(ended.Stderr))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.log.WarnContext(ctx, "a scanner process was lost", "pid", s.p.PID(), "reason", reason)
	return &Crashed{"the scanner " + reason}
}

// end ends the process and removes what it leaves.
func (s *scanner) end() {
	s.p.Close()
	if err := os.RemoveAll(s.spool); err != nil {
		s.log.Warn("the spool directory of a scanner stays behind", "directory", s.spool, "error", err)
	}
}

// tidy empties the spool directory; the reader does so itself, unless it was made not to.
func (s *scanner) tidy() error {
	entries, err := os.ReadDir(s.spool)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(s.spool, e.Name())))
	}
	return err
}

// clean makes what a process says fit to be shown.
func clean(text string) string {
	text = text[:min(len(text), maxText)]
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, ""))
}

// stopwatch calls a function once time has run for so long, without the pauses. One
// goroutine uses it.
type stopwatch struct {
	timer *time.Timer
	left  time.Duration
	since time.Time // when it began to run
	fired bool
}

func startWatch(d time.Duration, f func()) *stopwatch {
	return &stopwatch{timer: time.AfterFunc(d, f), left: d, since: time.Now()}
}

func (w *stopwatch) pause() {
	w.fired = w.fired || !w.timer.Stop()
	w.left -= time.Since(w.since)
}

func (w *stopwatch) resume() {
	w.since = time.Now()
	if !w.fired {
		w.timer.Reset(max(0, w.left))
	}
}

// stop says whether the function was not called and will not be.
func (w *stopwatch) stop() bool { return !w.fired && w.timer.Stop() }
