package s3

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

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
	checkSize   = 8
	// maxUploadID is far beyond the ids that services give.
	maxUploadID = 4096
)

// state is what has to be known to go on with an object.
type state struct {
	slot     byte // where the tail stands
	parts    int  // uploaded, all of them full
	tailSize int64
	tailSum  [sha256.Size]byte
	upload   string // id of the multipart upload, "" when parts is 0
	mark     mark
	etags    chain
}

// mark is a random value in the metadata of an object, by which a write knows its
// own work again.
type mark [markSize]byte

// chain is a hash over ETags in the order of their parts.
type chain [sha256.Size]byte

// add appends the next part's ETag.
func (c *chain) add(etag string) {
	h := sha256.New()
	h.Write(c[:])
	h.Write([]byte(etag))
	h.Sum(c[:0])
}

func (s state) encode(key string) blobstore.State {
	b := make([]byte, 0, 2+3*binary.MaxVarintLen64+2*sha256.Size+markSize+len(s.upload)+checkSize)
	b = append(b, stateFormat, s.slot)
	b = binary.AppendUvarint(b, uint64(s.parts))
	b = binary.AppendUvarint(b, uint64(s.tailSize))
	b = append(b, s.tailSum[:]...)
	b = append(b, s.mark[:]...)
	b = append(b, s.etags[:]...)
	b = binary.AppendUvarint(b, uint64(len(s.upload)))
	b = append(b, s.upload...)
	return append(b, checkOf(key, b)...)
}

func checkOf(key string, b []byte) []byte {
	h := sha256.New()
	h.Write([]byte(key))
	h.Write([]byte{0})
	h.Write(b)
	return h.Sum(nil)[:checkSize]
}

// parseState takes a State of the object with the given key apart.
func parseState(key string, b blobstore.State) (state, error) {
	damaged := fmt.Errorf("%w: not a state of this object", blobstore.ErrCorrupt)
	if len(b) < 2+checkSize || b[0] != stateFormat || b[1] >= slots {
		return state{}, damaged
	}
	body, check := b[:len(b)-checkSize], b[len(b)-checkSize:]
	if string(checkOf(key, body)) != string(check) {
		return state{}, damaged
	}
	s := state{slot: b[1]}
	rest := body[2:]
	var numbers [2]uint64
	for i := range numbers {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			return state{}, damaged
		}
		numbers[i], rest = n, rest[size:]
	}
	if numbers[0] > maxParts {
		return state{}, damaged
	}
	s.parts = int(numbers[0])
	if numbers[1] > uint64(partSize(s.parts+1)) {
		return state{}, damaged
	}
	s.tailSize = int64(numbers[1])
	for _, field := range [][]byte{s.tailSum[:], s.mark[:], s.etags[:]} {
		if len(rest) < len(field) {
			return state{}, damaged
		}
		rest = rest[copy(field, rest):]
	}
	size, n := binary.Uvarint(rest)
	if n <= 0 || size > maxUploadID || size != uint64(len(rest)-n) || (size == 0) != (s.parts == 0) {
		return state{}, damaged
	}
	s.upload = string(rest[n:])
	return s, nil
}
