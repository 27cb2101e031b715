package upstream_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/upstream"
	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
)

// pattern is n bytes that show where they stand.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

func TestBlob(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *upstreamtest.Registry{"plain": upstreamtest.New, "tls": upstreamtest.NewTLS} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			c := client(t, upstreamtest.Config(r))
			blob := pattern(300_000)
			digest := r.PutBlob(repo, blob)
			for _, ignore := range []bool{false, true} {
				remove := r.Inject(upstreamtest.Fault{IgnoreRange: ignore})
				for _, offset := range []int{0, 1, 150_000, len(blob) - 1, len(blob)} {
					content, size, err := c.Blob(t.Context(), r.Endpoint(), repo, digest, int64(offset))
					if err != nil {
						t.Fatalf("from %d: %v", offset, err)
					}
					got, err := io.ReadAll(content)
					if err != nil || size != int64(len(blob)) || !bytes.Equal(got, blob[offset:]) {
						t.Errorf("from %d: %d of %d bytes, %v", offset, len(got), size, err)
					}
					if err := content.Close(); err != nil {
						t.Error(err)
					}
				}
				_, _, err := c.Blob(t.Context(), r.Endpoint(), repo, digest, int64(len(blob))+1)
				want(t, err, upstream.Invalid, "300001")
				remove()
			}
			empty := r.PutBlob(repo, nil)
			content, size, err := c.Blob(t.Context(), r.Endpoint(), repo, empty, 0)
			if err != nil || size != 0 {
				t.Fatalf("%d, %v", size, err)
			}
			if got, err := io.ReadAll(content); err != nil || len(got) != 0 {
				t.Errorf("%q, %v", got, err)
			}
			if err := content.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBlobResumes takes a blob over connections that break.
func TestBlobResumes(t *testing.T) {
	r := upstreamtest.New(t)
	c := client(t, upstreamtest.Config(r))
	blob := pattern(1 << 20)
	digest := r.PutBlob(repo, blob)
	defer r.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, CutAfter: 300_000})()
	var got []byte
	for try := 0; len(got) < len(blob); try++ {
		if try == 10 {
			t.Fatalf("%d bytes after 10 tries", len(got))
		}
		content, size, err := c.Blob(t.Context(), r.Endpoint(), repo, digest, int64(len(got)))
		if err != nil || size != int64(len(blob)) {
			t.Fatalf("%d, %v", size, err)
		}
		part, err := io.ReadAll(content)
		got = append(got, part...)
		if len(got) < len(blob) {
			want(t, err, upstream.Unavailable, "")
		}
		if err := content.Close(); err != nil {
			t.Error(err)
		}
	}
	if !bytes.Equal(got, blob) {
		t.Error("another blob")
	}
}

