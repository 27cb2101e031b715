package read

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/berth-registry/berth/internal/domain/scan/inventory/language"
)

// content gets the content of the entry that t stands at. A program that is none of the
// formats that tell of packages is nil. The bytes are good until closing.
func (w *walker) content(t *tar.Reader, size int64, program bool) (c language.Reader, closing func(), err error) {
	var start [4]byte
	n, err := io.ReadFull(t, start[:min(size, 4)])
	if err != nil {
		return nil, nil, cutOff(err, w.layer.Entries)
	}
	if program && !language.Executable(start[:n]) {
		return nil, nil, nil
	}
	if size <= w.limits.MemoryBytes {
		if int64(cap(w.buf)) < size {
			w.buf = make([]byte, max(size, 1<<20))
		}
		b := w.buf[:size]
		copy(b, start[:n])
		if _, err := io.ReadFull(t, b[n:]); err != nil {
			return nil, nil, cutOff(err, w.layer.Entries)
		}
		return bytes.NewReader(b), func() {}, nil
	}
	f, err := os.CreateTemp(w.spool, "layer-*")
	if err != nil {
		return nil, nil, err
	}
	closing = func() {
		_ = f.Close() // it was only read, and is gone
	}
	// Nothing is left, however the process ends.
	if err := os.Remove(f.Name()); err != nil {
		closing()
		return nil, nil, err
	}
	if _, err := f.Write(start[:n]); err != nil {
		closing()
		return nil, nil, err
	}
	if w.buf == nil {
		w.buf = make([]byte, 1<<20)
	}
	for {
		n, err := t.Read(w.buf[:cap(w.buf)])
		if n > 0 {
			if _, err := f.Write(w.buf[:n]); err != nil {
				closing()
				return nil, nil, err
			}
		}
		if err == io.EOF {
			break
		} else if err != nil {
			closing()
			return nil, nil, cutOff(err, w.layer.Entries)
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		closing()
		return nil, nil, err
	}
	return f, closing, nil
}

func cutOff(err error, entries int64) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return archiveError(err, entries)
}
