package backup

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/berth-registry/berth/internal/app/backup/dump"
	"github.com/berth-registry/berth/internal/domain/name"
)

const (
	fileMarker   = "berth-backup.json"
	fileLock     = "lock"
	fileSnapshot = "snapshot.json"
	fileMetadata = "metadata.ndjson.gz"
	fileObjects  = "objects.ndjson.gz"
	fileKeyring  = "keyring.json"

	dirObjects   = "objects"
	dirSnapshots = "snapshots"
	dirTemporary = "tmp"

	// partial begins the name of a snapshot that is being written or removed.
	partial = ".partial-"

	// directoryFormat changes when an older program would read a directory wrongly.
	directoryFormat = 1

	dirMode  = 0o700
	fileMode = 0o600
)

// Snapshot is one backup in a directory.
type Snapshot struct {
	// Format is that of the directory, 1 so far.
	Format int `json:"berthBackup"`
	// ID is its directory's name; those of later snapshots sort behind it.
	ID string `json:"id"`
	dump.Header
	// Accounts are all accounts, Regions those that have layers.
	Accounts []name.AccountID `json:"accounts"`
	Regions  []name.Region    `json:"regions"`
	// Rows are the rows of each table.
	Rows map[string]int64 `json:"rows"`
	// Objects and Bytes are what belongs to it, Missing how many of the objects
	// could not be read in the deployment.
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
	Missing int64 `json:"missing"`
	// Files are the SHA-256 checksums of the other files.
	Files map[string]string `json:"sha256"`
}

// Dir is a directory of backups.
type Dir struct {
	path string
	lock *os.File
}

// marker is the content of the file that tells the directory from others.
type marker struct {
	Format int    `json:"berthBackup"`
	About  string `json:"about"`
}

// Create opens a directory for writing, and makes it if it is not there. One that
// holds something else is refused, and so is one that somebody writes to.
func Create(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, dirMode); err != nil {
		return nil, fmt.Errorf("the backup directory cannot be made: %w", err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("the backup directory cannot be read: %w", err)
	}
	known := func(e os.DirEntry) bool {
		// The first start of a backup may have been cut right after it began.
		return slices.Contains([]string{fileMarker, fileLock, dirTemporary, "lost+found"}, e.Name())
	}
	_, statErr := os.Stat(filepath.Join(path, fileMarker))
	if errors.Is(statErr, os.ErrNotExist) {
		if i := slices.IndexFunc(entries, func(e os.DirEntry) bool { return !known(e) }); i >= 0 {
			return nil, fmt.Errorf("%s is not a backup directory and holds %s: choose an empty one", path, entries[i].Name())
		}
	} else if err := checkMarker(path); err != nil {
		return nil, err
	}
	d := &Dir{path: path}
	if d.lock, err = os.OpenFile(d.file(fileLock), os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, fileMode); err != nil {
		return nil, fmt.Errorf("the backup directory cannot be written: %w", err)
	}
	if err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = d.lock.Close() // nothing was written
		return nil, fmt.Errorf("%s is in use: another backup, prune or restore is running there (%w)", path, err)
	}
	if err := d.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("the backup directory cannot be written: %w", err), d.Close())
	}
	return d, nil
}

// prepare makes what belongs into the directory and clears what was cut off.
func (d *Dir) prepare() error {
	if err := os.RemoveAll(d.file(dirTemporary)); err != nil {
		return err
	}
	if err := os.MkdirAll(d.file(dirTemporary), dirMode); err != nil {
		return err
	}
	text, err := json.MarshalIndent(marker{directoryFormat, "Backups of a Berth deployment. Do not change anything here by hand; see berth backup --help."}, "", "  ")
	if err != nil {
		return err
	}
	if err := d.replace(fileMarker, append(text, '\n')); err != nil {
		return err
	}
	for _, dir := range []string{dirObjects, dirSnapshots} {
		if err := os.MkdirAll(d.file(dir), dirMode); err != nil {
			return err
		}
	}
	left, err := filepath.Glob(d.file(dirSnapshots, partial+"*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// Open opens a directory for reading. While it is open, nobody writes to it, where
// its file system has locks.
func Open(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := checkMarker(path); err != nil {
		return nil, err
	}
	d := &Dir{path: path}
	// A copy on a read-only medium may have no lock that can be taken.
	if d.lock, err = os.Open(d.file(fileLock)); err != nil {
		d.lock = nil
		return d, nil
	}
	if err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("%s is in use: a backup is being written there", path), d.Close())
	}
	return d, nil
}

func checkMarker(path string) error {
	text, err := os.ReadFile(filepath.Join(path, fileMarker))
	if err != nil {
		return fmt.Errorf("%s is not a backup directory: %w", path, err)
	}
	var m marker
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s is damaged: %w", filepath.Join(path, fileMarker), err)
	}
	if m.Format != directoryFormat {
		return fmt.Errorf("the backup directory %s has the format %d, which this program does not know: use a newer one", path, m.Format)
	}
	return nil
}

