package rpm

import (
	"encoding/binary"
	"errors"
)

// RPM's own format, as lib/backend/ndb/rpmpkg.c of rpm has it: pages of slots, which point to
// blobs in blocks of 16 bytes.
const (
	ndbMagic     = "RpmP"
	ndbSlot      = "Slot"
	ndbBlob      = "BlbS"
	ndbPage      = 4096
	ndbBlock     = 16
	ndbSlotBytes = 16
	ndbPagesMax  = 2048 // of slots: half a million packages
)

func readNDB(f *file, header func([]byte) error, skip func()) error {
	var head [32]byte
	if err := f.at(head[:], 0); err != nil {
		return err
	}
	order := binary.LittleEndian
	if order.Uint32(head[4:]) != 0 {
		return errors.New("the database has a version that is not known")
	}
	pages := order.Uint32(head[12:])
	if pages == 0 || pages > ndbPagesMax {
		return errors.New("the database has no sensible number of slots")
	}
	page := make([]byte, ndbPage)
	var record []byte
	for n := range int64(pages) {
		if err := f.at(page, n*ndbPage); err != nil {
			return err
		}
		at := 0
		if n == 0 {
			at = len(head)
		}
		for ; at < ndbPage; at += ndbSlotBytes {
			slot := page[at : at+ndbSlotBytes]
			if string(slot[:4]) != ndbSlot {
				return errors.New("the slots of the database are damaged")
			}
			index := order.Uint32(slot[4:])
			if index == 0 {
				continue
			}
			var blob [16]byte
			offset := int64(order.Uint32(slot[8:])) * ndbBlock
			if err := f.at(blob[:], offset); err != nil || string(blob[:4]) != ndbBlob || order.Uint32(blob[4:]) != index {
				skip()
				continue
			}
			length := int64(order.Uint32(blob[12:]))
			if length > HeaderMax || offset+ndbBlock+length > f.size {
				skip()
				continue
			}
			if err := f.spend(length); err != nil {
				return err
			}
			if int64(cap(record)) < length {
				record = make([]byte, length)
			}
			record = record[:length]
			if err := f.at(record, offset+ndbBlock); err != nil {
				return err
			}
			if err := header(record); err != nil {
				return err
			}
		}
	}
	return nil
}
