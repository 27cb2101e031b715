package transfer

import "io"

// BufferSize is a good size for the buffers that Begin is given, in bytes.
const BufferSize = 128 << 10

// ContentError is a failure to read content, as apart from one to send it.
type ContentError struct{ Cause error }

// Error says what was being done.
func (e *ContentError) Error() string { return "reading the content: " + e.Cause.Error() }

// Unwrap gives the cause.
func (e *ContentError) Unwrap() error { return e.Cause }

// Begin reads the first bytes of content of the given size, as many as fit the
// buffer, before anything is promised to the client: content that cannot be
// read is then an error and no broken transfer.
func Begin(content io.Reader, size int64, buffer []byte) ([]byte, error) {
	n, err := io.ReadFull(content, buffer[:min(int64(len(buffer)), size)])
	return buffer[:n], err
}

// Send writes content of the given size, of which Begin has read first; the
// rest passes through the same buffer. An error of the content's is a
// *ContentError, another one the writer's.
func Send(out io.Writer, content io.Reader, size int64, first []byte) error {
	buffer, left := first[:cap(first)], size
	for {
		if _, err := out.Write(first); err != nil {
			return err
		}
		if left -= int64(len(first)); left == 0 {
			return nil
		}
		n, err := io.ReadAtLeast(content, buffer[:min(int64(len(buffer)), left)], 1)
		if err != nil {
			return &ContentError{Cause: err}
		}
		first = buffer[:n]
	}
}
