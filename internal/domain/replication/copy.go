package replication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/replication/rules"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/jobs"
)

const (
	// blobsAtOnce is how many blobs of an image are sent side by side. As many besides
	// may have been sent and wait for the destination to have stored them, so that the
	// line does not wait for that.
	blobsAtOnce = 4
	// pieceSize is how much of a blob is read at once, and the burst of the limit on
	// bandwidth.
	pieceSize = 256 << 10
	// callLimit bounds a call that brings no blob.
	callLimit = 2 * time.Minute
	// stallLimit is how long the bytes of a blob may stand still, and settleLimit how
	// long the destination may take to store a blob once it has all of it.
	stallLimit  = 2 * time.Minute
	settleLimit = time.Hour
	// maxDepth bounds indexes within indexes.
	maxDepth = 16
	// resumptions is how often a blob goes on after a break within one try of its
	// item; busyPause and busyLimit are for one that somebody else sends.
	resumptions = 3
	busyPause   = time.Second
	busyLimit   = 10 * time.Minute
	// imagesPerCall bounds the digests that one call asks about.
	imagesPerCall = 100
)

// carriage is one try of an item.
type carriage struct {
	*Service
	task  jobs.Task
	item  item
	repo  repository.Repository
	dest  Destination // nil before it is found
	sent  atomic.Int64
	total atomic.Int64
}

// carry does the item.
func (c *carriage) carry(ctx context.Context) (outcome, error) {
	i := c.item
	p, err := c.Plan(ctx, i.source)
	if err != nil {
		return outcome{}, here(err)
	}
	if !slices.Contains(p.Destinations(i.repository), i.Destination) {
		return outcome{dropped: true}, nil
	}
	dest, ok := c.Destination(i.Destination.Region)
	if !ok {
		return outcome{}, errs.New(errs.Unavailable, "Nothing takes images to the region '%s' at present", i.Destination.Region)
	}
	c.dest = bounded{dest}
	if i.removal {
		return outcome{}, c.remove(ctx, p)
	}
	if c.repo, err = c.Repositories.Get(ctx, i.source, i.repository); err == nil && c.repo.ID != i.RepositoryID {
		err = repository.NotFound(i.source, i.repository)
	}
	if err != nil {
		return outcome{}, here(err)
	}
	// What was deleted or archived meanwhile makes no repository.
	if _, err := c.source(ctx, i.digest); err != nil {
		return outcome{}, err
	}
	if err := c.dest.Prepare(ctx, i.place()); err != nil {
		return outcome{}, err
	}
	if err := c.image(ctx, i.digest, i.tag, 0); err != nil {
		return outcome{}, err
	}
	return outcome{follow: len(p.Of(i.Destination).Tags) > 0}, nil
}

// remove copies a deletion, unless the option was turned off.
func (c *carriage) remove(ctx context.Context, p rules.Plan) error {
	i := c.item
	if o := p.Of(i.Destination); i.tag == "" && !o.Deletes || i.tag != "" && !o.Untags {
		return nil
	}
	err := c.dest.Remove(ctx, i.place(), Removal{Digest: i.digest, Tag: i.tag, Seq: i.seq})
	if errs.Is(err, errs.RepositoryNotFound) {
		return nil
	}
	return err
}

// image copies an image: what it names first, then its blobs, then itself.
func (c *carriage) image(ctx context.Context, d name.Digest, tag name.Tag, depth int) error {
	img, err := c.source(ctx, d)
	if err != nil {
		return err
	}
	m := Manifest{Digest: d, MediaType: img.MediaType, Body: img.Manifest, Tag: tag, Seq: c.item.seq}
	parsed, err := manifest.Parse(m.Body, m.MediaType, manifest.Limits{})
	if err != nil {
		return &sourceError{code: ManifestInvalid, err: fmt.Errorf("the stored manifest %s cannot be read: %w", d, err)}
	}
	whole := false
	if depth == 0 && c.item.attempts == 0 {
		// Often only a tag is new.
		there, err := c.dest.Images(ctx, c.item.place(), []name.Digest{d})
		if err != nil {
			return err
		}
		whole = len(there) == 1
	}
	if !whole {
		if err := c.children(ctx, parsed.ChildManifests(), depth); err != nil {
			return err
		}
		if err := c.blobs(ctx, parsed.Blobs()); err != nil {
			return err
		}
	}
	_, err = c.dest.PutImage(ctx, c.item.place(), m)
	return err
}

