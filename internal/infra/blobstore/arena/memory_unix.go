//go:build unix

package arena

import "golang.org/x/sys/unix"

func allocate(size int) []byte {
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil { // the system refuses; the heap may have it
		return make([]byte, size)
	}
	return memory
}

// trim gives the memory of a piece back, which is zeros afterwards, or as it was.
func trim(piece []byte) {
	_ = unix.Madvise(piece, unix.MADV_DONTNEED) // of a piece in the heap too: nobody needs what it holds
}
