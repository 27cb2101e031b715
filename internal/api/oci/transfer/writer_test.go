package transfer

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// filed is content in a file, which goes to the connection as such.
type filed struct {
	file  *os.File
	size  int64
	begin error
}

func (f *filed) Read(p []byte) (int, error) { return f.file.Read(p) }

func (f *filed) Begin() error { return f.begin }

func (f *filed) WriteTo(w io.Writer) (int64, error) {
	if to, ok := w.(io.ReaderFrom); ok {
		return to.ReadFrom(&io.LimitedReader{R: f.file, N: f.size})
	}
	return io.Copy(w, io.LimitReader(onlyReader{f.file}, f.size))
}

// onlyReader hides what else a file can do.
type onlyReader struct{ io.Reader }

// inMemory is content that is written in large pieces.
type inMemory struct{ content []byte }

func (m *inMemory) Read(p []byte) (int, error) { return 0, io.EOF }
func (m *inMemory) Begin() error               { return nil }
func (m *inMemory) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for piece := range pieces(m.content) {
		n, err := w.Write(piece)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func pieces(content []byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for i := 0; i < len(content); i += 512 << 10 {
			if !yield(content[i:min(len(content), i+512<<10)]) {
				return
			}
		}
	}
}

// patterned is content in which every place is known.
func patterned(size int) []byte {
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return content
}

// inFile puts content into a file.
func inFile(t *testing.T, content []byte) *filed {
	t.Helper()
	path := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // it was only read
	return &filed{file: f, size: int64(len(content))}
}

// answering is a handler that sends content and tells how that went.
func answering(content io.Reader, size int, stall time.Duration, over chan<- error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a := Answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {"a/b"}}, Content: content, Size: int64(size)}
		err := a.Prepare()
		if err == nil {
			err = a.Write(w, http.NewResponseController(w), r.Method, stall)
		}
		if err == nil && a.Sent != int64(size) {
			err = errors.New("not all was sent")
		}
		over <- err
	}
}

// large is more than a connection holds in its buffers, in bytes.
const large = 32 << 20

// TestStalledDirectly: a client that takes nothing is given up when content goes to
// the connection by itself, too.
func TestStalledDirectly(t *testing.T) {
	content := patterned(large)
	for name, c := range map[string]io.Reader{"file": inFile(t, content), "memory": &inMemory{content}} {
		t.Run(name, func(t *testing.T) {
			over := make(chan error, 1)
			client := serve(t, answering(c, large, stall, over))
			send(t, client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			select {
			case err := <-over:
				if !Stalled(err) || errors.As(err, new(*ContentError)) {
					t.Errorf("gave up with %v", err)
				}
			case <-time.After(50 * stall):
				t.Fatal("the server still waits for the client")
			}
		})
	}
}

// ticking tells of every time that a direct transfer was looked at.
type ticking struct {
	http.ResponseWriter
	ticks chan<- int64
}

func (c *ticking) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *ticking) ReadFrom(src io.Reader) (int64, error) {
	n, err := c.ResponseWriter.(io.ReaderFrom).ReadFrom(src)
	if Stalled(err) {
		c.ticks <- n
	}
	return n, err
}

// TestSlowDirectly: a client that stands still for less than the stall time is borne,
// and gets every byte once.
func TestSlowDirectly(t *testing.T) {
	const stall = 6 * time.Second
	content := patterned(large)
	for name, c := range map[string]io.Reader{"file": inFile(t, content), "memory": &inMemory{content}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over, ticks := make(chan error, 1), make(chan int64, 100)
			client := serve(t, func(w http.ResponseWriter, r *http.Request) {
				answering(c, large, stall, over)(&ticking{w, ticks}, r)
			})
			send(t, client, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			moved := <-ticks
			if moved <= 0 {
				t.Errorf("%d bytes moved at first", moved)
			}
			<-ticks // and then none, or few
			got, err := io.ReadAll(client)
			if err != nil {
				t.Fatal(err)
			}
			if _, body, _ := bytes.Cut(got, []byte("\r\n\r\n")); !bytes.Equal(body, content) {
				t.Errorf("got other bytes: %d of %d", len(body), len(content))
			}
			if err := <-over; err != nil {
				t.Error(err)
			}
		})
	}
}

// inSteps is a connection whose deadline passes after so many bytes each time.
type inSteps struct {
	http.ResponseWriter
	got  bytes.Buffer
	step int64
}

func (c *inSteps) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.CopyN(&c.got, src, c.step)
	if err == nil {
		err = os.ErrDeadlineExceeded
	} else if err == io.EOF {
		err = nil
	}
	return n, err
}

// TestSteps: as long as bytes move, a passed deadline is not the end; when none do
// for the stall time, it is.
func TestSteps(t *testing.T) {
	content := patterned(700 << 10)
	for _, c := range []io.Reader{inFile(t, content), &inMemory{content}} {
		to := &inSteps{ResponseWriter: httptest.NewRecorder(), step: 70_001}
		a := Answer{Status: http.StatusOK, Content: c, Size: int64(len(content))}
		err := errors.Join(a.Prepare(), a.Write(to, http.NewResponseController(to.ResponseWriter), http.MethodGet, time.Hour))
		if err != nil || !bytes.Equal(to.got.Bytes(), content) || a.Sent != int64(len(content)) {
			t.Errorf("%T: %d bytes, %d sent, %v", c, to.got.Len(), a.Sent, err)
		}
		to = &inSteps{ResponseWriter: httptest.NewRecorder()}
		a = Answer{Status: http.StatusOK, Content: inFile(t, content), Size: int64(len(content))}
		err = errors.Join(a.Prepare(), a.Write(to, http.NewResponseController(to.ResponseWriter), http.MethodGet, time.Nanosecond))
		if !Stalled(err) || a.Sent != 0 {
			t.Errorf("%T: %d bytes, %v", c, a.Sent, err)
		}
	}
}

