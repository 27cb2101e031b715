// Package rpm reads the database in which RPM keeps what is installed: Berkeley DB
// ("Packages"), its own format NDB ("Packages.db") and SQLite ("rpmdb.sqlite").
//
// It is made for databases that strangers wrote: it opens nothing, starts nothing, and reads through
// an io.ReaderAt no page twice for content, so that its work is bounded by the file's size and its memory by
// the largest header that it takes. It knows nothing of layers; read turns its packages into the inventory's.
package rpm

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// HeaderMax is the largest header of one package that is read, in bytes. The largest that
// distributions have (kernel sources, TeX) are of a few MiB; rpm itself takes 256 MiB.
const HeaderMax = 32 << 20

// Package is what the header of one package says.
type Package struct {
	Name, Version, Release, Arch string
	Epoch                        int
	SourceRPM, License, Vendor   string
	Modularity                   string
	// MD5 is SIGMD5 in hex, of the package's header and payload.
	MD5 string

	bases, dirs, indexes []byte
}

// Read calls each for every package that is installed; its error ends the reading and
// is returned. bad counts headers that could not be read. An error says in plain words what is wrong with
// the database; what was read before is good.
func Read(ctx context.Context, r io.ReaderAt, size int64, each func(*Package) error) (bad int, err error) {
	var start [16]byte
	if size < int64(len(start)) {
		return 0, errors.New("the file is too short to be an RPM database")
	}
	if _, err := r.ReadAt(start[:], 0); err != nil && err != io.EOF {
		return 0, err
	}
	db := &file{r: r, size: size, left: size}
	handle := func(header []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := parseHeader(header)
		if err != nil {
			bad++
			return nil //nolint:nilerr // counted; the other packages are read on
		}
		return each(p)
	}
	skip := func() { bad++ }
	switch {
	case string(start[:]) == sqliteMagic:
		err = readSQLite(db, handle, skip)
	case string(start[:4]) == ndbMagic:
		err = readNDB(db, handle, skip)
	default:
		err = readBDB(db, handle, skip)
	}
	return bad, err
}

// errSpent ends the reading of a database whose records lie over one another.
var errSpent = errors.New("the records of the database are longer than the database is")

// file is a database with what may still be read of it as content.
type file struct {
	r    io.ReaderAt
	size int64
	left int64
}

// at fills b from an offset; a file that ends before is an error.
func (f *file) at(b []byte, offset int64) error {
	if offset < 0 || offset > f.size-int64(len(b)) {
		return fmt.Errorf("the database points to byte %d, and has %d", offset, f.size)
	}
	if n, err := f.r.ReadAt(b, offset); n < len(b) {
		return err
	}
	return nil
}

// spend takes n bytes from what may be read as content.
func (f *file) spend(n int64) error {
	if f.left -= n; f.left < 0 {
		return errSpent
	}
	return nil
}
