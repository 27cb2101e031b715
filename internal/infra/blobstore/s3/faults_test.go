package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/encrypted"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3/s3test"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3/upload"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
)

// disturbed is a store behind a proxy with faults. Requests that hang end after
// timeout, 0 for the store's own.
func disturbed(t *testing.T, timeout time.Duration, change ...func(*Config)) (*Store, *s3test.Faults) {
	t.Helper()
	cfg := settings(t)
	faults := s3test.NewFaults(t, s3test.Start(t))
	cfg.Endpoint, cfg.Timeout = faults.URL, timeout
	cfg.pause, cfg.rate = 20*time.Millisecond, 64*(1<<20)
	for _, c := range change {
		c(&cfg)
	}
	return open(t, cfg), faults
}

// hangs is short enough to wait for, and a loaded machine still answers in it:
// requests that take longer are repeated.
const hangs = time.Second

// TestWriteFaults puts each fault once into each request of a large and of a small
// upload that is suspended once. Repeating has to bring the upload through, and
// what was acknowledged has to be there.
func TestWriteFaults(t *testing.T) {
	faults := map[string]s3test.Action{
		"500":             s3test.InternalError(),
		"503":             s3test.SlowDown(),
		"hang":            s3test.Hang(),
		"reset":           s3test.Reset(),
		"answer lost":     s3test.Drop(),
		"500 though done": s3test.FailAfter(http.StatusInternalServerError, "InternalError"),
		"request cut off": s3test.CutRequest(),
		"answer cut off":  s3test.Cut(10),
	}
	small := []string{"PutObject", "HeadObject", "GetObject", "DeleteObjects"}
	large := append([]string{"CreateMultipartUpload", "UploadPart", "ListParts", "CompleteMultipartUpload", "ListMultipartUploads"}, small...)
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			timeout := time.Duration(0)
			if name == "hang" {
				timeout = hangs
			}
			s, proxy := disturbed(t, timeout)
			for size, ops := range map[int][]string{100: small, upload.FirstPart + 55: large} {
				want := content(1, size)
				for _, op := range ops {
					key := fmt.Sprintf("faults/%d/%s", size, op)
					proxy.Set(s3test.Rule{Op: op, Times: 1, Do: fault})
					w := create(t, s, key)
					write(t, w, want[:size-50])
					w = resume(t, s, key, suspend(t, w))
					write(t, w, want[size-50:])
					o := commit(t, w)
					if proxy.Seen(op) == 0 {
						t.Errorf("%s was never asked for", op)
					}
					proxy.Set()
					expect(t, s, o, want)
					if _, err := s.Resume(t.Context(), key, nil); err == nil {
						t.Error("resumed from nothing")
					}
					if err := s.Delete(t.Context(), key); err != nil {
						t.Fatal(err)
					}
				}
			}
			nothingLeft(t, s)
		})
	}
}

// TestLostCompletion: the service did what it was asked for and never says so.
func TestLostCompletion(t *testing.T) {
	for op, size := range map[string]int{"CompleteMultipartUpload": upload.FirstPart + 5, "PutObject": 77} {
		for name, fault := range map[string]s3test.Action{
			"lost": s3test.Drop(), "500": s3test.FailAfter(http.StatusInternalServerError, "InternalError"),
		} {
			s, proxy := disturbed(t, 0)
			want := content(2, size)
			w := create(t, s, "lost")
			write(t, w, want)
			proxy.Set(s3test.Rule{Op: op, Do: fault}) // each time
			o := commit(t, w)
			if o.Size != int64(size) {
				t.Errorf("%s, %s: %d bytes", op, name, o.Size)
			}
			expect(t, s, o, want)
			nothingLeft(t, s, "lost")
		}
	}
}

