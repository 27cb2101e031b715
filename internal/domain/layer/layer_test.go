package layer

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

func TestPushAndRead(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		b := random(300_000) // more than a buffer and several segments

		t.Run("one PATCH and an empty PUT", func(t *testing.T) {
			id := w.start(s, r)
			u, err := s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b))
			w.must(err)
			if u.Received != int64(len(b)) || u.Parts != 1 || u.ID != id {
				t.Errorf("got %+v", u)
			}
			l, err := s.Complete(ctx, r, id, []name.Digest{name.SHA256(b)}, Unannounced(), nil, CompleteOptions{})
			w.must(err)
			if l.Digest != name.SHA256(b) || l.Size != int64(len(b)) {
				t.Errorf("got %+v", l)
			}
			w.holds(s, r, b)
		})
		t.Run("one PUT", func(t *testing.T) {
			b := random(10)
			w.push(s, r, b)
			w.holds(s, r, b)
		})
		t.Run("chunks on different nodes", func(t *testing.T) {
			b := random(200_000)
			id := w.start(s, r)
			for i, cut := range [][2]int{{0, 70_000}, {70_000, 70_001}, {70_001, 150_000}} {
				node := s
				if !w.alone {
					node = w.node()
				}
				u, err := node.Append(ctx, r, id, at(int64(cut[0]), cut[1]-cut[0]), bytes.NewReader(b[cut[0]:cut[1]]))
				w.must(err)
				if u.Received != int64(cut[1]) || u.Parts != int64(i+1) {
					t.Errorf("got %+v", u)
				}
				status, err := s.Status(ctx, r, id)
				w.must(err)
				if !reflect.DeepEqual(status, u) {
					t.Errorf("status %+v, append %+v", status, u)
				}
			}
			_, err := s.Complete(ctx, r, id, []name.Digest{name.SHA256(b)}, at(150_000, 50_000), bytes.NewReader(b[150_000:]), CompleteOptions{})
			w.must(err)
			w.holds(s, r, b)
		})
		t.Run("nothing at all", func(t *testing.T) {
			w.push(s, r, nil)
			w.holds(s, r, nil)
		})
		t.Run("a part of it", func(t *testing.T) {
			for _, c := range []struct{ offset, length, want int64 }{
				{0, 1, 1}, {65_535, 2, 2}, {299_999, 1, 1}, {300_000, -1, 0}, {1, -1, 299_999}, {100, 0, 0},
			} {
				body, l, err := s.Open(ctx, r, name.SHA256(b), c.offset, c.length)
				w.must(err)
				got, err := io.ReadAll(body)
				w.must(errors.Join(err, body.Close()))
				if !bytes.Equal(got, b[c.offset:c.offset+c.want]) || l.Size != 300_000 {
					t.Errorf("%d+%d: got %d bytes of %+v", c.offset, c.length, len(got), l)
				}
				body, _, err = s.Open(ctx, r, name.SHA256(b), c.offset, c.length)
				w.must(err)
				var to bytes.Buffer
				_, err = body.(io.WriterTo).WriteTo(&to)
				w.must(errors.Join(err, body.Close()))
				if !bytes.Equal(to.Bytes(), got) {
					t.Errorf("WriteTo gives other bytes than Read")
				}
			}
			for _, c := range [][2]int64{{300_001, -1}, {299_999, 2}, {-1, 1}} {
				_, _, err := s.Open(ctx, r, name.SHA256(b), c[0], c[1])
				w.wantCode(err, errs.RangeInvalid)
			}
		})
		w.sound(s)
		if w.alone { // rows of finished uploads wait for others
			_, err := s.Expire(ctx)
			w.must(err)
		}
		if n := w.count(w.volatile, `SELECT count(*) FROM upload`); n != 0 {
			t.Errorf("%d upload rows are left", n)
		}
		if n := w.count(w.durable, `SELECT count(*) FROM garbage`); n != 0 {
			t.Errorf("%d garbage rows are left", n)
		}
	})
}

