package worker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/confine"
)

// Pool has layers read and packages matched. It may be used by many at once.
type Pool struct {
	command []string
	limits  confine.Limits
	log     *slog.Logger
	clock   clock.Clock
	spool   spool
	// question is maxQuestion, but for tests.
	question int

	// reading and checking have an element for each process that reads or checks.
	reading, checking chan struct{}

	mu       sync.Mutex
	closed   bool
	calls    map[*call]struct{}
	under    sync.WaitGroup // all that Close waits for
	readers  []*scanner     // those that have nothing to do, the last one used at the end
	matchers map[string]*matcher
	latest   string // the directory that was asked for last
}

// usable says whether a process can go on after a request that ended so.
func usable(err error) bool {
	_, refused := errors.AsType[*Refused](err)
	return err == nil || refused
}

// call is a request under way.
type call struct{ cancel context.CancelCauseFunc }

// New returns a pool. It starts nothing before it is asked for something.
func New(c Config) *Pool {
	p := &Pool{
		command: c.Command, limits: c.Limits, log: c.Log, clock: c.Clock, spool: spool{root: c.Spool}, question: maxQuestion,
		reading: make(chan struct{}, max(1, c.Readers)), checking: make(chan struct{}, 1),
		calls: map[*call]struct{}{}, matchers: map[string]*matcher{},
	}
	if p.limits == (confine.Limits{}) {
		p.limits = DefaultLimits()
	}
	if p.limits.CPU <= 0 {
		p.limits.CPU = DefaultLimits().CPU
	}
	if p.limits.Wall <= 0 {
		p.limits.Wall = DefaultLimits().Wall
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.clock == nil {
		p.clock = clock.System{}
	}
	return p
}

// ReadLayer says what a layer brings. size is its length as it is stored; 0 where it
// is not known. It reads r to its end or to where the scanner gives up, and not any more once it has returned. r must fail when
// ctx ends. Errors: *Refused if the layer is bad, *Crashed if the process did not survive
// it, what r returned, wrapped, and others if no process can be started.
func (p *Pool) ReadLayer(ctx context.Context, mediaType string, size int64, r io.Reader) (inventory.Layer, error) {
	ctx, done, err := p.enter(ctx)
	if err != nil {
		return inventory.Layer{}, err
	}
	defer done()
	if err := take(ctx, p.reading); err != nil {
		return inventory.Layer{}, err
	}
	defer func() { <-p.reading }()
	s, err := p.reader(ctx)
	if err != nil {
		return inventory.Layer{}, err
	}
	began := p.clock.Now()
	f, source, err := s.layer(ctx, p.allowance().more(size), mediaType, size, r)
	var layer inventory.Layer
	if err == nil && source == nil {
		layer, err = result[inventory.Layer](ctx, s, f)
	}
	p.keep(s, err)
	p.log.DebugContext(ctx, "a layer was read", "bytes", size, "took", p.clock.Now().Sub(began), "error", err, "source", source)
	if source != nil {
		return inventory.Layer{}, source
	}
	return layer, err
}

// Check opens the database in dir and reads all of it, in a process of its own. Errors:
// *Refused if the database is bad, *Crashed if the process did not survive it.
func (p *Pool) Check(ctx context.Context, dir string) (match.Metadata, error) {
	ctx, done, err := p.enter(ctx)
	if err != nil {
		return match.Metadata{}, err
	}
	defer done()
	if err := take(ctx, p.checking); err != nil {
		return match.Metadata{}, err
	}
	defer func() { <-p.checking }()
	s, err := p.startMatcher(ctx, dir)
	if err != nil {
		return match.Metadata{}, err
	}
	defer s.end()
	f, err := s.ask(ctx, p.allowance(), kindCheck, struct{}{})
	if err != nil {
		return match.Metadata{}, err
	}
	return result[match.Metadata](ctx, s, f)
}

// Match says which vulnerabilities the database in dir knows for an image. It keeps a process
// for dir, which answers one request at a time, until it has had nothing to do for a
// while, or another directory is asked for. Errors: *Refused if the image has too many packages to be
// passed on, *Crashed if the process did not survive it or cannot open the database.
func (p *Pool) Match(ctx context.Context, dir string, img inventory.Image, o match.Options) (finding.Report, error) {
	ctx, done, err := p.enter(ctx)
	if err != nil {
		return finding.Report{}, err
	}
	defer done()
	m := p.matcher(dir)
	defer p.leave(m)
	if err := take(ctx, m.turn); err != nil {
		return finding.Report{}, err
	}
	defer func() { <-m.turn }()
	if m.s != nil {
		here, err := m.s.here(ctx, p.limits.CPU)
		if !here {
			m.end()
			m.s = nil
		}
		if err != nil {
			return finding.Report{}, err
		}
	}
	if m.s == nil {
		m.s, err = p.startMatcher(ctx, dir)
		if bad, ok := errors.AsType[*Refused](err); ok {
			// It is not the image that is bad.
			err = &Crashed{"the scanner cannot open its database: " + bad.Reason}
		}
		if err != nil {
			m.s = nil
			return finding.Report{}, err
		}
	}
	f, err := m.s.ask(ctx, p.allowance(), kindMatch, matchQuestion{img, o})
	var report finding.Report
	if err == nil {
		report, err = result[finding.Report](ctx, m.s, f)
	}
	if err != nil {
		m.s.end()
		m.s = nil
	}
	return report, err
}

// Close ends all processes, and requests under way with ErrClosed, and waits for them.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	for c := range p.calls {
		c.cancel(ErrClosed)
	}
	p.mu.Unlock()
	p.under.Wait()
	for _, s := range p.readers {
		s.idle.Stop()
		s.end()
	}
	for _, m := range p.matchers {
		m.idle.Stop()
		m.end()
	}
	p.readers, p.matchers = nil, nil
	return p.spool.remove()
}

