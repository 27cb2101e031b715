package worker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/infra/confine"
)

// kind says what a frame is.
type kind byte

// What the server says.
const (
	kindHello kind = 'H' // hello
	kindLayer kind = 'L' // layerQuestion; data follows
	kindData  kind = 'D' // bytes of the layer
	kindEnd   kind = 'E' // the layer has no more
	kindAbort kind = 'A' // the layer has more that cannot be had; the answer will be thrown away
	kindMatch kind = 'M' // matchQuestion
	kindCheck kind = 'C' // nothing
	kindPing  kind = 'P' // nothing
)

// What the process says.
const (
	kindAnswer  kind = 'O' // what was asked for
	kindRefused kind = 'X' // text: the input is bad
	kindFailed  kind = 'F' // text: the process could not do it
)

const (
	headerSize = 5
	// chunkSize is how much of a layer goes into one frame: as much as a pipe takes.
	chunkSize = 1 << 20
	// maxQuestion bounds what the process is asked, but for a layer's bytes; the inventory of an image is in it.
	maxQuestion = 128 << 20
	// maxAnswer bounds what it answers.
	maxAnswer = 64 << 20
	// maxObjects bounds how many objects an answer has: empty ones take three bytes to send and
	// hundreds in memory. A layer has 100,000 packages at most, and not more files that tell of any.
	maxObjects = 500_000
	// maxText bounds a reason.
	maxText = 1 << 10
)

// protocol is the version of all this, for a server and a program on disk that are
// not the same.
const protocol = 2

type hello struct {
	Protocol int            `json:"protocol"`
	Limits   confine.Limits `json:"limits"`
	Spool    string         `json:"spool"`
}

type layerQuestion struct {
	MediaType string `json:"mediaType"`
}

type matchQuestion struct {
	Image   inventory.Image `json:"image"`
	Options match.Options   `json:"options"`
}

type frame struct {
	kind    kind
	content []byte
}

// errGarbage is wrapped by all that is wrong with what the other side says.
var errGarbage = errors.New("what is no frame")

// writeFrame writes a frame whose content begins after headerSize bytes of b, which it fills.
func writeFrame(w io.Writer, k kind, b []byte) error {
	b[0] = byte(k)
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-headerSize))
	_, err := w.Write(b)
	return err
}

// writeText writes a frame with few bytes.
func writeText(w io.Writer, k kind, text string) error {
	return writeFrame(w, k, append(make([]byte, headerSize), text...))
}

// tooLarge is what cannot be sent, because the other side would not take it.
type tooLarge struct{ size, limit int }

func (e *tooLarge) Error() string {
	return fmt.Sprintf("%d bytes are more than the %d that can be passed on", e.size, e.limit)
}

// writeJSON writes a value, or returns *tooLarge and writes nothing.
func writeJSON(w io.Writer, k kind, v any, limit int) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	if len(b) > limit {
		return &tooLarge{len(b), limit}
	}
	header := binary.BigEndian.AppendUint32([]byte{byte(k)}, uint32(len(b)))
	if _, err := w.Write(header); err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// readHeader returns what comes next and its length. It returns io.EOF between frames only.
func readHeader(r io.Reader) (kind, int, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, 0, err
	}
	return kind(h[0]), int(binary.BigEndian.Uint32(h[1:])), nil
}

// readFrame reads one frame whole.
func readFrame(r io.Reader, limit int) (frame, error) {
	k, n, err := readHeader(r)
	if err != nil {
		return frame{}, err
	}
	if n > limit {
		return frame{}, fmt.Errorf("%w: %d bytes, of %d at most", errGarbage, n, limit)
	}
	// Not make(n): who announces much must send it before it takes memory.
	content, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err != nil {
		return frame{}, err
	}
	if len(content) < n {
		return frame{}, io.ErrUnexpectedEOF
	}
	return frame{k, content}, nil
}
