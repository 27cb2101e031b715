package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Lengths of a body that are no number of bytes.
const (
	untilClosed = -1 // it ends with the connection
	chunked     = -2
)

// head is what an answer's head says of its body and of the connection.
type head struct {
	length int64
	close  bool
}

// readHead reads the head of an answer into answer, and skips provisional ones.
func (c *Conn) readHead() (head, error) {
	for {
		h, err := c.readOneHead()
		if err != nil || c.answer.Status >= 200 {
			return h, err
		}
	}
}

func (c *Conn) readOneHead() (head, error) {
	line, err := c.line()
	if err != nil {
		return head{}, err
	}
	// HTTP/1.1 200 OK
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return head{}, fmt.Errorf("%q is not the status line of an answer", line)
	}
	h := head{length: untilClosed, close: line[7] == '0'}
	status, ok := number(line[9:12], 10)
	if !ok || status < 100 {
		return head{}, fmt.Errorf("%q is not the status line of an answer", line)
	}
	c.answer = Response{Status: int(status)}
	for {
		if line, err = c.line(); err != nil {
			return head{}, err
		}
		if len(line) == 0 {
			return h, nil
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return head{}, fmt.Errorf("%q is not a line of an answer's head", line)
		}
		if err := c.header(&h, name, bytes.TrimSpace(value)); err != nil {
			return head{}, err
		}
	}
}

// header takes what is needed of one line of a head.
func (c *Conn) header(h *head, name, value []byte) error {
	switch {
	case is(name, "Content-Length"):
		if h.length == chunked {
			return nil
		}
		n, ok := number(value, 10)
		if !ok {
			return fmt.Errorf("%q is not a content length", value)
		}
		h.length = n
	case is(name, "Transfer-Encoding"):
		if !is(value, "chunked") {
			return fmt.Errorf("the transfer encoding %q is not understood", value)
		}
		h.length = chunked
	case is(name, "Connection"):
		h.close = h.close && !is(value, "keep-alive") || is(value, "close")
	case is(name, "Location"):
		c.answer.Location = repeated(&c.last.Location, value)
	case is(name, "Docker-Content-Digest"):
		c.answer.Digest = repeated(&c.last.Digest, value)
	case is(name, "Content-Type"):
		c.answer.ContentType = repeated(&c.last.ContentType, value)
	case is(name, "Link"):
		c.answer.Link = repeated(&c.last.Link, value)
	}
	return nil
}

// readBody reads the body that a head announces, and throws it away unless it was asked
// for or explains a refusal.
func (c *Conn) readBody(r *Request, h head) error {
	limit := int64(0)
	switch {
	case r.Keep:
		limit = 1<<63 - 1
	case c.answer.Status >= 400:
		limit = errorBody
	}
	c.kept = c.kept[:0]
	var err error
	switch {
	case h.length == chunked:
		err = c.readChunks(limit)
	case h.length == untilClosed:
		if err = c.take(1<<63-1, limit); errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
	default:
		err = c.take(h.length, limit)
	}
	if err != nil {
		return fmt.Errorf("after %d bytes of the body: %w", c.answer.Bytes, err)
	}
	if limit > 0 {
		c.answer.Body = c.kept
	}
	return nil
}

// readChunks reads a body in chunks and the lines after it.
func (c *Conn) readChunks(limit int64) error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, ok := number(bytes.TrimSpace(size), 16)
		if !ok {
			return fmt.Errorf("%q is not the size of a chunk", line)
		}
		if n == 0 {
			break
		}
		if err := c.take(n, limit); err != nil {
			return err
		}
		if line, err = c.line(); err != nil {
			return err
		}
		if len(line) != 0 {
			return fmt.Errorf("a chunk is followed by %q", line)
		}
	}
	for {
		if line, err := c.line(); err != nil || len(line) == 0 {
			return err
		}
	}
}

// take reads n bytes and keeps them while there are less than limit.
func (c *Conn) take(n, limit int64) error {
	for n > 0 {
		// What came with the head is taken from there; the rest does not pass the reader's buffer.
		part, inside := []byte(nil), min(int64(c.in.Buffered()), n)
		if inside > 0 {
			part, _ = c.in.Peek(int(inside)) // it is there
		} else {
			buffer := c.buffer()
			buffer = buffer[:min(n, int64(len(buffer)))]
			got, err := c.in.Read(buffer)
			if got == 0 && err != nil {
				return cut(err)
			}
			part = buffer[:got]
		}
		if room := limit - int64(len(c.kept)); room > 0 {
			c.kept = append(c.kept, part[:min(room, int64(len(part)))]...)
		}
		if inside > 0 {
			_, _ = c.in.Discard(int(inside)) // it is there
		}
		c.answer.Bytes += int64(len(part))
		n -= int64(len(part))
	}
	return nil
}

// line reads a line without its end. It is valid until the next read.
func (c *Conn) line() ([]byte, error) {
	line, err := c.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("a line of the answer has more than %d bytes", readerSize)
	}
	if err != nil {
		return nil, cut(err)
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

// cut makes the end of the connection, inside an answer, an error that says so.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// is compares a name without regard to case.
func is(a []byte, b string) bool {
	return len(a) == len(b) && bytes.EqualFold(a, []byte(b))
}

// number reads digits and nothing else.
func number(text []byte, base int) (int64, bool) {
	if len(text) == 0 || text[0] == '+' || text[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(text), base, 64)
	return n, err == nil
}

// repeated is the text as a string, without making one when the last text was the same.
func repeated(last *string, text []byte) string {
	if *last != string(text) {
		*last = string(text)
	}
	return *last
}
