package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/once"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/outcome"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

// Blob is what is fetched, by the descriptor of a manifest.
type Blob struct {
	Digest    name.Digest
	Size      int64 // bytes
	MediaType string
}

// Rules says where repositories come from; domain/pullthrough is it.
type Rules interface {
	// Covering finds the rule for a repository, from memory.
	Covering(ctx context.Context, reg name.Registry, repo name.Repository) (pullthrough.Rule, bool, error)
	// Endpoint says how the rule's upstream is spoken to.
	Endpoint(ctx context.Context, r pullthrough.Rule) (upstream.Endpoint, error)
}

// Source reads blobs of upstreams; *upstream.Client is it.
type Source interface {
	Blob(ctx context.Context, e upstream.Endpoint, repo, digest string, offset int64) (body io.ReadCloser, size int64, err error)
}

// Config is what a Service stands on.
type Config struct {
	Layers *layer.Service
	Rules  Rules
	Source Source
	Leases once.Leases
	// Work is what downloads are part of, so that they can be stopped.
	Work  *once.Group
	Track *outcome.Tracker
	Log   *slog.Logger
	// Dir is where blobs stand while they come; "" is the system's directory for
	// temporary files.
	Dir string
	// Downloads is how many blobs come at once, Tries how often one is begun or gone on
	// with, Again the pause before the second try, Poll the time between two looks at
	// what another node fetches. None may be 0.
	Downloads, Tries int
	Again, Poll      time.Duration
}

// Service fetches blobs. All methods may be called from many goroutines and on many
// nodes at once.
type Service struct {
	Config
	slots   chan struct{} // one for each download under way
	buffers sync.Pool     // of *[bufferSize]byte

	mu      sync.Mutex
	fetches map[key]*Fetch
}

// bufferSize is the size of the pieces in which blobs are passed on.
const bufferSize = 256 << 10

// New returns the service.
func New(c Config) *Service {
	s := &Service{Config: c, slots: make(chan struct{}, c.Downloads), fetches: map[key]*Fetch{}}
	s.buffers.New = func() any { return new([bufferSize]byte) }
	return s
}

// discardLimit bounds the removal of an upload whose context may have ended.
const discardLimit = 10 * time.Second

// triesAnew is how many bytes make a try count as a good one.
const triesAnew = 8 << 20

// errMeanwhile says that another has stored the blob.
var errMeanwhile = errors.New("pull-through: the blob is here already")

// Begin begins to fetch a blob, or joins who does. The caller calls Release.
// errs.Unavailable when the server stops.
func (s *Service) Begin(ctx context.Context, r repository.Repository, b Blob) (*Fetch, error) {
	k := key{repository: r.ID, digest: string(b.Digest), size: b.Size}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.fetches[k]; f != nil {
		f.use()
		return f, nil
	}
	ctx, end, err := s.Work.Begin(ctx)
	if err != nil {
		return nil, err
	}
	f := newFetch(r, b)
	f.forget = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.fetches, k)
	}
	s.fetches[k] = f
	f.use()
	go func() {
		defer end()
		defer f.Release()
		f.over(s.carry(ctx, f))
	}()
	return f, nil
}

// carry brings a blob into the layer store: when it is this node's turn by its own
// download, else by waiting for the other's.
func (s *Service) carry(ctx context.Context, f *Fetch) error {
	rule, covered, err := s.Rules.Covering(ctx, f.r.Registry, f.r.Name)
	if err == nil && !covered {
		err = errs.New(errs.LayersNotFound, "The layer with digest '%s' was to come from an upstream registry, and the repository with name '%s' has no pull-through cache rule any more", f.blob.Digest, f.r.Name)
	}
	if err != nil {
		return err
	}
	for {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return once.ShuttingDown(context.Cause(ctx))
		}
		err := s.tryCarry(ctx, f, rule)
		<-s.slots
		switch {
		case errors.Is(err, errMeanwhile):
			return nil
		case errors.Is(err, errOthers):
			f.change(func() { f.phase = remote })
			if err := once.Sleep(ctx, s.Poll); err != nil {
				return once.ShuttingDown(context.Cause(ctx))
			}
			continue
		case err != nil && ctx.Err() != nil:
			return once.ShuttingDown(context.Cause(ctx))
		case err != nil:
			return outcome.LayerError(rule, f.r, f.blob.Digest, err)
		}
		return nil
	}
}

