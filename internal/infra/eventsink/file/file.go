// Package file appends events to a file, a line of JSON each, synced before it counts as
// taken. A file that another program renames or removes, to rotate it, is made anew.
//
// It rotates nothing itself. Which directory the files stand below is the operator's
// configuration.
package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/infra/eventsink"
)

const (
	dirMode  = 0o750
	fileMode = 0o640
	// maxPath is the longest path below the directory, in bytes.
	maxPath = 512
)

// Settings are a file's.
type Settings struct {
	// Directory is where the files of all destinations are; it exists. "" refuses.
	Directory string
	// Path is the file below it, with slashes. Directories of it are made.
	Path string
}

type sink struct {
	Settings
	mu   sync.Mutex
	file *os.File // nil while none is open
	torn bool     // a line may be there in part
}

// New checks the settings and returns the sink. It touches no file.
func New(s Settings) (eventsink.Sink, error) {
	switch {
	case s.Directory == "":
		return nil, errors.New("this server writes no events to files; configure the directory for them first (events.files)")
	case !utf8.ValidString(s.Path) || strings.ContainsFunc(s.Path, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		return nil, fmt.Errorf("%q is no path; leave control characters and backslashes out", s.Path)
	case len(s.Path) > maxPath:
		return nil, fmt.Errorf("the path has more than %d bytes", maxPath)
	case !fs.ValidPath(s.Path) || s.Path == ".":
		return nil, fmt.Errorf("%q is no path below the directory for events; take one such as team/events.jsonl", s.Path)
	}
	return &sink{Settings: s}, nil
}

// Send appends a line and syncs it. The body as JSON without line ends is the line; a
// body that is none becomes a JSON string.
func (f *sink) Send(ctx context.Context, m eventsink.Message) error {
	line, err := lineOf(m.Body)
	if err != nil {
		return eventsink.Permanent(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := f.write(line); err != nil {
		f.torn = true
		return errors.Join(fmt.Errorf("the file %s: %w", f.Path, plain(err)), f.close())
	}
	return nil
}

// plain takes the directory's path out of an error: those who ask need not know it.
func plain(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return fmt.Errorf("%s: %w", at.Op, at.Err)
	}
	return err
}

func lineOf(body []byte) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, body); err != nil {
		b.Reset()
		text, err := json.Marshal(strings.ToValidUTF8(string(body), "\uFFFD"))
		if err != nil {
			return nil, err
		}
		b.Write(text)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func (f *sink) write(line []byte) error {
	root, err := os.OpenRoot(f.Directory) // links out of it are refused
	if err != nil {
		return err
	}
	err = f.open(root)
	_ = root.Close() // it was only looked up in; the file stays open
	if err != nil {
		return err
	}
	if f.torn { // begin anew behind what is there of a line
		line = append([]byte{'\n'}, line...)
	}
	// One write, so that lines of several writers do not mix.
	if _, err := f.file.Write(line); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	f.torn = false
	return nil
}

// open opens the file, and again when another has come in its place or it was removed.
func (f *sink) open(root *os.Root) error {
	there, err := root.Stat(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		there = nil
	case err != nil:
		return err
	case !there.Mode().IsRegular():
		return errors.New("it is no regular file")
	}
	if f.file != nil && there != nil {
		held, err := f.file.Stat()
		if err != nil {
			return err
		}
		if os.SameFile(held, there) {
			return nil
		}
	}
	if err := f.close(); err != nil {
		return err
	}
	if dir := path.Dir(f.Path); there == nil && dir != "." {
		if err := root.MkdirAll(dir, dirMode); err != nil {
			return err
		}
	}
	if f.file, err = root.OpenFile(f.Path, os.O_RDWR|os.O_APPEND|os.O_CREATE, fileMode); err != nil {
		f.file = nil
		return err
	}
	if there == nil {
		f.torn = false
		return syncDirs(root, path.Dir(f.Path))
	}
	f.torn, err = torn(f.file)
	return err
}

// torn says whether a file's last line has no end: a power cut came between.
func torn(file *os.File) (bool, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return false, err
	}
	var last [1]byte
	if _, err := file.ReadAt(last[:], size-1); err != nil {
		return false, err
	}
	return last[0] != '\n', nil
}

// syncDirs syncs a directory and those above it, which may be new too.
func syncDirs(root *os.Root, dir string) error {
	for {
		d, err := root.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
		if dir == "." {
			return nil
		}
		dir = path.Dir(dir)
	}
}

func (f *sink) close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

// Close closes the file.
func (f *sink) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.close()
}