// TestDirectAnswers: sizes around those of net/http's buffers, two answers on one
// connection, with HEAD between them.
func TestDirectAnswers(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 513, 2048, 4096, directSize - 1, directSize, directSize + 1, 700 << 10, 3 << 20} {
		content := patterned(size)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			over := make(chan error, 1)
			var c io.Reader = inFile(t, content)
			if r.URL.Path == "/memory" {
				c = &inMemory{content}
			}
			if answering(c, size, time.Minute, over)(w, r); r.Method == http.MethodGet {
				if err := <-over; err != nil {
					t.Error(err)
				}
			}
		}))
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodGet} {
			for _, path := range []string{"/file", "/memory"} {
				r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				answer, err := server.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(answer.Body)
				if err := errors.Join(err, answer.Body.Close()); err != nil {
					t.Fatal(err)
				}
				want := content
				if method == http.MethodHead {
					want = nil
				}
				if !bytes.Equal(got, want) || answer.ContentLength != int64(size) || answer.Header.Get("Content-Type") != "a/b" {
					t.Errorf("%s %s of %d: %d bytes, %v", method, path, size, len(got), answer.Header)
				}
			}
		}
		server.Close()
	}
}

// TestOverTLS: where no file can go to the connection, the bytes come all the same.
func TestOverTLS(t *testing.T) {
	const size = 3 << 20
	content := patterned(size)
	over := make(chan error, 1)
	file := inFile(t, content)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answering(file, size, time.Minute, over)(struct{ http.ResponseWriter }{w}, r)
	}))
	defer server.Close()
	client := server.Client()
	client.Transport.(*http.Transport).TLSClientConfig.MinVersion = tls.VersionTLS13
	answer, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close(), <-over); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestShortFile: content that ends early breaks the transfer, and is told from a
// client that has gone.
func TestShortFile(t *testing.T) {
	file := inFile(t, patterned(1<<20))
	over := make(chan error, 1)
	client := serve(t, answering(file, 2<<20, time.Minute, over))
	send(t, client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	got, err := io.ReadAll(client) // the server hangs up
	if err != nil {
		t.Fatal(err)
	}
	if head, body, _ := bytes.Cut(got, []byte("\r\n\r\n")); len(body) != 1<<20 || !strings.Contains(string(head), "Content-Length: 2097152") {
		t.Errorf("got %d bytes after %q", len(body), head)
	}
	if err := <-over; !errors.As(err, new(*ContentError)) {
		t.Errorf("broke off with %v", err)
	}
}

// TestClientLeaves: that is no failure of the content.
func TestClientLeaves(t *testing.T) {
	over := make(chan error, 1)
	client := serve(t, answering(inFile(t, patterned(large)), large, time.Minute, over))
	send(t, client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	receive(t, client, 5*time.Second)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-over; err == nil || errors.As(err, new(*ContentError)) || Stalled(err) {
		t.Errorf("broke off with %v", err)
	}
}

func TestPrepare(t *testing.T) {
	damaged := errors.New("damaged")
	for _, c := range []struct {
		content io.Reader
		want    error
	}{
		{nil, nil},
		{&inMemory{}, nil},
		{&filed{begin: damaged}, damaged},
		{&filed{begin: errors.ErrUnsupported}, errors.ErrUnsupported},
		{strings.NewReader("no Begin"), errors.ErrUnsupported},
	} {
		a := Answer{Content: c.content}
		if err := a.Prepare(); !errors.Is(err, c.want) {
			t.Errorf("%T: %v, want %v", c.content, err, c.want)
		}
	}
}

// losing is a connection that takes bytes from a reader and loses some when its
// deadline passes.
type losing struct {
	http.ResponseWriter
	calls int
}

func (l *losing) ReadFrom(src io.Reader) (int64, error) {
	l.calls++
	n, err := io.CopyN(io.Discard, src, 1000)
	if err != nil {
		return n, err
	}
	return n - 10, &net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}
}

// TestLostBytes: a transfer does not go on when bytes were taken that did not go out.
func TestLostBytes(t *testing.T) {
	w := &losing{ResponseWriter: httptest.NewRecorder()}
	a := Answer{Status: http.StatusOK, Content: &inMemory{patterned(1 << 20)}, Size: 1 << 20}
	err := errors.Join(a.Prepare(), a.Write(w, http.NewResponseController(w.ResponseWriter), http.MethodGet, time.Minute))
	if w.calls != 1 || !Stalled(err) || errors.As(err, new(*ContentError)) {
		t.Errorf("%d calls, %v", w.calls, err)
	}
	if a.Sent != 990 {
		t.Errorf("sent %d", a.Sent)
	}
}
