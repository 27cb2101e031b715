package floor

import (
	"os"
	"sync"
	"syscall"
)

const (
	// page is what positions and lengths of writes past the page cache are multiples of.
	page = 4 << 10
	// flushSize is what one of them takes.
	flushSize = 512 << 10
	blockSize = 1 << 20
	// hugePage is the size and the alignment of memory that the kernel can map at once.
	hugePage = 2 << 20
)

// block gathers bytes for writes that pass the page cache by, which has no use for them.
type block struct {
	memory []byte
	held   int
	file   *os.File
	direct bool
}

// newBlock makes one, in a large page where the kernel has one.
func newBlock() *block {
	b, err := syscall.Mmap(-1, 0, hugePage, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err) // there is no memory
	}
	_ = syscall.Madvise(b, syscall.MADV_HUGEPAGE) // it is only faster
	return &block{memory: b[:blockSize]}
}

// blocks are those that are free. They stay: the kernel makes their memory once.
type blocks struct {
	mu   sync.Mutex
	free []*block
}

func (b *blocks) get() *block {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := len(b.free) - 1
	if last < 0 {
		return newBlock()
	}
	one := b.free[last]
	b.free = b.free[:last]
	return one
}

func (b *blocks) put(one *block) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free = append(b.free, one)
}

func (b *block) reset(f *os.File) { b.held, b.file, b.direct = 0, f, false }

// room is where the next n bytes go.
func (b *block) room(n int) []byte { return b.memory[b.held : b.held+n] }

// add says that n bytes stand there, and writes what is enough. The last ones end the file.
func (b *block) add(n int, last bool) error {
	b.held += n
	if b.held < flushSize && !last {
		return nil
	}
	full := b.held &^ (page - 1)
	if err := b.write(b.memory[:full], true); err != nil {
		return err
	}
	rest := b.memory[full:b.held]
	if last {
		return b.write(rest, false)
	}
	b.held = copy(b.memory, rest)
	return nil
}

// write writes, past the page cache or not.
func (b *block) write(p []byte, direct bool) error {
	if len(p) == 0 {
		return nil
	}
	if direct != b.direct {
		flags := 0
		if direct {
			flags = syscall.O_DIRECT
		}
		// A file system that cannot do it has its writes go through the cache.
		_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, b.file.Fd(), syscall.F_SETFL, uintptr(flags))
		b.direct = direct
	}
	_, err := b.file.Write(p)
	return err
}
