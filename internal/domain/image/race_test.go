package image_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// together runs the functions at once.
func together(fns ...func()) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for _, fn := range fns {
		wg.Go(func() {
			<-start
			fn()
		})
	}
	close(start)
	wg.Wait()
}

func TestOnePushWinsAnImmutableTag(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := open(t, db, nil)
		r := w.repo("immutable", repository.Mutability{Setting: repository.Immutable})
		for round := range 10 {
			tag := name.Tag(fmt.Sprint("v", round))
			const pushers = 6
			results := make([]error, pushers)
			var pushes []func()
			for i := range pushers {
				p := w.oci(r, fmt.Sprint(round, " ", i), "")
				pushes = append(pushes, func() {
					_, _, results[i] = w.Put(context.Background(), r, image.Put{Manifest: []byte(p.body), Tag: tag})
				})
			}
			together(pushes...)
			won := 0
			for _, err := range results {
				switch {
				case err == nil:
					won++
				case !errs.Is(err, errs.TagExists):
					t.Error(err)
				}
			}
			if won != 1 {
				t.Errorf("%d pushes won the tag %s", won, tag)
			}
		}
		if got := len(w.state(r)); got != 10 {
			t.Errorf("%d images are there; those that lost must not stay", got)
		}
	})
}

func TestTheSamePushAtOnceCreatesOnce(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := open(t, db, nil)
		for round := range 10 {
			p, tag := w.oci(w.app, fmt.Sprint(round), ""), name.Tag(fmt.Sprint("v", round))
			const pushers = 6
			created := make([]bool, pushers)
			var pushes []func()
			for i := range pushers {
				pushes = append(pushes, func() {
					var err error
					if _, created[i], err = w.Put(context.Background(), w.app, image.Put{Manifest: []byte(p.body), Tag: tag}); err != nil {
						t.Error(err)
					}
				})
			}
			together(pushes...)
			n := 0
			for _, c := range created {
				if c {
					n++
				}
			}
			if n != 1 {
				t.Errorf("created %d times", n)
			}
		}
		if got := len(w.state(w.app)); got != 10 || len(w.events()) != 10 {
			t.Errorf("%d images, %d events", got, len(w.events()))
		}
	})
}

func TestIndexPushRacesDeleteOfItsChild(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), context.Background()
		for round := range 20 {
			child := w.oci(w.app, fmt.Sprint(round), "")
			w.push(w.app, child, "")
			parent := index(fmt.Sprint(round), child.digest)
			var putErr, deleteErr error
			var removed []image.Ref
			var failures []image.Failure
			together(
				func() { _, _, putErr = w.Put(ctx, w.app, image.Put{Manifest: []byte(parent.body)}) },
				func() { removed, failures, deleteErr = w.Delete(ctx, w.app, []image.Ref{{Digest: child.digest}}) },
			)
			w.must(deleteErr)
			switch {
			case putErr == nil && len(failures) == 1 && failures[0].Code == image.Referenced && len(removed) == 0:
			case errs.Is(putErr, errs.ReferencedImagesNotFound) && len(failures) == 0 && len(removed) == 1:
			default:
				t.Errorf("push: %v; delete: %v %v", putErr, removed, failures)
			}
		}
		w.state(w.app) // finds an index without its child
	})
}

func TestQuotaHoldsAgainstPushesAtOnce(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := open(t, db, func(c *image.Config) { c.Quotas = limits(func(l *quota.Limits) { l.ImagesPerRepository = 5 }) })
		var pushes []func()
		for i := range 12 {
			p := w.oci(w.app, fmt.Sprint(i), "")
			pushes = append(pushes, func() {
				_, _, err := w.Put(context.Background(), w.app, image.Put{Manifest: []byte(p.body)})
				if err != nil && !errs.Is(err, errs.LimitExceeded) {
					t.Error(err)
				}
			})
		}
		together(pushes...)
		if got := len(w.state(w.app)); got != 5 {
			t.Errorf("%d images under a quota of 5", got)
		}
	})
}

// TestEverythingAtOnce lets pushes, deletions, pulls and flushes meet; at the
// end the database has to be consistent.
func TestEverythingAtOnce(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), context.Background()
		var pictures []picture
		for i := range 4 {
			pictures = append(pictures, w.oci(w.app, fmt.Sprint(i), ""))
		}
		for _, p := range pictures[:2] {
			w.push(w.app, p, "")
		}
		parent := index("x", pictures[0].digest, pictures[1].digest)
		allowed := func(err error, codes ...errs.Code) {
			for _, c := range codes {
				if errs.Is(err, c) {
					return
				}
			}
			if err != nil {
				t.Error(err)
			}
		}
		var all []func()
		for i := range 6 {
			all = append(all, func() {
				for n := range 15 {
					p, tag := pictures[(i+n)%4], name.Tag(fmt.Sprint("t", (i*n)%3))
					_, _, err := w.Put(ctx, w.app, image.Put{Manifest: []byte(p.body), Tag: tag})
					allowed(err)
					_, _, err = w.Put(ctx, w.app, image.Put{Manifest: []byte(parent.body), Tag: "multi"})
					allowed(err, errs.ReferencedImagesNotFound)
					_, err = w.Get(ctx, w.app, image.Ref{Tag: tag}, nil)
					allowed(err, errs.ImageNotFound)
					allowed(w.Flush(ctx))
					_, _, err = w.Delete(ctx, w.app, []image.Ref{{Tag: "multi"}, {Digest: pictures[n%4].digest}, {Tag: tag}})
					allowed(err)
				}
			})
		}
		together(all...)
		w.state(w.app)
	})
}
