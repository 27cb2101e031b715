package s3

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.uber.org/goleak"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/encrypted"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3/s3test"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3/upload"
	"github.com/berth-registry/berth/internal/infra/blobstore/storetest"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings are those of a store over a bucket of its own.
func settings(t *testing.T) Config {
	t.Helper()
	server := s3test.Start(t)
	return Config{
		Bucket: server.Bucket(t), Prefix: "some/prefix", Endpoint: server.Endpoint, Region: server.Region, PathStyle: true,
		AccessKeyID: server.AccessKey, SecretAccessKey: server.SecretKey,
	}
}

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fetch reads an object past the store.
func fetch(t *testing.T, s *Store, name string) []byte {
	t.Helper()
	out, err := s3test.Start(t).Client().GetObject(t.Context(), &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: &name})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := io.ReadAll(out.Body)
	if err := errors.Join(err, out.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return stored
}

// put stores bytes under a name in the bucket past the store.
func put(t *testing.T, s *Store, name string, content []byte) {
	t.Helper()
	_, err := s3test.Start(t).Client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: &s.cfg.Bucket, Key: &name, Body: bytes.NewReader(content)})
	if err != nil {
		t.Fatal(err)
	}
}

func damage(t *testing.T, s *Store, key string, change func([]byte) []byte) {
	t.Helper()
	put(t, s, s.object(key), change(fetch(t, s, s.object(key))))
}

func TestStore(t *testing.T) {
	storetest.Run(t,
		func(t *testing.T) blobstore.Store { return open(t, settings(t)) },
		storetest.Buffered(upload.FirstPart+upload.ChunkSize),
		storetest.WithReopen(func(t *testing.T, s blobstore.Store) blobstore.Store { return open(t, s.(*Store).cfg) }),
		storetest.WithDamage(func(t *testing.T, s blobstore.Store, key string, change func([]byte) []byte) {
			damage(t, s.(*Store), key, change)
		}),
	)
}

// sealed is an encrypted store that knows what it stands on.
type sealed struct {
	*encrypted.Store
	below *Store
	keys  keys.Manager
}

// TestSealed runs the suite through encryption, and with checksums on all requests.
func TestSealed(t *testing.T) {
	over := func(below *Store, m keys.Manager) blobstore.Store { return &sealed{encrypted.New(below, m), below, m} }
	storetest.Run(t,
		func(t *testing.T) blobstore.Store {
			ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring"), clock.System{})
			if err != nil {
				t.Fatal(err)
			}
			cfg := settings(t)
			cfg.Checksums = ChecksumsSupported
			return over(open(t, cfg), ring)
		},
		storetest.Buffered(upload.FirstPart+upload.ChunkSize),
		storetest.Sealed(),
		storetest.WithReopen(func(t *testing.T, s blobstore.Store) blobstore.Store {
			return over(open(t, s.(*sealed).below.cfg), s.(*sealed).keys)
		}),
		storetest.WithDamage(func(t *testing.T, s blobstore.Store, key string, change func([]byte) []byte) {
			damage(t, s.(*sealed).below, key, change)
		}),
	)
}

// content is n bytes that no other seed has.
func content(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // cannot fail
	return b
}

func create(t *testing.T, s *Store, key string) *writer {
	t.Helper()
	w, err := s.Create(t.Context(), key, blobstore.Placement{})
	if err != nil {
		t.Fatal(err)
	}
	return w.(*writer)
}

func resume(t *testing.T, s *Store, key string, state blobstore.State) *writer {
	t.Helper()
	w, err := s.Resume(t.Context(), key, state)
	if err != nil {
		t.Fatal(err)
	}
	return w.(*writer)
}

func write(t *testing.T, w blobstore.Writer, p []byte) {
	t.Helper()
	for len(p) > 0 {
		n, err := w.Write(p[:min(len(p), 256<<10)])
		if err != nil {
			t.Fatalf("write at %d: %v", w.Offset(), err)
		}
		p = p[n:]
	}
}

func suspend(t *testing.T, w blobstore.Writer) blobstore.State {
	t.Helper()
	state, err := w.Suspend(t.Context())
	if err != nil {
		t.Fatalf("suspend at %d: %v", w.Offset(), err)
	}
	return state
}

func commit(t *testing.T, w blobstore.Writer) blobstore.Object {
	t.Helper()
	o, err := w.Commit(t.Context())
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	return o
}