// enter begins a request, which Close will cancel and wait for.
func (p *Pool) enter(ctx context.Context) (context.Context, func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	c := &call{cancel}
	p.calls[c] = struct{}{}
	p.under.Add(1)
	return ctx, func() {
		cancel(nil)
		p.mu.Lock()
		delete(p.calls, c)
		p.mu.Unlock()
		p.under.Done()
	}, nil
}

// take takes a place, or fails when ctx ends.
func take(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *Pool) allowance() allowance { return allowance{cpu: p.limits.CPU, wall: p.limits.Wall} }

// result takes an answer apart. After an error that is not *Refused the scanner is dead.
func result[T any](ctx context.Context, s *scanner, f frame) (T, error) {
	var v T
	if f.kind == kindRefused {
		return v, &Refused{clean(string(f.content))}
	}
	if f.kind == kindFailed {
		return v, s.failed(ctx, "failed: "+clean(string(f.content)))
	}
	if bytes.Count(f.content, []byte{'{'}) > maxObjects {
		return v, s.failed(ctx, "answered more than makes sense")
	}
	if err := json.Unmarshal(f.content, &v); err != nil {
		var none T
		return none, s.failed(ctx, "answered something that makes no sense")
	}
	return v, nil
}

// start starts a process that is confined and ready.
func (p *Pool) start(ctx context.Context, read []string, args ...string) (*scanner, error) {
	dir, err := p.spool.make()
	if err != nil {
		return nil, err
	}
	c := confine.Command{
		Args: append([]string{Argument}, args...), Dir: dir, Read: read, Write: []string{dir},
		// It cannot see for itself how many processors a container gives it.
		Env: []string{"GOMAXPROCS=" + strconv.Itoa(min(processors, runtime.GOMAXPROCS(0)))},
	}
	if len(p.command) > 0 {
		c.Path, c.Args = p.command[0], append(slices.Clone(p.command[1:]), args...)
	}
	s := &scanner{log: p.log, spool: dir, question: p.question}
	if s.p, err = confine.Start(context.WithoutCancel(ctx), c); err != nil {
		return nil, fmt.Errorf("worker: starting a scanner: %w", errors.Join(err, os.Remove(dir)))
	}
	s.in = bufio.NewReaderSize(s.p.Stdout, 64<<10)
	a := p.allowance()
	f, err := s.ask(ctx, allowance{a.cpu, startTime}, kindHello, hello{Protocol: protocol, Limits: p.limits, Spool: dir})
	if err == nil {
		_, err = result[struct{}](ctx, s, f)
	}
	if err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// reader returns a process that reads. The caller has a place in p.reading.
func (p *Pool) reader(ctx context.Context) (*scanner, error) {
	for {
		s := p.rested()
		if s == nil {
			return p.start(ctx, nil, "read")
		}
		here, err := s.here(ctx, p.limits.CPU)
		if here {
			return s, nil
		}
		s.end()
		if err != nil {
			return nil, err
		}
	}
}

// rested takes the process that has had nothing to do for the shortest time; nil if there is none.
func (p *Pool) rested() *scanner {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.readers)
	if n == 0 {
		return nil
	}
	s := p.readers[n-1]
	p.readers = p.readers[:n-1]
	s.idle.Stop()
	return s
}

