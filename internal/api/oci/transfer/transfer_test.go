package transfer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

const stall = 200 * time.Millisecond

// serve runs a handler and gives a raw connection to it.
func serve(t *testing.T, h http.HandlerFunc) net.Conn {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the test is over
	return c
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// receive reads what comes within a time.
func receive(t *testing.T, c net.Conn, within time.Duration) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		t.Fatalf("nothing came: %v", err)
	}
	return string(b[:n])
}

// TestStalledBody: half a body and then silence ends the reading, with the
// reason, and the answer gets through.
func TestStalledBody(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b := NewBody(r.Body, http.NewResponseController(w), stall)
		got, err := io.ReadAll(b)
		b.Drain()
		if b.End(true) {
			t.Error("a connection with half a body is to be used again")
		}
		_, _ = fmt.Fprintf(w, "%q %v %v", got, Stalled(b.Broken()), err != nil)
	})
	begun := time.Now()
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf ")
	if got := receive(t, c, 5*time.Second); !strings.HasSuffix(got, `"half " true true`) {
		t.Errorf("the answer is %q", got)
	}
	if took := time.Since(begun); took < stall/2 || took > 10*stall {
		t.Errorf("the silence was borne for %v", took)
	}
}

// TestSlowBody: a byte now and then is enough.
func TestSlowBody(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b := NewBody(r.Body, http.NewResponseController(w), stall)
		got, err := io.ReadAll(b)
		_, _ = fmt.Fprintf(w, "%q %v %v", got, err, b.Broken())
	})
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	for range 10 {
		time.Sleep(stall / 3)
		send(t, c, "x")
	}
	if got := receive(t, c, 5*time.Second); !strings.HasSuffix(got, `"xxxxxxxxxx" <nil> <nil>`) {
		t.Errorf("the answer is %q", got)
	}
}

// TestInterrupted: a reading that the row ends is not the client's fault, and takes
// what comes until then.
func TestInterrupted(t *testing.T) {
	began := make(chan struct{})
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b := NewBody(r.Body, http.NewResponseController(w), time.Minute)
		go func() {
			<-began
			b.Interrupt(stall)
			b.Interrupt(time.Hour) // the first one holds
		}()
		got, err := io.ReadAll(b)
		b.Drain()
		if b.End(true) {
			t.Error("a connection with half a body is to be used again")
		}
		b.Interrupt(0) // too late to do anything
		_, _ = fmt.Fprintf(w, "%q %v %v", got, errors.Is(err, os.ErrDeadlineExceeded), b.Broken())
	})
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nha")
	close(began)
	send(t, c, "lf ")
	if got := receive(t, c, 5*time.Second); !strings.HasSuffix(got, `"half " true <nil>`) {
		t.Errorf("the answer is %q", got)
	}
}

// TestInterruptedAtOnce: nor is one that ends before it begins.
func TestInterruptedAtOnce(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b := NewBody(r.Body, http.NewResponseController(w), stall)
		b.Interrupt(0)
		_, err := io.ReadAll(b)
		b.End(true)
		_, _ = fmt.Fprintf(w, "%v %v", errors.Is(err, os.ErrDeadlineExceeded), b.Broken())
	})
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	if got := receive(t, c, 5*time.Second); !strings.HasSuffix(got, "true <nil>") {
		t.Errorf("the answer is %q", got)
	}
}

// TestSlowHandler: a handler that takes longer than the stall time after the
// body has come is not taken for a client that has gone.
func TestSlowHandler(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b := NewBody(r.Body, http.NewResponseController(w), stall)
		_, err := io.ReadAll(b)
		time.Sleep(3 * stall)
		_, _ = fmt.Fprintf(w, "%v %v", err, r.Context().Err())
	})
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nxx")
	if got := receive(t, c, 5*time.Second); !strings.HasSuffix(got, "<nil> <nil>") {
		t.Errorf("the answer is %q", got)
	}
}

// TestCutBody: a client that goes away is told from one that stalls.
func TestCutBody(t *testing.T) {
	broken := make(chan error, 1)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b := NewBody(r.Body, http.NewResponseController(w), time.Minute)
		_, _ = io.ReadAll(b) // Broken says it
		broken <- b.Broken()
	})
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-broken; err == nil || Stalled(err) {
		t.Errorf("the body broke with %v", err)
	}
}

// TestReaderLeftBehind: a goroutine that still reads when the request is over
// holds up neither the answer nor the server.
func TestReaderLeftBehind(t *testing.T) {
	left := make(chan error, 2)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b := NewBody(r.Body, http.NewResponseController(w), time.Hour)
		began := make(chan struct{})
		go func() {
			close(began)
			_, err := b.Read(make([]byte, 10))
			left <- err
			_, err = b.Read(make([]byte, 10))
			left <- err
		}()
		<-began
		time.Sleep(50 * time.Millisecond) // into the Read
		b.Drain()
		if b.End(true) {
			t.Error("a connection with a reader on it is to be used again")
		}
		_, _ = io.WriteString(w, "answered")
	})
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	if got := receive(t, c, 2*time.Second); !strings.HasSuffix(got, "answered") {
		t.Errorf("the answer is %q", got)
	}
	for range 2 {
		select {
		case err := <-left:
			if err == nil {
				t.Error("the reader got something")
			}
		case <-time.After(2 * time.Second):
			t.Fatal("the reader still reads")
		}
	}
}

