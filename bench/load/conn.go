package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// discardSize is how much of a body is read at once.
	discardSize = 256 << 10
	// readerSize bounds a line of an answer's head, and is what is read ahead of it.
	readerSize = 16 << 10
	// smallBody is what is written together with the head, in one packet.
	smallBody = 64 << 10
	// errorBody bounds what is kept of the body of a refusal.
	errorBody = 4 << 10
	// exchange is how long one request and its answer may take, so that a run ends
	// although a server hangs. A gigabyte for each of 128 clients fits.
	exchange = 15 * time.Minute
)

// Addr says where a server is and what every request to it carries.
type Addr struct {
	Base          string // http://127.0.0.1:port
	Host          string // value of the Host header; "" for what Base has
	Authorization string // value of the Authorization header; "" for none
}

// Conn is one connection that is kept alive. It dials at the first request, and again
// after an error or when the server closed it. It allocates nothing for a request whose
// answer has the same headers as the one before. One goroutine at a time may use it,
// except for Close.
type Conn struct {
	dial    string // host:port
	host    string
	auth    string
	problem error // with the address

	mu     sync.Mutex // guards net and closed against Close
	net    net.Conn
	closed bool

	in      *bufio.Reader
	out     []byte // the head of the request
	discard []byte
	kept    []byte
	answer  Response
	last    Response // where the strings of answers come from when they repeat
}

// Request is what is asked. A request has a Body or a Stream or neither.
type Request struct {
	Method string
	// Path begins with a slash and holds the query; of a whole URL, as servers give it in
	// Location, the part that names a server is left away.
	Path string
	// Header are lines "Name: value". Host and Authorization replace those of the Addr.
	Header []string
	Body   []byte
	Stream io.Reader // read until its end; a WriterTo writes itself
	Length int64     // of the Stream, in bytes
	Keep   bool      // whether to keep the body of the answer
}

// Response is an answer; it is valid until the next request on its connection.
type Response struct {
	Status      int
	Location    string
	Digest      string // Docker-Content-Digest
	ContentType string
	Link        string
	Body        []byte // when asked for; of an answer from 400 on always, its first 4 KiB
	Bytes       int64  // length of the body as it was received
}

// Want is an error unless the answer has one of the statuses; it shows what the server said.
func (r *Response) Want(status ...int) error {
	for _, s := range status {
		if r.Status == s {
			return nil
		}
	}
	return fmt.Errorf("status %d instead of %d: %s", r.Status, status, strings.TrimSpace(string(r.Body)))
}

// NewConn makes a connection that is dialled at its first request.
func NewConn(a Addr) *Conn {
	c := &Conn{host: a.Host, auth: a.Authorization}
	rest, ok := strings.CutPrefix(a.Base, "http://")
	rest = strings.TrimSuffix(rest, "/")
	if _, _, err := net.SplitHostPort(rest); !ok || err != nil || strings.Contains(rest, "/") {
		c.problem = fmt.Errorf("the base %q of a server must be http://host:port", a.Base)
	}
	c.dial = rest
	if c.host == "" {
		c.host = rest
	}
	return c
}

// errClosed is the answer to requests on a connection that Close has closed.
var errClosed = errors.New("the connection is closed for good")

// Close ends the connection, also under a request in flight, which then fails. Later
// requests fail too.
func (c *Conn) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.drop()
}

// drop forgets the connection; the next request dials. The caller holds the lock.
func (c *Conn) drop() {
	if c.net != nil {
		_ = c.net.Close() // nothing is left to lose: requests are answered or have failed
		c.net = nil
	}
}

// Do sends a request and reads its answer whole. An answer of any status is no error. A
// request that found its connection closed by the server is sent once more on a new one,
// unless it has a Stream.
func (c *Conn) Do(r *Request) (*Response, error) {
	if c.problem != nil {
		return nil, c.problem
	}
	for again := r.Stream == nil; ; again = false {
		conn, reused, err := c.connect()
		if err != nil {
			return nil, err
		}
		keep, untouched, err := c.exchange(conn, r)
		if err != nil || !keep {
			c.mu.Lock()
			c.drop()
			c.mu.Unlock()
		}
		if err == nil {
			return &c.answer, nil
		}
		if !again || !reused || !untouched {
			return nil, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
		}
	}
}

