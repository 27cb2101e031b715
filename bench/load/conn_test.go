package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

// oracle is net/http's server with a handler, and a connection to it.
func oracle(t testing.TB, h http.HandlerFunc) (*Conn, *httptest.Server) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c := NewConn(Addr{Base: s.URL, Host: "registry.test", Authorization: "Basic abc"})
	t.Cleanup(c.Close)
	return c, s
}

// speaker is a server that answers each connection with a text of its own and keeps it
// open when told to. It returns how many connections were made.
func speaker(t *testing.T, open bool, answers ...string) (*Conn, *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var made atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n := int(made.Add(1)) - 1
			go func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return
				}
				_, _ = io.WriteString(conn, answers[min(n, len(answers)-1)])
				if open {
					_, _ = io.Copy(io.Discard, conn)
				}
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	c := NewConn(Addr{Base: "http://" + l.Addr().String()})
	t.Cleanup(c.Close)
	return c, &made
}

func do(t *testing.T, c *Conn, r *Request) *Response {
	t.Helper()
	a, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestBodies(t *testing.T) {
	content := make([]byte, 3<<20+17)
	for i := range content {
		content[i] = byte(i * i >> 7)
	}
	var connections atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		if r.URL.Path == "/chunked" {
			w.Header().Set("Trailer", "X-After")
			for part := range slices.Chunk(content[:n], 70_001) {
				_, _ = w.Write(part)
				w.(http.Flusher).Flush()
			}
			w.Header().Set("X-After", "done")
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(n))
		_, _ = w.Write(content[:n])
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := NewConn(Addr{Base: s.URL})
	t.Cleanup(c.Close)
	for _, n := range []int{0, 1, 100, readerSize - 100, readerSize, readerSize + 1, discardSize, discardSize + 1, len(content)} {
		for _, path := range []string{"/length", "/chunked"} {
			for _, method := range []string{"GET", "HEAD"} {
				for _, keep := range []bool{false, true} {
					a := do(t, c, &Request{Method: method, Path: fmt.Sprintf("%s?n=%d", path, n), Keep: keep})
					want := content[:n]
					if method == "HEAD" {
						want = nil
					}
					if a.Status != 200 || a.Bytes != int64(len(want)) {
						t.Errorf("%s %s of %d: status %d and %d bytes", method, path, n, a.Status, a.Bytes)
					}
					if keep && !bytes.Equal(a.Body, want) || !keep && a.Body != nil {
						t.Errorf("%s %s of %d: the body is not what was asked for", method, path, n)
					}
				}
			}
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections were made", n)
	}
}

func TestNoBody(t *testing.T) {
	c, _ := oracle(t, func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Path[1:])
		w.Header().Set("Location", "/next")
		w.WriteHeader(status)
	})
	for _, status := range []int{204, 304, 201, 202, 307} {
		if a := do(t, c, &Request{Method: "PUT", Path: "/" + strconv.Itoa(status)}); a.Status != status || a.Bytes != 0 || a.Location != "/next" {
			t.Errorf("%d: %+v", status, a)
		}
	}
}

