package read

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/inventory/language"
)

const (
	// whiteout is the prefix by which a file's name removes another; opaque is the name
	// that removes what lower layers have in its directory (OCI Image Layer Specification).
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
	// skippedMax is how many files that cannot be read are told of.
	skippedMax = 100
	// programBytes is more than the size from which language.Wanted takes a program.
	// A hard link says no size, and dpkg's lists do not either.
	programBytes = 64 << 10
)

// walker reads one archive.
type walker struct {
	limits Limits
	spool  string

	layer inventory.Layer
	// kept are the files with something in them by path, under are how many of them lie
	// in a directory.
	kept  map[string]*keptFile
	under map[string]int

	packages, owned int
	ownedOver       bool
	sparse          int64 // bytes of sparse files that were read
	removed         int64 // bytes of whiteouts

	hashes []uint64
	packed int // len(hashes) after doubles were left out last
	dir    string

	buf []byte
}

// keptFile is one with something in it, and what kind of file it was read as.
type keptFile struct {
	file inventory.File
	kind kind
	seq  int64
}

// Layer reads one layer, as it is stored: gzip (of several members too), zstd (of several
// frames too) or plain, which it tells by the first bytes and not by mediaType. spool is a directory for files
// that are too large for memory; none is left in it.
//
// A layer that is damaged, is no archive or is over a limit is an *Error; an error of r is
// returned as it is, and so is that of ctx, which is looked at between reads. A file in it that cannot be
// read is one of Layer.Skipped. r is not used any more after the return.
func Layer(ctx context.Context, mediaType string, r io.Reader, spool string, l Limits) (layer inventory.Layer, err error) {
	_ = mediaType // the content says it better: there are zstd layers with the type of gzip
	p := newPlain(ctx, r, l)
	defer p.stop()
	defer func() {
		if x := recover(); x != nil {
			err = refuse("cannot be read: %s", words(fmt.Sprint(x)))
		}
	}()
	w := &walker{limits: l, spool: spool, kept: map[string]*keptFile{}, under: map[string]int{}}
	if err := w.walk(ctx, tar.NewReader(p)); err != nil {
		return inventory.Layer{}, err
	}
	sum, err := p.rest()
	if err != nil {
		return inventory.Layer{}, err
	}
	return w.finish(sum, p.read), nil
}

func (w *walker) walk(ctx context.Context, t *tar.Reader) error {
	for {
		h, err := t.Next()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return archiveError(err, w.layer.Entries)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // says something of the entries that follow, and is none
		}
		w.layer.Entries++
		if w.layer.Entries > w.limits.Entries {
			return refuse("has more than %d entries", w.limits.Entries)
		}
		if len(h.Name) > w.limits.PathBytes || len(h.Linkname) > w.limits.PathBytes {
			return refuse("has a path of more than %d bytes", w.limits.PathBytes)
		}
		if err := w.entry(ctx, t, h); err != nil {
			return err
		}
	}
}

// archiveError tells what the stream failed with from what is wrong with the archive.
func archiveError(err error, entries int64) error {
	var own *Error
	switch {
	case errors.As(err, &own):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse("is cut off in the middle of its archive")
	case errors.Is(err, tar.ErrHeader) && entries == 0:
		return refuse("is not a tar archive, or its first header is damaged")
	case errors.Is(err, tar.ErrHeader):
		return refuse("has a damaged header after %d entries", entries)
	case errors.Is(err, tar.ErrFieldTooLong):
		return refuse("has a header that is too long after %d entries", entries)
	}
	return err // the source's, or ctx's
}

// clean makes a path relative to the root, which it cannot leave; "" is the root.
func clean(name string) string {
	if !utf8.ValidString(name) {
		// The inventory is stored as JSON, which would change it so later.
		name = strings.ToValidUTF8(name, string(utf8.RuneError))
	}
	s := strings.TrimLeft(name, "/")
	s = strings.TrimPrefix(s, "./")
	s = strings.TrimSuffix(s, "/")
	if s != "" && s[0] != '/' && s[0] != '.' && path.Clean(s) == s {
		return s
	}
	return path.Clean("/" + s)[1:]
}

