package rpm

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
)

// Tags and types of a header, as rpm's rpmtag.h numbers them.
const (
	tagSigMD5     = 261
	tagName       = 1000
	tagVersion    = 1001
	tagRelease    = 1002
	tagEpoch      = 1003
	tagVendor     = 1011
	tagLicense    = 1014
	tagArch       = 1022
	tagSourceRPM  = 1044
	tagDirIndexes = 1116
	tagBaseNames  = 1117
	tagDirNames   = 1118
	tagModularity = 5096

	typeInt32       = 4
	typeString      = 6
	typeBin         = 7
	typeStringArray = 8
)

const (
	entryBytes = 16
	entriesMax = 0xffff // rpm takes no more
	// fieldMax is the longest text that is taken; a longer one is cut.
	fieldMax = 1024
	// pathMax and dirsMax bound what is made of lists of files.
	pathMax = 4096
	dirsMax = 1 << 18
)

var errHeader = errors.New("not a header of a package")

// parseHeader reads a header as it stands in the database: two lengths, the index with
// 16 bytes for each tag, then the data that the index points into. Tags that stand twice were changed
// after the package was installed; the last one holds.
func parseHeader(b []byte) (*Package, error) {
	if len(b) < 8 {
		return nil, errHeader
	}
	entries, length := int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))
	start := 8 + entries*entryBytes
	if entries < 1 || entries > entriesMax || start > int64(len(b)) || start+length > int64(len(b)) {
		return nil, errHeader
	}
	data := b[start : start+length]
	var p Package
	var bases, dirs struct {
		data  []byte
		count int64
	}
	for i := range entries {
		e := b[8+i*entryBytes:]
		tag, kind := binary.BigEndian.Uint32(e), binary.BigEndian.Uint32(e[4:])
		offset, count := int64(binary.BigEndian.Uint32(e[8:])), int64(binary.BigEndian.Uint32(e[12:]))
		if offset >= length {
			continue // the region's own entry has a negative one
		}
		at := data[offset:]
		switch tag {
		case tagName:
			p.Name = text(kind, at)
		case tagVersion:
			p.Version = text(kind, at)
		case tagRelease:
			p.Release = text(kind, at)
		case tagArch:
			p.Arch = text(kind, at)
		case tagSourceRPM:
			p.SourceRPM = text(kind, at)
		case tagLicense:
			p.License = text(kind, at)
		case tagVendor:
			p.Vendor = text(kind, at)
		case tagModularity:
			p.Modularity = text(kind, at)
		case tagEpoch:
			if kind == typeInt32 && count >= 1 && len(at) >= 4 {
				p.Epoch = int(int32(binary.BigEndian.Uint32(at))) //nolint:gosec // RPM's epochs are signed
			}
		case tagSigMD5:
			if kind == typeBin && count == 16 && len(at) >= 16 {
				p.MD5 = hex.EncodeToString(at[:16])
			}
		case tagDirIndexes:
			if kind == typeInt32 && count <= int64(len(at))/4 {
				p.indexes = at[:4*count]
			}
		case tagBaseNames:
			if kind == typeStringArray {
				bases.data, bases.count = at, count
			}
		case tagDirNames:
			if kind == typeStringArray {
				dirs.data, dirs.count = at, count
			}
		}
	}
	p.bases, p.dirs = list(bases.data, bases.count), list(dirs.data, dirs.count)
	if p.Name == "" || p.Version == "" {
		return nil, errHeader
	}
	return &p, nil
}

// text is a string up to its NUL; rpm writes "(none)" for none.
func text(kind uint32, b []byte) string {
	if kind != typeString {
		return ""
	}
	b = b[:min(len(b), fieldMax)]
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	if s := string(b); s != "(none)" {
		return s
	}
	return ""
}

// list is the bytes of count strings, each with a NUL behind it.
func list(b []byte, count int64) []byte {
	end := 0
	for range count {
		n := bytes.IndexByte(b[end:], 0)
		if n < 0 {
			return nil
		}
		end += n + 1
	}
	return b[:end]
}

// Files calls each with the path of every file of the package, without the leading
// slash. What the header says wrong of a file leaves that file out. It must be called before the function
// that Read calls returns.
func (p *Package) Files(each func(path string)) {
	var dirs []string
	for rest := p.dirs; len(rest) > 0 && len(dirs) < dirsMax; {
		n := bytes.IndexByte(rest, 0)
		dir := rest[:n]
		if len(dir) > pathMax {
			dir = nil
		}
		dirs = append(dirs, strings.TrimPrefix(string(dir), "/"))
		rest = rest[n+1:]
	}
	for rest, indexes := p.bases, p.indexes; len(rest) > 0 && len(indexes) > 0; indexes = indexes[4:] {
		n := bytes.IndexByte(rest, 0)
		base := rest[:n]
		rest = rest[n+1:]
		i := binary.BigEndian.Uint32(indexes)
		if int64(i) >= int64(len(dirs)) || len(base) > pathMax {
			continue
		}
		each(dirs[i] + string(base))
	}
}