func TestChunkRules(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		id := w.start(s, r)
		b := random(100)
		appendAt := func(c Chunk, b []byte) error {
			_, err := s.Append(ctx, r, id, c, bytes.NewReader(b))
			return err
		}
		received := func(want int64) {
			t.Helper()
			u, err := s.Status(ctx, r, id)
			w.must(err)
			if u.Received != want {
				t.Fatalf("%d bytes are kept, want %d", u.Received, want)
			}
		}
		w.wantCode(appendAt(at(1, 10), b[1:11]), errs.RangeInvalid) // a gap
		w.wantCode(appendAt(at(0, 10), b[:9]), errs.RangeInvalid)   // short
		w.wantCode(appendAt(at(0, 10), b[:11]), errs.RangeInvalid)  // long
		w.wantCode(appendAt(Chunk{First: 0, Last: -1}, nil), errs.RangeInvalid)
		received(0)
		w.must(appendAt(at(0, 10), b[:10]))
		w.must(appendAt(Unannounced(), nil)) // adds nothing
		received(10)
		w.wantCode(appendAt(at(0, 10), b[:10]), errs.RangeInvalid) // again
		w.wantCode(appendAt(at(9, 10), b[9:19]), errs.RangeInvalid)
		w.wantCode(appendAt(at(10, 10), b[10:21]), errs.RangeInvalid)
		received(10)

		// The ECR API's parts.
		err := appendAt(part(0, 10), b[:10])
		w.wantText(err, errs.LayerPartInvalid, fmt.Sprintf("Invalid layer part with first byte '0' and last byte '9' for the upload with id '%s'"+
			" in the repository with name 'app' in registry with id '123456789012': the next byte is 10", id))
		want := map[string]any{"registryId": "123456789012", "repositoryName": "app", "uploadId": id, "lastValidByteReceived": int64(9)}
		if e, _ := errors.AsType[*errs.Error](err); !reflect.DeepEqual(e.Detail, want) {
			t.Errorf("detail %v, want %v", e.Detail, want)
		}
		w.wantCode(appendAt(part(10, 5), b[10:14]), errs.LayerPartInvalid)
		w.wantCode(appendAt(part(10, 21), b[10:31]), errs.LayerPartInvalid) // over 20
		received(10)
		w.must(appendAt(part(10, 20), b[10:30]))
		w.must(appendAt(part(30, 20), b[30:50]))
		w.must(appendAt(part(50, 5), b[50:55]))
		w.wantText(appendAt(part(55, 5), b[55:60]), errs.LimitExceeded,
			"The upload with id '"+id+"' already has the maximum allowed number of layer parts which is '4'")
		_, err = s.Append(ctx, r, id, part(55, 5), broken(b[55:58]))
		w.wantCode(err, errs.LimitExceeded)
		received(55)
		_, err = s.Complete(ctx, r, id, []name.Digest{name.SHA256(b[:60])}, at(55, 5), bytes.NewReader(b[55:60]), CompleteOptions{RefuseSmallParts: true})
		w.must(err)
		w.holds(s, r, b[:60])
		w.sound(s)
	})
}

