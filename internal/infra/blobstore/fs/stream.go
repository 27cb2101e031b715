package fs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// copyBuffer is the size of the pieces that WriteTo copies where the kernel
// cannot do it.
const copyBuffer = 256 << 10

// writer appends to a file. Large writes are gathered in a block, and go past
// the page cache from there; small ones go to the kernel as they come.
type writer struct {
	store  *Store
	key    string
	file   *os.File // nil once ended
	dir    *directory
	entry  uint64 // the change of dir that entered the file
	offset int64  // bytes in the file and in the block
	block  []byte // nil until there is a large write
	held   int    // bytes of the block that are not in the file yet
	direct bool   // the file's writes pass the page cache by
	err    error  // the Write that failed
}

var (
	_ blobstore.Writer = (*writer)(nil)
	_ blobstore.Lender = (*writer)(nil)
)

func (w *writer) Offset() int64 { return w.offset }

func (w *writer) Write(p []byte) (int, error) {
	if err := w.usable(); err != nil {
		return 0, err
	}
	w.begin(len(p))
	head := len(p)
	if w.block != nil {
		// The block begins at a page of the file.
		head = 0
		if w.held == 0 {
			head = min(len(p), int(-w.offset&(alignment-1)))
		}
	}
	if w.err = w.plain(p[:head]); w.err == nil {
		w.err = w.gather(p[head:])
	}
	if w.err != nil {
		return 0, w.err
	}
	w.offset += int64(len(p))
	return len(p), nil
}

// usable says why the writer can do no more.
func (w *writer) usable() error {
	if w.err != nil {
		return w.err
	}
	if w.file == nil {
		return fmt.Errorf("%w: %q", blobstore.ErrEnded, w.key)
	}
	return nil
}

func (w *writer) Suspend(context.Context) (blobstore.State, error) {
	if err := w.usable(); err != nil {
		return nil, err
	}
	if w.err = w.settle(); w.err != nil {
		return nil, w.err
	}
	// Some file systems report a failed write only here.
	if err := w.Close(); err != nil {
		return nil, storeError("suspend", w.key, err)
	}
	state := make([]byte, 1, stateSize)
	state[0] = stateFormat
	return binary.BigEndian.AppendUint64(state, uint64(w.offset)), nil
}

func (w *writer) Commit(context.Context) (blobstore.Object, error) {
	if err := w.usable(); err != nil {
		return blobstore.Object{}, err
	}
	if w.err = w.settle(); w.err != nil {
		return blobstore.Object{}, w.err
	}
	// A guard against stale States only: a file system without modes does
	// without it.
	_ = w.file.Chmod(finishedMode)
	if err := errors.Join(w.file.Sync(), w.Close()); err != nil {
		// The kernel may have dropped what it could not write, and would not
		// say so again: nobody may go on from these bytes.
		removed := w.store.root.Remove(filepath.FromSlash(w.key))
		return blobstore.Object{}, errors.Join(storeError("commit", w.key, err), removed)
	}
	if err := w.store.syncEntry(w.dir, w.entry); err != nil {
		return blobstore.Object{}, storeError("commit", w.key, err)
	}
	return blobstore.Object{Key: w.key, Size: w.offset}, nil
}

func (w *writer) Close() error {
	w.release()
	if w.file == nil {
		return nil
	}
	f := w.file
	w.file = nil
	return f.Close()
}

// reader reads a part of a file by the file's own position.
type reader struct {
	store *Store
	key   string
	file  *os.File
	left  int64 // bytes that are still to be read
}

var (
	_ io.WriterTo        = (*reader)(nil)
	_ blobstore.Beginner = (*reader)(nil)
)

// Begin implements blobstore.Beginner: Open has seen that the file is there and
// has its size.
func (r *reader) Begin() error { return nil }

// seek goes to offset, if the file has the size that its object says.
func (r *reader) seek(size, offset int64) error {
	info, err := r.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: not a regular file", blobstore.ErrNotFound)
	}
	if info.Size() < size {
		return fmt.Errorf("%w: its file has %d bytes of %d", blobstore.ErrCorrupt, info.Size(), size)
	}
	_, err = r.file.Seek(offset, io.SeekStart)
	return err
}

func (r *reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.file.Read(p)
	r.left -= int64(n)
	if err == io.EOF {
		return n, r.short()
	}
	if err != nil {
		return n, storeError("read", r.key, err)
	}
	return n, nil
}

// WriteTo hands the file itself to a w that takes bytes from a reader, so that
// the kernel can move them.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	if r.left == 0 {
		return 0, nil
	}
	part := &io.LimitedReader{R: r.file, N: r.left}
	var n int64
	var err error
	if to, ok := w.(io.ReaderFrom); ok {
		n, err = to.ReadFrom(part)
	} else {
		buffer := r.store.buffers.Get().(*[]byte)
		n, err = io.CopyBuffer(w, part, *buffer)
		r.store.buffers.Put(buffer)
	}
	if err == nil && n < r.left {
		err = r.short()
	}
	r.left -= n
	if errors.Is(err, syscall.EIO) { // of the file: a connection has none
		err = storeError("read", r.key, err)
	}
	return n, err
}

// short reports that the file ended before the object did.
func (r *reader) short() error {
	return fmt.Errorf("%w: read %q: its file is too short", blobstore.ErrCorrupt, r.key)
}

func (r *reader) Close() error { return r.file.Close() }
