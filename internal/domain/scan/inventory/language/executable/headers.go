package executable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The standard library's readers of executables copy tables and names as often as a file
// says; a made-up file of a few MiB takes gigabytes that way. Here only headers are read,
// each within a limit, and names are compared where they stand.
const (
	maxTable = 8 << 20 // bytes of a table of sections, segments or load commands
	maxNames = 1 << 20 // bytes of an ELF's section names
)

// region is a part of a file, and where it is mapped.
type region struct{ addr, off, size uint64 }

// file is what is known of an executable.
type file struct {
	r     *io.SectionReader
	order binary.ByteOrder
	wide  bool     // 64 bit
	maps  []region // what stands where in memory
	// info is where Go's build information is looked for: addr and size in memory.
	info region
	// crates is the section of cargo-auditable, off and size in the file.
	crates region
	// symbols and strings are an ELF's table of symbols and their names.
	symbols, strings region
}

var errShort = errors.New("its headers lead outside of the file")

// at reads n bytes at off.
func (x *file) at(off, n, limit uint64) ([]byte, error) {
	size := uint64(x.r.Size())
	if n > limit {
		return nil, fmt.Errorf("a table has %d bytes, and more than %d are not read", n, limit)
	}
	if off > size || n > size-off {
		return nil, errShort
	}
	b := make([]byte, n)
	_, err := io.ReadFull(io.NewSectionReader(x.r, int64(off), int64(n)), b)
	return b, err
}

// mapped reads up to len(b) bytes that are at addr in memory.
func (x *file) mapped(addr uint64, b []byte) int {
	for _, m := range x.maps {
		if addr < m.addr || addr-m.addr >= m.size {
			continue
		}
		skip := addr - m.addr
		if off := m.off + skip; off >= m.off && off < uint64(x.r.Size()) {
			// A short read is what the caller looks at; the file ends there.
			n, _ := x.r.ReadAt(b[:min(uint64(len(b)), m.size-skip)], int64(off))
			return n
		}
	}
	return 0
}

// word is the address-sized number at i.
func (x *file) word(b []byte, i int) uint64 {
	if x.wide {
		return x.order.Uint64(b[i:])
	}
	return uint64(x.order.Uint32(b[i:]))
}

// elfLayout is where the fields of an ELF's structures stand, which differs by width.
type elfLayout struct {
	header                        int
	phoff, shoff, phentsize       int
	program, pFlags, pOffset, pAt int // a program header: its size and fields
	section, sAddr                int // a section header
	width                         int
}

func layoutELF(wide bool) elfLayout {
	if wide {
		return elfLayout{header: 64, phoff: 32, shoff: 40, phentsize: 54, program: 56, pFlags: 4, pOffset: 8, pAt: 16, section: 64, sAddr: 16, width: 8}
	}
	return elfLayout{header: 52, phoff: 28, shoff: 32, phentsize: 42, program: 32, pFlags: 24, pOffset: 4, pAt: 8, section: 40, sAddr: 12, width: 4}
}

func (x *file) readELF() error {
	ident, err := x.at(0, 16, 16)
	if err != nil {
		return err
	}
	x.wide = ident[4] == 2
	if ident[5] == 2 {
		x.order = binary.BigEndian
	}
	l := layoutELF(x.wide)
	h, err := x.at(0, uint64(l.header), 64)
	if err != nil {
		return err
	}
	number := func(i int) uint64 { return uint64(x.order.Uint16(h[i:])) }
	phnum, shentsize, shnum, names := number(l.phentsize+2), number(l.phentsize+4), number(l.phentsize+6), number(l.phentsize+8)
	if phnum > 0 && number(l.phentsize) >= uint64(l.program) {
		if err := x.readSegments(l, x.word(h, l.phoff), number(l.phentsize), phnum); err != nil {
			return err
		}
	}
	// A stripped file may have no sections at all.
	if shnum == 0 || shentsize < uint64(l.section) {
		return nil
	}
	return x.readSections(l, x.word(h, l.shoff), shentsize, shnum, names)
}

func (x *file) readSegments(l elfLayout, off, entry, n uint64) error {
	t, err := x.at(off, entry*n, maxTable)
	if err != nil {
		return err
	}
	for ; len(t) > 0; t = t[entry:] {
		const load, executes, writes = 1, 1, 2
		if x.order.Uint32(t) != load {
			continue
		}
		m := region{addr: x.word(t, l.pAt), off: x.word(t, l.pOffset), size: x.word(t, l.pAt+2*l.width)}
		x.maps = append(x.maps, m)
		if x.info.size == 0 && x.order.Uint32(t[l.pFlags:])&(executes|writes) == writes {
			x.info = region{addr: m.addr, size: m.size}
		}
	}
	return nil
}