func TestLayerLimit(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.limits.MaxLayerBytes = 600_000
		s, r := w.node(), w.repo("app", "")
		b := random(600_001)
		id := w.start(s, r)
		_, err := s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b))
		w.wantText(err, errs.LayerTooLarge, "The layer of the upload with id '"+id+"' is larger than the maximum allowed size which is '600000' bytes")
		unread := &countingReader{r: bytes.NewReader(b)}
		_, err = s.Append(ctx, r, id, at(0, len(b)), unread)
		w.wantCode(err, errs.LayerTooLarge)
		if unread.n != 0 {
			t.Errorf("%d bytes of a chunk that is announced too long were read", unread.n)
		}
		_, err = s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[:600_000]))
		w.must(err)
		_, err = s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[:1]))
		w.wantCode(err, errs.LayerTooLarge)
		_, err = s.Complete(ctx, r, id, []name.Digest{name.SHA256(b[:600_000])}, Unannounced(), nil, CompleteOptions{})
		w.must(err)
		w.holds(s, r, b[:600_000])
	})
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestCompleteRefusals(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("team/app", "")
		b := random(50)
		right := []name.Digest{name.SHA256(b)}
		complete := func(id string, ds []name.Digest, body []byte, o CompleteOptions) error {
			_, err := s.Complete(ctx, r, id, ds, Unannounced(), bytes.NewReader(body), o)
			return err
		}

		id := w.start(s, r)
		w.wantText(complete(id, []name.Digest{name.SHA256(nil)}, nil, CompleteOptions{RefuseEmpty: true}), errs.UploadEmpty,
			"The upload with id '"+id+"' in the repository with name 'team/app' in registry with id '123456789012' cannot be completed because it does not have any parts")
		w.must(complete(id, right, b, CompleteOptions{RefuseEmpty: true}))

		id = w.start(s, r)
		for i := range 2 {
			_, err := s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[i*4:i*4+4]))
			w.must(err)
		}
		w.wantText(complete(id, []name.Digest{name.SHA256(b[:8])}, nil, CompleteOptions{RefuseSmallParts: true}), errs.LayerPartTooSmall,
			"All layer parts except the last part should be at least 0MB")
		w.must(complete(id, []name.Digest{name.SHA256(b[:8])}, nil, CompleteOptions{}))

		// A part that was cut off and gone on with is one part.
		id = w.start(s, r)
		_, err := s.Append(ctx, r, id, Unannounced(), broken(b[:3]))
		w.wantCode(err, errs.UploadInterrupted)
		_, err = s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[3:7]))
		w.must(err)
		w.must(complete(id, []name.Digest{name.SHA256(b[:9])}, b[7:9], CompleteOptions{RefuseSmallParts: true}))

		id = w.start(s, r)
		w.wantText(complete(id, right, b, CompleteOptions{RefuseExisting: true}), errs.LayerExists,
			"The layer with digest '"+string(right[0])+"' already exists in the repository with name 'team/app' in registry with id '123456789012'")
		w.wantCode(complete(id, right, b, CompleteOptions{}), errs.UploadNotFound)

		id = w.start(s, r)
		w.must(complete(id, right, b, CompleteOptions{}))
		w.wantText(complete(id, right, b, CompleteOptions{}), errs.UploadNotFound,
			"The upload with id '"+id+"' does not exist in the repository with name 'team/app' in the registry with id '123456789012'")

		for _, wrong := range [][]name.Digest{nil, {name.SHA256(nil)}, {"sha512:" + name.Digest(strings.Repeat("0", 128))}, {"md5:00"}} {
			id = w.start(s, r)
			_, err := s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[:20]))
			w.must(err)
			w.wantText(complete(id, wrong, b[20:], CompleteOptions{}), errs.LayerDigestMismatch,
				"None of the provided layer digests match the calculated layer digest")
			_, err = s.Status(ctx, r, id)
			w.wantCode(err, errs.UploadNotFound)
		}
		// One of several is enough, also beside algorithms that Berth does not know.
		id = w.start(s, r)
		w.must(complete(id, []name.Digest{"md5:00", name.SHA256(nil), right[0]}, b, CompleteOptions{}))

		if got := w.objects(); len(got) != 3 {
			t.Errorf("objects %q, want those of three layers", got)
		}
		w.sound(s)
	})
}

func TestForeignUploads(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r, other := w.node(), w.repo("app", ""), w.repo("other", "")
		id := w.start(s, r)
		body, sender := io.Pipe()
		running := make(chan error)
		go func() {
			_, err := s.Append(ctx, r, id, Unannounced(), body)
			running <- err
		}()
		_, err := sender.Write([]byte("x"))
		w.must(err)
		_, err = s.Append(ctx, other, id, Unannounced(), strings.NewReader("y"))
		w.wantCode(err, errs.UploadNotFound)
		_, err = s.Status(ctx, other, id)
		w.wantCode(err, errs.UploadNotFound)
		w.wantCode(s.Cancel(ctx, other, id), errs.UploadNotFound)
		_, err = s.Append(ctx, r, "0b7c4d0e-0000-4000-8000-000000000000", Unannounced(), strings.NewReader("y"))
		w.wantCode(err, errs.UploadNotFound)
		w.must(sender.Close())
		w.must(<-running) // was not disturbed
	})
}