// children copies the images that an index names and that the destination lacks.
func (c *carriage) children(ctx context.Context, all []manifest.Descriptor, depth int) error {
	if len(all) > 0 && depth >= maxDepth {
		return &sourceError{code: ManifestInvalid, err: fmt.Errorf("indexes stand more than %d deep in each other", maxDepth)}
	}
	for some := range slices.Chunk(all, imagesPerCall) {
		ds := make([]name.Digest, len(some))
		for n, child := range some {
			ds[n] = child.Digest
		}
		there, err := c.dest.Images(ctx, c.item.place(), ds)
		if err != nil {
			return err
		}
		for _, d := range ds {
			if slices.Contains(there, d) {
				continue
			}
			if err := c.child(ctx, d, depth+1); err != nil {
				return &childError{digest: d, err: err}
			}
		}
	}
	return nil
}

func (c *carriage) child(ctx context.Context, d name.Digest, depth int) error {
	_, err := c.source(ctx, d)
	if own, ok := errors.AsType[*sourceError](err); ok && own.code == ImageNotFound {
		if c.Complete == nil {
			return &missingChild{code: ImageNotFound, err: &sourceError{code: ReferencedImagesNotFound, err: err}}
		}
		if err := c.Complete(ctx, c.repo, d); err != nil {
			if passing(err) {
				return here(err)
			}
			return &missingChild{code: ImageNotFound, err: &sourceError{code: ReferencedImagesNotFound, err: err}}
		}
	} else if err != nil {
		return err
	}
	err = c.image(ctx, d, "", depth)
	if own, ok := errors.AsType[*sourceError](err); ok && own.code == ImageNotFound { // deleted in between
		err = &missingChild{code: ImageNotFound, err: &sourceError{code: ReferencedImagesNotFound, err: err}}
	}
	return err
}

// passing says whether an upstream's failure may be over soon.
func passing(err error) bool {
	return !errs.Is(err, errs.ImageNotFound) && !errs.Is(err, errs.RepositoryNotFound) && !errs.Is(err, errs.AccessDenied) && !errs.Is(err, errs.PullThroughRuleNotFound)
}

// blobs copies those that the destination lacks.
func (c *carriage) blobs(ctx context.Context, all []manifest.Descriptor) error {
	var ds []name.Digest
	for _, b := range all {
		if !b.Foreign {
			ds = append(ds, b.Digest)
		}
	}
	if len(ds) == 0 {
		return nil
	}
	layers, err := c.Layers.Check(ctx, c.repo, ds)
	if err != nil {
		return here(err)
	}
	needed := make([]Blob, 0, len(ds))
	for _, d := range ds {
		l, ok := layers[d]
		if !ok {
			return here(errs.New(errs.LayersNotFound, "The layer with digest '%s' of the image is missing. Run fsck.", d))
		}
		needed = append(needed, Blob{Digest: d, Size: l.Size})
	}
	parts, err := c.dest.Lacking(ctx, c.item.place(), needed)
	if err != nil {
		return err
	}
	for _, p := range parts {
		c.total.Add(p.Size - p.Offset)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * blobsAtOnce)
	sending := make(chan struct{}, blobsAtOnce)
	for _, p := range parts {
		select {
		case sending <- struct{}{}:
		case <-ctx.Done():
			cut := context.Cause(ctx)
			return cmp.Or(group.Wait(), cut)
		}
		sent := sync.OnceFunc(func() { <-sending })
		group.Go(func() error {
			defer sent()
			return c.blob(ctx, p, sent)
		})
	}
	return group.Wait()
}

