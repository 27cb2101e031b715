package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const (
	fileMode   = 0o600
	dirMode    = 0o700
	fileFormat = 1
	// maxFile is far beyond what all keys of a large deployment take.
	maxFile      = 64 << 20
	materialSize = 32
	maxVersions  = 1 << 20
)

// errNone: there is no keyring yet.
var errNone = errors.New("no keyring")

// file is a keyring at a path.
type file struct{ path string }

func (f file) load(context.Context) (*ring, error) { return load(f.path) }

func (f file) initialize(ctx context.Context, now time.Time) (*ring, error) {
	return initialize(ctx, f.path, func() (*fileForm, error) { return newForm(now), nil })
}

func (f file) same(_ context.Context, r *ring) (bool, error) { return r.stamp.matches(f.path) }

func (f file) update(ctx context.Context, do func(*ring) (*fileForm, error)) (*ring, error) {
	unlock, err := lock(ctx, f.path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := load(f.path)
	if err != nil {
		if errors.Is(err, errNone) {
			err = fmt.Errorf("%w: %s is gone while Berth uses it: bring it back, from a backup if need be, before this process ends", ErrDamaged, f.path)
		}
		return nil, err
	}
	form, err := do(r)
	if err != nil || form == nil {
		return r, err
	}
	return save(f.path, form)
}

// Import makes the keyring file at path from what Export wrote. A file that is
// there already stays as it is and is an error, unless it says the same.
func Import(ctx context.Context, path string, exported []byte) error {
	form, err := decodeExport(exported)
	if err != nil {
		return err
	}
	r, err := initialize(ctx, path, func() (*fileForm, error) { return form, nil })
	if err != nil {
		return err
	}
	return sameKeyring(r.form, form)
}

// decodeExport reads what Export wrote.
func decodeExport(exported []byte) (*fileForm, error) {
	form, err := decode(exported)
	if err == nil {
		_, err = prepare(form)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return form, nil
}

// sameKeyring refuses to take the one for the other.
func sameKeyring(there, wanted *fileForm) error {
	a, errA := encode(there)
	b, errB := encode(wanted)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	if !bytes.Equal(a, b) {
		return errors.New("keyring: there is another one already; nothing was changed")
	}
	return nil
}

// fileForm is the file.
type fileForm struct {
	Format  int       `json:"format"`
	Default string    `json:"default"` // ID of the default key
	Keys    []keyForm `json:"keys"`
}

type keyForm struct {
	ID        string        `json:"id"`
	Account   string        `json:"account"`
	Region    string        `json:"region"`
	Aliases   []string      `json:"aliases"`
	Enabled   bool          `json:"enabled"`
	CreatedAt time.Time     `json:"created_at"`
	Versions  []versionForm `json:"versions"` // the oldest first
}

type versionForm struct {
	CreatedAt time.Time `json:"created_at"`
	Material  []byte    `json:"material"` // base64
	Check     string    `json:"check"`    // checkValue of the material, in hexadecimal
}

// clone copies as deep as update's callers change.
func (f *fileForm) clone() *fileForm {
	c := *f
	c.Keys = slices.Clone(f.Keys)
	for i := range c.Keys {
		c.Keys[i].Versions = slices.Clone(c.Keys[i].Versions)
	}
	return &c
}

func newKey(now time.Time) keyForm {
	return keyForm{
		ID:        newID(),
		Aliases:   []string{},
		Enabled:   true,
		CreatedAt: now.UTC(),
		Versions:  []versionForm{newVersion(now)},
	}
}

// newVersion has fresh material; save fills in its check.
func newVersion(now time.Time) versionForm {
	material := make([]byte, materialSize)
	_, _ = rand.Read(material) // cannot fail
	return versionForm{CreatedAt: now.UTC(), Material: material}
}

// stamp tells one state of the file from another; every save makes a new file.
type stamp struct{ info fs.FileInfo }

func (s stamp) matches(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, fmt.Errorf("keyring: %w", err)
	}
	same := os.SameFile(s.info, info) && info.Size() == s.info.Size() &&
		info.ModTime().Equal(s.info.ModTime()) && info.Mode() == s.info.Mode()
	return same, nil
}

// load reads the file. errNone when there is none.
func load(path string) (*ring, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, linkErr := os.Lstat(path); linkErr == nil {
			return nil, damaged(path, errors.New("it is a symbolic link to a file that does not exist"))
		}
		return nil, errNone
	}
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing to lose
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, damaged(path, errors.New("it is not a regular file"))
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %04o; run chmod 600 on it, and rotate its keys if somebody may have read it", ErrExposed, path, mode)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	form, err := decode(data)
	if err != nil {
		return nil, damaged(path, err)
	}
	r, err := prepare(form)
	if err != nil {
		return nil, damaged(path, err)
	}
	r.stamp = stamp{info}
	return r, nil
}

func damaged(path string, err error) error {
	return fmt.Errorf("%w: %s: %w; restore it from a backup (no new one is made in its place: what was sealed under the keys in it could never be opened again)", ErrDamaged, path, err)
}

