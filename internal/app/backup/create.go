package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/app/backup/dump"
	"github.com/berth-registry/berth/internal/domain/name"
)

const (
	// holdLife is how long objects are kept for a backup of which nothing is heard
	// any more; it gives a sign of life every holdBeat.
	holdLife = 15 * time.Minute
	holdBeat = 2 * time.Minute
)

// Made is what a backup has done.
type Made struct {
	Snapshot
	// Copied is how many of its objects were not in the directory before.
	Copied int64 `json:"copied"`
}

// Make adds a snapshot of the deployment to the directory. owner names the run for
// people who look at the deployment's holds; report is told how it goes. When it
// fails, the directory has no new snapshot; what was copied stays for the next run.
func (d *Dir) Make(ctx context.Context, src Source, owner string, report func(Line)) (made Made, err error) {
	hold, err := src.Hold(ctx, owner, holdLife)
	if err != nil {
		return made, fmt.Errorf("the deployment's objects cannot be held: %w", err)
	}
	working, stop := context.WithCancelCause(ctx)
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		beat(working, src, hold, stop)
	}()
	dir, made, err := d.fill(working, src, report)
	cause := context.Cause(working)
	stop(nil)
	<-beating
	// Also where ctx has ended: nothing has to wait for this hold any more.
	releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	releaseErr := src.Release(releasing, hold)
	if err == nil {
		err = releaseErr
	} else if cause != nil {
		err = cause
	}
	if err == nil {
		err = d.publish(dir, made.Snapshot)
	}
	if err != nil {
		return made, errors.Join(err, os.RemoveAll(dir))
	}
	return made, nil
}

// beat extends the hold until ctx ends. A hold that is lost ends the backup.
func beat(ctx context.Context, src Source, hold string, stop context.CancelCauseFunc) {
	t := time.NewTicker(holdBeat)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := src.Extend(ctx, hold, holdLife); err != nil && ctx.Err() == nil {
			stop(fmt.Errorf("the deployment's objects are no longer held: %w", err))
			return
		}
	}
}

// fill writes everything of a snapshot but its description, into a directory that
// is not one yet.
func (d *Dir) fill(ctx context.Context, src Source, report func(Line)) (dir string, made Made, err error) {
	dir = d.file(dirSnapshots, partial+"new")
	if err := os.Mkdir(dir, dirMode); err != nil {
		return dir, made, err
	}
	s := &made.Snapshot
	s.Format, s.Files = directoryFormat, map[string]string{}
	note(report, "reading the database")
	if s.Files[fileMetadata], err = dumpTo(ctx, src, filepath.Join(dir, fileMetadata)); err != nil {
		return dir, made, err
	}
	if err := survey(filepath.Join(dir, fileMetadata), s); err != nil {
		return dir, made, err
	}
	if s.ID, err = d.newID(s.Taken); err != nil {
		return dir, made, err
	}
	if err := d.bringObjects(ctx, src, dir, &made, report); err != nil {
		return dir, made, err
	}
	// After the rows: it has all the keys that they were sealed with.
	keys, err := src.Keyring(ctx)
	if err != nil {
		return dir, made, fmt.Errorf("the keyring cannot be read: %w", err)
	}
	s.Files[fileKeyring], err = writeSynced(filepath.Join(dir, fileKeyring), keys)
	return dir, made, err
}

func dumpTo(ctx context.Context, src Source, path string) (sum string, err error) {
	out, err := newPacked(path)
	if err != nil {
		return "", err
	}
	return out.finish(src.Dump(ctx, out))
}

// survey reads a dump to its end and notes what the description says of it.
func survey(path string, s *Snapshot) error {
	in, err := unpack(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	s.Rows, err = dump.Read(in, dump.Visitor{
		Header: func(h dump.Header) error {
			s.Header = h
			return nil
		},
		Only: []string{"account"},
		Row: func(t dump.Table, values []any) error {
			for i, c := range t.Columns {
				if id, ok := values[i].(string); ok && c.Name == "id" {
					s.Accounts = append(s.Accounts, name.AccountID(id))
				}
			}
			return nil
		},
	})
	return err
}

// bringObjects copies what the blobs of the dump name and is not there yet.
func (d *Dir) bringObjects(ctx context.Context, src Source, dir string, made *Made, report func(Line)) (err error) {
	s := &made.Snapshot
	older := func(func(entry, error) bool) {} // without one all is looked at anew
	all, err := d.Snapshots()
	if err != nil {
		return err
	}
	if n := len(all); n > 0 {
		path := d.file(dirSnapshots, all[n-1].ID, fileObjects)
		if err := checkFile(path, all[n-1].Files[fileObjects]); err == nil {
			older = entries(path)
		} else {
			note(report, "the list of the last snapshot cannot be used: "+err.Error())
		}
	}
	c := &collecting{
		dir: d, src: src, meter: newMeter("objects", s.Rows["blob"], report), older: follow(older),
		touched: map[string]bool{}, regions: map[name.Region]bool{},
	}
	defer c.older.stop()
	list, err := newPacked(filepath.Join(dir, fileObjects))
	if err != nil {
		return err
	}
	c.out = json.NewEncoder(list)
	s.Files[fileObjects], err = list.finish(c.all(ctx, filepath.Join(dir, fileMetadata)))
	if err != nil {
		return err
	}
	for touched := range c.touched {
		if err := syncDir(touched); err != nil {
			return err
		}
	}
	s.Objects, s.Bytes, s.Missing, made.Copied = c.objects, c.bytes, c.missing, c.copied
	s.Regions = slices.Sorted(maps.Keys(c.regions))
	return nil
}

// all goes through the blobs of a dump.
func (c *collecting) all(ctx context.Context, path string) error {
	in, err := unpack(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	_, err = dump.Read(in, dump.Visitor{Only: []string{"blob"}, Row: func(t dump.Table, values []any) error {
		e, within, err := blobEntry(t, values)
		if err != nil {
			return err
		}
		c.regions[e.Region] = true
		if within {
			c.meter.add(1, 0)
			return nil
		}
		return c.add(ctx, e)
	}})
	if err != nil {
		return err
	}
	return c.flush(ctx)
}

// publish makes a filled directory a snapshot.
func (d *Dir) publish(dir string, s Snapshot) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if _, err := writeSynced(filepath.Join(dir, fileSnapshot), append(text, '\n')); err != nil {
		return err
	}
	if err := errors.Join(syncDir(dir), syncDir(d.file(dirObjects))); err != nil {
		return err
	}
	if err := os.Rename(dir, d.file(dirSnapshots, s.ID)); err != nil {
		return err
	}
	return errors.Join(syncDir(d.file(dirSnapshots)), syncDir(d.path))
}
