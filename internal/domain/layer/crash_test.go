package layer

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// A node is killed before and after every single operation on its databases and
// its store, in the middle of a life of pushes, a cancellation and a collection.
// Whatever was acknowledged is there, the client can go on, and in the end every
// object is accounted for.
func TestKilledAnywhere(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		operations := 0
		for {
			w.node()
			mortal, fuse := w.mortal(operations)
			r := w.repo(name.Repository("app"+string(rune('a'+operations%26))+time.Duration(operations).String()), "")
			l := &life{w: w, s: mortal, r: r, a: random(100_000), b: random(70_000)}
			l.live(context.Background())
			if fuse.op == "" {
				break
			}
			l.s = w.node()
			l.after(fuse.op)
			if t.Failed() {
				t.Fatalf("killed at operation %d, %q", operations, fuse.op)
			}
			operations++
		}
		t.Logf("killed at %d places", operations)
		if operations < 60 {
			t.Errorf("a life of only %d operations", operations)
		}
	})
}

// life is what a client does with a registry, and what it was told.
type life struct {
	w        *world
	s        *Service
	r        repository.Repository
	a, b     []byte
	id       string   // the upload of a
	uploaded [][]byte // acknowledged layers
	deleted  bool     // the client asked for the removal of a
}

func (l *life) live(ctx context.Context) {
	_ = l.try(ctx) // what was acknowledged stands in l
}

func (l *life) try(ctx context.Context) error {
	// A push in chunks.
	u, err := l.s.Start(ctx, l.r)
	if err != nil {
		return err
	}
	l.id = u.ID
	if _, err := l.s.Append(ctx, l.r, l.id, at(0, 66_000), bytes.NewReader(l.a[:66_000])); err != nil {
		return err
	}
	if _, err := l.s.Append(ctx, l.r, l.id, at(66_000, 10), bytes.NewReader(l.a[66_000:66_010])); err != nil {
		return err
	}
	if _, err := l.s.Complete(ctx, l.r, l.id, []name.Digest{name.SHA256(l.a)}, Unannounced(), bytes.NewReader(l.a[66_010:]), CompleteOptions{}); err != nil {
		return err
	}
	l.uploaded = append(l.uploaded, l.a)
	// Another one, the same again, and one that is wrong.
	for range 2 {
		if _, err := push(ctx, l.s, l.r, l.b); err != nil {
			return err
		}
		l.uploaded = append(l.uploaded, l.b)
	}
	if u, err = l.s.Start(ctx, l.r); err != nil {
		return err
	}
	_, err = l.s.Complete(ctx, l.r, u.ID, []name.Digest{name.SHA256(nil)}, Unannounced(), bytes.NewReader(l.a), CompleteOptions{})
	if errs.CodeOf(err) != errs.LayerDigestMismatch {
		return err
	}
	// One that is given up.
	if u, err = l.s.Start(ctx, l.r); err != nil {
		return err
	}
	if _, err := l.s.Append(ctx, l.r, u.ID, Unannounced(), bytes.NewReader(l.a)); err != nil {
		return err
	}
	if err := l.s.Cancel(ctx, l.r, u.ID); err != nil {
		return err
	}
	// One that goes again, with its bytes; b is needed by an image.
	if _, err := l.w.image(l.s, l.r, "type", name.SHA256(l.b)); err != nil {
		return err
	}
	l.deleted = true
	if err := l.s.Delete(ctx, l.r, name.SHA256(l.a)); err != nil {
		return err
	}
	l.w.clock.Advance(25 * time.Hour)
	if _, err := l.s.Collect(ctx); err != nil {
		return err
	}
	_, err = l.s.Expire(ctx)
	return err
}