// TestRequest sends what scenarios send and has net/http say what arrived.
func TestRequest(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 3*smallBody/16)
	file := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(file, big, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	c, s := oracle(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%s %s host=%s auth=%s accept=%s type=%s length=%d same=%t", r.Method, r.URL, r.Host, r.Header["Authorization"],
			r.Header.Get("Accept"), r.Header.Get("Content-Type"), r.ContentLength, bytes.HasPrefix(big, body) && int64(len(body)) == r.ContentLength)
	})
	size := int64(len(big))
	for _, tc := range []struct {
		request Request
		want    string
	}{
		{Request{Method: "GET", Path: "/v2/?a=b", Header: []string{"Accept: application/json"}}, "GET /v2/?a=b host=registry.test auth=[Basic abc] accept=application/json type= length=0 same=true"},
		{Request{Method: "GET", Path: s.URL + "/v2/x?y=http://z/"}, "GET /v2/x?y=http://z/ host=registry.test auth=[Basic abc] accept= type= length=0 same=true"},
		{Request{Method: "GET", Path: "/x?y=http://z/"}, "GET /x?y=http://z/ host=registry.test auth=[Basic abc] accept= type= length=0 same=true"},
		{Request{Method: "POST", Path: "/up"}, "POST /up host=registry.test auth=[Basic abc] accept= type= length=0 same=true"},
		{Request{Method: "PUT", Path: "/m", Header: []string{"Content-Type: a/b"}, Body: big[:700]}, "PUT /m host=registry.test auth=[Basic abc] accept= type=a/b length=700 same=true"},
		{Request{Method: "PUT", Path: "/m", Body: big}, fmt.Sprintf("PUT /m host=registry.test auth=[Basic abc] accept= type= length=%d same=true", size)},
		{Request{Method: "PATCH", Path: "/s", Stream: bytes.NewReader(big), Length: size}, fmt.Sprintf("PATCH /s host=registry.test auth=[Basic abc] accept= type= length=%d same=true", size)},
		{Request{Method: "PATCH", Path: "/s", Stream: iotest.OneByteReader(bytes.NewReader(big[:99])), Length: 99}, "PATCH /s host=registry.test auth=[Basic abc] accept= type= length=99 same=true"},
		{Request{Method: "PATCH", Path: "/s", Stream: f, Length: size}, fmt.Sprintf("PATCH /s host=registry.test auth=[Basic abc] accept= type= length=%d same=true", size)},
		{Request{Method: "POST", Path: "/", Header: []string{"host: api.test", "authorization: AWS4"}, Body: []byte{}}, "POST / host=api.test auth=[AWS4] accept= type= length=0 same=true"},
	} {
		tc.request.Keep = true
		if a := do(t, c, &tc.request); string(a.Body) != tc.want {
			t.Errorf("%s %s: got\n%s\nwant\n%s", tc.request.Method, tc.request.Path, a.Body, tc.want)
		}
	}
}

func TestHeaders(t *testing.T) {
	c, _ := oracle(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/without" {
			return
		}
		w.Header().Set("Location", "/l")
		w.Header().Set("Docker-Content-Digest", "sha256:1")
		w.Header().Set("Content-Type", "a/b; c=d")
		w.Header().Set("Link", "</next>; rel=next")
		w.Header().Set("X-Other", strings.Repeat("x", 9000))
	})
	for range 2 {
		if a := do(t, c, &Request{Method: "GET", Path: "/with"}); a.Location != "/l" || a.Digest != "sha256:1" || a.ContentType != "a/b; c=d" || a.Link != "</next>; rel=next" {
			t.Errorf("%+v", a)
		}
		if a := do(t, c, &Request{Method: "GET", Path: "/without"}); a.Location != "" || a.Digest != "" || a.ContentType != "" || a.Link != "" {
			t.Errorf("headers of another answer: %+v", a)
		}
	}
}

func TestRefusal(t *testing.T) {
	long := strings.Repeat("e", 3*errorBody)
	c, _ := oracle(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(429)
		_, _ = io.WriteString(w, long)
	})
	a := do(t, c, &Request{Method: "GET", Path: "/"})
	if a.Status != 429 || a.Bytes != int64(len(long)) || string(a.Body) != long[:errorBody] {
		t.Errorf("status %d, %d bytes, kept %d", a.Status, a.Bytes, len(a.Body))
	}
	if err := a.Want(200, 202); err == nil || !strings.Contains(err.Error(), "status 429 instead of [200 202]: eee") {
		t.Error(err)
	}
	if err := a.Want(200, 429); err != nil {
		t.Error(err)
	}
}