func (x *file) readSections(l elfLayout, off, entry, n, names uint64) error {
	t, err := x.at(off, entry*n, maxTable)
	if err != nil {
		return err
	}
	section := func(i uint64) (name, kind, link uint32, r region) {
		s := t[i*entry:]
		fields := s[l.sAddr:]
		return x.order.Uint32(s), x.order.Uint32(s[4:]), x.order.Uint32(fields[3*l.width:]),
			region{addr: x.word(fields, 0), off: x.word(fields, l.width), size: x.word(fields, 2*l.width)}
	}
	if names >= n {
		return nil
	}
	_, _, _, where := section(names)
	words, err := x.at(where.off, where.size, maxNames)
	if err != nil {
		return err
	}
	for i := range n {
		name, kind, link, r := section(i)
		const symbols, nothing = 2, 8
		if kind == nothing {
			continue
		}
		if kind == symbols && uint64(link) < n {
			x.symbols = r
			_, _, _, x.strings = section(uint64(link))
		}
		if uint64(name) > uint64(len(words)) {
			continue
		}
		switch at := words[name:]; {
		case bytes.HasPrefix(at, []byte(".go.buildinfo\x00")):
			x.info = region{addr: r.addr, size: r.size}
		case bytes.HasPrefix(at, []byte(".dep-v0\x00")), x.crates.size == 0 && bytes.HasPrefix(at, []byte(".rust-deps-v0\x00")):
			x.crates = r
		}
	}
	return nil
}

func (x *file) readPE() error {
	dos, err := x.at(0, 64, 64)
	if err != nil {
		return err
	}
	start := uint64(x.order.Uint32(dos[60:]))
	h, err := x.at(start, 24, 24)
	if err != nil || !bytes.HasPrefix(h, []byte("PE\x00\x00")) {
		return nil // a program of MS-DOS
	}
	optional, err := x.at(start+24, uint64(x.order.Uint16(h[20:])), 1<<16)
	if err != nil {
		return err
	}
	var base uint64
	switch {
	case len(optional) < 32:
	case x.order.Uint16(optional) == 0x20b:
		base = x.order.Uint64(optional[24:])
	case x.order.Uint16(optional) == 0x10b:
		base = uint64(x.order.Uint32(optional[28:]))
	}
	t, err := x.at(start+24+uint64(len(optional)), 40*uint64(x.order.Uint16(h[6:])), maxTable)
	if err != nil {
		return err
	}
	for ; len(t) > 0; t = t[40:] {
		field := func(i int) uint64 { return uint64(x.order.Uint32(t[i:])) }
		m := region{addr: base + field(12), off: field(20), size: field(16)}
		x.maps = append(x.maps, m)
		// Initialized data that is read and written, aligned or not.
		if x.info.size == 0 && field(12) != 0 && m.size != 0 && field(36)&^0x600000 == 0xc0000040 {
			x.info = region{addr: m.addr, size: m.size}
		}
		switch name := string(bytes.TrimRight(t[:8], "\x00")); {
		case name == ".dep-v0", name == "rdep-v0" && x.crates.size == 0:
			x.crates = region{off: m.off, size: min(m.size, field(8))}
		}
	}
	return nil
}

func (x *file) readMachO() error {
	h, err := x.at(0, 28, 28)
	if err != nil {
		return err
	}
	if h[0] == 0xfe {
		x.order = binary.BigEndian
	}
	magic := x.order.Uint32(h)
	x.wide = magic == 0xfeedfacf
	start := uint64(28)
	if x.wide {
		start = 32
	}
	t, err := x.at(start, uint64(x.order.Uint32(h[20:])), maxTable)
	if err != nil {
		return err
	}
	for len(t) >= 8 {
		size := uint64(x.order.Uint32(t[4:]))
		if size < 8 || size > uint64(len(t)) {
			return errShort
		}
		if kind := x.order.Uint32(t); kind == 0x19 && x.wide || kind == 1 && !x.wide {
			x.readMachOSegment(t[:size])
		}
		t = t[size:]
	}
	return nil
}

func (x *file) readMachOSegment(t []byte) {
	head, section, where := 56, 68, 40
	width := 4
	if x.wide {
		head, section, where, width = 72, 80, 48, 8
	}
	if len(t) < head {
		return
	}
	m := region{addr: x.word(t, 24), off: x.word(t, 24+2*width), size: x.word(t, 24+3*width)}
	if !bytes.HasPrefix(t[8:], []byte("__PAGEZERO\x00")) {
		x.maps = append(x.maps, m)
	}
	const readWrite = 3
	protection := t[24+4*width:]
	if x.info.size == 0 && m.addr != 0 && m.size != 0 && x.order.Uint32(protection) == readWrite && x.order.Uint32(protection[4:]) == readWrite {
		x.info = region{addr: m.addr, size: m.size}
	}
	for t = t[head:]; len(t) >= section; t = t[section:] {
		r := region{addr: x.word(t, 32), off: uint64(x.order.Uint32(t[where:])), size: x.word(t, 32+width)}
		switch name := string(bytes.TrimRight(t[:16], "\x00")); {
		case name == "__go_buildinfo":
			x.info = r
		case name == ".dep-v0", name == "rust-deps-v0" && x.crates.size == 0:
			x.crates = r
		}
	}
}
