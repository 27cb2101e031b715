package upload

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// A State is
//
//	format (1 byte) | slot (1 byte) | parts (varint) | bytes in the tail (varint) |
//	SHA-256 of the tail | mark | hash over the parts' ETags |
//	id of the multipart upload behind its length (varint) | check (8 bytes)
//
// where the check is the beginning of the SHA-256 of the object's key, a zero
// byte and all that stands before the check. It takes a few hundred bytes,
// however many parts there are.
const (
	stateFormat = 1
	markSize    = 16
	// markName is the metadata entry that holds a mark in hexadecimal.
	markName  = "berth-write"
	checkSize = 8
	// Slots is the number of places for an object's tail.
	Slots = 2
	// MaxID is the greatest length of a multipart upload's id in bytes,
	// far beyond the ids that services give.
	MaxID = 4096
)

// State is what has to be known to go on with an object.
type State struct {
	Slot     byte  // where the tail stands, below Slots
	Parts    int   // uploaded, all of them full
	TailSize int64 // bytes in the tail
	TailSum  [sha256.Size]byte
	ID       string // of the multipart upload, "" when Parts is 0
	Mark     Mark   // of the multipart upload
	ETags    Chain  // over those of the parts
}

// Mark is a random value in the metadata of an object, by which a write knows its
// own work again.
type Mark [markSize]byte

// Chain is a hash over ETags in the order of their parts.
type Chain [sha256.Size]byte

// Add appends the next part's ETag.
func (c *Chain) Add(etag string) {
	h := sha256.New()
	h.Write(c[:])
	h.Write([]byte(etag))
	h.Sum(c[:0])
}

// Encode returns the State of the object with the given key.
func (s State) Encode(key string) blobstore.State {
	b := make([]byte, 0, 2+3*binary.MaxVarintLen64+2*sha256.Size+markSize+len(s.ID)+checkSize)
	b = append(b, stateFormat, s.Slot)
	b = binary.AppendUvarint(b, uint64(s.Parts))
	b = binary.AppendUvarint(b, uint64(s.TailSize))
	b = append(b, s.TailSum[:]...)
	b = append(b, s.Mark[:]...)
	b = append(b, s.ETags[:]...)
	b = binary.AppendUvarint(b, uint64(len(s.ID)))
	b = append(b, s.ID...)
	return append(b, checkOf(key, b)...)
}

func checkOf(key string, b []byte) []byte {
	h := sha256.New()
	h.Write([]byte(key))
	h.Write([]byte{0})
	h.Write(b)
	return h.Sum(nil)[:checkSize]
}

// ParseState takes a State of the object with the given key apart;
// blobstore.ErrCorrupt when it is none.
func ParseState(key string, b blobstore.State) (State, error) {
	damaged := fmt.Errorf("%w: not a state of this object", blobstore.ErrCorrupt)
	if len(b) < 2+checkSize || b[0] != stateFormat || b[1] >= Slots {
		return State{}, damaged
	}
	body, check := b[:len(b)-checkSize], b[len(b)-checkSize:]
	if string(checkOf(key, body)) != string(check) {
		return State{}, damaged
	}
	s := State{Slot: b[1]}
	rest := body[2:]
	var numbers [2]uint64
	for i := range numbers {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			return State{}, damaged
		}
		numbers[i], rest = n, rest[size:]
	}
	if numbers[0] > MaxParts {
		return State{}, damaged
	}
	s.Parts = int(numbers[0])
	if numbers[1] > uint64(PartSize(s.Parts+1)) {
		return State{}, damaged
	}
	s.TailSize = int64(numbers[1])
	for _, field := range [][]byte{s.TailSum[:], s.Mark[:], s.ETags[:]} {
		if len(rest) < len(field) {
			return State{}, damaged
		}
		rest = rest[copy(field, rest):]
	}
	size, n := binary.Uvarint(rest)
	if n <= 0 || size > MaxID || size != uint64(len(rest)-n) || (size == 0) != (s.Parts == 0) {
		return State{}, damaged
	}
	s.ID = string(rest[n:])
	return s, nil
}

// NewMark returns a fresh mark.
func NewMark() (m Mark) {
	_, _ = rand.Read(m[:]) // cannot fail
	return m
}

// Metadata is the metadata that holds the mark.
func (m Mark) Metadata() map[string]string {
	return map[string]string{markName: hex.EncodeToString(m[:])}
}

// Is says whether an object's metadata hold the mark.
func (m Mark) Is(metadata map[string]string) bool {
	for name, value := range metadata {
		if strings.EqualFold(name, markName) {
			return value == hex.EncodeToString(m[:])
		}
	}
	return false
}
