package migration

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"
)

// flatFS is a directory of files in memory.
type flatFS map[string][]byte

var (
	_ fs.ReadDirFS  = flatFS{}
	_ fs.ReadFileFS = flatFS{}
)

// Open opens the directory "." or one of its files.
func (f flatFS) Open(name string) (fs.File, error) {
	if name == "." {
		return &flatFile{info: flatInfo{name: ".", dir: true}}, nil
	}
	text, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &flatFile{info: flatInfo{name: name, size: int64(len(text))}, Reader: bytes.NewReader(text)}, nil
}

// ReadDir lists the files by name.
func (f flatFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	entries := make([]fs.DirEntry, 0, len(f))
	for _, n := range slices.SortedFunc(maps.Keys(f), strings.Compare) {
		entries = append(entries, fs.FileInfoToDirEntry(flatInfo{name: n, size: int64(len(f[n]))}))
	}
	return entries, nil
}

// ReadFile returns a copy of a file's bytes.
func (f flatFS) ReadFile(name string) ([]byte, error) {
	text, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return bytes.Clone(text), nil
}

type flatFile struct {
	io.Reader
	info flatInfo
}

func (f *flatFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *flatFile) Close() error               { return nil }

type flatInfo struct {
	name string
	size int64
	dir  bool
}

func (i flatInfo) Name() string       { return i.name }
func (i flatInfo) Size() int64        { return i.size }
func (i flatInfo) ModTime() time.Time { return time.Time{} }
func (i flatInfo) IsDir() bool        { return i.dir }
func (i flatInfo) Sys() any           { return nil }
func (i flatInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}
