package sqldbtest

import (
	"bytes"
	"errors"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Line is a way to a PostgreSQL database which a test can cut.
type Line struct {
	// URL leads to the database over the line.
	URL string

	server string // the path of the server's socket
	here   net.Listener
	wg     sync.WaitGroup

	mu      sync.Mutex
	down    bool
	atNext  cut
	of      string
	cuts    int
	open    map[net.Conn]bool
	marked  map[net.Conn]bool // clients that sent the statement whose commit is waited for
	swallow map[net.Conn]bool // clients whose commit's answer is not to arrive
}

type cut int

const (
	none cut = iota
	before
	after
)

// NewLine makes a line to a database that PostgresURL made. It is taken down at
// the end of the test.
func NewLine(t testing.TB, direct string) *Line {
	t.Helper()
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	l := &Line{server: q.Get("host") + "/.s.PGSQL." + q.Get("port"), open: map[net.Conn]bool{}, marked: map[net.Conn]bool{}, swallow: map[net.Conn]bool{}}
	if l.here, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(l.here.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	q.Set("host", host)
	q.Set("port", port)
	u.RawQuery = q.Encode()
	l.URL = u.String()
	l.wg.Go(l.accept)
	t.Cleanup(func() {
		_ = l.here.Close() // the loop ends
		l.Down()
		l.wg.Wait()
	})
	return l
}

// Down cuts all connections and lets nobody in, as a server that restarts.
func (l *Line) Down() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for c := range l.open {
		_ = c.Close() // that is the purpose
	}
}

// Up lets connections in again.
func (l *Line) Up() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// CutBeforeCommit cuts the next connection that sends a statement with the text
// of and then COMMIT, which does not reach the server. The text of a statement is
// sent when a connection meets it first.
func (l *Line) CutBeforeCommit(of string) { l.cutAt(before, of) }

// CutAfterCommit is CutBeforeCommit, but the server has committed by then, and
// its answer does not arrive.
func (l *Line) CutAfterCommit(of string) { l.cutAt(after, of) }

func (l *Line) cutAt(c cut, of string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.atNext, l.of = c, of
	clear(l.marked)
}

// Cuts is how many connections were cut at their COMMIT.
func (l *Line) Cuts() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cuts
}

func (l *Line) accept() {
	for {
		client, err := l.here.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		l.wg.Go(func() { l.serve(client) })
	}
}

func (l *Line) serve(client net.Conn) {
	server, err := net.Dial("unix", l.server)
	if err != nil {
		_ = client.Close() // as if there were no server
		return
	}
	l.mu.Lock()
	l.open[client], l.open[server] = true, true
	down := l.down
	l.mu.Unlock()
	end := func() {
		_ = client.Close() // whichever direction ends first
		_ = server.Close()
	}
	if !down {
		var both sync.WaitGroup
		both.Go(func() {
			defer end()
			pump(client, server, func(b []byte) bool { return l.sent(client, b) })
		})
		both.Go(func() {
			defer end()
			pump(server, client, func(b []byte) bool { return !l.swallowed(client, b) })
		})
		both.Wait()
	}
	end()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, client)
	delete(l.open, server)
	delete(l.swallow, client)
	delete(l.marked, client)
}

// pump copies until an end is closed or pass says no.
func pump(from, to net.Conn, pass func([]byte) bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !pass(buffer[:n]) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// sent looks at what a client sends and says whether it may pass.
func (l *Line) sent(client net.Conn, b []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.atNext != none && bytes.Contains(b, []byte(l.of)) {
		l.marked[client] = true
	}
	if !l.marked[client] || !bytes.Contains(b, []byte("COMMIT\x00")) {
		return true
	}
	c := l.atNext
	l.atNext = none
	if c != none {
		l.cuts++
	}
	if c == after {
		l.swallow[client] = true
	}
	return c != before
}

// swallowed says whether b is the answer to a COMMIT that is not to arrive.
func (l *Line) swallowed(client net.Conn, b []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.swallow[client] && bytes.Contains(b, []byte("COMMIT\x00"))
}
