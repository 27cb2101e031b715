// Package fs keeps objects as files below one directory: the object with key
// a/b/c is the file <dir>/a/b/c from its first byte on, so that finishing it
// neither renames nor copies anything.
//
// Files have mode 0600 until they are committed and 0400 from then on, which is
// also how Resume knows a finished object and refuses it. Directories have mode
// 0700 and are never removed.
// Large writes pass the page cache by where the file system can do that: what is
// pushed is synced before anybody is told of it, so the cache would only cost the
// copy. The package syncs what Commit promises and nothing else; it does not seal
// (blobstore/encrypted does) and does not know who uses an object
// (domain/layer does).
package fs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/arena"
)

const (
	fileMode     = 0o600
	finishedMode = 0o400
	dirMode      = 0o700

	// stateFormat is the first byte of every State.
	stateFormat = 1
	stateSize   = 1 + 8
)

// Store is a blobstore.Store over a directory.
type Store struct {
	root *os.Root
	// top is the handle of the directory, for opening files quickly.
	top *os.File
	// blocks lends the memory that large writes are gathered in.
	blocks blocks
	// buffers lends *[]byte of copyBuffer bytes to readers.
	buffers sync.Pool
	// fsync makes the entries of a directory durable; tests count its calls.
	fsync func(dir string) error

	mu   sync.Mutex
	dirs map[string]*directory
}

var _ blobstore.Store = (*Store)(nil)

// New returns the store that keeps its objects below dir, which is made if it
// does not exist. Symbolic links that lead out of dir are not followed.
func New(dir string) (*Store, error) {
	if err := makeDurably(dir); err != nil {
		return nil, fmt.Errorf("blob directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("blob directory: %w", err)
	}
	top, err := root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("blob directory: %w", errors.Join(err, root.Close()))
	}
	s := &Store{root: root, top: top, dirs: make(map[string]*directory), blocks: blocks{arena: arena.New(blockSize, maxBlocks)}}
	s.buffers.New = func() any {
		b := make([]byte, copyBuffer)
		return &b
	}
	s.fsync = s.syncPath
	return s, nil
}

// Close gives back the handle of the directory. No other method may be called
// after it; readers and writers that are open stay usable.
func (s *Store) Close() error { return errors.Join(s.top.Close(), s.root.Close()) }

// open opens the file of a key, or its directory. No link leads out of the
// store's directory.
func (s *Store) open(key string, flag int, mode iofs.FileMode) (*os.File, error) {
	f, err := openBeneath(s.top, key, flag, mode)
	if err == nil || errors.Is(err, iofs.ErrNotExist) || errors.Is(err, iofs.ErrExist) {
		return f, err
	}
	// The quick way is not to be had, or failed; this one says why.
	return s.root.OpenFile(filepath.FromSlash(key), flag, mode)
}

// Create implements blobstore.Store. A file that stands at the key already is
// an error.
func (s *Store) Create(ctx context.Context, key string, _ blobstore.Placement) (blobstore.Writer, error) {
	if err := blobstore.CheckKey(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w, err := s.create(key)
	if errors.Is(err, iofs.ErrNotExist) {
		// Somebody tidied up an empty directory that this process had seen.
		s.forget()
		w, err = s.create(key)
	}
	if err != nil {
		return nil, storeError("create", key, err)
	}
	return w, nil
}

func (s *Store) create(key string) (*writer, error) {
	d, err := s.directory(parentOf(key))
	if err != nil {
		return nil, err
	}
	f, err := s.open(key, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	return &writer{store: s, key: key, file: f, dir: d, entry: d.change()}, nil
}

// Resume implements blobstore.Store.
func (s *Store) Resume(ctx context.Context, key string, state blobstore.State) (blobstore.Writer, error) {
	if err := blobstore.CheckKey(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(state) != stateSize || state[0] != stateFormat {
		return nil, fmt.Errorf("%w: resume %q: not a state of this store", blobstore.ErrCorrupt, key)
	}
	offset := int64(binary.BigEndian.Uint64(state[1:]))
	f, err := s.open(key, os.O_WRONLY, 0)
	if errors.Is(err, iofs.ErrPermission) {
		return nil, s.unwritable(key, err)
	}
	if err != nil {
		return nil, storeError("resume", key, err)
	}
	if err := cutBack(f, offset); err != nil {
		return nil, errors.Join(storeError("resume", key, err), f.Close())
	}
	d, err := s.directory(parentOf(key))
	if err != nil {
		return nil, errors.Join(storeError("resume", key, err), f.Close())
	}
	return &writer{store: s, key: key, file: f, dir: d, entry: d.newest(), offset: offset}, nil
}

// unwritable says why the file of an object that is to be resumed cannot be
// opened for writing: because it is finished, or for the reason in err.
func (s *Store) unwritable(key string, err error) error {
	if info, statErr := s.root.Stat(filepath.FromSlash(key)); statErr == nil && isFinished(info) {
		err = errFinished
	}
	return storeError("resume", key, err)
}

var errFinished = fmt.Errorf("%w: the object is finished", blobstore.ErrNotFound)

func isFinished(info iofs.FileInfo) bool { return info.Mode().Perm() == finishedMode }

// cutBack makes offset the end of f and the place of the next write.
func cutBack(f *os.File, offset int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if isFinished(info) {
		return errFinished // a superuser can open it all the same
	}
	if offset < 0 || info.Size() < offset {
		return fmt.Errorf("%w: its file has %d bytes and the state %d", blobstore.ErrNotFound, info.Size(), offset)
	}
	if info.Size() > offset {
		if err := f.Truncate(offset); err != nil {
			return err
		}
	}
	_, err = f.Seek(offset, io.SeekStart)
	return err
}

// Open implements blobstore.Store. The reader hands its file to a destination
// that can take bytes from one without copying (a TCP connection).
func (s *Store) Open(ctx context.Context, o blobstore.Object, offset, length int64) (io.ReadCloser, error) {
	if err := blobstore.CheckKey(o.Key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	length, err := o.Span(offset, length)
	if err != nil {
		return nil, err
	}
	f, err := s.open(o.Key, os.O_RDONLY, 0)
	if err != nil {
		return nil, storeError("open", o.Key, err)
	}
	r := &reader{store: s, key: o.Key, file: f, left: length}
	if err := r.seek(o.Size, offset); err != nil {
		return nil, errors.Join(storeError("open", o.Key, err), f.Close())
	}
	return r, nil
}

// Delete implements blobstore.Store. It leaves the object's directory.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := blobstore.CheckKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.root.Remove(filepath.FromSlash(key))
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return storeError("delete", key, err)
	}
	return nil
}

// storeError adds the store's own error to one of the file system where the
// two mean the same.
func storeError(op, key string, err error) error {
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return fmt.Errorf("%w: %s %q: %w", blobstore.ErrNotFound, op, key, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %s %q: %w", blobstore.ErrFull, op, key, err)
	}
	return fmt.Errorf("blobstore: %s %q: %w", op, key, err)
}