// Close gives the directory back.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}

func (d *Dir) file(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// objectFile is where an object stands.
func (d *Dir) objectFile(r Ref) string {
	return d.file(dirObjects, string(r.Region), r.Place, filepath.FromSlash(r.Key))
}

// formID is how a snapshot is named, by its time.
const formID = "20060102T150405.000Z"

// newID names a snapshot of the time, behind all that are there.
func (d *Dir) newID(taken time.Time) (string, error) {
	all, err := d.Snapshots()
	if err != nil || len(all) == 0 {
		return taken.UTC().Format(formID), err
	}
	last, err := time.Parse(formID, all[len(all)-1].ID)
	if err != nil {
		return "", fmt.Errorf("the snapshot %s has no name that this program gives", all[len(all)-1].ID)
	}
	if taken.Before(last.Add(time.Millisecond)) {
		taken = last.Add(time.Millisecond)
	}
	return taken.UTC().Format(formID), nil
}

// Snapshots lists the snapshots, the oldest first.
func (d *Dir) Snapshots() ([]Snapshot, error) {
	entries, err := os.ReadDir(d.file(dirSnapshots)) // sorted by name
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Snapshot
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		s, err := d.snapshot(e.Name())
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Snapshot reads one snapshot; "" is the newest.
func (d *Dir) Snapshot(id string) (Snapshot, error) {
	all, err := d.Snapshots()
	if err != nil {
		return Snapshot{}, err
	}
	if len(all) == 0 {
		return Snapshot{}, fmt.Errorf("%s holds no finished snapshot", d.path)
	}
	if id == "" {
		return all[len(all)-1], nil
	}
	if i := slices.IndexFunc(all, func(s Snapshot) bool { return s.ID == id }); i >= 0 {
		return all[i], nil
	}
	return Snapshot{}, fmt.Errorf("%s holds no snapshot %s; see berth backup list %s", d.path, id, d.path)
}

func (d *Dir) snapshot(id string) (s Snapshot, err error) {
	text, err := os.ReadFile(d.file(dirSnapshots, id, fileSnapshot))
	if err != nil {
		return s, fmt.Errorf("the snapshot %s is damaged: %w", id, err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("the snapshot %s is damaged: %w", id, err)
	}
	if s.Format != directoryFormat || s.ID != id {
		return s, fmt.Errorf("the snapshot %s is not one that this program can read", id)
	}
	return s, nil
}

// replace writes a small file so that a crash leaves the old or the new one.
func (d *Dir) replace(file string, text []byte) error {
	f, err := os.CreateTemp(d.file(dirTemporary), "file-")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), d.file(file)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(d.file(file)))
}

// syncDir makes the entries of a directory durable. A file system that has no such
// call says so, and needs none.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// packed is a compressed file that is being written, with its checksum.
type packed struct {
	file *os.File
	sum  hash.Hash
	zip  *gzip.Writer
	*bufio.Writer
}

func newPacked(path string) (*packed, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	p := &packed{file: f, sum: sha256.New()}
	// Manifests are sealed, and do not get smaller; the rest does at any level.
	if p.zip, err = gzip.NewWriterLevel(io.MultiWriter(f, p.sum), gzip.BestSpeed); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	p.Writer = bufio.NewWriterSize(p.zip, 256<<10)
	return p, nil
}

// finish makes the file durable and returns its checksum. err is what went wrong
// before, and is returned with what goes wrong now.
func (p *packed) finish(err error) (string, error) {
	if err == nil {
		err = errors.Join(p.Flush(), p.zip.Close(), p.file.Sync())
	}
	return hex.EncodeToString(p.sum.Sum(nil)), errors.Join(err, p.file.Close())
}

// unpacked is a compressed file that is read.
type unpacked struct {
	file *os.File
	*gzip.Reader
}

// Close implements io.Closer.
func (u unpacked) Close() error { return errors.Join(u.Reader.Close(), u.file.Close()) }

func unpack(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bufio.NewReaderSize(f, 256<<10))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s is damaged: %w", path, err), f.Close())
	}
	return unpacked{f, z}, nil
}

// checkFile compares a file with its checksum.
func checkFile(path, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return fmt.Errorf("%s is damaged: its SHA-256 is %s and should be %s", path, got, want)
	}
	return nil
}
