package encrypted

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/arena"
)

const (
	segmentSize   = 64 << 10
	overhead      = 12 + 16 // nonce and tag
	sealedSegment = segmentSize + overhead

	// runSegments is how many segments are sealed before one write. More do not
	// make it faster.
	runSegments = 4

	// maxSize keeps sizes of sealed objects far from overflow.
	maxSize = math.MaxInt64 / 2
)

// kind says what a sealed piece is; it is the first byte of its associated
// data.
type kind byte

const (
	kindInner kind = iota // a full segment with more behind it
	kindLast              // the last segment, less than full
	kindTail              // what an unfinished object has behind its last full segment
)

// sealer seals and opens the segments of one object. It is for one goroutine.
type sealer struct {
	aead cipher.AEAD
	key  string
	// ad is the associated data: kind, index, object key. The object key is
	// the same for all of the object's segments and stays in place.
	ad []byte
}

func newSealer(dataKey []byte, key string) (*sealer, error) {
	block, err := aes.NewCipher(dataKey)
	if err != nil {
		return nil, fmt.Errorf("blobstore: data key of %q: %w", key, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("blobstore: data key of %q: %w", key, err)
	}
	return &sealer{aead: aead, key: key, ad: append(make([]byte, 1+8, 1+8+len(key)), key...)}, nil
}

// associate makes the associated data of a segment.
func (s *sealer) associate(k kind, index int64) []byte {
	s.ad[0] = byte(k)
	binary.BigEndian.PutUint64(s.ad[1:], uint64(index))
	return s.ad
}

// associateTail makes that of a tail: it has the inner store's State in it, so
// that a State is believed as a whole or not at all. The zero byte before it
// is in no object key.
func (s *sealer) associateTail(segments int64, inner blobstore.State) []byte {
	return slices.Concat(s.associate(kindTail, segments), []byte{0}, inner)
}

// seal appends the sealed form of plain to dst. The two must not overlap.
func (s *sealer) seal(dst, plain []byte, k kind, index int64) []byte {
	return s.aead.Seal(dst, nil, plain, s.associate(k, index))
}

// open appends the plaintext of sealed to dst. The two must not overlap, unless
// they begin at the same byte.
func (s *sealer) open(dst, sealed []byte, k kind, index int64) ([]byte, error) {
	plain, err := s.aead.Open(dst, nil, sealed, s.associate(k, index))
	if err != nil {
		return nil, fmt.Errorf("%w: segment %d of %q does not authenticate", blobstore.ErrCorrupt, index, s.key)
	}
	return plain, nil
}

// sealTail and openTail are the same for the tail behind so many segments.
func (s *sealer) sealTail(plain []byte, segments int64, inner blobstore.State) []byte {
	dst := make([]byte, 0, len(plain)+overhead)
	return s.aead.Seal(dst, nil, plain, s.associateTail(segments, inner))
}

func (s *sealer) openTail(dst, sealed []byte, segments int64, inner blobstore.State) ([]byte, error) {
	plain, err := s.aead.Open(dst, nil, sealed, s.associateTail(segments, inner))
	if err != nil {
		return nil, fmt.Errorf("%w: the state of %q does not authenticate", blobstore.ErrCorrupt, s.key)
	}
	return plain, nil
}

// sealedSize is the size in the inner store of an object of size bytes.
func sealedSize(size int64) int64 { return size + (size/segmentSize+1)*overhead }

// A span is the part of an object that a reader goes through, in segments.
type span struct {
	first, end int64 // segments [first, end)
	final      int64 // index of the object's last segment
	skip       int   // bytes of the first segment in front of the part
	length     int64 // bytes of the part

	sealedOffset, sealedLength int64
}

// locate finds the segments of a part that lies within an object of size
// bytes. A part that reaches the object's end has the last segment in it even
// if that is empty: that it is there shows that nothing was cut off.
func locate(size, offset, length int64) span {
	s := span{
		first:  offset / segmentSize,
		end:    (offset + length + segmentSize - 1) / segmentSize,
		final:  size / segmentSize,
		skip:   int(offset % segmentSize),
		length: length,
	}
	switch {
	case offset+length == size:
		s.end = s.final + 1
	case length == 0:
		s.end = s.first
	}
	s.sealedOffset = s.first * sealedSegment
	s.sealedLength = min(s.end*sealedSegment, sealedSize(size)) - s.sealedOffset
	return s
}

// buffers lends the memory that streams work in.
type buffers struct {
	segments sync.Pool // *[segmentSize]byte
	runs     sync.Pool // *[runSize]byte

	toRead *arena.Pair // of runs
}

const runSize = runSegments * sealedSegment

func newBuffers() *buffers {
	return &buffers{
		segments: sync.Pool{New: func() any { return new([segmentSize]byte) }},
		runs:     sync.Pool{New: func() any { return new([runSize]byte) }},
		toRead:   arena.NewPair(longSize, longRuns, shortSize),
	}
}

func (b *buffers) segment() *[segmentSize]byte { return b.segments.Get().(*[segmentSize]byte) }
func (b *buffers) run() *[runSize]byte         { return b.runs.Get().(*[runSize]byte) }