// TestNothingThere: the service never did what it was asked for. No commit is
// acknowledged, the State still stands, and the upload goes on from it.
func TestNothingThere(t *testing.T) {
	for op, size := range map[string]int{"CompleteMultipartUpload": upload.FirstPart + 5, "PutObject": 77, "UploadPart": 2*upload.FirstPart + 5, "ListParts": upload.FirstPart + 9} {
		for name, fault := range map[string]s3test.Action{"reset": s3test.Reset(), "500": s3test.InternalError(), "refused": s3test.Fail(http.StatusForbidden, "AccessDenied")} {
			s, proxy := disturbed(t, 0)
			want := content(3, size)
			w := create(t, s, "none")
			write(t, w, want[:size-10])
			state := suspend(t, w)
			w = resume(t, s, "none", state)
			write(t, w, want[size-10:])
			proxy.Set(s3test.Rule{Op: op, Key: "none", Do: fault})
			_, err := w.Commit(t.Context())
			if err == nil || errors.Is(err, blobstore.ErrNotFound) || errors.Is(err, blobstore.ErrCorrupt) {
				t.Errorf("%s, %s: the commit ended with %v", op, name, err)
			}
			if _, err := w.Commit(t.Context()); !errors.Is(err, blobstore.ErrEnded) {
				t.Errorf("%s, %s: a second commit: %v", op, name, err)
			}
			proxy.Set()
			if _, err := read(t, s, blobstore.Object{Key: "none", Size: int64(size)}, 0, -1); !errors.Is(err, blobstore.ErrNotFound) {
				t.Errorf("%s, %s: read what was not committed: %v", op, name, err)
			}
			w = resume(t, s, "none", state)
			write(t, w, want[size-10:])
			expect(t, s, commit(t, w), want)
			nothingLeft(t, s, "none")
		}
	}
}

// TestFailedWrite: a Writer whose part could not be stored is over, and its
// multipart upload does not stay.
func TestFailedWrite(t *testing.T) {
	s, proxy := disturbed(t, 0)
	proxy.Set(s3test.Rule{Op: "UploadPart", Do: s3test.InternalError()})
	w := create(t, s, "failed")
	_, err := w.Write(content(1, upload.FirstPart+1))
	if err == nil {
		t.Fatal("a part that was not stored is no error")
	}
	if _, again := w.Write([]byte("x")); again != err {
		t.Errorf("the next Write: %v", again)
	}
	if _, err := w.Suspend(t.Context()); err == nil {
		t.Error("suspended after a failed Write")
	}
	if _, err := w.Commit(t.Context()); err == nil {
		t.Error("committed after a failed Write")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, s)

	proxy.Set(s3test.Rule{Op: "PutObject", Do: s3test.Fail(http.StatusInsufficientStorage, "InsufficientStorage")})
	w = create(t, s, "full")
	write(t, w, []byte("x"))
	if _, err := w.Suspend(t.Context()); !errors.Is(err, blobstore.ErrFull) {
		t.Errorf("a full service: %v", err)
	}
}

// TestWrongSize: another writer's object in place of the one that was written is
// no success, and neither is one that vanishes.
func TestWrongSize(t *testing.T) {
	s := open(t, settings(t))
	ctx := t.Context()
	put(t, s, s.object("size"), []byte("other"))
	for parts, callErr := range map[int]error{0: nil, 2: nil, 3: errors.New("lost")} {
		if err := s.confirm(ctx, "size", 5, upload.NewMark(), parts, callErr); err == nil || callErr != nil && !errors.Is(err, callErr) {
			t.Errorf("%v: another's object is taken for ours: %v", callErr, err)
		}
	}
	w := create(t, s, "mark")
	write(t, w, []byte("abc"))
	m := upload.NewMark()
	if err := w.put(ctx, s.object("mark"), m); err != nil {
		t.Fatal(err)
	}
	if err := s.confirm(ctx, "mark", 3, m, 0, nil); err != nil {
		t.Error(err)
	}
	if err := s.confirm(ctx, "mark", 4, m, 0, nil); !errors.Is(err, blobstore.ErrCorrupt) {
		t.Errorf("an object that is too short: %v", err)
	}
	if err := s.confirm(ctx, "gone", 3, m, 0, nil); err == nil || errors.Is(err, blobstore.ErrNotFound) {
		t.Errorf("an object that is not there after it was written: %v", err)
	}
	one, two := `"d41d8cd98f00b204e9800998ecf8427e-2"`, "opaque"
	if hasParts(&one, 3) || !hasParts(&one, 2) || !hasParts(&two, 7) {
		t.Error("the number of parts is read wrongly from an ETag")
	}
}

