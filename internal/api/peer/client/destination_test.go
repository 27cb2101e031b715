package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// TestAnImageArrives sends an image with everything, on both databases.
func TestAnImageArrives(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		here, there, to := introduce(newSide(t, sqldbtest.SQLite(t), stall), newSide(t, db, stall))
		ctx, p := t.Context(), place()
		small, smallBlob := layer(1, 3)
		large, largeBlob := layer(2, 3<<20)
		_, none := layer(3, 0)
		blobs := []replication.Blob{smallBlob, largeBlob, none}

		if _, err := to.Lacking(ctx, p, blobs); !errs.Is(err, errs.RepositoryNotFound) || err.Error() != "The repository with name 'team/app' does not exist" {
			t.Errorf("got %v", err)
		}
		ok(t, to.Prepare(ctx, p))
		if !there.store.made[p] {
			t.Errorf("made: %v, want %v", there.store.made, p)
		}
		parts, err := to.Lacking(ctx, p, blobs)
		if err != nil || !slices.Equal(parts, []replication.Part{{Blob: smallBlob}, {Blob: largeBlob}, {Blob: none}}) {
			t.Fatalf("%v %v", parts, err)
		}
		for _, b := range []struct {
			part replication.Part
			body []byte
		}{{parts[0], small}, {parts[1], large}, {parts[2], nil}} {
			ok(t, to.PutBlob(ctx, p, b.part, bytes.NewReader(b.body)))
			if got := there.store.blob(b.part.Digest); !bytes.Equal(got, b.body) {
				t.Errorf("%d bytes arrived of %d", len(got), len(b.body))
			}
		}
		body := []byte(`{"schemaVersion": 2, "text": "ä & <b>"}`)
		m := replication.Manifest{Digest: name.SHA256(body), MediaType: "application/vnd.oci.image.manifest.v1+json", Body: body, Tag: "v1.0_x", Seq: 1 << 60}
		if tagged, err := to.PutImage(ctx, p, m); err != nil || !tagged {
			t.Errorf("%v %v", tagged, err)
		}
		if got := there.store.images[m.Digest]; got.MediaType != m.MediaType || !bytes.Equal(got.Body, body) || got.Tag != m.Tag || got.Seq != m.Seq {
			t.Errorf("%+v arrived", got)
		}
		m.Tag = "immutable"
		if tagged, err := to.PutImage(ctx, p, m); err != nil || tagged {
			t.Errorf("%v %v", tagged, err)
		}
		_, absent := layer(9, 10)
		if held, err := to.Images(ctx, p, []name.Digest{absent.Digest, m.Digest}); err != nil || !slices.Equal(held, []name.Digest{m.Digest}) {
			t.Errorf("%v %v", held, err)
		}
		ok(t, to.Failed(ctx, p, replication.Manifest{Digest: m.Digest, Tag: "v2", Seq: 3}, "AccessDenied"))
		if want := []string{fmt.Sprintf("%s v2 AccessDenied 3 0", m.Digest)}; !slices.Equal(there.store.failed, want) {
			t.Errorf("%v, want %v", there.store.failed, want)
		}
		removals := []replication.Removal{{Digest: m.Digest, Seq: 4}, {Digest: m.Digest, Tag: "v1", Seq: 5}, {Tag: "v1", Seq: 6}}
		for _, r := range removals {
			ok(t, to.Remove(ctx, p, r))
		}
		if !slices.Equal(there.store.gone, removals) {
			t.Errorf("%v", there.store.gone)
		}
		for of, peers := range map[string]*side{"there": here, "here": there} {
			all, err := peers.peers.List(ctx)
			if err != nil || len(all) != 1 || !all[0].SeenAt.Equal(here.clk.Now()) || all[0].Error != "" {
				t.Errorf("%s: %+v %v", of, all, err)
			}
		}
		if n := there.conns.Load(); n != 1 {
			t.Errorf("%d connections for requests that came one after the other", n)
		}
	})
}

// TestManyAtOnce: lists longer than a request takes, and layers side by side, each on a
// connection of its own, which the next ones use again.
func TestManyAtOnce(t *testing.T) {
	_, there, to := pair(t)
	ctx, p := t.Context(), place()
	ok(t, to.Prepare(ctx, p))
	var blobs []replication.Blob
	var digests []name.Digest
	for i := range 2500 {
		body := fmt.Appendf(nil, "blob %d", i)
		blobs = append(blobs, replication.Blob{Digest: name.SHA256(body), Size: int64(len(body))})
		digests = append(digests, name.SHA256(body))
	}
	if parts, err := to.Lacking(ctx, p, blobs); err != nil || len(parts) != len(blobs) || parts[2400].Blob != blobs[2400] {
		t.Errorf("%d %v", len(parts), err)
	}
	there.store.images[digests[2400]] = replication.Manifest{}
	if held, err := to.Images(ctx, p, digests); err != nil || !slices.Equal(held, digests[2400:2401]) {
		t.Errorf("%v %v", held, err)
	}

	const n = 6
	var under, done sync.WaitGroup
	under.Add(n)
	there.store.entered = func(name.Digest) { under.Done(); under.Wait() } // all of them at once
	send := func(seed byte) {
		body, b := layer(seed, 1<<20)
		if err := to.PutBlob(ctx, p, replication.Part{Blob: b}, bytes.NewReader(body)); err != nil || !bytes.Equal(there.store.blob(b.Digest), body) {
			t.Errorf("layer %d: %v", seed, err)
		}
	}
	for i := range n {
		done.Go(func() { send(byte(i)) })
	}
	done.Wait()
	there.store.entered = nil
	for i := range n {
		send(byte(100 + i))
	}
	if got := there.conns.Load(); got != n {
		t.Errorf("%d connections for %d layers at once", got, n)
	}
}