// blob copies one blob, and calls sent when all its bytes are on their way. It goes
// on after a break, and waits for whoever else sends the same.
func (c *carriage) blob(ctx context.Context, p Part, sent func()) error {
	key := flight{to: Place{Destination: c.item.Destination, Repository: c.item.repository}, digest: p.Digest}
	waited, err := c.flights.begin(ctx, key)
	if err != nil {
		return err
	}
	defer c.flights.end(key)
	broken, busySince := 0, time.Time{}
	for again := waited; ; again = true {
		if again {
			left, err := c.dest.Lacking(ctx, c.item.place(), []Blob{p.Blob})
			if err != nil || len(left) == 0 {
				return err
			}
			p = left[0]
		}
		err := c.put(ctx, p, sent)
		switch {
		case errs.Is(err, errs.UploadBusy):
			if busySince.IsZero() {
				busySince = time.Now()
			}
			if time.Since(busySince) > busyLimit {
				return err
			}
		case errs.Is(err, errs.UploadInterrupted), errs.Is(err, errs.UploadNotFound), errs.Is(err, errs.LayerPartInvalid), errs.Is(err, errs.RangeInvalid):
			if broken++; broken > resumptions {
				return err
			}
		default:
			return err
		}
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

var errStalled = errs.New(errs.Unavailable, "The destination has not taken any more bytes of a layer for too long")

// put sends the bytes of one part, and calls sent when the last one was taken.
func (c *carriage) put(ctx context.Context, p Part, sent func()) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body := io.NopCloser(strings.NewReader(""))
	if p.Offset < p.Size {
		if body, _, err = c.Layers.Open(ctx, c.repo, p.Digest, p.Offset, -1); err != nil {
			return here(err)
		}
	}
	watch := time.AfterFunc(stallLimit, func() { cancel(errStalled) })
	defer watch.Stop()
	var broken atomic.Pointer[error]
	err = c.dest.PutBlob(ctx, c.item.place(), p, c.stream(ctx, body, watch, sent, &broken))
	closed := body.Close()
	switch failed := broken.Load(); {
	case failed != nil:
		return here(*failed)
	case err != nil && errors.Is(context.Cause(ctx), errStalled):
		return errStalled
	case err == nil && closed != nil:
		c.Log.WarnContext(ctx, "a layer was not closed after it was sent", "digest", p.Digest, "error", closed)
	}
	return err
}

// stream makes the body of a blob on its way: counted, within the bandwidth, and
// watched. sent is called at its end; failed keeps why the bytes could not be read.
func (c *carriage) stream(ctx context.Context, body io.Reader, watch *time.Timer, sent func(), failed *atomic.Pointer[error]) io.Reader {
	return readFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		watch.Reset(stallLimit)
		n, err := body.Read(p[:min(len(p), pieceSize)])
		if n > 0 {
			if c.limiter != nil {
				watch.Stop() // a small bandwidth is no stall
				if err := c.limiter.WaitN(ctx, n); err != nil {
					return 0, context.Cause(ctx)
				}
				watch.Reset(stallLimit)
			}
			_ = c.task.Progress(ctx, c.sent.Add(int64(n)), c.total.Load(), string(c.item.repository)+" to "+c.item.Destination.String()) // PutBlob sees for itself that ctx has ended
		}
		switch {
		case err == io.EOF:
			watch.Reset(settleLimit)
			sent()
		case err != nil && ctx.Err() == nil:
			failed.Store(&err)
		}
		return n, err
	})
}

// readFunc is an io.Reader.
type readFunc func(p []byte) (int, error)

// Read implements io.Reader.
func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// bounded is a destination whose calls end in time.
type bounded struct{ Destination }

// within runs a call, for which callLimit is too long a time.
func within[T any](ctx context.Context, fn func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	v, err := fn(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = errs.Wrap(err, errs.Unavailable, "The destination has not answered for too long")
	}
	return v, err
}

// Prepare implements Destination.
func (b bounded) Prepare(ctx context.Context, p Place) error {
	_, err := within(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, b.Destination.Prepare(ctx, p) })
	return err
}

// Lacking implements Destination.
func (b bounded) Lacking(ctx context.Context, p Place, blobs []Blob) ([]Part, error) {
	return within(ctx, func(ctx context.Context) ([]Part, error) { return b.Destination.Lacking(ctx, p, blobs) })
}

// Images implements Destination.
func (b bounded) Images(ctx context.Context, p Place, ds []name.Digest) ([]name.Digest, error) {
	return within(ctx, func(ctx context.Context) ([]name.Digest, error) { return b.Destination.Images(ctx, p, ds) })
}

// PutImage implements Destination.
func (b bounded) PutImage(ctx context.Context, p Place, m Manifest) (bool, error) {
	return within(ctx, func(ctx context.Context) (bool, error) { return b.Destination.PutImage(ctx, p, m) })
}

// Remove implements Destination.
func (b bounded) Remove(ctx context.Context, p Place, r Removal) error {
	_, err := within(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, b.Destination.Remove(ctx, p, r) })
	return err
}

// Failed implements Destination.
func (b bounded) Failed(ctx context.Context, p Place, m Manifest, code string) error {
	_, err := within(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, b.Destination.Failed(ctx, p, m, code) })
	return err
}
