// Package blobstore keeps the bytes of layers: immutable objects under keys
// that Berth chooses, written in resumable pieces and read at random.
//
// Every store and every decorator passes the suite in blobstore/storetest.
// The package does not know what an object is for, nor who refers to it; that
// is domain/layer.
package blobstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
)

// Errors that every store returns for the same situation.
var (
	// ErrNotFound: no object, or no unfinished object, has the key.
	ErrNotFound = errors.New("blobstore: no such object")
	// ErrCorrupt: stored bytes do not authenticate, or are shorter than
	// their description says.
	ErrCorrupt = errors.New("blobstore: stored bytes are damaged")
	// ErrFull: the medium has no room left.
	ErrFull = errors.New("blobstore: no space left")
	// ErrKey: the key that seals the object cannot be used.
	ErrKey = errors.New("blobstore: the object's key cannot be used")
	// ErrRange: what is to be read does not lie within the object.
	ErrRange = errors.New("blobstore: the range lies outside the object")
	// ErrEnded: the Writer was suspended, committed or closed before.
	ErrEnded = errors.New("blobstore: the writer has ended")
)

// MaxKey is the greatest length of a key in bytes, MaxKeySegment that of one
// of its segments (file systems allow no longer name).
const (
	MaxKey        = 512
	MaxKeySegment = 255
)

// CheckKey says what is wrong with a key that a store is to use, nil if
// nothing is. No key that passes leads out of the directory it is looked for
// in.
func CheckKey(key string) error {
	if key == "" || len(key) > MaxKey {
		return fmt.Errorf("blobstore: a key has 1 to %d bytes, not %d", MaxKey, len(key))
	}
	for segment := range strings.SplitSeq(key, "/") {
		if !ValidKeySegment(segment) {
			return fmt.Errorf("blobstore: key %q: a segment is 1 to %d of [a-zA-Z0-9._-] and neither . nor ..", key, MaxKeySegment)
		}
	}
	return nil
}

// ValidKeySegment says whether s may stand between two slashes of a key.
func ValidKeySegment(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > MaxKeySegment {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// State describes an unfinished object between two Writers. It is opaque,
// stands in the upload's row, and may hold up to about 70 KiB (the unfinished
// tail of a sealed object). A State stays valid until a later State of the
// same object has been used: what was written after it is cut off by Resume.
type State []byte

// Object describes a finished object: what has to be remembered to read it.
type Object struct {
	// Key is where the object stands in the store.
	Key string
	// Size is the number of bytes that reading yields.
	Size int64
	// Seal is what is needed beside the stored bytes to read the object: the
	// wrapped data key of a sealing store, the bytes themselves of an object that
	// stands in its Seal (blobstore/inline), or both. nil for stored bytes that can
	// be read as they are. Its first byte says which of them.
	Seal []byte
}

// The first byte of a Seal.
const (
	SealedApart  = 1 // the bytes are sealed and stand in the store
	SealedWithin = 2 // the bytes are sealed and stand in the Seal
	PlainWithin  = 3 // the bytes stand in the Seal as they are
)

// Within says that the object's bytes stand in its Seal, and not in the store.
func (o Object) Within() bool {
	return len(o.Seal) > 0 && (o.Seal[0] == SealedWithin || o.Seal[0] == PlainWithin)
}

// Sealed says that the object's bytes can only be read with a key.
func (o Object) Sealed() bool {
	return len(o.Seal) > 0 && o.Seal[0] != PlainWithin
}

// Span is the number of bytes that Open reads when it is asked for offset and
// length: a length of -1 is resolved, and a part that does not lie within the
// object is ErrRange.
func (o Object) Span(offset, length int64) (int64, error) {
	if offset < 0 || offset > o.Size || length < -1 || length > o.Size-offset {
		return 0, fmt.Errorf("%w: %d bytes from %d of %q, which has %d", ErrRange, length, offset, o.Key, o.Size)
	}
	if length == -1 {
		return o.Size - offset, nil
	}
	return length, nil
}

// Placement says how an object is to be kept.
type Placement struct {
	// KeyID names the key (infra/keys) that protects the object; "" is the
	// default key.
	KeyID string
}

// Info is one row of a listing.
type Info struct {
	Key      string
	Size     int64 // bytes in the store, which may differ from Object.Size
	Modified time.Time
}

// Writer appends to an unfinished object. It is for one goroutine. Once a
// Write has failed, all later calls but Close fail too: the object goes on
// from its last State.
type Writer interface {
	io.Writer
	// Offset is the number of bytes written to the object so far.
	Offset() int64
	// Suspend makes everything written so far resumable, on any node, and
	// ends the Writer. It does not promise durability against a power cut.
	Suspend(ctx context.Context) (State, error)
	// Commit makes the object durable and readable and ends the Writer. When
	// it returns, the object survives a power cut.
	Commit(ctx context.Context) (Object, error)
	// Close ends the Writer without a new State: what was written since the
	// last one is lost. After Suspend or Commit it does nothing.
	Close() error
}

// Store keeps objects.
//
// Keys are slash-separated paths of [a-zA-Z0-9._-] segments, at most 512
// bytes (see CheckKey); the caller never uses a key twice, and no key is
// another one with a slash and more behind it. All methods may be called from
// many goroutines; one unfinished object has at most one Writer at a time, and
// that is the caller's duty.
type Store interface {
	// Create starts an object. ctx has to live as long as the Writer, whose Write
	// may send requests under it; the same holds for Resume.
	Create(ctx context.Context, key string, p Placement) (Writer, error)
	// Resume goes on with an unfinished object from a State, cutting off what
	// was written after it. ErrNotFound when the bytes are gone, ErrCorrupt
	// when s is no State of this object. A committed object has no unfinished
	// one beside it: Resume is ErrNotFound, so that a stale State cannot cut
	// what somebody relies on.
	Resume(ctx context.Context, key string, s State) (Writer, error)
	// Open reads length bytes of the object from offset; length -1 reads to
	// the end, and a part outside the object is ErrRange. A sealing store's
	// read that meets damaged bytes fails with ErrCorrupt before any wrong
	// byte is returned; every store's does when bytes are missing. ErrNotFound
	// when the object is gone. The reader is for one goroutine and implements
	// io.WriterTo, which is the fast way to send it on.
	Open(ctx context.Context, o Object, offset, length int64) (io.ReadCloser, error)
	// Delete removes an object, finished or not. Deleting what is not there
	// is no error. One that stands in its Seal is there as long as the Seal is.
	Delete(ctx context.Context, key string) error
	// List walks all objects whose key begins with prefix, finished and
	// unfinished ones, in any order, each once. An object of which nothing is
	// stored, because its Writer has all of it in memory, or its State or Seal, is
	// missing.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
}