// TestABrokenBodyGoesOn: what arrived before the line was cut stays, and the rest
// follows.
func TestABrokenBodyGoesOn(t *testing.T) {
	here, there, to := pair(t)
	ctx, p := t.Context(), place()
	ok(t, to.Prepare(ctx, p))
	body, b := layer(1, 8<<20)
	cut := make(chan struct{})
	there.store.entered = func(name.Digest) { there.server.CloseClientConnections(); close(cut) }
	want(t, to.PutBlob(ctx, p, replication.Part{Blob: b}, io.MultiReader(bytes.NewReader(body[:4<<20]), after(cut, bytes.NewReader(body[4<<20:])))), errs.Unavailable, "The peer there cannot be used")
	if err := <-there.store.broken; err == nil {
		t.Error("the destination saw no broken body")
	}
	if all, err := here.peers.List(ctx); err != nil || all[0].Error == "" {
		t.Errorf("%+v %v", all, err)
	}
	there.store.entered = nil
	parts, err := to.Lacking(ctx, p, []replication.Blob{b})
	if err != nil || len(parts) != 1 || parts[0].Offset == 0 || parts[0].Offset >= b.Size || parts[0].Offset != int64(len(there.store.blob(b.Digest))) {
		t.Fatalf("%+v %v", parts, err)
	}
	want(t, to.PutBlob(ctx, p, replication.Part{Blob: b, Offset: 1}, bytes.NewReader(body[1:])), errs.LayerPartInvalid, "The part begins at 1")
	ok(t, to.PutBlob(ctx, p, parts[0], bytes.NewReader(body[parts[0].Offset:])))
	if !bytes.Equal(there.store.blob(b.Digest), body) {
		t.Error("another layer arrived")
	}
	if all, err := here.peers.List(ctx); err != nil || all[0].Error != "" {
		t.Errorf("%+v %v", all, err)
	}
}