// after looks at what a kill left, with a new node.
func (l *life) after(op string) {
	w, ctx := l.w, context.Background()
	w.t.Helper()
	for _, b := range l.uploaded {
		if bytes.Equal(b, l.a) && l.deleted {
			continue
		}
		w.holds(l.s, l.r, b)
	}
	w.sound(l.s)
	// The client goes on: where it was, or from the beginning.
	w.clock.Advance(21 * time.Second)
	if l.id != "" && len(l.uploaded) == 0 {
		u, err := l.s.Status(ctx, l.r, l.id)
		if err == nil {
			_, err = l.s.Complete(ctx, l.r, l.id, []name.Digest{name.SHA256(l.a)}, Unannounced(), bytes.NewReader(l.a[u.Received:]), CompleteOptions{})
		}
		if err != nil && errs.CodeOf(err) != errs.UploadNotFound {
			w.t.Errorf("killed at %q: going on: %v", op, err)
		}
	}
	for _, b := range [][]byte{l.a, l.b} {
		w.push(l.s, l.r, b)
		w.holds(l.s, l.r, b)
	}
	_, err := w.image(l.s, l.r, "type", name.SHA256(l.a), name.SHA256(l.b))
	w.must(err)
	// A day later nothing is left but the two layers.
	w.clock.Advance(25 * time.Hour)
	_, err = l.s.Expire(ctx)
	w.must(err)
	_, err = l.s.Collect(ctx)
	w.must(err)
	w.holds(l.s, l.r, l.a)
	w.holds(l.s, l.r, l.b)
	for _, p := range w.problems(l.s) {
		w.t.Errorf("killed at %q: a day later: %+v", op, p)
	}
	if n := w.count(w.volatile, `SELECT count(*) FROM upload`); n != 0 {
		w.t.Errorf("killed at %q: a day later %d upload rows are left", op, n)
	}
	// Make room for the next life.
	w.must(w.durable.Update(ctx, func(tx *sqldb.Tx) error {
		locked, err := w.repositories.Lock(ctx, tx, l.r)
		if err != nil {
			return err
		}
		if err := l.s.ReleaseRepositoryTx(ctx, tx, locked.ID); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM repository WHERE id = $1`, locked.ID)
		return err
	}))
	w.clock.Advance(25 * time.Hour)
	_, err = l.s.Collect(ctx)
	w.must(err)
	if got := w.objects(); len(got) != 0 {
		w.t.Errorf("killed at %q: the repository is gone and %d objects are left", op, len(got))
	}
}

// snapshot copies the upload rows aside under a name; restore brings them back,
// as a power cut does that loses what the volatile database had not written.
func (w *world) snapshot(form string) {
	w.t.Helper()
	w.volatileExec(`CREATE TABLE ` + form + ` AS SELECT * FROM upload`)
}

func (w *world) restore(form string) {
	w.t.Helper()
	w.volatileExec(`DELETE FROM upload`, `INSERT INTO upload SELECT * FROM `+form)
}

func (w *world) volatileExec(statements ...string) {
	w.t.Helper()
	w.must(w.volatile.Update(context.Background(), func(tx *sqldb.Tx) error {
		for _, statement := range statements {
			if _, err := tx.Exec(context.Background(), statement); err != nil {
				return err
			}
		}
		return nil
	}))
}

// unfinished is the object of an upload.
func (w *world) unfinished(id string) string {
	w.t.Helper()
	var objectKey string
	w.must(w.volatile.View(context.Background(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(context.Background(), `SELECT object_key FROM upload WHERE id = $1`, id).Scan(&objectKey)
	}))
	return objectKey
}

// Rows of finished uploads come back, in any of their earlier forms. Whatever
// is then done with them, the layer keeps its bytes.
func TestPowerCutBringsRowsBack(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		b := random(150_000)
		digests := []name.Digest{name.SHA256(b)}
		forms := []string{"started", "chunk_1", "chunk_2", "closed"}
		id := w.start(s, r)
		w.snapshot(forms[0])
		for i, cut := range [][2]int{{0, 66_000}, {66_000, 100_000}} {
			_, err := s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[cut[0]:cut[1]]))
			w.must(err)
			w.snapshot(forms[i+1])
		}
		w.snapshot(forms[3])
		w.volatileExec(`UPDATE closed SET closed = TRUE`)
		_, err := s.Complete(ctx, r, id, digests, Unannounced(), bytes.NewReader(b[100_000:]), CompleteOptions{})
		w.must(err)
		_, err = w.image(s, r, "type", digests[0])
		w.must(err)
		uses := map[string]func(s *Service) error{
			"append": func(s *Service) error {
				_, err := s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b))
				return err
			},
			"complete": func(s *Service) error {
				_, err := s.Complete(ctx, r, id, digests, Unannounced(), bytes.NewReader(b), CompleteOptions{})
				return err
			},
			"cancel": func(s *Service) error { return s.Cancel(ctx, r, id) },
		}
		for _, form := range forms {
			for use, do := range uses {
				w.restore(form)
				s := w.node()
				w.wantCode(do(s), errs.UploadNotFound)
				w.holds(s, r, b)
				if t.Failed() {
					t.Fatalf("%s, %s", form, use)
				}
			}
			w.restore(form)
			w.clock.Advance(25 * time.Hour)
			n, err := w.node().Expire(ctx)
			w.must(err)
			if n != 1 {
				t.Errorf("%d rows expired", n)
			}
			w.holds(s, r, b)
		}
		// The rows of an upload whose object is being given up.
		id = w.start(s, r)
		_, err = s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[:100_000]))
		w.must(err)
		w.snapshot("before")
		mortal, fuse := w.mortal(1 << 30)
		mortal.durable.(*faultyDB).f.fail = func(op string) error {
			if op == "delete" {
				fuse.left = 0
			}
			return fuse.blow(op)
		}
		if err := mortal.Cancel(ctx, r, id); !errors.Is(err, errKilled) {
			t.Fatalf("got %v", err)
		}
		w.restore("before")
		if w.alone {
			s = w.node() // the power cut ends the only one
		}
		_, err = s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[100_000:]))
		w.wantCode(err, errs.UploadNotFound)
		w.clock.Advance(time.Hour) // the dead node had claimed the object
		_, err = s.Collect(ctx)
		w.must(err)
		if got := w.objects(); len(got) != 1 {
			t.Errorf("objects %q", got)
		}
		w.sound(s)
	})
}

// A power cut that is over before the client comes back can leave a file of the
// right length with other bytes in it.
func TestPowerCutChangesUnsyncedBytes(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		r := w.repo("app", "")
		real := w.store
		opened := 0
		w.store = &faultyStore{Store: real, fail: func(op string) error {
			if op == "open" {
				opened++
			}
			return nil
		}}
		b := random(100_000)
		digests := []name.Digest{name.SHA256(b)}
		begin := func(s *Service) string {
			id := w.start(s, r)
			_, err := s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[:50_000]))
			w.must(err)
			return id
		}
		end := func(s *Service, id string) error {
			_, err := s.Complete(ctx, r, id, digests, Unannounced(), bytes.NewReader(b[50_000:]), CompleteOptions{})
			return err
		}
		damage := func(id string) {
			objectKey := w.unfinished(id)
			w.must(real.(interface {
				Damage(string, func([]byte) []byte) error
			}).Damage(objectKey, func(b []byte) []byte {
				b = bytes.Clone(b)
				clear(b[100:200])
				return b
			}))
		}

		id := begin(w.node())
		damage(id)
		w.wantCode(end(w.node(), id), errs.UploadNotFound)
		if opened != 1 || len(w.objects()) != 0 {
			t.Errorf("%d reads, objects %q", opened, w.objects())
		}
		// Also when the process that finds out is the one that brought the rest.
		id = begin(w.node())
		damage(id)
		s := w.node()
		_, err := s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[50_000:60_000]))
		w.must(err)
		_, err = s.Complete(ctx, r, id, digests, Unannounced(), bytes.NewReader(b[60_000:]), CompleteOptions{})
		w.wantCode(err, errs.UploadNotFound)
		if opened != 2 {
			t.Errorf("%d reads", opened)
		}
		// Undamaged, it only costs the reading; within one process not even that.
		w.must(end(w.node(), begin(w.node())))
		if opened != 3 {
			t.Errorf("%d reads", opened)
		}
		s = w.node()
		w.must(end(s, begin(s)))
		durable := w.nodeWith(func(c *upload.Config) { c.DurableSuspend = true })
		w.must(end(durable, begin(w.node())))
		if opened != 3 {
			t.Errorf("%d reads", opened)
		}
		w.holds(s, r, b)
	})
}

func TestExpire(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		idle, busy, empty := w.start(s, r), w.start(s, r), w.start(s, r)
		for _, id := range []string{idle, busy} {
			_, err := s.Append(ctx, r, id, Unannounced(), bytes.NewReader(random(70_000)))
			w.must(err)
		}
		w.clock.Advance(23 * time.Hour)
		_, err := s.Append(ctx, r, busy, Unannounced(), bytes.NewReader(random(10)))
		w.must(err)
		w.clock.Advance(time.Hour + time.Second)
		// Over at once, removed by the next run.
		for _, id := range []string{idle, empty} {
			_, err = s.Append(ctx, r, id, Unannounced(), bytes.NewReader(nil))
			w.wantCode(err, errs.UploadNotFound)
			_, err = s.Status(ctx, r, id)
			w.wantCode(err, errs.UploadNotFound)
		}
		n, err := s.Expire(ctx)
		w.must(err)
		if n != 2 || len(w.objects()) != 1 || w.count(w.volatile, `SELECT count(*) FROM upload`) != 1 {
			t.Errorf("%d expired, objects %q", n, w.objects())
		}
		u, err := s.Status(ctx, r, busy)
		w.must(err)
		if u.Received != 70_010 {
			t.Errorf("got %+v", u)
		}
		w.sound(s)

		// Someone is writing: the lease protects the row whatever its age.
		writing, hangUp := w.slow(s, r, busy, random(10))
		w.volatileExec(`UPDATE upload SET expires_at = 0`)
		if n, err = s.Expire(ctx); err != nil || n != 0 {
			t.Errorf("%d expired, %v", n, err)
		}
		hangUp()
		w.wantCode(<-writing, errs.UploadInterrupted)
		w.volatileExec(`UPDATE upload SET expires_at = 0`)
		if n, err = s.Expire(ctx); err != nil || n != 1 {
			t.Errorf("%d expired, %v", n, err)
		}
		if len(w.objects()) != 0 {
			t.Errorf("objects %q", w.objects())
		}
	})
}

// Complete that hangs behind its commit while its upload is given up elsewhere
// must not come back with a layer whose bytes are gone, whether they are still
// in the garbage or no longer known at all.
func TestCompleteAgainstExpiry(t *testing.T) {
	for _, stuck := range []bool{true, false} {
		onEngines(t, func(t *testing.T, w *world) {
			ctx := t.Context()
			r := w.repo("app", "")
			b := random(1000)
			w.several()
			s, hang, gone := w.hanging("commit")
			id := w.start(s, r)
			result := make(chan error)
			go func() {
				_, err := s.Complete(ctx, r, id, []name.Digest{name.SHA256(b)}, Unannounced(), bytes.NewReader(b), CompleteOptions{})
				result <- err
			}()
			<-hang
			real := w.store
			w.store = &faultyStore{Store: real, fail: func(op string) error {
				if op == "delete" && stuck {
					return blobstore.ErrFull // so that the garbage row stays
				}
				return nil
			}}
			other := w.node()
			w.store = real
			// The other node's clock is a day ahead: only the rows can tell.
			w.clock.Advance(25 * time.Hour)
			if _, err := other.Expire(ctx); (err != nil) != stuck {
				t.Fatal(err)
			}
			if stuck {
				w.clock.Advance(-25 * time.Hour)
			}
			close(gone)
			w.wantCode(<-result, errs.UploadNotFound)
			_, err := s.Stat(ctx, r, name.SHA256(b))
			w.wantCode(err, errs.LayersNotFound)
			w.clock.Advance(50 * time.Hour)
			_, err = w.node().Collect(ctx)
			w.must(err)
			if len(w.objects()) != 0 {
				t.Errorf("objects %q", w.objects())
			}
			w.sound(s)
		})
	}
}