// errOthers says that another node has the lease.
var errOthers = errors.New("pull-through: another node fetches the blob")

// tryCarry downloads the blob if nobody else does and it is not here.
func (s *Service) tryCarry(ctx context.Context, f *Fetch, rule pullthrough.Rule) error {
	leased, l, err := s.Leases.Take(ctx, fmt.Sprintf("b/%d/%s", f.r.ID, f.blob.Digest))
	if err != nil {
		return err
	}
	here, statErr := s.Layers.Stat(ctx, f.r, f.blob.Digest)
	if l != nil {
		defer l.End(ctx)
	}
	switch {
	case statErr == nil && here.Size == f.blob.Size:
		if l != nil {
			l.Upload = ""
		}
		return errMeanwhile
	case statErr == nil:
		return &upstream.Failure{Kind: upstream.Invalid, Err: fmt.Errorf("the layer %s has %d bytes here, and %d by its manifest", f.blob.Digest, here.Size, f.blob.Size)}
	case !errs.Is(statErr, errs.LayersNotFound):
		return statErr
	case l == nil:
		return errOthers
	}
	err = s.transfer(leased, f, l, rule)
	if cause := context.Cause(leased); err != nil && errors.Is(cause, once.ErrLost) {
		return errs.Wrap(cause, errs.Unavailable, "Another node goes on with the layer. Try again.")
	}
	return err
}

// transfer downloads the blob from where an earlier try stands, into the file and from
// there into the layer store.
func (s *Service) transfer(ctx context.Context, f *Fetch, l *once.Lease, rule pullthrough.Rule) error {
	e, err := s.Rules.Endpoint(ctx, rule)
	if err != nil {
		return outcome.CredentialsError{Err: err}
	}
	id, base, err := s.upload(ctx, f, l)
	if err != nil {
		return err
	}
	if err := f.begin(s.Dir, base); err != nil {
		return err
	}
	s.Track.Count(func(n *outcome.Stats) { n.Downloads++ })
	defer s.Track.Count(func(n *outcome.Stats) { n.Downloads-- })

	down, cancel := context.WithCancel(ctx)
	defer cancel()
	finished := make(chan error, 1)
	fetched := make(chan struct{}) // closed with the download's failure, which the intake has to see
	go func() {
		err := s.download(down, f, e, rule)
		if err != nil {
			close(fetched)
		} else {
			f.change(func() { f.whole = true })
		}
		finished <- err
	}()
	in := &intake{f: f, off: base, done: fetched}
	_, err = s.Layers.Complete(ctx, f.r, id, []name.Digest{f.blob.Digest}, layer.Unannounced(), in, layer.CompleteOptions{})
	cancel()
	downErr := <-finished
	switch {
	case err == nil:
		l.Upload = ""
		return nil
	case errs.Is(err, errs.LayerDigestMismatch):
		l.Upload = "" // the store has removed the upload
		return &upstream.Failure{Kind: upstream.Invalid, Err: fmt.Errorf("the blob %s: what came has another digest", f.blob.Digest)}
	case downErr != nil && !errors.Is(downErr, context.Canceled):
		if upstream.KindOf(downErr) == upstream.Invalid {
			s.discard(ctx, f, l)
		}
		return downErr
	case errs.Is(err, errs.UploadNotFound):
		l.Upload = ""
	}
	return err
}

// upload finds the layer upload that an earlier try has left, or opens one, and says
// how many bytes it has.
func (s *Service) upload(ctx context.Context, f *Fetch, l *once.Lease) (id string, base int64, err error) {
	if l.Upload != "" {
		u, err := s.Layers.Status(ctx, f.r, l.Upload)
		if err == nil && u.Received <= f.blob.Size {
			return u.ID, u.Received, nil
		}
		if err != nil && !errs.Is(err, errs.UploadNotFound) {
			return "", 0, err
		}
		if err == nil {
			s.discard(ctx, f, l)
		}
	}
	u, err := s.Layers.Start(ctx, f.r)
	if err != nil {
		return "", 0, err
	}
	return u.ID, 0, l.Note(ctx, u.ID)
}