func TestSHA512(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		b := random(100_000)
		sum := sha512.Sum512(b)
		d := name.Digest("sha512:" + hex.EncodeToString(sum[:]))
		zero := name.Digest("sha512:" + strings.Repeat("0", 128))
		id := w.start(s, r)
		l, err := s.Complete(ctx, r, id, []name.Digest{zero, d}, Unannounced(), bytes.NewReader(b), CompleteOptions{})
		w.must(err)
		if l.Digest != d {
			t.Errorf("stored under %s", l.Digest)
		}
		got, err := read(s, r, d)
		w.must(err)
		if !bytes.Equal(got, b) {
			t.Error("other bytes")
		}
		_, err = s.Stat(ctx, r, name.SHA256(b))
		w.wantCode(err, errs.LayersNotFound)
		// Both given: the sha256 names the layer.
		id = w.start(s, r)
		l, err = s.Complete(ctx, r, id, []name.Digest{d, name.SHA256(b)}, Unannounced(), bytes.NewReader(b), CompleteOptions{})
		w.must(err)
		if l.Digest != name.SHA256(b) {
			t.Errorf("stored under %s", l.Digest)
		}
		w.sound(s)
	})
}

func TestStatCheckRequire(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r, other := w.node(), w.repo("app", ""), w.repo("other", "")
		a, b, c := random(10), random(20), random(30)
		da, db, dc := name.SHA256(a), name.SHA256(b), name.SHA256(c)
		w.push(s, r, a)
		w.push(s, r, b)
		w.push(s, other, c)
		_, err := w.image(s, r, "old/type", da)
		w.must(err)
		_, err = w.image(s, r, "new/type", da)
		w.must(err)

		got, err := s.Check(ctx, r, []name.Digest{da, db, dc, da})
		w.must(err)
		want := map[name.Digest]Layer{da: {Digest: da, Size: 10, MediaType: "new/type", Referenced: true}, db: {Digest: db, Size: 20}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %v\nwant %v", got, want)
		}
		if l, err := s.Stat(ctx, r, da); err != nil || l != want[da] {
			t.Errorf("got %v, %v", l, err)
		}
		_, err = s.Stat(ctx, r, dc)
		w.wantText(err, errs.LayersNotFound, "The layer with digest '"+string(dc)+"' does not exist within the repository with name 'app' in the registry with id '123456789012'")
		_, _, err = s.Open(ctx, r, dc, 0, -1)
		w.wantCode(err, errs.LayersNotFound)

		many := []name.Digest{dc, da, db, dc}
		for i := range 1200 {
			many = append(many, name.SHA256(fmt.Append(nil, i)))
		}
		w.must(w.durable.Update(ctx, func(tx *sqldb.Tx) error {
			sizes, missing, err := s.RequireTx(ctx, tx, r, many)
			if !reflect.DeepEqual(sizes, map[name.Digest]int64{da: 10, db: 20}) || len(missing) != 1201 || missing[0] != dc || missing[1] != many[4] {
				t.Errorf("sizes %v, %d missing", sizes, len(missing))
			}
			return err
		}))
	})
}

