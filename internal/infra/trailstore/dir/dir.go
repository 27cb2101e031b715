// Package dir keeps the files of the audit trail in a directory: the object a/b/c is the
// file a/b/c below it, and its metadata are in a/b/c.sig.
//
// It does not remove old files; operators do, as they please.
package dir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/infra/trailstore"
)

// Store is a trailstore.Store in a directory. Processes may share one.
type Store struct{ root *os.Root }

var _ trailstore.Store = (*Store)(nil)

// temporary begins the names of files that are not complete. No key has one like it,
// since List leaves them out.
const temporary = ".berth-"

// Open returns the store in a directory, which has to be there, absolute or relative to
// the working directory. Nothing outside of it is touched, also not by links in it.
func Open(directory string) (*Store, error) {
	root, err := os.OpenRoot(directory)
	if err != nil {
		return nil, fmt.Errorf("the directory for audit files cannot be opened; make it, owned by the user that the server runs as: %w", err)
	}
	return &Store{root: root}, nil
}

// Close gives up the directory.
func (s *Store) Close() error { return s.root.Close() }

// Put is a trailstore.Store's.
func (s *Store) Put(_ context.Context, key string, body []byte, metadata map[string]string) error {
	if err := trailstore.CheckKey(key); err != nil {
		return err
	}
	if err := s.makeDir(path.Dir(key)); err != nil {
		return err
	}
	if len(metadata) > 0 {
		sidecar, err := trailstore.Sidecar(metadata)
		if err != nil {
			return err
		}
		if err := s.write(key+trailstore.SidecarSuffix, sidecar); err != nil {
			return err
		}
	}
	return s.write(key, body)
}

// makeDir makes a directory and those above it, and has the new entries synced.
func (s *Store) makeDir(dir string) error {
	if dir == "." {
		return nil
	}
	if _, err := s.root.Stat(dir); err == nil {
		// Another process may have made it a moment ago and not have synced it yet.
		return s.sync(path.Dir(dir))
	}
	if err := s.makeDir(path.Dir(dir)); err != nil {
		return err
	}
	if err := s.root.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return s.sync(path.Dir(dir))
}

// write puts a file in place, complete or not at all.
func (s *Store) write(key string, body []byte) (err error) {
	temp := path.Join(path.Dir(key), temporary+rand.Text())
	f, err := s.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = s.root.Remove(temp) // the failure before it is what counts; List does not show the file
		}
	}()
	_, err = f.Write(body)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := s.root.Rename(temp, key); err != nil {
		return err
	}
	return s.sync(path.Dir(key))
}

// sync makes the entries of a directory durable.
func (s *Store) sync(dir string) error {
	f, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get is a trailstore.Store's.
func (s *Store) Get(_ context.Context, key string) (trailstore.Object, error) {
	if err := trailstore.CheckKey(key); err != nil {
		return trailstore.Object{}, err
	}
	body, err := s.root.ReadFile(key)
	if errors.Is(err, fs.ErrNotExist) {
		return trailstore.Object{}, fmt.Errorf("%w: %s", trailstore.ErrNotFound, key)
	}
	if err != nil {
		return trailstore.Object{}, err
	}
	sidecar, err := s.root.ReadFile(key + trailstore.SidecarSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return trailstore.Object{Body: body}, nil
	}
	if err != nil {
		return trailstore.Object{}, err
	}
	// What is no JSON is as good as no metadata: whoever needs it says that it is missing.
	metadata, _ := trailstore.ReadSidecar(sidecar)
	return trailstore.Object{Body: body, Metadata: metadata}, nil
}

// List is a trailstore.Store's.
func (s *Store) List(ctx context.Context, prefix string, fn func(key string) error) error {
	return s.list(ctx, ".", prefix, fn)
}

// list walks one directory. Its entries are read in the order of the keys below them, in
// which a directory's name ends in a slash.
func (s *Store) list(ctx context.Context, dir, prefix string, fn func(key string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := fs.ReadDir(s.root.FS(), dir)
	if err != nil {
		return err
	}
	keys := make([]string, 0, len(entries))
	for _, e := range entries {
		key := path.Join(dir, e.Name())
		if e.IsDir() {
			key += "/"
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		below, isDir := strings.CutSuffix(key, "/")
		switch {
		case isDir && (strings.HasPrefix(key, prefix) || strings.HasPrefix(prefix, key)):
			if err := s.list(ctx, below, prefix, fn); err != nil {
				return err
			}
		case isDir, !strings.HasPrefix(key, prefix), strings.HasSuffix(key, trailstore.SidecarSuffix), strings.HasPrefix(path.Base(key), temporary):
		default:
			if err := fn(key); err != nil {
				return err
			}
		}
	}
	return nil
}
