package rpm

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// SQLite's file format, as sqlite.org/fileformat.html describes it. Only walking tables is
// needed; an engine for SQL has too much to lose on files of strangers.
const (
	sqliteMagic    = "SQLite format 3\x00"
	sqliteHeader   = 100
	sqliteInterior = 0x05
	sqliteLeaf     = 0x0d
	// sqliteDepth is more than any tree of this format has.
	sqliteDepth = 32
	// schemaMax bounds a row of the table of tables.
	schemaMax = 1 << 20
)

// sqlite is a database that is read.
type sqlite struct {
	*file
	page   int64 // bytes
	usable int
	left   int64 // pages that may still be visited
	record []byte
}

func readSQLite(f *file, header func([]byte) error, skip func()) error {
	var head [sqliteHeader]byte
	if err := f.at(head[:], 0); err != nil {
		return err
	}
	size := int64(binary.BigEndian.Uint16(head[16:]))
	if size == 1 {
		size = 65536
	}
	usable := int(size) - int(head[20])
	if size < 512 || size&(size-1) != 0 || usable < 480 {
		return fmt.Errorf("the database has pages of %d bytes", size)
	}
	if e := binary.BigEndian.Uint32(head[56:]); e != 1 && e != 0 {
		return errors.New("the database is not written in UTF-8")
	}
	db := &sqlite{file: f, page: size, usable: usable, left: f.size / size}
	root := int64(0)
	// The table of tables: type, name, tbl_name, rootpage, sql.
	err := db.table(1, 0, schemaMax, func() {}, func(row []byte) error {
		if string(column(row, 0)) == "table" && string(column(row, 1)) == "Packages" {
			for _, b := range column(row, 3) {
				root = root<<8 | int64(b)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if root < 2 {
		return errors.New("the database has no table of packages")
	}
	// Packages: hnum, blob.
	db.left = f.size / size
	return db.table(root, 0, HeaderMax+64, skip, func(row []byte) error { return header(column(row, 1)) })
}

// table calls each with every row of the tree whose root is page n.
func (db *sqlite) table(n int64, depth int, longest int64, skip func(), each func(row []byte) error) error {
	if db.left--; db.left < 0 || depth > sqliteDepth {
		return errors.New("the pages of the database point to one another in a circle")
	}
	if n < 1 {
		return errors.New("the database points to no page")
	}
	page := make([]byte, db.page)
	if err := db.at(page, (n-1)*db.page); err != nil {
		return err
	}
	h := 0
	if n == 1 {
		h = sqliteHeader
	}
	kind, cells := page[h], int(binary.BigEndian.Uint16(page[h+3:]))
	pointers := h + 8
	if kind == sqliteInterior {
		pointers += 4
	} else if kind != sqliteLeaf {
		return errors.New("a page of the database is damaged")
	}
	for i := range cells {
		at := pointers + 2*i
		if at+2 > len(page) {
			return errors.New("a page of the database is damaged")
		}
		cell := page[min(int(binary.BigEndian.Uint16(page[at:])), db.usable):db.usable]
		if kind == sqliteInterior {
			if len(cell) < 4 {
				return errors.New("a page of the database is damaged")
			}
			if err := db.table(int64(binary.BigEndian.Uint32(cell)), depth+1, longest, skip, each); err != nil {
				return err
			}
			continue
		}
		row, err := db.row(cell, longest)
		if errors.Is(err, errSpent) {
			return err
		} else if err != nil {
			skip()
			continue
		}
		if err := each(row); err != nil {
			return err
		}
	}
	if kind == sqliteInterior {
		return db.table(int64(binary.BigEndian.Uint32(page[h+8:])), depth+1, longest, skip, each)
	}
	return nil
}

// row is the record of a leaf's cell, with what of it lies in pages of its own. It is
// good until the next one.
func (db *sqlite) row(cell []byte, longest int64) ([]byte, error) {
	length, n := varint(cell)
	cell = cell[n:]
	_, n = varint(cell) // the row's number
	cell = cell[n:]
	if length < 0 || length > longest {
		return nil, errHeader
	}
	if err := db.spend(length); err != nil {
		return nil, err
	}
	usable := int64(db.usable)
	local := length
	if length > usable-35 {
		least := (usable-12)*32/255 - 23
		local = least + (length-least)%(usable-4)
		if local > usable-35 {
			local = least
		}
	}
	if local > int64(len(cell)) {
		return nil, errHeader
	}
	if local == length {
		return cell[:length], nil
	}
	if int64(len(cell)) < local+4 {
		return nil, errHeader
	}
	record := append(db.record[:0], cell[:local]...)
	next := int64(binary.BigEndian.Uint32(cell[local:]))
	for int64(len(record)) < length {
		if next < 2 {
			return nil, errHeader
		}
		var link [4]byte
		offset := (next - 1) * db.page
		if err := db.at(link[:], offset); err != nil {
			return nil, err
		}
		part := min(usable-4, length-int64(len(record)))
		old := len(record)
		record = append(record, make([]byte, part)...)
		if err := db.at(record[old:], offset+4); err != nil {
			return nil, err
		}
		next = int64(binary.BigEndian.Uint32(link[:]))
	}
	db.record = record
	return record, nil
}

// column is the content of a column of a row: text and blobs as they are, numbers big-endian.
func column(row []byte, want int) []byte {
	length, n := varint(row)
	if length < int64(n) || length > int64(len(row)) {
		return nil
	}
	types, content := row[n:length], row[length:]
	for i := 0; len(types) > 0; i++ {
		kind, n := varint(types)
		types = types[n:]
		size := int64(0)
		switch {
		case kind < 0:
			return nil
		case kind <= 4:
			size = kind
		case kind == 5:
			size = 6
		case kind == 6, kind == 7:
			size = 8
		case kind >= 12:
			size = (kind - 12) / 2
		}
		if size > int64(len(content)) {
			return nil
		}
		if i == want {
			return content[:size]
		}
		content = content[size:]
	}
	return nil
}

// varint is SQLite's: big-endian groups of seven bits, the ninth byte has eight. A
// cut one is -1.
func varint(b []byte) (v int64, n int) {
	for n = 0; n < 9; n++ {
		if n >= len(b) {
			return -1, n
		}
		if n == 8 {
			return v<<8 | int64(b[8]), 9
		}
		v = v<<7 | int64(b[n]&0x7f)
		if b[n] < 0x80 {
			return v, n + 1
		}
	}
	return v, n
}