// TestReadFaults: answers that break off are gone on with; what goes wrong every
// time is an error, and never a short answer that looks whole.
func TestReadFaults(t *testing.T) {
	s, proxy := disturbed(t, hangs)
	want := content(4, 3<<20)
	w := create(t, s, "read")
	write(t, w, want)
	o := commit(t, w)
	both := func(name string, check func(got []byte, err error)) {
		t.Helper()
		r, err := s.Open(t.Context(), o, 0, -1)
		var got []byte
		if err == nil {
			got, err = io.ReadAll(r)
			err = errors.Join(err, r.Close())
		}
		check(got, err)
	}
	for name, fault := range map[string]s3test.Action{
		"500": s3test.InternalError(), "503": s3test.SlowDown(), "hang": s3test.Hang(), "reset": s3test.Reset(),
		"cut at once": s3test.Cut(0), "cut": s3test.Cut(1<<20 + 7), "cut at the end": s3test.Cut(3<<20 - 1),
	} {
		proxy.Set(s3test.Rule{Op: "GetObject", Times: 2, Do: fault})
		both(name, func(got []byte, err error) {
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		})
		proxy.Set(s3test.Rule{Op: "GetObject", Do: fault})
		var b bytes.Buffer
		r, err := s.Open(t.Context(), o, 100, -1)
		if err == nil {
			_, err = r.(io.WriterTo).WriteTo(&b)
			err = errors.Join(err, r.Close())
		}
		switch {
		case !bytes.HasPrefix(want[100:], b.Bytes()):
			t.Errorf("%s each time: wrong bytes", name)
		case err == nil && b.Len() < len(want)-100:
			t.Errorf("%s each time: cut short without an error", name)
		case err == nil && !strings.HasPrefix(name, "cut"):
			t.Errorf("%s each time: no error", name)
		}
	}

	// Exchanged while it was read.
	proxy.Set(s3test.Rule{Op: "GetObject", Times: 1, Do: s3test.Cut(1 << 20)})
	r, err := s.Open(t.Context(), o, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, r, 1000); err != nil {
		t.Fatal(err)
	}
	put(t, s, s.object("read"), content(5, len(want)))
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, blobstore.ErrCorrupt) {
		t.Errorf("an object that was exchanged while it was read: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read after Close: %v", err)
	}
}