// TestEarlyRefusal is a server that answers before it has read the body and goes away.
func TestEarlyRefusal(t *testing.T) {
	c, _ := speaker(t, false, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
	a, err := c.Do(&Request{Method: "PUT", Path: "/", Stream: neverEnding{}, Length: 1 << 40})
	// The answer can get lost when the server resets the connection; then it is an error.
	if err == nil && (a.Status != 413 || string(a.Body) != "big") {
		t.Errorf("%+v", a)
	}
	if a = do(t, c, &Request{Method: "GET", Path: "/"}); a.Status != 413 {
		t.Errorf("the connection was used again: %+v", a)
	}
}

// refusing takes heads and no bodies, and has an answer.
type refusing struct {
	still
	answer io.Reader
}

func (r refusing) Read(p []byte) (int, error) { return r.answer.Read(p) }
func (r refusing) Write(p []byte) (int, error) {
	if bytes.HasSuffix(p, []byte("\r\n\r\n")) {
		return len(p), nil
	}
	return 0, errors.New("broken pipe")
}

// TestRefusedBody has the answer there although the body could not be written.
func TestRefusedBody(t *testing.T) {
	for status, want := range map[int]string{413: "", 201: "broken pipe"} {
		near, far := net.Pipe()
		_ = far.Close()
		c := NewConn(nowhere)
		conn := refusing{still{near}, strings.NewReader(fmt.Sprintf("HTTP/1.1 %d\r\nContent-Length: 3\r\n\r\nbig", status))}
		c.net, c.in = conn, bufio.NewReaderSize(conn, readerSize)
		a, err := c.Do(&Request{Method: "PUT", Path: "/", Stream: neverEnding{}, Length: 1 << 40})
		if want == "" && (err != nil || a.Status != status || string(a.Body) != "big") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d: %+v, %v", status, a, err)
		}
		if c.net != nil {
			t.Errorf("%d: the connection is kept", status)
		}
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

func TestWrongLength(t *testing.T) {
	c, _ := oracle(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	_, err := c.Do(&Request{Method: "PUT", Path: "/", Stream: strings.NewReader("abc"), Length: 2})
	if err == nil || !strings.Contains(err.Error(), "3 bytes, and 2 were announced") {
		t.Error(err)
	}
	if a := do(t, c, &Request{Method: "GET", Path: "/"}); a.Status != 200 {
		t.Errorf("%+v", a)
	}
}

// TestClosedBetween has the server close its side after each answer without saying so.
func TestClosedBetween(t *testing.T) {
	c, made := speaker(t, false, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	for range 5 {
		if a := do(t, c, &Request{Method: "POST", Path: "/", Body: []byte("x")}); a.Bytes != 2 {
			t.Errorf("%+v", a)
		}
	}
	if n := made.Load(); n != 5 {
		t.Errorf("%d connections", n)
	}
}

func TestConnectionHeader(t *testing.T) {
	for text, connections := range map[string]int64{
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n":      2,
		"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n":                           2,
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 unasked\r\n":   2, // what remains is no answer to the next
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":                           1,
		"HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n": 1,
	} {
		c, _ := speaker(t, true, text)
		do(t, c, &Request{Method: "GET", Path: "/"})
		conn, reused, err := c.connect()
		if err != nil || conn == nil {
			t.Fatal(err)
		}
		if reused != (connections == 1) {
			t.Errorf("%q: reused %t", text, reused)
		}
	}
}

func TestAnswers(t *testing.T) {
	for _, tc := range []struct {
		text   string
		status int
		body   string
		err    string
	}{
		{"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, "until the end", ""},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\na", 201, "a", ""},
		{"HTTP/1.1 200\nContent-Length:1\n\na", 200, "a", ""},
		{"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\nContent-Length: 9\r\n\r\n2;x=y\r\nab\r\nA \r\n0123456789\r\n0\r\nA: b\r\n\r\n", 200, "ab0123456789", ""},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", 0, "", "after 2 bytes of the body: unexpected EOF"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 0, "", "after 3 bytes of the body: unexpected EOF"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", 0, "", `a chunk is followed by "d"`},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabcd\r\n", 0, "", "not the size of a chunk"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", 0, "", "not understood"},
		{"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 0, "", "not a content length"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", 0, "", "not a content length"},
		{"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", 0, "", "not a line of an answer's head"},
		{"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", readerSize) + "\r\n\r\n", 0, "", "more than 16384 bytes"},
		{"HTTP/1.1 2000 OK\r\n\r\n", 0, "", "not the status line"},
		{"HTTP/1.1 -20 OK\r\n\r\n", 0, "", "not the status line"},
		{"SSH-2.0-OpenSSH_9\r\n", 0, "", "not the status line"},
		{"HTTP/1.1 200 OK\r\nContent-Le", 0, "", "unexpected EOF"},
		{"", 0, "", "closed the connection without an answer"},
	} {
		c, _ := speaker(t, false, tc.text)
		a, err := c.Do(&Request{Method: "GET", Path: "/p", Keep: true})
		switch {
		case tc.err != "":
			if err == nil || !strings.Contains(err.Error(), tc.err) || !strings.HasPrefix(err.Error(), "GET /p: ") {
				t.Errorf("%.60q: error %v, want %s", tc.text, err, tc.err)
			}
		case err != nil:
			t.Errorf("%.60q: %v", tc.text, err)
		case a.Status != tc.status || string(a.Body) != tc.body || a.Link != "":
			t.Errorf("%.60q: %+v with %q", tc.text, a, a.Body)
		}
	}
}

func TestNoServer(t *testing.T) {
	for _, base := range []string{"", "127.0.0.1:5000", "https://127.0.0.1:5000", "http://127.0.0.1", "http://127.0.0.1:5000/path"} {
		if _, err := NewConn(Addr{Base: base}).Do(&Request{Method: "GET", Path: "/"}); err == nil || !strings.Contains(err.Error(), "must be http://host:port") {
			t.Errorf("%q: %v", base, err)
		}
	}
	c, s := oracle(t, func(http.ResponseWriter, *http.Request) {})
	do(t, c, &Request{Method: "GET", Path: "/"})
	s.Close()
	if _, err := c.Do(&Request{Method: "GET", Path: "/"}); err == nil || !strings.Contains(err.Error(), "connect to the server") {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	arrived := make(chan bool)
	c, _ := oracle(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- true
		<-r.Context().Done()
	})
	go func() {
		<-arrived
		c.Close()
	}()
	if _, err := c.Do(&Request{Method: "GET", Path: "/"}); err == nil {
		t.Error("answered although it was closed")
	}
	if _, err := c.Do(&Request{Method: "GET", Path: "/"}); !errors.Is(err, errClosed) {
		t.Error(err)
	}
}

// TestAllocations holds a repeated request to none, whatever its answer's body.
func TestAllocations(t *testing.T) {
	answer := map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nDocker-Content-Digest: sha256:1\r\nLink: x\r\nContent-Length: 4\r\n\r\nbody",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: a/b\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
		"head":    "HTTP/1.1 200 OK\r\nLocation: /x\r\nContent-Length: 4000000\r\n\r\n",
	}
	for name, text := range answer {
		near, far := net.Pipe()
		go func() {
			request, text := make([]byte, 4096), []byte(text)
			for {
				if _, err := far.Read(request); err != nil {
					return
				}
				if _, err := far.Write(text); err != nil {
					return
				}
			}
		}()
		c := NewConn(Addr{Base: "http://127.0.0.1:1", Authorization: "Basic abc"})
		c.net, c.in = still{near}, bufio.NewReaderSize(near, readerSize)
		r := &Request{Method: "GET", Path: "/v2/r/blobs/sha256:1", Header: []string{"Accept: a/b"}}
		if name == "head" {
			r.Method = "HEAD"
		}
		n := testing.AllocsPerRun(200, func() {
			if _, err := c.Do(r); err != nil {
				t.Error(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations for a request", name, n)
		}
		c.Close()
	}
}

// still is a pipe without deadlines, for which it would allocate.
type still struct{ net.Conn }

func (still) SetDeadline(time.Time) error { return nil }

// BenchmarkDo shows what the client itself costs beside net/http's server.
func BenchmarkDo(b *testing.B) {
	c, _ := oracle(b, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "body") })
	r := &Request{Method: "GET", Path: "/v2/"}
	for b.Loop() {
		if _, err := c.Do(r); err != nil {
			b.Fatal(err)
		}
	}
}

func TestRunAgainstServer(t *testing.T) {
	var served atomic.Int64
	_, s := oracle(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		_, _ = io.WriteString(w, "body")
	})
	sample, err := Run(context.Background(), Addr{Base: s.URL}, 4, 0, 1000, func(_ context.Context, w *Worker) (int64, error) {
		a, err := w.Conn.Do(&Request{Method: "GET", Path: "/"})
		if err != nil {
			return 0, err
		}
		return a.Bytes, a.Want(200)
	})
	if err != nil || sample.Errors != 0 || sample.Ops < 1000 || sample.Ops > 1003 || sample.Ops != served.Load() || sample.Bytes != 4*sample.Ops {
		t.Errorf("%+v, %v; the server counts %d", sample, err, served.Load())
	}
	if sample.P50 <= 0 || sample.P99 < sample.P50 || sample.Elapsed < sample.P99*99/100 {
		t.Errorf("%+v", sample)
	}
}
