package resident

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// releaseProgram takes the program's constant pages out of the process (madvise(2),
// MADV_DONTNEED). Of a file's mapping that nobody writes to nothing can be lost: the next
// access finds the file's bytes again. A program that runs at any address is another
// matter: its loader has written addresses into pages that cannot be written to later.
func releaseProgram() error {
	file, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	if fixed, err := hasFixedAddress("/proc/self/exe"); !fixed || err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer func() { _ = maps.Close() }() // it was only read
	spans, err := constant(maps, file)
	if err != nil {
		return err
	}
	for _, s := range spans {
		if _, _, no := unix.Syscall(unix.SYS_MADVISE, s.from, s.to-s.from, unix.MADV_DONTNEED); no != 0 {
			err = errors.Join(err, fmt.Errorf("madvise %x-%x: %w", s.from, s.to, no))
		}
	}
	return err
}

// hasFixedAddress says whether the type in a program's ELF header is ET_EXEC (elf(5)).
func hasFixedAddress(program string) (bool, error) {
	f, err := os.Open(program)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // it was only read
	var kind [2]byte
	if _, err := f.ReadAt(kind[:], 16); err != nil {
		return false, err
	}
	return binary.NativeEndian.Uint16(kind[:]) == 2, nil
}
