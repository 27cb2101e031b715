package fs

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"iter"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// listBatch is the number of entries that are read from a directory at once.
const listBatch = 512

// List implements blobstore.Store. It holds one batch of names for each level
// of directories in memory. What is not the file of a possible key (lost+found
// at a mount point, for example) is left out.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blobstore.Info, error] {
	return func(yield func(blobstore.Info, error) bool) {
		dir := prefix[:strings.LastIndexByte(prefix, '/')+1]
		if dir != "" && blobstore.CheckKey(strings.TrimSuffix(dir, "/")) != nil {
			return // no key can begin so
		}
		w := walk{store: s, prefix: prefix, yield: yield}
		w.dir(ctx, dir)
	}
}

// walk is one run of a List.
type walk struct {
	store  *Store
	prefix string
	yield  func(blobstore.Info, error) bool
}

// dir walks the directory dir, which ends in a slash unless it is the root,
// and says whether to go on.
func (w *walk) dir(ctx context.Context, dir string) bool {
	f, err := w.store.root.Open(filepath.FromSlash("./" + dir))
	if errors.Is(err, iofs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return true // removed since, or the prefix goes on behind an object
	}
	if err != nil {
		return w.fail(dir, err)
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing to lose
	for {
		entries, err := f.ReadDir(listBatch)
		for _, entry := range entries {
			if !w.entry(ctx, dir+entry.Name(), entry) {
				return false
			}
		}
		if err == io.EOF {
			return true
		}
		if err != nil {
			return w.fail(dir, err)
		}
	}
}

func (w *walk) entry(ctx context.Context, key string, entry iofs.DirEntry) bool {
	if err := ctx.Err(); err != nil {
		return w.fail(key, err)
	}
	if !blobstore.ValidKeySegment(entry.Name()) || !strings.HasPrefix(key, w.prefix) {
		return true
	}
	if entry.IsDir() {
		return w.dir(ctx, key+"/")
	}
	info, err := w.store.root.Lstat(filepath.FromSlash(key))
	if errors.Is(err, iofs.ErrNotExist) {
		return true // deleted since
	}
	if err != nil {
		return w.fail(key, err)
	}
	if !info.Mode().IsRegular() {
		return true
	}
	return w.yield(blobstore.Info{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil)
}

// fail ends the walk with an error.
func (w *walk) fail(at string, err error) bool {
	w.yield(blobstore.Info{}, storeError("list", at, err))
	return false
}