// decode takes the file's bytes apart. What it does not know is an error: this
// program would drop it when it writes the file.
func decode(data []byte) (*fileForm, error) {
	if len(data) > maxFile {
		return nil, errors.New("it is too large to be a keyring")
	}
	var form fileForm
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&form); err != nil {
		if err == io.EOF {
			err = errors.New("it is empty")
		}
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is something behind its end")
	}
	return &form, nil
}

// prepare checks the whole of a form and makes it ready for use.
func prepare(form *fileForm) (*ring, error) {
	if form.Format != fileFormat {
		return nil, fmt.Errorf("it has format %d, and this version of Berth knows format %d (if a newer one wrote it, run that one)", form.Format, fileFormat)
	}
	r := &ring{form: form, byID: make(map[string]*key, len(form.Keys)), byAlias: make(map[aliasName]*key)}
	for i := range form.Keys {
		k, err := prepareKey(&form.Keys[i])
		if err != nil {
			return nil, fmt.Errorf("key %d (%q): %w", i+1, form.Keys[i].ID, err)
		}
		if r.byID[k.form.ID] != nil {
			return nil, fmt.Errorf("key %s stands in it twice", k.form.ID)
		}
		r.byID[k.form.ID] = k
		for _, alias := range k.form.Aliases {
			name := aliasName{k.form.Account, k.form.Region, alias}
			if !validAlias(alias) || r.byAlias[name] != nil {
				return nil, fmt.Errorf("key %s: alias %q is no alias, or another key's", k.form.ID, alias)
			}
			r.byAlias[name] = k
		}
	}
	r.standard = r.byID[form.Default]
	if r.standard == nil || !r.standard.form.Enabled {
		return nil, fmt.Errorf("its default key %q is missing or disabled", form.Default)
	}
	return r, nil
}

func prepareKey(form *keyForm) (*key, error) {
	id, ok := parseID(form.ID)
	if !ok {
		return nil, errors.New("its id is not a UUID")
	}
	if n := len(form.Versions); n == 0 || n > maxVersions {
		return nil, fmt.Errorf("it has %d versions", n)
	}
	k := &key{form: form, id: id}
	for i, v := range form.Versions {
		if len(v.Material) != materialSize {
			return nil, fmt.Errorf("version %d has %d bytes of %d", i+1, len(v.Material), materialSize)
		}
		check, err := checkValue(v.Material)
		if err != nil {
			return nil, err
		}
		if check != v.Check {
			return nil, fmt.Errorf("the material of version %d does not fit its check value", i+1)
		}
		wrapper, err := newWrapper(v.Material)
		if err != nil {
			return nil, err
		}
		k.versions = append(k.versions, wrapper)
	}
	return k, nil
}

// newForm is a keyring with a default key.
func newForm(now time.Time) *fileForm {
	first := newKey(now)
	return &fileForm{Format: fileFormat, Default: first.ID, Keys: []keyForm{first}}
}

// initialize makes the file as first says, unless another process was faster.
func initialize(ctx context.Context, path string, first func() (*fileForm, error)) (*ring, error) {
	if err := makeDurably(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	unlock, err := lock(ctx, path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := load(path)
	if !errors.Is(err, errNone) {
		return r, err
	}
	form, err := first()
	if err != nil {
		return nil, err
	}
	return save(path, form)
}

// complete fills in what follows from the rest and makes form ready for use.
func complete(form *fileForm) (*ring, error) {
	for i := range form.Keys {
		for j := range form.Keys[i].Versions {
			v := &form.Keys[i].Versions[j]
			if v.Check != "" {
				continue
			}
			check, err := checkValue(v.Material)
			if err != nil {
				return nil, fmt.Errorf("keyring: %w", err)
			}
			v.Check = check
		}
	}
	r, err := prepare(form)
	if err != nil {
		return nil, fmt.Errorf("keyring: the change is refused: %w", err)
	}
	return r, nil
}

// encode writes a form as it stands in the file.
func encode(form *fileForm) ([]byte, error) {
	data, err := json.MarshalIndent(form, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return append(data, '\n'), nil
}

// save puts form in place of the file, so that after a power cut the one or
// the other is there, and returns it made ready. The caller holds the lock.
func save(path string, form *fileForm) (*ring, error) {
	r, err := complete(form)
	if err != nil {
		return nil, err
	}
	data, err := encode(form)
	if err != nil {
		return nil, err
	}
	if r.stamp.info, err = replace(path, data); err != nil {
		return nil, fmt.Errorf("keyring %s could not be written, or not safely: %w", path, err)
	}
	return r, nil
}

// replace writes data to a new file beside path, syncs it and renames it to
// path.
func replace(path string, data []byte) (fs.FileInfo, error) {
	// A link to the file stays one.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	temporary := path + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err // left by a crash, and not ours to remove
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(data)
	info, statErr := f.Stat()
	if err := errors.Join(err, statErr, f.Sync(), f.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return nil, errors.Join(err, os.Remove(temporary))
	}
	return info, syncDir(filepath.Dir(path))
}

// syncDir makes the entries of a directory durable. Some network and FUSE file
// systems have no such call and say so; their directories need none.
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

// makeDurably makes dir and what is missing above it, and syncs each directory
// that got a new entry.
func makeDurably(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := makeDurably(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(above)
}
