package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/internal/app/backup/dump"
)

// Verified is what a Verify has looked at.
type Verified struct {
	Snapshots int   `json:"snapshots"`
	Objects   int64 `json:"objects"`
	Bytes     int64 `json:"bytes"`
	// Problems were found; Missing are objects that the deployment could not give
	// already when the backup was made.
	Problems int64 `json:"problems"`
	Missing  int64 `json:"missing"`
}

// Verify reads snapshots with everything that belongs to them, each object once,
// and compares them with their checksums; "" is all snapshots. What is wrong goes
// to problem; the error is that of the walk itself.
func (d *Dir) Verify(ctx context.Context, id string, problem func(string), report func(Line)) (v Verified, err error) {
	all, err := d.Snapshots()
	if id != "" || len(all) == 0 && err == nil {
		var one Snapshot
		one, err = d.Snapshot(id)
		all = []Snapshot{one}
	}
	if err != nil {
		return v, err
	}
	var mu sync.Mutex
	found := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		v.Problems++
		problem(text)
	}
	seen := map[[16]byte]bool{}
	for _, s := range all {
		v.Snapshots++
		if err := d.verifyFiles(s); err != nil {
			found(fmt.Sprintf("snapshot %s: %v", s.ID, err))
			continue
		}
		m := newMeter("objects of "+s.ID, s.Objects+s.Missing, report)
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(workers)
		for e, err := range entries(d.file(dirSnapshots, s.ID, fileObjects)) {
			if err = errors.Join(err, ctx.Err()); err != nil {
				return v, errors.Join(err, group.Wait())
			}
			if e.Missing != "" {
				v.Missing++
				continue
			}
			mark := fingerprint(d.objectFile(e.Ref) + " " + e.SHA256)
			if seen[mark] {
				m.add(1, 0)
				continue
			}
			seen[mark] = true
			v.Objects++
			v.Bytes += e.Size
			group.Go(func() error {
				if err := d.verifyObject(ctx, e, m); err != nil {
					found(fmt.Sprintf("snapshot %s: %v", s.ID, err))
				}
				m.add(1, 0)
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return v, err
		}
	}
	return v, nil
}

// verifyFiles looks at everything of a snapshot but its objects.
func (d *Dir) verifyFiles(s Snapshot) error {
	for _, file := range []string{fileMetadata, fileObjects, fileKeyring} {
		if err := checkFile(d.file(dirSnapshots, s.ID, file), s.Files[file]); err != nil {
			return err
		}
	}
	in, err := unpack(d.file(dirSnapshots, s.ID, fileMetadata))
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	rows, err := dump.Read(in, dump.Visitor{})
	if err != nil {
		return err
	}
	return dump.Compare(rows, s.Rows)
}

func (d *Dir) verifyObject(ctx context.Context, e entry, m *meter) error {
	path := d.objectFile(e.Ref)
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("an object is missing: %w", err)
	}
	if info.Size() != e.Size {
		return fmt.Errorf("the object %s has %d bytes and should have %d", path, info.Size(), e.Size)
	}
	sum, err := hashFile(ctx, path, m)
	if err == nil && sum != e.SHA256 {
		err = fmt.Errorf("the object %s is damaged: its SHA-256 is %s and should be %s", path, sum, e.SHA256)
	}
	return err
}

// writeSynced writes a new file that only its owner may read, and returns its
// checksum.
func writeSynced(path string, text []byte) (string, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), errors.Join(err, f.Close())
}