func read(t *testing.T, s blobstore.Store, o blobstore.Object, offset, length int64) ([]byte, error) {
	t.Helper()
	r, err := s.Open(t.Context(), o, offset, length)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func expect(t *testing.T, s blobstore.Store, o blobstore.Object, want []byte) {
	t.Helper()
	got, err := read(t, s, o, 0, -1)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes of %d: %v", len(got), len(want), err)
	}
}

// leftovers are the names in the bucket beside the objects of keys, and its
// multipart uploads.
func leftovers(t *testing.T, s *Store, keys ...string) []string {
	t.Helper()
	client := s3test.Start(t).Client()
	left := []string{}
	objects, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &s.cfg.Bucket})
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{}
	for _, key := range keys {
		wanted[s.object(key)] = true
	}
	for _, o := range objects.Contents {
		if !wanted[*o.Key] {
			left = append(left, *o.Key)
		}
	}
	uploads, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &s.cfg.Bucket})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range uploads.Uploads {
		left = append(left, "upload of "+*u.Key)
	}
	return left
}

func nothingLeft(t *testing.T, s *Store, keys ...string) {
	t.Helper()
	if left := leftovers(t, s, keys...); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestLarge writes multipart uploads with interruptions at and around the parts'
// ends.
func TestLarge(t *testing.T) {
	cfg := settings(t)
	s := open(t, cfg)
	want := content(1, 2*upload.FirstPart+upload.FirstPart/2)
	for _, cuts := range [][]int{
		{}, {1}, {upload.FirstPart}, {upload.FirstPart + 1}, {upload.FirstPart - 1, upload.FirstPart, upload.FirstPart + 1},
		{100, 2 * upload.FirstPart, 2*upload.FirstPart + 1}, {2*upload.FirstPart - 1, 2*upload.FirstPart + 7}, {len(want)},
	} {
		w := create(t, s, "large")
		for _, cut := range cuts {
			write(t, w, want[w.Offset():cut])
			state := suspend(t, w)
			if len(state) > 1<<10 {
				t.Errorf("a state of %d bytes", len(state))
			}
			if w.Offset() != int64(cut) {
				t.Fatalf("suspend moved the offset from %d to %d", cut, w.Offset())
			}
			w = resume(t, open(t, cfg), "large", state)
		}
		write(t, w, want[w.Offset():])
		o := commit(t, w)
		expect(t, open(t, cfg), o, want)
		nothingLeft(t, s, "large")
		for _, at := range []int64{0, 1, upload.FirstPart - 1, upload.FirstPart, int64(len(want) - 1)} {
			got, err := read(t, s, o, at, 1)
			if err != nil || got[0] != want[at] {
				t.Errorf("byte %d: %v, %v", at, got, err)
			}
		}
		if err := s.Delete(t.Context(), "large"); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, s)
	}
}

// TestOnePart: what fits into one buffer is one object, at the boundary too.
func TestOnePart(t *testing.T) {
	cfg := settings(t)
	faults := s3test.NewFaults(t, s3test.Start(t))
	cfg.Endpoint = faults.URL
	s := open(t, cfg)
	for size, uploads := range map[int]int{0: 0, 1: 0, upload.FirstPart: 0, upload.FirstPart + 1: 1} {
		faults.Set()
		w := create(t, s, "one")
		write(t, w, content(2, size))
		o := commit(t, w)
		if faults.Seen("CreateMultipartUpload") != uploads {
			t.Errorf("%d bytes took %d multipart uploads", size, faults.Seen("CreateMultipartUpload"))
		}
		if uploads == 0 && faults.Seen("") != 2 { // and HEAD
			t.Errorf("%d bytes took %d requests", size, faults.Seen(""))
		}
		expect(t, s, o, content(2, size))
	}
}