// split is path.Split without the slash.
func split(p string) (dir, base string) {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i], p[i+1:]
	}
	return "", p
}

func (w *walker) entry(ctx context.Context, t *tar.Reader, h *tar.Header) error {
	p := clean(h.Name)
	if p == "" {
		return nil // the root itself
	}
	dir, base := split(p)
	if strings.HasPrefix(base, whiteout) {
		return w.white(dir, base)
	}
	if err := w.put(p, dir, h.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return w.regular(ctx, t, h, p, dir, base)
	case tar.TypeLink:
		return w.link(h, p, dir, base)
	}
	return nil
}

// white notes what the layer removes.
func (w *walker) white(dir, base string) error {
	w.removed += int64(len(dir) + len(base))
	if w.removed > w.limits.WhiteoutBytes {
		return refuse("removes so many files that their paths have more than %d bytes", w.limits.WhiteoutBytes)
	}
	if base == opaque {
		w.layer.Opaque = append(w.layer.Opaque, dir)
		return nil
	}
	base = base[len(whiteout):]
	if base == "" || base == "." || base == ".." || strings.HasPrefix(base, whiteout) {
		return nil // AUFS keeps its own things under such names
	}
	w.layer.Whiteouts = append(w.layer.Whiteouts, path.Join(dir, base))
	return nil
}

// put notes that something stands at p now, and forgets what the layer itself had there.
func (w *walker) put(p, dir string, isDir bool) error {
	if dir != w.dir {
		w.dir = dir
		inventory.Hashes(p, func(h uint64) { w.hashes = append(w.hashes, h) })
		for d := dir; d != "" && len(w.kept) > 0; d, _ = split(d) {
			w.drop(d) // something lies in it, so it is a directory
		}
	}
	if isDir {
		p += "/"
	}
	w.hashes = append(w.hashes, inventory.Hash(p))
	if len(w.hashes) >= 2*w.packed+1<<16 {
		slices.Sort(w.hashes)
		w.hashes = slices.Compact(w.hashes)
		w.packed = len(w.hashes)
		if int64(w.packed) > 2*w.limits.Entries {
			return refuse("has more than %d directories and files", 2*w.limits.Entries)
		}
	}
	if isDir {
		w.drop(p[:len(p)-1])
		return nil
	}
	w.drop(p)
	if w.under[p] > 0 {
		for k := range w.kept {
			if strings.HasPrefix(k, p) && k[len(p)] == '/' {
				w.drop(k)
			}
		}
	}
	return nil
}

// drop forgets the file at p.
func (w *walker) drop(p string) {
	k, ok := w.kept[p]
	if !ok {
		return
	}
	delete(w.kept, p)
	w.packages -= len(k.file.Packages)
	w.owned -= len(k.file.Installed)
	for d, _ := split(p); d != ""; d, _ = split(d) {
		if w.under[d]--; w.under[d] == 0 {
			delete(w.under, d)
		}
	}
}

// keep notes what a file tells.
func (w *walker) keep(k *keptFile) error {
	f := &k.file
	if w.owned+len(f.Installed) > w.limits.Owned {
		w.ownedOver = true
		f.Installed = nil
	}
	if f.OS == nil && len(f.Packages) == 0 && len(f.ContentSets) == 0 && f.Build == nil && f.AlpineRepository == "" && len(f.Installed) == 0 {
		return nil
	}
	w.packages += len(f.Packages)
	w.owned += len(f.Installed)
	if w.packages > w.limits.Packages {
		return refuse("has more than %d packages", w.limits.Packages)
	}
	if len(w.kept) >= w.limits.Packages {
		return refuse("has more than %d files that tell of packages", w.limits.Packages)
	}
	w.kept[f.Path] = k
	for d, _ := split(f.Path); d != ""; d, _ = split(d) {
		w.under[d]++
	}
	return nil
}

