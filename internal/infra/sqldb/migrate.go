package sqldb

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
)

// mergeMigrations puts the *.sql files at the top of several directories into
// one, and writes the engine's own words into them.
func mergeMigrations(postgres bool, dirs []fs.FS) (fs.FS, error) {
	merged := flatFS{}
	for _, dir := range dirs {
		names, err := fs.Glob(dir, "*.sql")
		if err != nil {
			return nil, fmt.Errorf("sqldb: reading migrations: %w", err)
		}
		for _, name := range names {
			if _, twice := merged[name]; twice {
				return nil, fmt.Errorf("sqldb: two migrations are called %s", name)
			}
			if _, err := goose.NumericComponent(name); err != nil {
				return nil, fmt.Errorf("sqldb: the migration %s has no number in front: %w", name, err)
			}
			text, err := fs.ReadFile(dir, name)
			if err != nil {
				return nil, fmt.Errorf("sqldb: reading the migration %s: %w", name, err)
			}
			if postgres {
				text = bytes.ReplaceAll(text, []byte("/*UNLOGGED*/"), []byte("UNLOGGED"))
			}
			merged[name] = text
		}
	}
	if len(merged) == 0 {
		return nil, errors.New("sqldb: there are no migrations to run")
	}
	return merged, nil
}

// migrations prepares the running of files, of which table knows those that
// were run.
func migrations(ctx context.Context, dialect goose.Dialect, db *sql.DB, table string, files fs.FS) (*goose.Provider, error) {
	p, err := goose.NewProvider(dialect, db, files,
		goose.WithTableName(table), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, fmt.Errorf("sqldb: migrations: %w", err)
	}
	at, err := p.GetDBVersion(ctx)
	if err != nil {
		return nil, fmt.Errorf("sqldb: reading the version of the database: %w", translate(err))
	}
	sources := p.ListSources()
	if last := sources[len(sources)-1].Version; at > last {
		return nil, fmt.Errorf("the database was written by a newer version of the program (its form is %d in %s, this program knows %d): start that version, or restore an older backup", at, table, last)
	}
	return p, nil
}

// migrateUp runs the migrations that were not run yet.
func migrateUp(ctx context.Context, p *goose.Provider) error {
	_, err := p.Up(ctx)
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		return fmt.Errorf("sqldb: the migration %s: %w", partial.Failed.Source.Path, translate(partial.Err))
	}
	if err != nil {
		return fmt.Errorf("sqldb: migrations: %w", translate(err))
	}
	return nil
}

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
