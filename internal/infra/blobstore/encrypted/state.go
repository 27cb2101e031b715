package encrypted

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// A State is
//
//	format (1 byte) | segments (varint) | wrapped data key | inner State | sealed tail
//
// and an Object's Seal is one of
//
//	blobstore.SealedApart (1 byte) | wrapped data key
//	blobstore.SealedWithin (1 byte) | wrapped data key | inner Seal
//
// In a State the wrapped data key and the inner State each stand behind their
// length as a varint, and so does the wrapped data key in the second Seal.
const format = 1

type state struct {
	segments int64 // full segments in the inner store
	wrapped  []byte
	inner    blobstore.State
	tail     []byte // sealed
}

func (s state) encode() blobstore.State {
	size := 1 + 3*binary.MaxVarintLen64 + len(s.wrapped) + len(s.inner) + len(s.tail)
	b := append(make([]byte, 0, size), format)
	b = binary.AppendUvarint(b, uint64(s.segments))
	b = binary.AppendUvarint(b, uint64(len(s.wrapped)))
	b = append(b, s.wrapped...)
	b = binary.AppendUvarint(b, uint64(len(s.inner)))
	b = append(b, s.inner...)
	return append(b, s.tail...)
}

// parseState takes a State apart. What it returns shares no memory with b,
// save the sealed tail.
func parseState(b blobstore.State) (state, error) {
	damaged := fmt.Errorf("%w: not a state of this store", blobstore.ErrCorrupt)
	if len(b) == 0 || b[0] != format {
		return state{}, damaged
	}
	rest := []byte(b[1:])
	segments, n := binary.Uvarint(rest)
	if n <= 0 || segments > maxSize/sealedSegment {
		return state{}, damaged
	}
	wrapped, rest, ok := cutField(rest[n:])
	if !ok {
		return state{}, damaged
	}
	inner, rest, ok := cutField(rest)
	if !ok || len(rest) < overhead || len(rest) >= sealedSegment {
		return state{}, damaged
	}
	return state{segments: int64(segments), wrapped: slices.Clone(wrapped), inner: slices.Clone(inner), tail: rest}, nil
}

// cutField takes a field behind its length from the front of b.
func cutField(b []byte) (field, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	b = b[n:]
	return b[:size], b[size:], true
}

// makeSeal makes the Seal of an object whose stored bytes have the Seal inner: nil,
// or blobstore.PlainWithin and the bytes.
func makeSeal(wrapped, inner []byte) []byte {
	if inner == nil {
		return append([]byte{blobstore.SealedApart}, wrapped...)
	}
	b := make([]byte, 0, 1+binary.MaxVarintLen64+len(wrapped)+len(inner))
	b = binary.AppendUvarint(append(b, blobstore.SealedWithin), uint64(len(wrapped)))
	return append(append(b, wrapped...), inner...)
}

// parseSeal takes a Seal apart. What it returns shares its memory.
func parseSeal(seal []byte) (wrapped, inner []byte, err error) {
	damaged := fmt.Errorf("%w: the seal is not one of this store", blobstore.ErrCorrupt)
	if len(seal) < 2 {
		return nil, nil, damaged
	}
	switch seal[0] {
	case blobstore.SealedApart:
		return seal[1:], nil, nil
	case blobstore.SealedWithin:
		if wrapped, inner, ok := cutField(seal[1:]); ok && len(wrapped) > 0 && len(inner) > 0 {
			return wrapped, inner, nil
		}
	}
	return nil, nil, damaged
}