// keep puts a process back that has read a layer, or ends it if the error says that it cannot go on.
func (p *Pool) keep(s *scanner, err error) {
	s.served++
	if !usable(err) || s.served >= maxLayers || s.tidy() != nil {
		s.end()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.idle = time.AfterFunc(idleReader, func() { p.retire(s) })
	p.readers = append(p.readers, s)
}

// retire ends a process that had nothing to do for a while. It takes its place, so that
// there are never more processes than places.
func (p *Pool) retire(s *scanner) {
	ctx, done, err := p.enter(context.Background())
	if err != nil {
		return
	}
	defer done()
	if take(ctx, p.reading) != nil {
		return
	}
	defer func() { <-p.reading }()
	p.mu.Lock()
	i := slices.Index(p.readers, s)
	if i >= 0 {
		p.readers = slices.Delete(p.readers, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		s.end()
	}
}

func (p *Pool) startMatcher(ctx context.Context, dir string) (*scanner, error) {
	dir, err := filepath.Abs(dir) // the process works elsewhere
	if err != nil {
		return nil, fmt.Errorf("worker: the database's directory: %w", err)
	}
	return p.start(ctx, []string{dir}, "match", dir)
}

// matcher is the process for one database.
type matcher struct {
	dir string
	// turn has an element while someone uses s, which is nil before the first use and after a crash.
	turn chan struct{}
	s    *scanner
	// users and idle are guarded by the pool's mutex.
	users int
	idle  *time.Timer
}

func (m *matcher) end() {
	if m.s != nil {
		m.s.end()
	}
}

// matcher returns the one for dir, and ends those for other directories that nobody uses.
func (p *Pool) matcher(dir string) *matcher {
	p.mu.Lock()
	m := p.matchers[dir]
	if m == nil {
		m = &matcher{dir: dir, turn: make(chan struct{}, 1)}
		m.idle = time.AfterFunc(idleMatcher, func() { p.retireMatcher(m) })
		p.matchers[dir] = m
	}
	m.users++
	m.idle.Stop()
	p.latest = dir
	var old []*matcher
	for d, o := range p.matchers {
		if d != dir && o.users == 0 {
			o.idle.Stop()
			delete(p.matchers, d)
			old = append(old, o)
		}
	}
	p.mu.Unlock()
	for _, o := range old {
		o.end()
	}
	return m
}

// leave says that a request does not use the matcher any more.
func (p *Pool) leave(m *matcher) {
	p.mu.Lock()
	m.users--
	gone := m.users == 0 && m.dir != p.latest
	switch {
	case gone:
		delete(p.matchers, m.dir)
	case m.users == 0:
		m.idle.Reset(idleMatcher)
	}
	p.mu.Unlock()
	if gone {
		m.end()
	}
}

// retireMatcher ends a matcher that had nothing to do for a while.
func (p *Pool) retireMatcher(m *matcher) {
	_, done, err := p.enter(context.Background())
	if err != nil {
		return
	}
	defer done()
	p.mu.Lock()
	gone := m.users == 0 && p.matchers[m.dir] == m
	if gone {
		delete(p.matchers, m.dir)
	}
	p.mu.Unlock()
	if gone {
		m.end()
	}
}
