package layer

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The states of an image, as domain/image has them.
const (
	active     = 0
	archived   = 1
	activating = 2
)

// state puts an image into a state the way domain/image does.
func (w *world) state(s *Service, r repository.Repository, id int64, status int, ds ...name.Digest) {
	w.t.Helper()
	ctx := context.Background()
	w.must(w.durable.Update(ctx, func(tx *sqldb.Tx) error {
		if _, err := w.repositories.Lock(ctx, tx, r); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE image SET status = $2 WHERE id = $1`, id, status); err != nil {
			return err
		}
		return s.PlaceTx(ctx, tx, r, ds)
	}))
}

func (w *world) settle(s *Service, archived, recalled int64) {
	w.t.Helper()
	m, err := s.places.Run(context.Background())
	w.must(err)
	if m.Archived != archived || m.Recalled != recalled {
		w.t.Errorf("moved %+v, want %d to the archive and %d back", m, archived, recalled)
	}
	if n := w.count(w.durable, `SELECT count(*) FROM blob_placement`); n != 0 {
		w.t.Errorf("%d blobs wait to be looked at", n)
	}
}

// stands says how many objects stand in the store and in the archive.
func (w *world) stands(store, archive int) {
	w.t.Helper()
	inArchive := 0
	for _, err := range w.archive.List(context.Background(), "") {
		w.must(err)
		inArchive++
	}
	if n := len(w.objects()); n != store || inArchive != archive {
		w.t.Errorf("%d objects in the store and %d in the archive, want %d and %d", n, inArchive, store, archive)
	}
}

func TestBytesMoveWhenEveryImageIsArchived(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r, other := w.node(), w.repo("app", ""), w.repo("other", "")
		b := random(150_000)
		d := name.SHA256(b)
		w.push(s, r, b)
		w.push(s, other, b)
		one, err := w.image(s, r, "type", d)
		w.must(err)
		two, err := w.image(s, other, "type", d)
		w.must(err)

		w.state(s, r, one, archived, d)
		w.settle(s, 0, 0)
		w.stands(1, 0)
		w.holds(s, r, b) // another repository's image is active

		w.state(s, other, two, archived, d)
		_, err = s.Stat(ctx, r, d) // it is there until its bytes have gone
		w.must(err)
		w.settle(s, 1, 0)
		w.stands(0, 1)
		_, err = read(s, r, d)
		w.wantCode(err, errs.LayerInaccessible)
		_, err = s.Stat(ctx, r, d)
		w.wantCode(err, errs.LayersNotFound)
		found, err := s.Check(ctx, r, []name.Digest{d})
		w.must(err)
		if !found[d].Archived || found[d].Size != 150_000 {
			t.Errorf("checked: %+v", found[d])
		}
		if _, mounted, err := s.Mount(ctx, r, w.repo("third", ""), d); err != nil || mounted {
			t.Errorf("an archived layer was mounted: %t, %v", mounted, err)
		}
		w.sound(s)

		// One image on its way back brings the bytes for both.
		w.state(s, r, one, activating, d)
		w.must(s.Recall(ctx, r, []name.Digest{d}))
		w.stands(1, 0)
		w.state(s, r, one, active, d)
		w.settle(s, 0, 0)
		w.holds(s, r, b)

		// When the active one is deleted, the other is archived as a whole.
		w.must(w.dropImage(s, r, one, d))
		w.clock.Advance(25 * time.Hour)
		if _, err := s.Collect(ctx); err != nil {
			t.Fatal(err)
		}
		w.settle(s, 1, 0)
		w.stands(0, 1)

		// And when that goes, so do its bytes.
		w.must(w.dropImage(s, other, two, d))
		w.clock.Advance(25 * time.Hour)
		if _, err := s.Collect(ctx); err != nil {
			t.Fatal(err)
		}
		w.stands(0, 0)
		w.sound(s)
	})
}

// What is kept of a layer goes with it.
func TestNothingIsKeptOfWhatIsCollected(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		b := random(1000)
		d := name.SHA256(b)
		w.push(s, r, b)
		_, err := s.Stat(ctx, r, d)
		w.must(err)
		w.clock.Advance(25 * time.Hour)
		if did, err := s.Collect(ctx); err != nil || did.Layers != 1 {
			t.Fatalf("collected %+v, %v", did, err)
		}
		if _, ok, _ := s.kept.Get(r.ID, string(d)); ok {
			t.Error("a layer that is gone is kept in memory")
		}
		_, err = s.Stat(ctx, r, d)
		w.wantCode(err, errs.LayersNotFound)
		_, err = read(s, r, d)
		w.wantCode(err, errs.LayersNotFound)
	})
}

func TestPushOfArchivedLayer(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		s, r, other := w.node(), w.repo("app", ""), w.repo("other", "")
		a, b := random(100_000), random(70_000)
		da, db := name.SHA256(a), name.SHA256(b)
		w.push(s, r, a)
		w.push(s, r, b)
		id, err := w.image(s, r, "type", da, db)
		w.must(err)
		w.state(s, r, id, archived, da, db)
		w.settle(s, 2, 0)
		w.stands(0, 2)

		// Uploaded again, in another repository even, the bytes are in the store
		// at once and those in the archive are garbage.
		w.push(s, other, a)
		w.stands(1, 2)
		if _, err := s.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.stands(1, 1)
		if l, err := s.Stat(t.Context(), r, da); err != nil || l.Archived {
			t.Errorf("%+v %v", l, err)
		}

		// An image that names an archived layer without uploading it: readable at
		// once, and the bytes come back.
		_, err = w.image(s, r, "type", db)
		w.must(err)
		w.holds(s, r, b)
		w.stands(1, 1)
		w.settle(s, 0, 1)
		w.stands(2, 0)
		w.holds(s, r, b)
		w.sound(s)
	})
}

// A move that breaks off at any step leaves the blob readable, and nothing
// behind when the collector has been.
func TestMoveBreaksOff(t *testing.T) {
	broken := errors.New("broken")
	for _, op := range []string{"create", "create done", "write", "commit", "commit done", "delete", "delete done"} {
		t.Run(op, func(t *testing.T) {
			onEngines(t, func(t *testing.T, w *world) {
				fail := ""
				hit := false
				at := func(now string) error {
					if now == fail {
						hit = true
						return broken
					}
					return nil
				}
				w.archive = &faultyStore{Store: w.archive, fail: at}
				w.store = &faultyStore{Store: w.store, fail: at}
				s, r := w.node(), w.repo("app", "")
				b := random(1000)
				d := w.push(s, r, b).Digest
				id, err := w.image(s, r, "type", d)
				w.must(err)
				w.state(s, r, id, archived, d)
				fail = op
				if _, err = s.places.Run(t.Context()); err == nil && op != "delete" && op != "delete done" {
					t.Error("no error")
				}
				if !hit {
					t.Errorf("%s was not reached", op)
				}
				fail = ""
				w.sound(s)
				w.clock.Advance(25 * time.Hour)
				if _, err := s.Collect(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := s.places.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Collect(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.stands(0, 1)
				w.state(s, r, id, activating, d)
				w.must(s.Recall(t.Context(), r, []name.Digest{d}))
				w.holdsActive(s, r, id, b)
				w.sound(s)
			})
		})
	}
}

func (w *world) holdsActive(s *Service, r repository.Repository, id int64, b []byte) {
	w.t.Helper()
	w.state(s, r, id, active, name.SHA256(b))
	w.holds(s, r, b)
}

// Images of several repositories share layers and go to and fro, on two nodes:
// the layers of an active image can always be read, and in the end every blob
// stands where it belongs.
func TestMovesBesideEachOther(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		nodes := w.nodes(2)
		blobs := [][]byte{random(30_000), random(30_000), random(30_000)}
		var wg sync.WaitGroup
		for n := range 4 {
			r := w.repo(name.Repository("app"+string(rune('a'+n))), "")
			s := nodes[n%2]
			rng := rand.New(rand.NewPCG(uint64(n), 7))
			mine := [][]byte{blobs[n%3], blobs[(n+1)%3]}
			var ds []name.Digest
			for _, b := range mine {
				w.push(s, r, b)
				ds = append(ds, name.SHA256(b))
			}
			id, err := w.image(s, r, "type", ds...)
			w.must(err)
			wg.Go(func() {
				for range 25 {
					switch rng.IntN(4) {
					case 0:
						w.state(s, r, id, archived, ds...)
					case 1:
						w.state(s, r, id, activating, ds...)
						if err := s.Recall(t.Context(), r, ds); err != nil {
							t.Error(err)
						}
						w.state(s, r, id, active, ds...)
						for _, b := range mine {
							got, err := read(s, r, name.SHA256(b))
							if err != nil || !bytes.Equal(got, b) {
								t.Errorf("an active image's layer: %d bytes, %v", len(got), err)
							}
						}
					case 2:
						w.push(s, r, mine[rng.IntN(2)])
					case 3:
						if _, err := s.places.Run(t.Context()); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		s := nodes[0]
		if _, err := s.places.Run(t.Context()); err != nil {
			t.Error(err)
		}
		if n := w.count(w.durable, `SELECT count(*) FROM blob b WHERE b.archived AND EXISTS (`+refers+`<> 1)`); n != 0 {
			t.Errorf("%d blobs of active images are left in the archive", n)
		}
		if _, err := s.Collect(t.Context()); err != nil {
			t.Error(err)
		}
		w.sound(s)
	})
}

const refers = `SELECT 1 FROM layer l JOIN image_layer il ON il.repository_id = l.repository_id AND il.digest = l.digest JOIN image i ON i.id = il.image_id WHERE l.blob_id = b.id AND i.status `