// discard removes an upload whose bytes are not those of the blob.
func (s *Service) discard(ctx context.Context, f *Fetch, l *once.Lease) {
	id := l.Upload
	l.Upload = ""
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardLimit)
	defer cancel()
	if err := s.Layers.Cancel(ctx, f.r, id); err != nil && !errs.Is(err, errs.UploadNotFound) {
		s.Log.WarnContext(ctx, "the upload of a damaged blob was not removed and is left to expire", "upload", id, "error", err)
	}
}

// download gets the bytes that the file lacks, with several tries.
func (s *Service) download(ctx context.Context, f *Fetch, e upstream.Endpoint, rule pullthrough.Rule) error {
	pause := s.Again
	for try := 1; ; try++ {
		from := f.state().written
		err := s.pour(ctx, f, e, rule, from)
		if err == nil || ctx.Err() != nil || upstream.KindOf(err) != upstream.Unavailable {
			return err
		}
		if f.state().written-from >= triesAnew {
			try, pause = 0, s.Again
		}
		if try >= s.Tries {
			return err
		}
		if err := once.Sleep(ctx, pause); err != nil {
			return err
		}
		pause *= 2
	}
}

// pour is one try.
func (s *Service) pour(ctx context.Context, f *Fetch, e upstream.Endpoint, rule pullthrough.Rule, from int64) (err error) {
	flow := func() {
		if f.state().phase < flowing {
			f.change(func() { f.phase = flowing })
		}
	}
	if from == f.blob.Size {
		flow()
		return nil
	}
	body, size, err := s.Source.Blob(ctx, e, rule.UpstreamRepository(f.r.Name), string(f.blob.Digest), from)
	if s.Track.Asked(err) != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if size >= 0 && size != f.blob.Size {
		return &upstream.Failure{Kind: upstream.Invalid, Err: fmt.Errorf("the blob %s: the upstream says %d bytes, its manifest %d", f.blob.Digest, size, f.blob.Size)}
	}
	flow()
	buffer := s.buffers.Get().(*[bufferSize]byte)
	defer s.buffers.Put(buffer)
	for left := f.blob.Size - from; ; {
		n, err := body.Read(buffer[:])
		if int64(n) > left {
			return &upstream.Failure{Kind: upstream.Invalid, Err: fmt.Errorf("the blob %s: more than the %d bytes of its manifest came", f.blob.Digest, f.blob.Size)}
		}
		if n > 0 {
			if err := f.add(buffer[:n]); err != nil {
				return err
			}
			left -= int64(n)
			s.Track.Count(func(stats *outcome.Stats) { stats.Bytes += int64(n) })
		}
		switch {
		case err == io.EOF && left == 0:
			return nil
		case err == io.EOF:
			return &upstream.Failure{Kind: upstream.Unavailable, Err: fmt.Errorf("the blob %s: the upstream broke off %d bytes before the end", f.blob.Digest, left)}
		case err != nil:
			return err
		}
	}
}

// Clean removes what a process that was killed at the wrong moment has left in
// Config.Dir. It spares what is younger than a minute.
func (s *Service) Clean() error {
	left, err := filepath.Glob(filepath.Join(s.Dir, spoolPattern))
	if s.Dir == "" || err != nil {
		return err
	}
	for _, path := range left {
		info, statErr := os.Stat(path)
		if statErr != nil || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		if removeErr := os.Remove(path); removeErr != nil && !errors.Is(removeErr, os.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
	}
	return err
}

// Open reads a part of the blob, which lies within it, while it comes; the caller closes
// what it gets. It waits until bytes come, so that a refusal of the upstream, or of the
// layer store, is the failure of Open.
func (s *Service) Open(ctx context.Context, f *Fetch, offset, length int64) (io.ReadCloser, error) {
	if err := f.until(ctx, remote); err != nil {
		return nil, err
	}
	f.use()
	return &follower{f: f, off: offset, end: offset + length, done: ctx.Done(), store: func(offset, length int64) (io.ReadCloser, error) {
		body, _, err := s.Layers.Open(ctx, f.r, f.blob.Digest, offset, length)
		return body, err
	}}, nil
}