func TestMount(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, from, to, sealed := w.node(), w.repo("from", ""), w.repo("to", ""), w.repo("sealed", "key-1")
		elsewhere := to
		elsewhere.Registry.Region = "us-east-1"
		b, d := []byte("layer"), name.SHA256([]byte("layer"))
		w.push(s, from, b)
		mount := func(from, to repository.Repository, want bool) {
			t.Helper()
			l, ok, err := s.Mount(ctx, from, to, d)
			w.must(err)
			if ok != want || ok && (l.Digest != d || l.Size != 5 || l.Referenced) {
				t.Errorf("got %v %+v, want %v", ok, l, want)
			}
		}
		mount(from, to, false) // merely uploaded
		_, err := w.image(s, from, "type", d)
		w.must(err)
		mount(from, sealed, false)
		mount(from, elsewhere, false)
		mount(to, from, false)
		mount(from, to, true)
		mount(from, to, true) // again
		w.holds(s, to, b)
		if got := w.objects(); len(got) != 1 {
			t.Errorf("objects %q", got)
		}
		gone := to
		gone.ID = 1
		_, _, err = s.Mount(ctx, from, gone, d)
		w.wantCode(err, errs.RepositoryNotFound)
	})
}

func TestAdopt(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, from, to, sealed := w.node(), w.repo("from", ""), w.repo("to", ""), w.repo("sealed", "key-1")
		b, unknown := []byte("layer"), name.SHA256([]byte("unknown"))
		d := name.SHA256(b)
		w.push(s, from, b)
		adopt := func(to repository.Repository, want ...name.Digest) {
			t.Helper()
			held, err := s.Adopt(ctx, to, []name.Digest{unknown, d})
			w.must(err)
			if !slices.Equal(held, want) {
				t.Errorf("got %v, want %v", held, want)
			}
		}
		adopt(from, d) // its own
		adopt(to)      // merely uploaded
		_, err := w.image(s, from, "type", d)
		w.must(err)
		adopt(sealed)
		adopt(to, d)
		adopt(to, d) // again
		w.holds(s, to, b)
		if got := w.objects(); len(got) != 1 {
			t.Errorf("objects %q", got)
		}
		elsewhere := from
		elsewhere.Registry.Region = "us-east-1"
		if held, err := s.Adopt(ctx, elsewhere, []name.Digest{unknown}); err != nil || len(held) != 0 {
			t.Errorf("got %v, %v", held, err)
		}
		gone := to
		gone.ID = 1
		_, err = s.Adopt(ctx, gone, []name.Digest{d})
		w.wantCode(err, errs.RepositoryNotFound)
		w.sound(s)
	})
}

func TestBlobsAreSharedWithinOneKeyOnly(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		s := w.node()
		a, b, sealed := w.repo("a", ""), w.repo("b", ""), w.repo("sealed", "key-1")
		layer := random(1000)
		for _, r := range []repository.Repository{a, b, sealed, a} {
			w.push(s, r, layer)
			w.holds(s, r, layer)
		}
		if got := w.objects(); len(got) != 2 {
			t.Errorf("objects %q, want one for each key", got)
		}
		w.sound(s)
	})
}

func TestRepositoryGone(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		id := w.start(s, r)
		w.exec(`DELETE FROM repository WHERE id = $1`, r.ID)
		b := random(10)
		_, err := s.Complete(ctx, r, id, []name.Digest{name.SHA256(b)}, Unannounced(), bytes.NewReader(b), CompleteOptions{})
		w.wantText(err, errs.RepositoryNotFound, "The repository with name 'app' does not exist in the registry with id '123456789012'")
		if got := w.objects(); len(got) != 0 {
			t.Errorf("objects %q", got)
		}
	})
}

func TestUnservedRegion(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		r := w.repo("app", "")
		r.Registry.Region = "us-east-1"
		_, err := w.node().Start(t.Context(), r)
		w.wantCode(err, errs.Unavailable)
	})
}

