// Package trailstore is where the files of the audit trail go: a directory
// (trailstore/dir) or a bucket of S3 (trailstore/s3).
//
// It does not know what the files hold or when they are written; domain/audit/trails
// does. It is no blobstore: objects are whole and small, have metadata, and are never
// deleted, so that a bucket which nobody may delete from will do.
package trailstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Errors of every store.
var (
	// ErrNotFound: no object has the key.
	ErrNotFound = errors.New("trailstore: no such object")
	// ErrKey: no object can have the key.
	ErrKey = errors.New("trailstore: a key has 1 to 900 bytes, in segments of [a-zA-Z0-9._-] between slashes, and does not end in " + SidecarSuffix)
)

// SidecarSuffix is how the key of the object ends that has the metadata of another one
// as JSON. Directories have no metadata, and copies of buckets often lose them; so
// every store writes the sidecar, before the object itself.
const SidecarSuffix = ".sig"

// maxKey is the length of the longest key, in bytes: S3 takes 1,024 and a prefix may
// come before it.
const maxKey = 900

// Object is what a store has under a key.
type Object struct {
	Body []byte
	// Metadata has lower-case keys; it is nil where there is none.
	Metadata map[string]string
}

// Store keeps objects. Its methods may be called from many goroutines.
type Store interface {
	// Put writes an object with its metadata, in place of the one that is there. When it
	// returns, the object survives a power cut; an object is never seen in part. Keys of
	// metadata are of [a-z0-9-], values are printable ASCII. ErrKey.
	Put(ctx context.Context, key string, body []byte, metadata map[string]string) error
	// Get reads an object. ErrNotFound, ErrKey.
	Get(ctx context.Context, key string) (Object, error)
	// List calls fn for the keys that begin with prefix, in ascending order of their bytes,
	// those of sidecars left out. An error of fn ends it and is returned.
	List(ctx context.Context, prefix string, fn func(key string) error) error
}

// CheckKey says whether an object can have the key. ErrKey.
func CheckKey(key string) error {
	if key == "" || len(key) > maxKey || strings.HasSuffix(key, SidecarSuffix) {
		return fmt.Errorf("%w: %q", ErrKey, key)
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.Trim(segment, segmentBytes) != "" {
			return fmt.Errorf("%w: %q", ErrKey, key)
		}
	}
	return nil
}

const segmentBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// Sidecar is the content of the object that keeps the metadata.
func Sidecar(metadata map[string]string) ([]byte, error) { return json.Marshal(metadata) }

// ReadSidecar is the reverse.
func ReadSidecar(b []byte) (map[string]string, error) {
	var metadata map[string]string
	if err := json.Unmarshal(b, &metadata); err != nil {
		return nil, fmt.Errorf("the metadata beside the object is no JSON of them: %w", err)
	}
	return metadata, nil
}
