package rpm

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Berkeley DB's hash databases, as its db_page.h lays them out.
const (
	bdbMagic      = 0x00061561
	bdbHeader     = 26 // bytes before the offsets of a page
	bdbUnsorted   = 2  // page types
	bdbOverflow   = 7
	bdbMeta       = 8
	bdbHash       = 13
	bdbOffPage    = 3 // an entry that lies in pages of its own
	bdbOffPageLen = 12
)

func readBDB(f *file, header func([]byte) error, skip func()) error {
	var meta [72]byte
	if err := f.at(meta[:], 0); err != nil {
		return err
	}
	var order binary.ByteOrder = binary.LittleEndian
	if order.Uint32(meta[12:]) != bdbMagic {
		order = binary.BigEndian
	}
	if order.Uint32(meta[12:]) != bdbMagic || meta[25] != bdbMeta {
		return errors.New("the file is no RPM database")
	}
	if meta[24] != 0 {
		return errors.New("the database is encrypted")
	}
	size := order.Uint32(meta[20:])
	if size < 512 || size > 65536 || size&(size-1) != 0 {
		return fmt.Errorf("the database has pages of %d bytes", size)
	}
	page, chain := make([]byte, size), make([]byte, size)
	var record []byte
	pages := f.size / int64(size)
	for n := int64(1); n <= int64(order.Uint32(meta[32:])) && n < pages; n++ {
		if err := f.at(page, n*int64(size)); err != nil {
			return err
		}
		if page[25] != bdbUnsorted && page[25] != bdbHash {
			continue
		}
		entries := int(order.Uint16(page[20:]))
		for i := 1; i < entries; i += 2 { // a key, then a value
			at := bdbHeader + 2*i
			if at+2 > len(page) {
				skip()
				break
			}
			v := int(order.Uint16(page[at:]))
			if v+bdbOffPageLen > len(page) || page[v] != bdbOffPage {
				continue // the database keeps its own counters so
			}
			length := int64(order.Uint32(page[v+8:]))
			if length > HeaderMax {
				skip()
				continue
			}
			var err error
			record, err = bdbChain(f, order, chain, record[:0], order.Uint32(page[v+4:]), length)
			if errors.Is(err, errSpent) {
				return err
			} else if err != nil {
				skip()
				continue
			}
			if err := header(record); err != nil {
				return err
			}
		}
	}
	return nil
}

// bdbChain appends the record that begins on a page and goes on in the ones it points to.
func bdbChain(f *file, order binary.ByteOrder, page, record []byte, n uint32, length int64) ([]byte, error) {
	for n != 0 && int64(len(record)) < length {
		if err := f.spend(int64(len(page))); err != nil {
			return record, err
		}
		if err := f.at(page, int64(n)*int64(len(page))); err != nil {
			return record, err
		}
		if page[25] != bdbOverflow {
			return record, errHeader
		}
		n = order.Uint32(page[16:])
		used := len(page) - bdbHeader
		if n == 0 {
			used = min(used, int(order.Uint16(page[22:])))
		}
		record = append(record, page[bdbHeader:bdbHeader+used]...)
	}
	if int64(len(record)) < length {
		return record, errHeader
	}
	return record[:length], nil
}