func TestCutConnections(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		b := random(500_000)
		id := w.start(s, r)
		_, err := s.Append(ctx, r, id, Unannounced(), broken(nil))
		w.wantCode(err, errs.UploadInterrupted)
		_, err = s.Append(ctx, r, id, Unannounced(), broken(b[:300_001]))
		w.wantText(err, errs.UploadInterrupted, "The request for the upload with id '"+id+"' broke off. 300001 bytes of the upload are kept; go on from there.")
		// A chunk that was announced is kept as far as it came, a part is not.
		_, err = s.Append(ctx, r, id, at(300_001, 100_000), broken(b[300_001:300_002]))
		w.wantCode(err, errs.UploadInterrupted)
		_, err = s.Append(ctx, r, id, part(300_002, 10), broken(b[300_002:300_005]))
		w.wantCode(err, errs.UploadInterrupted)
		// So is the body of the last request.
		digest := []name.Digest{name.SHA256(b)}
		_, err = s.Complete(ctx, r, id, digest, Unannounced(), broken(b[300_002:400_000]), CompleteOptions{})
		w.wantCode(err, errs.UploadInterrupted)
		u, err := s.Status(ctx, r, id)
		w.must(err)
		if u.Received != 400_000 {
			t.Fatalf("%d bytes are kept", u.Received)
		}
		_, err = s.Complete(ctx, r, id, digest, at(400_000, 100_000), bytes.NewReader(b[400_000:]), CompleteOptions{})
		w.must(err)
		w.holds(s, r, b)
	})
}

// An upload that is cut anywhere, any number of times, on any node, and gone on
// with as its status says, ends as the bytes that were sent.
func TestResumeAtRandomCuts(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		r := w.repo("app", "")
		nodes := w.nodes(2)
		rapid.Check(t, func(rt *rapid.T) {
			ctx := context.Background()
			node := func() *Service { return rapid.SampledFrom(nodes).Draw(rt, "node") }
			size := rapid.IntRange(0, 400_000).Draw(rt, "size")
			b := random(size)
			id := w.start(node(), r)
			var u Upload
			for range rapid.IntRange(0, 6).Draw(rt, "requests") {
				from := int(u.Received)
				n := rapid.IntRange(0, size-from).Draw(rt, "bytes")
				c := Unannounced()
				if n > 0 && rapid.Bool().Draw(rt, "announced") {
					c = at(int64(from), n)
				}
				sent := n
				var err error
				switch rapid.IntRange(0, 3).Draw(rt, "end") {
				case 0: // cut
					sent = rapid.IntRange(0, n).Draw(rt, "cut")
					_, err = node().Append(ctx, r, id, c, broken(b[from:from+sent]))
					if errs.CodeOf(err) != errs.UploadInterrupted {
						rt.Fatalf("a cut request: %v", err)
					}
				case 1: // the client sends something else than it says; nothing is kept
					sent = 0
					_, err = node().Append(ctx, r, id, at(int64(from)+1, n+1), bytes.NewReader(b[from:from+n]))
					if errs.CodeOf(err) != errs.RangeInvalid {
						rt.Fatalf("a wrong range: %v", err)
					}
				default:
					if u, err = node().Append(ctx, r, id, c, bytes.NewReader(b[from:from+n])); err != nil {
						rt.Fatal(err)
					}
				}
				if u, err = node().Status(ctx, r, id); err != nil || u.Received != int64(from+sent) {
					rt.Fatalf("status %+v, %v; want %d bytes", u, err, from+sent)
				}
			}
			l, err := node().Complete(ctx, r, id, []name.Digest{name.SHA256(b)}, Unannounced(), bytes.NewReader(b[u.Received:]), CompleteOptions{})
			if err != nil || l.Size != int64(size) {
				rt.Fatalf("complete: %+v, %v", l, err)
			}
			if got, err := read(node(), r, l.Digest); err != nil || !bytes.Equal(got, b) {
				rt.Fatalf("read %d of %d bytes, %v", len(got), size, err)
			}
		})
		w.sound(nodes[0])
	})
}

