package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/internal/app/backup/dump"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/encrypted"
)

const (
	// workers is how many objects are copied or read at once.
	workers = 4
	// chunk is how many are under way before the next are looked at.
	chunk = 64
)

// entry is a line of a snapshot's list of objects, which is in the order of blobs'
// ids.
type entry struct {
	ID int64 `json:"id"` // of the blob
	Ref
	SHA256 string `json:"sha256,omitempty"` // of the bytes as stored
	// Missing says why the deployment could not give the object, "" if it did.
	Missing string `json:"missing,omitempty"`
}

// blobEntry reads a row of blob. within says that the row holds the bytes itself, so
// that there is no object to copy.
func blobEntry(t dump.Table, values []any) (e entry, within bool, err error) {
	var object blobstore.Object
	var archived bool
	for i, c := range t.Columns {
		ok := true
		switch c.Name {
		case "id":
			e.ID, ok = values[i].(int64)
		case "region":
			var region string
			region, ok = values[i].(string)
			e.Region = name.Region(region)
		case "object_key":
			e.Key, ok = values[i].(string)
		case "size":
			object.Size, ok = values[i].(int64)
		case "seal":
			object.Seal, ok = values[i].([]byte)
		case "archived":
			archived, ok = values[i].(bool)
		}
		if !ok {
			return e, false, fmt.Errorf("a blob's %s is not what it should be", c.Name)
		}
	}
	e.Size, e.Place = encrypted.StoredSize(object), placeMain
	if archived {
		e.Place = placeArchive
	}
	return e, object.Within(), e.check()
}

// check refuses names that would lead somewhere else.
func (r Ref) check() error {
	if err := blobstore.CheckKey(r.Key); err != nil {
		return err
	}
	if _, err := name.ParseRegion(string(r.Region)); err != nil && r.Region != name.Public {
		return fmt.Errorf("an object's region %q: %w", r.Region, err)
	}
	if r.Place != placeMain && r.Place != placeArchive {
		return fmt.Errorf("an object's place is %q", r.Place)
	}
	if r.Size < 0 {
		return fmt.Errorf("an object's size is %d", r.Size)
	}
	return nil
}

// entries reads a list of objects.
func entries(path string) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		f, err := unpack(path)
		if err != nil {
			yield(entry{}, err)
			return
		}
		defer func() { _ = f.Close() }() // it was only read
		in := json.NewDecoder(bufio.NewReader(f))
		for {
			var e entry
			err := in.Decode(&e)
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil {
				err = e.check()
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// follower finds entries of an older list, asked for in the order of their ids.
type follower struct {
	next func() (entry, error, bool)
	stop func()
	at   entry
	ok   bool
}

func follow(seq iter.Seq2[entry, error]) *follower {
	next, stop := iter.Pull2(seq)
	f := &follower{next: next, stop: stop}
	f.step()
	return f
}

// step takes the next entry. A list that cannot be read ends there: its objects are
// then looked at anew, which only takes time.
func (f *follower) step() {
	var err error
	f.at, err, f.ok = f.next()
	f.ok = f.ok && err == nil
}

// find returns the entry of the same object.
func (f *follower) find(e entry) (entry, bool) {
	for f.ok && f.at.ID < e.ID {
		f.step()
	}
	if f.ok && f.at.Missing == "" && f.at.ID == e.ID && f.at.Ref == e.Ref {
		return f.at, true
	}
	return entry{}, false
}

// collecting copies the objects of a snapshot into the directory.
type collecting struct {
	dir   *Dir
	src   Source
	meter *meter
	older *follower
	out   *json.Encoder
	// touched are directories with new entries that are not durable yet.
	touched map[string]bool

	objects, bytes, copied, missing int64
	regions                         map[name.Region]bool

	waiting []entry
}

// add takes the next object.
func (c *collecting) add(ctx context.Context, e entry) error {
	if c.waiting = append(c.waiting, e); len(c.waiting) < chunk {
		return nil
	}
	return c.flush(ctx)
}

// flush brings in the objects that wait, several at once, and lists them in their
// order.
func (c *collecting) flush(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	copied := make([]bool, len(c.waiting))
	for i := range c.waiting {
		e := &c.waiting[i]
		if old, ok := c.older.find(*e); ok && isFile(c.dir.objectFile(e.Ref), e.Size) {
			*e = old
			c.meter.add(1, 0)
			continue
		}
		group.Go(func() (err error) {
			copied[i], err = c.bring(ctx, e)
			c.meter.add(1, 0)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, e := range c.waiting {
		if err := c.out.Encode(e); err != nil {
			return err
		}
		if e.Missing != "" {
			c.missing++
			continue
		}
		c.objects++
		c.bytes += e.Size
		if copied[i] {
			c.copied++
			for dir := filepath.Dir(c.dir.objectFile(e.Ref)); len(dir) > len(c.dir.path) && !c.touched[dir]; dir = filepath.Dir(dir) {
				c.touched[dir] = true
			}
		}
	}
	c.waiting = c.waiting[:0]
	return nil
}

// bring makes sure that the object is in the directory. One that is there under its
// final name was written whole, by a run that was cut or for an older snapshot.
func (c *collecting) bring(ctx context.Context, e *entry) (copied bool, err error) {
	path := c.dir.objectFile(e.Ref)
	if isFile(path, e.Size) {
		e.SHA256, err = hashFile(ctx, path, c.meter)
		return false, err
	}
	body, err := c.src.Object(ctx, e.Ref)
	if errors.Is(err, blobstore.ErrNotFound) || errors.Is(err, blobstore.ErrCorrupt) {
		e.Missing = err.Error()
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("the object %s cannot be read: %w", e.Key, err)
	}
	e.SHA256, err = c.dir.writeObject(e.Ref, io.TeeReader(whileHolds(ctx, body), c.meter))
	return true, errors.Join(err, body.Close())
}

// writeObject puts an object's bytes under its name, and returns their checksum.
func (d *Dir) writeObject(r Ref, body io.Reader) (sum string, err error) {
	f, err := os.CreateTemp(d.file(dirTemporary), "object-") // mode 0600
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("the object %s cannot be copied: %w", r.Key, errors.Join(err, os.Remove(f.Name())))
		}
	}()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), body)
	if err == nil && n != r.Size {
		err = fmt.Errorf("%d bytes came of %d", n, r.Size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	path := d.objectFile(r)
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), os.Rename(f.Name(), path)
}

func isFile(path string, size int64) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == size
}

func hashFile(ctx context.Context, path string, progress io.Writer) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(h, progress), whileHolds(ctx, f))
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, f.Close())
}