func TestBlobsThatLie(t *testing.T) {
	r := upstreamtest.New(t)
	blob := pattern(1000)
	digest := r.PutBlob(repo, blob)
	partial := func(contentRange string, body []byte) upstreamtest.Fault {
		return upstreamtest.Fault{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			w.WriteHeader(http.StatusPartialContent)
			w.(http.Flusher).Flush() // so that there is no Content-Length
			_, _ = w.Write(body)
		})}
	}
	for name, x := range map[string]struct {
		fault  upstreamtest.Fault
		offset int64
		kind   upstream.Kind
	}{
		"part not asked for":      {partial("bytes 0-999/1000", blob), 0, upstream.Invalid},
		"part without a range":    {partial("", blob[500:]), 500, upstream.Invalid},
		"another part":            {partial("bytes 0-999/1000", blob), 500, upstream.Invalid},
		"a later part":            {partial("bytes 600-999/1000", blob[600:]), 500, upstream.Invalid},
		"a part of the part":      {partial("bytes 500-600/1000", blob[500:601]), 500, upstream.Invalid},
		"nonsense":                {partial("bytes 999-500/1000", blob), 500, upstream.Invalid},
		"more than its range":     {partial("bytes 500-999/1000", append(blob[500:1000:1000], 'x')), 500, upstream.Invalid},
		"less than its range":     {partial("bytes 500-999/1000", blob[500:900]), 500, upstream.Unavailable},
		"two sizes":               {upstreamtest.Fault{Header: header("Content-Range", "bytes 500-1999/2000")}, 500, upstream.Invalid},
		"a size of its own":       {upstreamtest.Fault{IgnoreRange: true, Header: header("Content-Length", "400")}, 500, upstream.Invalid},
		"longer than it is":       {upstreamtest.Fault{Header: header("Content-Length", "2000")}, 0, upstream.Unavailable},
		"cut":                     {upstreamtest.Fault{CutAfter: 10}, 0, upstream.Unavailable},
		"stalled":                 {upstreamtest.Fault{StallAfter: 10}, 0, upstream.Unavailable},
		"stalled while skipping":  {upstreamtest.Fault{StallAfter: 10, IgnoreRange: true}, 500, upstream.Unavailable},
		"ends while skipping":     {upstreamtest.Fault{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); _, _ = w.Write(blob[:100]) })}, 500, upstream.Invalid},
		"no such range":           {upstreamtest.Fault{Status: 416, Header: header("Content-Range", "bytes */10")}, 500, upstream.Invalid},
		"no such range, from 0":   {upstreamtest.Fault{Status: 416, Header: header("Content-Range", "bytes */0")}, 0, upstream.Invalid},
		"encoded":                 {upstreamtest.Fault{Header: header("Content-Encoding", "gzip")}, 0, upstream.Invalid},
		"redirected to nowhere":   {upstreamtest.Fault{Status: 307}, 0, upstream.Invalid},
		"redirected to no target": {upstreamtest.Fault{Redirect: "http://%zz/"}, 0, upstream.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			defer r.Inject(x.fault)()
			config := upstreamtest.Config(r)
			if x.fault.StallAfter > 0 { // no other case may run into this limit
				config.Timeouts.Stall = 50 * time.Millisecond
			}
			c := client(t, config)
			content, _, err := c.Blob(t.Context(), r.Endpoint(), repo, digest, x.offset)
			if err == nil {
				_, err = io.Copy(io.Discard, content)
				if _, again := content.Read(make([]byte, 1)); again == nil || again.Error() != err.Error() {
					t.Errorf("%v, and then %v", err, again)
				}
				if err := content.Close(); err != nil {
					t.Error(err)
				}
			}
			want(t, err, x.kind, "")
		})
	}
}

// TestEndlessBlob makes sure that closing ends what has no end.
func TestEndlessBlob(t *testing.T) {
	r := upstreamtest.New(t)
	c := client(t, upstreamtest.Config(r))
	digest := r.PutBlob(repo, pattern(10))
	defer r.Inject(upstreamtest.Fault{Endless: true})()
	content, size, err := c.Blob(t.Context(), r.Endpoint(), repo, digest, 0)
	if err != nil || size != -1 {
		t.Fatalf("%d, %v", size, err)
	}
	if n, err := io.CopyN(io.Discard, content, 1<<20); err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if err := content.Close(); err != nil {
		t.Error(err)
	}
	if n, err := content.Read(make([]byte, 10)); n != 0 || err == nil {
		t.Errorf("after the end: %d, %v", n, err)
	}
}

// TestSlowBlob makes sure that a blob may take longer than all limits, while it comes.
func TestSlowBlob(t *testing.T) {
	r := upstreamtest.New(t)
	config := upstreamtest.Config(r)
	config.Timeouts = upstream.Timeouts{Manifest: 2 * time.Second}
	c := client(t, config)
	digest := r.PutBlob(repo, nil)
	defer r.Inject(upstreamtest.Fault{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for range 10 {
			_, _ = fmt.Fprint(w, "0123456789")
			w.(http.Flusher).Flush()
			time.Sleep(250 * time.Millisecond)
		}
	})})()
	content, _, err := c.Blob(t.Context(), r.Endpoint(), repo, digest, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = content.Close() }()
	if got, err := io.ReadAll(content); err != nil || len(got) != 100 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