func (w *walker) skip(p, reason string) {
	if len(w.layer.Skipped) < skippedMax {
		w.layer.Skipped = append(w.layer.Skipped, inventory.Skipped{Path: words(p), Reason: words(reason)})
	}
}

func (w *walker) regular(ctx context.Context, t *tar.Reader, h *tar.Header, p, dir, base string) error {
	f := language.File{Path: p, Size: h.Size, Mode: fileMode(h)}
	kind := kindOf(p, dir, base)
	program := false
	if kind == kindNone {
		if !language.Wanted(f) {
			return nil
		}
		kind = kindLanguage
		bare := f
		bare.Mode &^= 0o111
		program = !language.Wanted(bare)
	}
	if h.Size > w.limits.FileBytes {
		w.skip(p, fmt.Sprintf("has %d bytes, more than the %d that are read of one file", h.Size, w.limits.FileBytes))
		return nil
	}
	if sparse(h) {
		// A header of a few bytes makes a GiB of zeros, which Limits.Bytes does not count.
		if w.sparse += h.Size; w.sparse > w.limits.FileBytes {
			w.skip(p, fmt.Sprintf("is sparse, and %d bytes of sparse files are read of one layer", w.limits.FileBytes))
			return nil
		}
	}
	content, closing, err := w.content(t, h.Size, program)
	if err != nil || content == nil {
		return err
	}
	defer closing()
	k := &keptFile{file: inventory.File{Path: p}, kind: kind, seq: w.layer.Entries}
	if err := w.parse(ctx, k, f, content); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.skip(p, err.Error())
		if len(k.file.Packages) == 0 {
			return nil
		}
	}
	return w.keep(k)
}

// link repeats what is known of the file that the entry is another name of. A link to
// what was not read, in this layer, brings nothing.
func (w *walker) link(h *tar.Header, p, dir, base string) error {
	to := clean(h.Linkname)
	k, ok := w.kept[to]
	if !ok {
		return nil
	}
	kind := kindOf(p, dir, base)
	if kind == kindNone && language.Wanted(language.File{Path: p, Size: programBytes, Mode: fileMode(h)}) {
		kind = kindLanguage
	}
	if kind != k.kind {
		return nil
	}
	again := &keptFile{file: k.file, kind: kind, seq: w.layer.Entries}
	again.file.Path = p
	again.file.Packages = slices.Clone(k.file.Packages)
	for i := range again.file.Packages {
		if rest, ok := strings.CutPrefix(again.file.Packages[i].Path, to); ok {
			again.file.Packages[i].Path = p + rest
		}
	}
	return w.keep(again)
}

// sparse says whether a file is one with holes, in one of GNU's four forms.
func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func fileMode(h *tar.Header) fs.FileMode { return fs.FileMode(h.Mode & 0o777) } //nolint:gosec // masked

// finish makes the inventory of what was kept, in the order of the archive.
func (w *walker) finish(diffID name.Digest, size int64) inventory.Layer {
	l := w.layer
	l.Version, l.DiffID, l.Size = inventory.Version, diffID, size
	kept := make([]*keptFile, 0, len(w.kept))
	for _, k := range w.kept {
		kept = append(kept, k)
	}
	slices.SortFunc(kept, func(a, b *keptFile) int { return cmp.Compare(a.seq, b.seq) })
	for _, k := range kept {
		l.Files = append(l.Files, k.file)
	}
	l.Hides = inventory.PackHides(w.hashes)
	if w.ownedOver && len(l.Skipped) < skippedMax {
		l.Skipped = append(l.Skipped, inventory.Skipped{
			Path:   "",
			Reason: fmt.Sprintf("packages own more than %d files that may be packages of languages; some may be listed twice", w.limits.Owned),
		})
	}
	return l
}