// after reads once the channel is closed.
func after(ready <-chan struct{}, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) { <-ready; return r.Read(p) })
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestASourceThatFails: a layer that cannot be read here is no failure of the peer's.
func TestASourceThatFails(t *testing.T) {
	here, there, to := pair(t)
	ctx, p := t.Context(), place()
	body, b := layer(1, 100_000)
	broken := errors.New("the disk is gone")
	err := to.PutBlob(ctx, p, replication.Part{Blob: b}, io.MultiReader(bytes.NewReader(body[:50_000]), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || errs.CodeOf(err) != errs.Internal {
		t.Errorf("got %v", err)
	}
	if err := <-there.store.broken; err == nil {
		t.Error("the destination saw no broken body")
	}
	if all, err := here.peers.List(ctx); err != nil || all[0].Error != "" {
		t.Errorf("%+v %v", all, err)
	}
	// Shorter than announced.
	short, shortBlob := layer(2, 100_000)
	if err := to.PutBlob(ctx, p, replication.Part{Blob: shortBlob}, bytes.NewReader(short[:90_000])); err == nil {
		t.Error("a body that is too short is taken")
	}
	if err := <-there.store.broken; err == nil {
		t.Error("the destination saw no broken body")
	}
	if err := to.PutBlob(ctx, p, replication.Part{Blob: b, Offset: b.Size + 1}, bytes.NewReader(nil)); err == nil {
		t.Error("a part behind the end is sent")
	}
}

// TestABodyThatStandsStill is cut by the receiver.
func TestABodyThatStandsStill(t *testing.T) {
	_, there, to := introduce(newSide(t, sqldbtest.SQLite(t), stall), newSide(t, sqldbtest.SQLite(t), 200*time.Millisecond))
	body, b := layer(1, 100)
	var once sync.Once
	cut := make(chan struct{})
	go func() {
		err := <-there.store.broken
		if err == nil {
			t.Error("the body broke without an error")
		}
		once.Do(func() { close(cut) })
	}()
	want(t, to.PutBlob(t.Context(), place(), replication.Part{Blob: b}, io.MultiReader(bytes.NewReader(body[:50]), after(cut, bytes.NewReader(body[50:])))), errs.Unavailable, "")
	if got := there.store.blob(b.Digest); !bytes.Equal(got, body[:50]) {
		t.Errorf("%d bytes stayed", len(got))
	}
}

// TestFailuresCross: every failure comes back as it was, and faults without their text.
func TestFailuresCross(t *testing.T) {
	here, there, to := pair(t)
	ctx, p := t.Context(), place()
	for c := errs.Internal + 1; c <= errs.Unavailable; c++ {
		there.store.refuse = errs.Wrap(errors.New("secret"), c, "the text of %d, 100%%", c)
		err := to.Prepare(ctx, p)
		if errs.CodeOf(err) != c || err.Error() != fmt.Sprintf("the text of %d, 100%%", c) {
			t.Errorf("code %d comes back as %d: %v", c, errs.CodeOf(err), err)
		}
	}
	there.store.refuse = errors.New("open /secret/path")
	err := to.Prepare(ctx, p)
	if e, _ := errors.AsType[*errs.Error](err); e == nil || e.Code != errs.Internal || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "request id") {
		t.Errorf("got %v", err)
	}
	// A layer that is refused while it is sent.
	there.store.refuse = errs.New(errs.StorageFull, "no room")
	body, b := layer(1, 4<<20)
	want(t, to.PutBlob(ctx, p, replication.Part{Blob: b}, bytes.NewReader(body)), errs.StorageFull, "no room")
	if all, err := here.peers.List(ctx); err != nil || all[0].Error != "" {
		t.Errorf("refusals of what was asked are failures of the peer: %+v %v", all, err)
	}
}

// TestLimits: what is too large, or not what it says, does not get to the destination.
func TestLimits(t *testing.T) {
	_, there, to := pair(t)
	ctx, p := t.Context(), place()
	large := make([]byte, 30<<20)
	if _, err := to.PutImage(ctx, p, replication.Manifest{Digest: name.SHA256(large), Body: large}); err != nil {
		t.Errorf("a manifest of 30 MiB: %v", err)
	}
	calls := there.store.count()
	_, err := to.PutImage(ctx, p, replication.Manifest{Digest: name.SHA256(large), Body: append(large, 0)})
	want(t, err, errs.ManifestTooLarge, "31457280")
	_, err = to.PutImage(ctx, p, replication.Manifest{Digest: name.SHA256([]byte("a")), Body: []byte("b")})
	want(t, err, errs.Unavailable, "has not the digest")
	bad := p
	bad.Repository = "../x"
	want(t, to.Prepare(ctx, bad), errs.Unavailable, "names no repository")
	want(t, to.Remove(ctx, p, replication.Removal{}), errs.Unavailable, "names no image")
	want(t, to.Failed(ctx, p, replication.Manifest{Digest: name.SHA256(nil)}, "a b"), errs.Unavailable, "names no failure")
	if got := there.store.count(); got != calls {
		t.Errorf("%d calls got through", got-calls)
	}
}

// TestGrants: a peer speaks for the accounts that it was given, and no longer than it
// is one.
func TestGrants(t *testing.T) {
	here, there, to := pair(t)
	ctx, p := t.Context(), place()
	ok(t, to.Prepare(ctx, p))
	other := p
	other.Source.Account = "999999999999"
	want(t, to.Prepare(ctx, other), errs.AccessDenied, "may not send what belongs to account 999999999999")
	there.knows(here, "here", "*")
	ok(t, to.Prepare(ctx, other))
	there.knows(here, "here")
	want(t, to.Prepare(ctx, p), errs.AccessDenied, "berth peer add --replace --accounts")
	calls := there.store.count()
	ok(t, there.peers.Remove(ctx, "here"))
	want(t, to.Prepare(ctx, p), errs.Unavailable, "knows no peer with the key")
	if got := there.store.count(); got != calls {
		t.Errorf("a removed peer's request got through")
	}
	if all, err := here.peers.List(ctx); err != nil || !strings.Contains(all[0].Error, "berth peer add") {
		t.Errorf("%+v %v", all, err)
	}
	there.knows(here, "here", account)
	ok(t, to.Prepare(ctx, p))
	ok(t, here.peers.Remove(ctx, "there"))
	want(t, to.Prepare(ctx, p), errs.Unavailable, "berth peer add NAME --url "+there.server.URL)
}

// TestRedirectsAreNotFollowed: nothing is sent elsewhere.
func TestRedirectsAreNotFollowed(t *testing.T) {
	_, there, to := pair(t)
	_, elsewhere, _ := pair(t)
	there.wrap(func(http.Handler) http.Handler {
		return http.RedirectHandler(elsewhere.server.URL+"/peer/v1/prepare", http.StatusTemporaryRedirect)
	})
	want(t, to.Prepare(t.Context(), place()), errs.Unavailable, "status 307 has not signed")
	if n := elsewhere.conns.Load(); n != 0 {
		t.Errorf("%d connections to where the redirect led", n)
	}
}

// TestTLSIsVerified: a certificate of nobody's is refused.
func TestTLSIsVerified(t *testing.T) {
	here, there := newSide(t, sqldbtest.SQLite(t), stall), newSide(t, sqldbtest.SQLite(t), stall)
	there.knows(here, "here", account)
	p := here.knows(there, "there")
	here.roots = nil
	here.restart()
	want(t, here.client.To(p.URL).Prepare(t.Context(), place()), errs.Unavailable, "certificate")
}
