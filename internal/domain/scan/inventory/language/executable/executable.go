// Package executable finds what executables say of the modules that they were built from:
// Go's build information and the list of crates that cargo-auditable writes, in ELF, PE and Mach-O
// files.
//
// It owns these formats and their limits. It does not decide which files are read, nor what is believed of a
// name; that is package language's.
package executable

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// Is says whether a file with these first bytes is an executable that Read understands. Four bytes
// are enough.
func Is(head []byte) bool { return kindOf(head) != none }

// Read calls add with each package that the executable names, type, name and version. It is no error
// when there are none, or when r is no executable at all. An error of add ends it.
func Read(ctx context.Context, r *io.SectionReader, add func(inventory.Package) error) error {
	head := make([]byte, 4)
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	x := &file{r: r, order: binary.LittleEndian}
	var err error
	switch kindOf(head) {
	case elfKind:
		err = x.readELF()
	case peKind:
		err = x.readPE()
	case machoKind:
		err = x.readMachO()
	case none:
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(modules(ctx, x, add), crates(x, add))
}

type kind int

const (
	none kind = iota
	elfKind
	peKind
	machoKind
)

func kindOf(head []byte) kind {
	switch {
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return elfKind
	case bytes.HasPrefix(head, []byte("MZ")):
		return peKind
	case len(head) >= 4:
		switch binary.LittleEndian.Uint32(head) {
		case 0xfeedface, 0xfeedfacf, 0xcefaedfe, 0xcffaedfe:
			return machoKind
		}
	}
	return none
}