// TestReadCanceled: a reader ends with its context, also in the middle of an
// answer that hangs.
func TestReadCanceled(t *testing.T) {
	s, proxy := disturbed(t, time.Hour)
	w := create(t, s, "canceled")
	write(t, w, content(4, 1<<20))
	o := commit(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := s.Open(ctx, o, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("read with an ended context: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	proxy.Set(s3test.Rule{Op: "GetObject", Do: s3test.Hang()})
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for range 60_000 {
			if proxy.Seen("GetObject") > 0 {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := s.Open(ctx, o, 0, -1); !errors.Is(err, context.Canceled) {
		t.Errorf("opened with an ended context: %v", err)
	}
}

// TestFlippedBytes: who notices that a bit changed on the way back.
func TestFlippedBytes(t *testing.T) {
	flip := s3test.Rule{Op: "GetObject", Do: s3test.Flip(5000)}
	want := content(6, 100_000)

	// Nobody here, without checksums: that is what digests are for.
	s, proxy := disturbed(t, 0)
	w := create(t, s, "flipped")
	write(t, w, want)
	o := commit(t, w)
	proxy.Set(flip)
	if got, err := read(t, s, o, 0, -1); err != nil || bytes.Equal(got, want) {
		t.Errorf("the fault did nothing: %v", err)
	}

	// The SDK, with checksums, for the whole object.
	s, proxy = disturbed(t, 0, func(c *Config) { c.Checksums = ChecksumsSupported })
	w = create(t, s, "flipped")
	write(t, w, want)
	o = commit(t, w)
	expect(t, s, o, want)
	proxy.Set(flip)
	if _, err := read(t, s, o, 0, -1); !errors.Is(err, blobstore.ErrCorrupt) {
		t.Errorf("with checksums: %v", err)
	}

	// A sealed object, without them.
	s, proxy = disturbed(t, 0)
	ring, err := keyring.Open(t.TempDir()+"/keyring", clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	over := encrypted.New(s, ring)
	sw, err := over.Create(t.Context(), "sealed", blobstore.Placement{})
	if err != nil {
		t.Fatal(err)
	}
	write(t, sw, want)
	o = commit(t, sw)
	expect(t, over, o, want)
	proxy.Set(flip)
	if got, err := read(t, over, o, 0, -1); !errors.Is(err, blobstore.ErrCorrupt) || !bytes.HasPrefix(want, got) {
		t.Errorf("sealed: %d bytes, %v", len(got), err)
	}

	// A tail, by the State.
	w = create(t, s, "tail")
	write(t, w, want)
	state := suspend(t, w)
	if _, err := s.Resume(t.Context(), "tail", state); !errors.Is(err, blobstore.ErrCorrupt) {
		t.Errorf("a tail: %v", err)
	}
	proxy.Set()
	w = resume(t, s, "tail", state) // it was the way's fault
	expect(t, s, commit(t, w), want)
}

// TestCheck: what is wrong is said, with what to do.
func TestCheck(t *testing.T) {
	good := settings(t)
	if err := open(t, good).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := open(t, good)
	nothingLeft(t, s)
	faults := s3test.NewFaults(t, s3test.Start(t))
	for name, c := range map[string]struct {
		change func(*Config)
		rules  []s3test.Rule
		want   string
	}{
		"no bucket":      {change: func(c *Config) { c.Bucket = "not-there" }, want: `there is no bucket "not-there"`},
		"wrong secret":   {change: func(c *Config) { c.SecretAccessKey = "wrong" }, want: "does not accept the credentials"},
		"wrong key":      {change: func(c *Config) { c.AccessKeyID = "wrong" }, want: "does not accept the credentials"},
		"wrong region":   {change: func(c *Config) { c.Region = "mars-north-1" }, want: "correct the region"},
		"unreachable":    {change: func(c *Config) { c.Endpoint = "http://127.0.0.1:1" }, want: "cannot be reached"},
		"silent":         {change: func(c *Config) { c.Timeout = 50 * time.Millisecond }, rules: []s3test.Rule{{Do: s3test.Hang()}}, want: "cannot be reached"},
		"unknown host":   {change: func(c *Config) { c.Endpoint = "http://nowhere.invalid" }, want: "nowhere.invalid"},
		"no listing":     {rules: []s3test.Rule{{Op: "ListObjectsV2", Do: s3test.Fail(403, "AccessDenied")}}, want: "allow s3:ListBucket on"},
		"no uploads":     {rules: []s3test.Rule{{Op: "ListMultipartUploads", Do: s3test.Fail(403, "AccessDenied")}}, want: "allow s3:ListBucketMultipartUploads"},
		"no writing":     {rules: []s3test.Rule{{Op: "PutObject", Do: s3test.Fail(403, "AccessDenied")}}, want: "allow s3:PutObject"},
		"no reading":     {rules: []s3test.Rule{{Op: "GetObject", Do: s3test.Fail(403, "AccessDenied")}}, want: "allow s3:GetObject"},
		"no deleting":    {rules: []s3test.Rule{{Op: "DeleteObjects", Do: s3test.Fail(403, "AccessDenied")}}, want: "allow s3:DeleteObject"},
		"no multipart":   {rules: []s3test.Rule{{Op: "CreateMultipartUpload", Do: s3test.Fail(403, "AccessDenied")}}, want: "s3:AbortMultipartUpload"},
		"other bytes":    {rules: []s3test.Rule{{Op: "GetObject", Do: s3test.Flip(3)}}, want: "other bytes come back"},
		"service failed": {rules: []s3test.Rule{{Do: s3test.InternalError()}}, want: "answers with an error"},
		"KMS":            {change: func(c *Config) { c.SSE = SSEKMS }, rules: []s3test.Rule{{Op: "PutObject", Do: s3test.Fail(400, "KMS.NotFoundException")}}, want: "KMS key"},
	} {
		cfg := good
		cfg.Endpoint, cfg.Attempts = faults.URL, 1
		if c.change != nil {
			c.change(&cfg)
		}
		faults.Set(c.rules...)
		err := open(t, cfg).Check(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant: %s", name, err, c.want)
		}
	}
}

func TestConfig(t *testing.T) {
	good := Config{Bucket: "bucket", Region: "us-east-1", AccessKeyID: "a", SecretAccessKey: "s"}
	for name, change := range map[string]func(*Config){
		"no bucket":     func(c *Config) { c.Bucket = "" },
		"prefix":        func(c *Config) { c.Prefix = "a//b" },
		"long prefix":   func(c *Config) { c.Prefix = strings.Repeat("a/", maxPrefix/2) + "aa" },
		"endpoint":      func(c *Config) { c.Endpoint = "localhost:9000" },
		"public":        func(c *Config) { c.PublicEndpoint = "ftp://x" },
		"sse":           func(c *Config) { c.SSE = "aes" },
		"stray kms key": func(c *Config) { c.SSE, c.KMSKeyID = SSES3, "key" },
		"checksums":     func(c *Config) { c.Checksums = "all" },
		"half a key":    func(c *Config) { c.SecretAccessKey = "" },
		"timeout":       func(c *Config) { c.Timeout = -1 },
		"attempts":      func(c *Config) { c.Attempts = -1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(t.Context(), cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	s := open(t, good)
	if s.cfg.Timeout != DefaultTimeout || s.cfg.Attempts != DefaultAttempts || s.cfg.Checksums != ChecksumsRequired {
		t.Errorf("defaults: %+v", s.cfg)
	}
	// Without an endpoint, the service is AWS and the region has to be known.
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	cfg := good
	cfg.Region = ""
	if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "no region") {
		t.Errorf("no region: %v", err)
	}
	cfg.Endpoint = "http://localhost:9000"
	if got := open(t, cfg).cfg.Region; got != defaultRegion {
		t.Errorf("the region is %q", got)
	}
	// What the environment says of an endpoint for AWS tools is not ours.
	t.Setenv("AWS_ENDPOINT_URL", "http://elsewhere.invalid")
	cfg.Endpoint, cfg.Region, cfg.PublicEndpoint = "", "us-west-2", "https://s3.us-west-2.amazonaws.com"
	url, ok, err := open(t, cfg).Redirect(t.Context(), blobstore.Object{Key: "k"}, time.Minute, "")
	if err != nil || !ok || !strings.HasPrefix(url, "https://bucket.s3.us-west-2.amazonaws.com/k?") {
		t.Errorf("%q, %v", url, err)
	}
	if endpoint := open(t, cfg).client.Options().BaseEndpoint; endpoint != nil {
		t.Errorf("the endpoint is %q", *endpoint)
	}
}

// TestEncryptionHeaders: objects and multipart uploads ask for the encryption that
// is set, tails included.
func TestEncryptionHeaders(t *testing.T) {
	for sse, want := range map[string]string{SSENone: "", SSES3: "AES256", SSEKMS: "aws:kms"} {
		seen := 0
		cfg := settings(t)
		cfg.SSE = sse
		if sse == SSEKMS {
			cfg.KMSKeyID = "arn:aws:kms:eu-north-1:111122223333:key/k"
		}
		cfg.Wrap = func(inner http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				switch s3test.Operation(r) {
				case "PutObject", "CreateMultipartUpload":
					seen++
					if got := r.Header.Get("X-Amz-Server-Side-Encryption"); got != want {
						t.Errorf("%q: %s asks for %q", sse, r.URL.Path, got)
					}
					if got := r.Header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"); got != cfg.KMSKeyID {
						t.Errorf("%q: %s asks for key %q", sse, r.URL.Path, got)
					}
				}
				return inner.RoundTrip(r)
			})
		}
		s := open(t, cfg)
		for _, size := range []int{10, upload.FirstPart + 10} {
			// Whether the test server can encrypt does not matter here.
			w := create(t, s, fmt.Sprintf("sse/%d", size))
			if _, err := w.Write(content(1, size)); err == nil {
				_, _ = w.Suspend(t.Context())
			}
			w = create(t, s, fmt.Sprintf("sse/%d", size))
			if _, err := w.Write(content(1, size)); err == nil {
				_, _ = w.Commit(t.Context())
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
		if seen < 4 {
			t.Errorf("%q: %d requests were looked at", sse, seen)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
