package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Pruned is what a Prune has removed.
type Pruned struct {
	Snapshots int   `json:"snapshots"`
	Objects   int64 `json:"objects"`
	Bytes     int64 `json:"bytes"`
}

// Prune keeps the newest snapshots, at least one of them, and removes the others
// and all objects that none of the kept ones names. It keeps some 50 bytes for each
// object in memory.
func (d *Dir) Prune(ctx context.Context, keep int) (p Pruned, err error) {
	if keep < 1 {
		return p, fmt.Errorf("at least one snapshot has to be kept, not %d", keep)
	}
	all, err := d.Snapshots()
	if err != nil {
		return p, err
	}
	cut := max(len(all)-keep, 0)
	// What is to be kept is read before anything goes.
	named := map[[16]byte]bool{}
	for _, s := range all[cut:] {
		path := d.file(dirSnapshots, s.ID, fileObjects)
		if err := checkFile(path, s.Files[fileObjects]); err != nil {
			return p, fmt.Errorf("nothing is removed, since a snapshot that is to be kept cannot be read: %w", err)
		}
		for e, err := range entries(path) {
			if err != nil {
				return p, err
			}
			named[fingerprint(d.objectFile(e.Ref))] = true
		}
	}
	for _, s := range all[:cut] {
		// Under this name it is no snapshot any more, whatever happens now.
		gone := d.file(dirSnapshots, partial+s.ID)
		if err := os.Rename(d.file(dirSnapshots, s.ID), gone); err != nil {
			return p, err
		}
		p.Snapshots++
		if err := errors.Join(syncDir(d.file(dirSnapshots)), os.RemoveAll(gone)); err != nil {
			return p, err
		}
	}
	err = filepath.WalkDir(d.file(dirObjects), func(path string, e fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil || e.IsDir() || named[fingerprint(path)] {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		p.Objects++
		p.Bytes += info.Size()
		return nil
	})
	return p, err
}

// fingerprint stands for a path.
func fingerprint(path string) [16]byte {
	sum := sha256.Sum256([]byte(path))
	return [16]byte(sum[:16])
}