// TestCutBackLarge goes back to States when parts were uploaded behind them.
func TestCutBackLarge(t *testing.T) {
	cfg := settings(t)
	s := open(t, cfg)
	want := content(3, 3*upload.FirstPart)
	wrong := content(4, 3*upload.FirstPart)
	for _, cut := range []int{10, upload.FirstPart, upload.FirstPart + 10, 2 * upload.FirstPart} {
		w := create(t, s, "cut")
		write(t, w, want[:cut])
		state := suspend(t, w)

		w = resume(t, s, "cut", state)
		write(t, w, wrong[cut:]) // and lost
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		w = resume(t, s, "cut", state)
		write(t, w, wrong[cut:])
		suspend(t, w) // kept, and not used

		w = resume(t, open(t, cfg), "cut", state)
		write(t, w, want[cut:len(want)-upload.FirstPart/2])
		o := commit(t, w)
		expect(t, s, o, want[:len(want)-upload.FirstPart/2])
		nothingLeft(t, s, "cut")
		if _, err := s.Resume(t.Context(), "cut", state); !errors.Is(err, blobstore.ErrNotFound) {
			t.Errorf("resumed after the commit: %v", err)
		}
		if err := s.Delete(t.Context(), "cut"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStaleWriter: a writer that was cut off goes on all the same. What it
// overwrites is found, and never served.
func TestStaleWriter(t *testing.T) {
	s := open(t, settings(t))
	want := content(5, 3*upload.FirstPart)
	w := create(t, s, "stale")
	write(t, w, want[:upload.FirstPart+10])
	state := suspend(t, w)

	stale := resume(t, s, "stale", state)
	w = resume(t, s, "stale", state)
	write(t, w, want[upload.FirstPart+10:])
	write(t, stale, content(6, 2*upload.FirstPart)) // puts another part 2
	_, err := w.Commit(t.Context())
	if !errors.Is(err, blobstore.ErrCorrupt) {
		t.Fatalf("commit over an overwritten part: %v", err)
	}
	if _, err := read(t, s, blobstore.Object{Key: "stale", Size: int64(len(want))}, 0, -1); !errors.Is(err, blobstore.ErrNotFound) {
		t.Errorf("read what was not committed: %v", err)
	}
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	// From the last State it goes on.
	w = resume(t, s, "stale", state)
	write(t, w, want[upload.FirstPart+10:])
	expect(t, s, commit(t, w), want)

	// Its tail in place of a later one is found as well.
	w = create(t, s, "tail")
	write(t, w, want[:100])
	state = suspend(t, w)
	stale = resume(t, s, "tail", state)
	write(t, stale, []byte("stale"))
	w = resume(t, s, "tail", state)
	write(t, w, want[100:200])
	state = suspend(t, w)
	suspend(t, stale)
	if _, err := s.Resume(t.Context(), "tail", state); !errors.Is(err, blobstore.ErrCorrupt) {
		t.Errorf("resumed over another tail: %v", err)
	}
}

// TestAbandoned: unfinished objects are listed and deleted, whatever stands of
// them in the bucket.
func TestAbandoned(t *testing.T) {
	s := open(t, settings(t))
	w := create(t, s, "a/tail")
	write(t, w, []byte("few bytes"))
	suspend(t, w)
	w = create(t, s, "a/upload")
	write(t, w, content(1, upload.FirstPart+1)) // its process is killed here
	defer w.release()
	w2 := create(t, s, "a/both")
	write(t, w2, content(1, upload.FirstPart+1))
	suspend(t, w2)
	w3 := create(t, s, "a/closed")
	write(t, w3, content(1, upload.FirstPart+1))
	if err := w3.Close(); err != nil {
		t.Fatal(err)
	}
	list := func() map[string]blobstore.Info {
		found := map[string]blobstore.Info{}
		for info, err := range s.List(t.Context(), "a/") {
			if err != nil {
				t.Fatal(err)
			}
			if _, twice := found[info.Key]; twice || time.Since(info.Modified) > time.Hour {
				t.Errorf("%s is listed twice or wrongly: %+v", info.Key, info)
			}
			found[info.Key] = info
		}
		return found
	}
	found := list()
	if len(found) != 3 || found["a/tail"].Size != 9 || found["a/upload"].Key == "" || found["a/both"].Size != 1 {
		t.Fatalf("listed: %v", found)
	}
	if err := s.Delete(t.Context(), "a/upload"); err != nil {
		t.Fatal(err)
	}
	failed, err := s.DeleteAll(t.Context(), []string{"a/tail", "a/both", "a/none"})
	if err != nil || len(failed) > 0 {
		t.Fatalf("deleting all: %v, %v", failed, err)
	}
	if found := list(); len(found) != 0 {
		t.Errorf("listed after the deletion: %v", found)
	}
	nothingLeft(t, s)
}

// TestDeleteAll clears many objects with few requests.
func TestDeleteAll(t *testing.T) {
	cfg := settings(t)
	faults := s3test.NewFaults(t, s3test.Start(t))
	cfg.Endpoint = faults.URL
	s := open(t, cfg)
	const n = 2*batchKeys + 10
	var names []string
	for i := range n {
		key := "many/" + string(rune('a'+i%26)) + "/" + time.Duration(i).String()
		names = append(names, key)
		put(t, s, s.object(key), []byte("x"))
	}
	put(t, s, s.object("many/kept"), []byte("x"))
	faults.Set()
	failed, err := s.DeleteAll(t.Context(), append([]string{"not a key"}, names...))
	if err != nil || len(failed) != 1 || failed["not a key"] == nil {
		t.Fatalf("%v, %v", failed, err)
	}
	if faults.Seen("DeleteObjects") != 3 || faults.Seen("") != 6 {
		t.Errorf("%d objects took %d requests, %d of them deletions", n, faults.Seen(""), faults.Seen("DeleteObjects"))
	}
	nothingLeft(t, s, "many/kept")

	// A service without a call for many.
	put(t, s, s.object("single/a"), []byte("x"))
	faults.Set(s3test.Rule{Op: "DeleteObjects", Do: s3test.Fail(http.StatusNotImplemented, "NotImplemented")})
	if failed, err := s.DeleteAll(t.Context(), []string{"single/a", "single/b"}); err != nil || len(failed) > 0 {
		t.Fatalf("%v, %v", failed, err)
	}
	nothingLeft(t, s, "many/kept")

	// A deletion that fails says so.
	faults.Set(s3test.Rule{Op: "DeleteObjects", Do: s3test.Fail(http.StatusForbidden, "AccessDenied")})
	if _, err := s.DeleteAll(t.Context(), []string{"many/kept"}); err == nil {
		t.Error("a refused deletion was no error")
	}
	if err := s.Delete(t.Context(), "many/kept"); err == nil {
		t.Error("a refused deletion was no error")
	}
}

// TestStoredSize: what is listed can be read as it is stored, as a backup does.
func TestStoredSize(t *testing.T) {
	s := open(t, settings(t))
	w := create(t, s, "raw/a")
	write(t, w, content(7, 1000))
	commit(t, w)
	for info, err := range s.List(t.Context(), "raw/") {
		if err != nil {
			t.Fatal(err)
		}
		expect(t, s, blobstore.Object{Key: info.Key, Size: info.Size}, content(7, 1000))
	}
}

func TestRedirect(t *testing.T) {
	cfg := settings(t)
	if _, ok, err := open(t, cfg).Redirect(t.Context(), blobstore.Object{Key: "a"}, time.Minute, ""); ok || err != nil {
		t.Fatalf("redirected without a public endpoint: %v, %v", ok, err)
	}
	// The public endpoint is another way to the same server.
	faults := s3test.NewFaults(t, s3test.Start(t))
	cfg.PublicEndpoint, cfg.Checksums = faults.URL, ChecksumsSupported
	s := open(t, cfg)
	want := content(8, 5000)
	w := create(t, s, "re/directed")
	write(t, w, want)
	o := commit(t, w)
	url, ok, err := s.Redirect(t.Context(), o, time.Minute, "application/octet-stream")
	if !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(url, span string) (*http.Response, []byte) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if span != "" {
			r.Header.Set("Range", span)
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			t.Fatal(err)
		}
		return response, b
	}
	response, got := get(url, "")
	if !bytes.Equal(got, want) || response.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%s with %d bytes: %s", response.Status, len(got), response.Header)
	}
	if response, got := get(url, "bytes=100-199"); response.StatusCode != http.StatusPartialContent || !bytes.Equal(got, want[100:200]) {
		t.Errorf("%s with %d bytes", response.Status, len(got))
	}
	if faults.Seen("GetObject") != 2 {
		t.Error("the URL does not lead to the public endpoint")
	}
	if response, _ := get(url[:len(url)-4]+"0000", ""); response.StatusCode != http.StatusForbidden {
		t.Errorf("a forged URL is answered with %s", response.Status)
	}
	for _, life := range []time.Duration{0, 8 * 24 * time.Hour} {
		if _, _, err := s.Redirect(t.Context(), o, life, ""); err == nil {
			t.Errorf("a URL that lives %s", life)
		}
	}
	// Sealed objects are not for clients.
	if _, ok, err := s.Redirect(t.Context(), blobstore.Object{Key: "a", Seal: []byte{1}}, time.Minute, ""); ok || err != nil {
		t.Errorf("redirected to a sealed object: %v, %v", ok, err)
	}
}
