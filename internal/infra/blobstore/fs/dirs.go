package fs

import (
	"errors"
	iofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"
)

// maxDirs bounds the memory for what is known about directories. Forgetting
// costs one more sync of each directory that is used again, nothing else.
const maxDirs = 8192

// A directory counts what was entered into it and how much of that is
// durable, so that a commit syncs only where it has to, and commits that come
// together share one sync.
//
// A directory that this process sees for the first time begins with one
// change that is not durable: whoever made it may have been killed before its
// sync.
type directory struct {
	path   string // slash-separated, "" for the root
	parent *directory
	// entry is the parent's change that entered this directory.
	entry uint64

	mu      sync.Mutex
	changed uint64 // changes so far
	synced  uint64 // of which so many are durable
	running *round
}

// A round is one sync that any number of commits wait for.
type round struct {
	covers uint64 // the changes that it makes durable
	done   chan struct{}
	err    error // set before done is closed
}

// change counts a new entry, which must be there already, and returns its
// number.
func (d *directory) change() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed++
	return d.changed
}

// newest is the number of the newest entry.
func (d *directory) newest() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// directory returns what is known of the directory at path, which is made
// with all above it if need be.
func (s *Store) directory(path string) (*directory, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.dirs) > maxDirs {
		clear(s.dirs)
	}
	return s.locate(path)
}

func (s *Store) locate(path string) (*directory, error) {
	if d, ok := s.dirs[path]; ok {
		return d, nil
	}
	d := &directory{path: path, changed: 1}
	if path != "" {
		parent, err := s.locate(parentOf(path))
		if err != nil {
			return nil, err
		}
		if err := s.root.Mkdir(filepath.FromSlash(path), dirMode); err != nil && !errors.Is(err, iofs.ErrExist) {
			return nil, err
		}
		d.parent, d.entry = parent, parent.change()
	}
	s.dirs[path] = d
	return d, nil
}

// forget drops all knowledge of directories.
func (s *Store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.dirs)
}

// syncEntry makes the given change of d durable, and the entries of all
// directories that lead to it.
func (s *Store) syncEntry(d *directory, change uint64) error {
	for ; d != nil; d, change = d.parent, d.entry {
		if err := s.syncChange(d, change); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) syncChange(d *directory, change uint64) error {
	for {
		d.mu.Lock()
		if d.synced >= change {
			d.mu.Unlock()
			return nil
		}
		if r := d.running; r != nil {
			d.mu.Unlock()
			<-r.done
			// A failed sync is not tried again for the changes it should have
			// covered: the kernel reports a lost write only once.
			if r.err != nil && r.covers >= change {
				return r.err
			}
			continue
		}
		r := &round{covers: d.changed, done: make(chan struct{})}
		d.running = r
		d.mu.Unlock()

		r.err = s.fsync(d.path)

		d.mu.Lock()
		d.running = nil
		if r.err == nil {
			d.synced = r.covers
		}
		d.mu.Unlock()
		close(r.done)
		return r.err
	}
}

// syncPath makes the entries of the directory at path durable.
func (s *Store) syncPath(path string) error {
	if path == "" {
		path = "."
	}
	f, err := s.open(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(syncDir(f), f.Close())
}

// syncDir syncs an open directory. Some network and FUSE file systems have no
// such call and say so; their directories need none.
func syncDir(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

// makeDurably makes dir and what is missing above it, and syncs each directory
// that got a new entry.
func makeDurably(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &iofs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	case !errors.Is(err, iofs.ErrNotExist):
		return err
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := makeDurably(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, iofs.ErrExist) {
		return err
	}
	f, err := os.Open(above)
	if err != nil {
		return err
	}
	return errors.Join(syncDir(f), f.Close())
}

// parentOf is the directory of a key or of another directory, "" for the root.
func parentOf(key string) string {
	if dir := path.Dir(key); dir != "." {
		return dir
	}
	return ""
}