func TestCancel(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		for _, b := range [][]byte{nil, random(10), random(200_000)} {
			id := w.start(s, r)
			_, err := s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b))
			w.must(err)
			w.must(s.Cancel(ctx, r, id))
			w.wantCode(s.Cancel(ctx, r, id), errs.UploadNotFound)
			_, err = s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b))
			w.wantCode(err, errs.UploadNotFound)
		}
		if got := w.objects(); len(got) != 0 {
			t.Errorf("objects %q", got)
		}
		if n := w.count(w.durable, `SELECT count(*) FROM garbage`); n != 0 {
			t.Errorf("%d garbage rows are left", n)
		}
	})
}

func TestStoreFailures(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		r := w.repo("app", "")
		real := w.store
		b := random(900_000)
		ds := []name.Digest{name.SHA256(b)}
		for _, c := range []struct {
			cause error
			code  errs.Code
		}{{blobstore.ErrFull, errs.StorageFull}, {blobstore.ErrKey, errs.KeyFailure}, {errors.New("a cable"), errs.Internal}} {
			for _, op := range []string{"create", "resume", "write", "suspend"} {
				for _, begun := range []int{0, 300_000} {
					if op == "create" && begun > 0 || op == "resume" && begun == 0 {
						continue
					}
					w.store = real
					s := w.node()
					id := w.start(s, r)
					if begun > 0 {
						_, err := s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[:begun]))
						w.must(err)
					}
					w.store = &faultyStore{Store: real, fail: func(did string) error {
						if did == op {
							return c.cause
						}
						return nil
					}}
					s = w.node()
					_, err := s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[begun:600_000]))
					w.wantCode(err, c.code)
					if e, ok := errors.AsType[*errs.Error](err); ok && c.code == errs.KeyFailure && e.Detail["kmsError"] == nil {
						t.Error("no kmsError")
					}
					w.store = real
					s = w.node()
					u, err := s.Status(ctx, r, id)
					w.must(err)
					if u.Received != int64(begun) {
						t.Fatalf("%s: %d bytes are kept, want the last good state %d", op, u.Received, begun)
					}
					if begun == 0 && len(w.objects()) > 0 {
						t.Errorf("%s: a failed first request leaves %q", op, w.objects())
					}
					_, err = s.Append(ctx, r, id, at(int64(begun), 600_000-begun), bytes.NewReader(b[begun:600_000]))
					w.must(err)

					// The same at the end.
					w.store = &faultyStore{Store: real, fail: func(did string) error {
						if did == "commit" {
							return c.cause
						}
						return nil
					}}
					s = w.node()
					_, err = s.Complete(ctx, r, id, ds, Unannounced(), bytes.NewReader(b[600_000:]), CompleteOptions{})
					w.wantCode(err, c.code)
					w.store = real
					s = w.node()
					u, err = s.Status(ctx, r, id)
					w.must(err)
					if u.Received != 600_000 {
						t.Fatalf("%d bytes are kept after a failed end", u.Received)
					}
					l, err := s.Complete(ctx, r, id, ds, at(600_000, 300_000), bytes.NewReader(b[600_000:]), CompleteOptions{})
					w.must(err)
					w.holds(s, r, b)
					w.must(s.Delete(ctx, r, l.Digest))
					w.clock.Advance(25 * time.Hour)
					_, err = s.Collect(ctx)
					w.must(err)
				}
			}
		}
		w.sound(w.node())
	})
}

// Bytes that are gone or changed while an upload waits end it: what is
// acknowledged is what was sent.
func TestLostBytes(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		b := random(200_000)
		id := w.start(s, r)
		_, err := s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[:100_000]))
		w.must(err)
		w.must(w.store.Delete(ctx, w.objects()[0]))
		_, err = s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[100_000:]))
		w.wantCode(err, errs.UploadNotFound)
		_, err = s.Status(ctx, r, id)
		w.wantCode(err, errs.UploadNotFound)

		id = w.start(s, r)
		_, err = s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b))
		w.must(err)
		w.must(w.store.Delete(ctx, w.objects()[0]))
		_, err = s.Complete(ctx, r, id, []name.Digest{name.SHA256(b)}, Unannounced(), nil, CompleteOptions{})
		w.wantCode(err, errs.UploadNotFound)
	})
}