// TestDrain: a body that nobody wants is read, so that its client, which sends
// it whole before it listens, gets the answer.
func TestDrain(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b := NewBody(r.Body, http.NewResponseController(w), stall)
		b.Drain()
		if !b.End(true) {
			t.Error("a connection whose body was read is not to be used again")
		}
		w.WriteHeader(http.StatusTeapot)
	})
	const size = 4 << 20
	send(t, c, fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size))
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, c, 5*time.Second); !strings.Contains(got, "418") {
		t.Errorf("the answer is %q", got)
	}
}

// TestUnreadBodyIsNotWaitedForLong: net/http reads what is left of a short
// body, which may never come.
func TestUnreadBodyIsNotWaitedForLong(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		NewBody(r.Body, http.NewResponseController(w), stall).End(true)
		w.WriteHeader(http.StatusTeapot)
	})
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
	if got := receive(t, c, 2*maxDrainTime); !strings.Contains(got, "418") {
		t.Errorf("the answer is %q", got)
	}
}

// TestStalledReader: a client that takes nothing is given up.
func TestStalledReader(t *testing.T) {
	gaveUp := make(chan error, 1)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		const size = 64 << 20
		a := Answer{Status: http.StatusOK, Content: zeros{}, Size: size}
		err := a.Begin(make([]byte, BufferSize))
		if err == nil {
			err = a.Write(w, http.NewResponseController(w), r.Method, stall)
		}
		gaveUp <- err
	})
	send(t, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case err := <-gaveUp:
		if err == nil || errors.As(err, new(*ContentError)) {
			t.Errorf("gave up with %v", err)
		}
	case <-time.After(50 * stall):
		t.Fatal("the server still waits for the client")
	}
}

// zeros is content without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// broken is content that fails after n bytes.
type broken struct {
	n     int
	cause error
}

func (b *broken) Read(p []byte) (int, error) {
	if b.n == 0 {
		return 0, b.cause
	}
	n := min(b.n, len(p))
	b.n -= n
	return n, nil
}

func TestAnswer(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789"), 50_000)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, content := range [][]byte{nil, []byte("x"), long} {
			for _, streamed := range []bool{false, true} {
				a := Answer{Status: http.StatusOK, Header: http.Header{"Etag": {"e"}}, Size: int64(len(content))}
				if streamed {
					a.Content = bytes.NewReader(content)
				} else {
					a.Body = content
				}
				w := httptest.NewRecorder()
				if err := errors.Join(a.Begin(make([]byte, 1000)), a.Write(w, http.NewResponseController(w), method, stall)); err != nil {
					t.Fatal(err)
				}
				want := content
				if method == http.MethodHead {
					want = nil
				}
				if !bytes.Equal(w.Body.Bytes(), want) || w.Header().Get("Content-Length") != fmt.Sprint(len(content)) || w.Header().Get("Etag") != "e" {
					t.Errorf("%s of %d bytes: %d bytes, %v", method, len(content), w.Body.Len(), w.Header())
				}
			}
		}
	}
	for _, status := range []int{http.StatusNoContent, http.StatusNotModified} {
		a := Answer{Status: status, Size: 10}
		w := httptest.NewRecorder()
		if err := a.Write(w, http.NewResponseController(w), http.MethodGet, stall); err != nil || w.Body.Len() > 0 || w.Header().Get("Content-Length") != "" {
			t.Errorf("%d: %v, %d bytes, %v", status, err, w.Body.Len(), w.Header())
		}
	}
}

// TestBrokenContent: content that cannot be begun is an error before anything
// is sent; content that breaks later is told from a client that has gone.
func TestBrokenContent(t *testing.T) {
	cause := errors.New("damaged")
	a := Answer{Status: http.StatusOK, Content: &broken{n: 500, cause: cause}, Size: 5000}
	if err := a.Begin(make([]byte, 1000)); !errors.Is(err, cause) {
		t.Errorf("Begin: %v", err)
	}
	a = Answer{Status: http.StatusOK, Content: &broken{n: 2500, cause: cause}, Size: 5000}
	w := httptest.NewRecorder()
	if err := a.Begin(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	err := a.Write(w, http.NewResponseController(w), http.MethodGet, stall)
	if failure := new(*ContentError); !errors.As(err, failure) || !errors.Is(err, cause) {
		t.Errorf("Write: %v", err)
	}
	// Content that ends early is broken, too.
	a = Answer{Status: http.StatusOK, Content: bytes.NewReader(make([]byte, 2000)), Size: 5000}
	if err := errors.Join(a.Begin(make([]byte, 1000)), a.Write(httptest.NewRecorder(), http.NewResponseController(w), http.MethodGet, stall)); !errors.As(err, new(*ContentError)) {
		t.Errorf("content that ends early: %v", err)
	}
}

// TestNoBody: a request without a body has one that is at its end.
func TestNoBody(t *testing.T) {
	for _, none := range []io.ReadCloser{nil, http.NoBody} {
		b := NewBody(none, nil, time.Minute)
		b.Interrupt(time.Second)
		got, err := io.ReadAll(b)
		b.Drain()
		if len(got) != 0 || err != nil || b.Broken() != nil || !b.End(true) {
			t.Errorf("%q %v %v", got, err, b.Broken())
		}
	}
}