// connect returns the connection, and whether it has served a request before.
func (c *Conn) connect() (net.Conn, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false, errClosed
	}
	if c.net != nil && c.in.Buffered() > 0 {
		c.drop() // what nobody asked for would be taken for the answer
	}
	if c.net != nil {
		return c.net, true, nil
	}
	conn, err := net.DialTimeout("tcp", c.dial, 10*time.Second)
	if err != nil {
		return nil, false, fmt.Errorf("connect to the server: %w", err)
	}
	c.net = conn
	if c.in == nil {
		c.in = bufio.NewReaderSize(conn, readerSize)
	}
	c.in.Reset(conn)
	return conn, false, nil
}

// exchange does one request. keep says whether the connection can serve another one,
// untouched whether it failed before anything came back.
func (c *Conn) exchange(conn net.Conn, r *Request) (keep, untouched bool, err error) {
	if err := conn.SetDeadline(time.Now().Add(exchange)); err != nil {
		return false, true, err
	}
	sent := c.send(conn, r)
	// A server may refuse before it has read a body; then its answer is there although
	// writing failed.
	if _, err := c.in.Peek(1); err != nil {
		if sent != nil {
			err = sent
		} else if errors.Is(err, io.EOF) {
			err = errors.New("the server closed the connection without an answer")
		}
		return false, !errors.Is(err, os.ErrDeadlineExceeded), err
	}
	head, err := c.readHead()
	if err != nil {
		return false, false, err
	}
	if sent != nil && c.answer.Status < 400 {
		return false, false, sent
	}
	if r.Method == "HEAD" || c.answer.Status == 204 || c.answer.Status == 304 {
		head.length = 0 // whatever it says
	}
	err = c.readBody(r, head)
	return err == nil && sent == nil && !head.close && head.length != untilClosed, false, err
}

// send writes the request: the head and a small body at once, larger ones after it.
func (c *Conn) send(conn net.Conn, r *Request) error {
	length := int64(len(r.Body))
	if r.Stream != nil {
		length = r.Length
	}
	c.writeHead(r, length)
	if len(r.Body) <= smallBody {
		c.out = append(c.out, r.Body...)
	}
	if _, err := conn.Write(c.out); err != nil {
		return err
	}
	switch {
	case r.Stream != nil:
		n, err := c.copyBody(conn, r.Stream)
		if err == nil && n != length {
			err = fmt.Errorf("the body has %d bytes, and %d were announced", n, length)
		}
		return err
	case len(r.Body) > smallBody:
		_, err := conn.Write(r.Body)
		return err
	}
	return nil
}

// writeHead makes the head of the request in out.
func (c *Conn) writeHead(r *Request, length int64) {
	path := r.Path
	if _, rest, ok := strings.Cut(path, "://"); ok && !strings.HasPrefix(path, "/") {
		path = "/"
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			path = rest[i:]
		}
	}
	out := append(c.out[:0], r.Method...)
	out = append(out, ' ')
	out = append(out, path...)
	out = append(out, " HTTP/1.1\r\n"...)
	host, auth := true, c.auth != ""
	for _, line := range r.Header {
		name, _, _ := strings.Cut(line, ":")
		host = host && !strings.EqualFold(name, "Host")
		auth = auth && !strings.EqualFold(name, "Authorization")
		out = append(out, line...)
		out = append(out, "\r\n"...)
	}
	if host {
		out = append(out, "Host: "...)
		out = append(out, c.host...)
		out = append(out, "\r\n"...)
	}
	if auth {
		out = append(out, "Authorization: "...)
		out = append(out, c.auth...)
		out = append(out, "\r\n"...)
	}
	if length > 0 || r.Stream != nil || r.Method != "GET" && r.Method != "HEAD" && r.Method != "DELETE" {
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, length, 10)
		out = append(out, "\r\n"...)
	}
	c.out = append(out, "\r\n"...)
}

// copyBody writes a stream to the connection. It does not ask the connection to read from
// it: that would allocate a buffer each time.
func (c *Conn) copyBody(conn net.Conn, from io.Reader) (int64, error) {
	if w, ok := from.(io.WriterTo); ok {
		return w.WriteTo(conn)
	}
	buffer, total := c.buffer(), int64(0)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := conn.Write(buffer[:n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// buffer is what bodies pass through; connections that see only small ones have none.
func (c *Conn) buffer() []byte {
	if c.discard == nil {
		c.discard = make([]byte, discardSize)
	}
	return c.discard
}
