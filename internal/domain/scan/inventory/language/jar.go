package language

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

const (
	maxDepth       = 5         // archives within archives, the file itself being the first
	maxDirectory   = 16 << 20  // bytes that are read for an archive's directory: 150,000 entries or so
	maxDirectories = 256 << 20 // the same for all archives of a file
	maxEntries     = 200_000   // entries of a file's archives together
	maxUnpacked    = 1 << 30   // bytes that are unpacked of a file, all in all
	maxInMemory    = 128 << 20 // bytes of inner archives that are in memory at the same time
	maxProperties  = 1 << 20   // bytes of a text in an archive
)

// These end the reading of the whole file: its archives have one budget.
var (
	errUnpacked    = fmt.Errorf("it unpacks to more than %d bytes", maxUnpacked)
	errEntries     = fmt.Errorf("it has more than %d entries", maxEntries)
	errDirectories = fmt.Errorf("the directories of its archives have more than %d bytes", maxDirectories)
)

// opener reads a file of archives within archives, with one budget for all of them.
type opener struct {
	c *collector
	// These are what is left of the budget.
	unpacked, memory, directories int64
	entries                       int
}

func parseArchive(ctx context.Context, f File, r *io.SectionReader, c *collector) error {
	o := &opener{c: c, unpacked: maxUnpacked, memory: maxInMemory, directories: maxDirectories, entries: maxEntries}
	if !javaArchive(f.Path) {
		c.typ = inventory.PythonPkg
		return o.egg(ctx, r)
	}
	c.typ = inventory.Jar
	return o.jar(ctx, f.Path, r, 1)
}

// open reads the archive's directory.
func (o *opener) open(r *io.SectionReader) ([]*zip.File, error) {
	// The directory says how many entries it has, and may lie; how much of it is read cannot.
	bounded := &boundedReader{r: r, left: maxDirectory}
	z, err := zip.NewReader(bounded, r.Size())
	if o.directories -= maxDirectory - bounded.left; o.directories < 0 {
		return nil, errDirectories
	}
	if err != nil {
		return nil, err
	}
	bounded.left = -1
	if o.entries -= len(z.File); o.entries < 0 {
		return nil, errEntries
	}
	return z.File, nil
}

// boundedReader reads up to so many bytes, or without bound while left is negative.
type boundedReader struct {
	r    io.ReaderAt
	left int64
}

// ReadAt is the one of the reader below.
func (b *boundedReader) ReadAt(p []byte, off int64) (int, error) {
	if b.left >= 0 {
		if int64(len(p)) > b.left {
			return 0, fmt.Errorf("its directory has more than %d bytes", maxDirectory)
		}
		b.left -= int64(len(p))
	}
	return b.r.ReadAt(p, off)
}

// jar reads one archive; at is its path.
func (o *opener) jar(ctx context.Context, at string, r *io.SectionReader, depth int) error {
	files, err := o.open(r)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	var broken []error
	var m manifest
	var mine []inventory.Package
	licences := map[string][]string{} // by "group:artifact"
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+f.Name), "/")
		var err error
		switch base := path.Base(name); {
		case base == "pom.properties":
			var p inventory.Package
			if p, err = o.properties(ctx, f); p.Name != "" {
				p.Path = at
				mine = append(mine, p)
			}
		case base == "pom.xml" && strings.HasPrefix(name, "META-INF/maven/") && strings.Count(name, "/") == 4:
			parts := strings.Split(name, "/")
			if len(licences) < maxPackages && len(name) <= maxWord {
				licences[parts[2]+":"+parts[3]], err = o.pomLicenses(ctx, f)
			}
		case strings.EqualFold(name, "META-INF/MANIFEST.MF"):
			m, err = o.manifest(ctx, f)
		case javaArchive(name) && f.Mode().IsRegular():
			err = o.inner(ctx, at+"/"+label(name), r, f, depth)
		}
		if ended(err) || exhausted(err) {
			return err
		}
		if err != nil && len(broken) < 8 {
			broken = append(broken, err)
		}
		if len(mine) > maxPackages {
			return errTooMany
		}
	}
	for _, p := range append(mine, m.own(at, mine)...) {
		p.Licenses = licences[p.Name]
		if len(p.Licenses) == 0 && len(mine) <= 1 {
			p.Licenses = m.licenses
		}
		if err := o.c.add(p); err != nil {
			return err
		}
	}
	return errors.Join(broken...)
}

// inner reads an archive within one: where it stands if it is stored as it is, from memory otherwise.
func (o *opener) inner(ctx context.Context, at string, r *io.SectionReader, f *zip.File, depth int) error {
	if depth >= maxDepth {
		return fmt.Errorf("%s: more than %d archives within each other are not read", at, maxDepth)
	}
	size := int64(f.UncompressedSize64)
	if f.Method == zip.Store {
		off, err := f.DataOffset()
		if err != nil || size < 0 || off > r.Size()-size {
			return fmt.Errorf("%s: it leads outside of its archive", at)
		}
		return o.jar(ctx, at, io.NewSectionReader(r, off, size), depth+1)
	}
	if size <= 0 || f.UncompressedSize64 > uint64(o.memory) {
		return fmt.Errorf("%s: it has %d bytes, and %d can be unpacked in memory at the same time", at, f.UncompressedSize64, maxInMemory)
	}
	o.memory -= size
	defer func() { o.memory += size }()
	b, err := o.read(ctx, f, size)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return o.jar(ctx, at, io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))), depth+1)
}

// read unpacks an entry, up to limit bytes of it.
func (o *opener) read(ctx context.Context, f *zip.File, limit int64) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	// Deflate packs 1032 bytes into one at best, so that what a few bytes claim is not believed.
	b.Grow(int(min(f.UncompressedSize64, 1032*f.CompressedSize64, uint64(limit))) + bytes.MinRead)
	_, err = b.ReadFrom(&budgetReader{ctx.Err, io.LimitReader(r, limit), &o.unpacked})
	return b.Bytes(), errors.Join(err, r.Close())
}

// exhausted says whether the budget of the whole file is spent.
func exhausted(err error) bool {
	return errors.Is(err, errTooMany) || errors.Is(err, errUnpacked) || errors.Is(err, errEntries) || errors.Is(err, errDirectories)
}

// budgetReader takes what is read from a budget, and ends with the work it is part of.
type budgetReader struct {
	ended func() error
	r     io.Reader
	left  *int64
}

// Read reads what is left of the budget.
func (b *budgetReader) Read(p []byte) (int, error) {
	if err := b.ended(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if *b.left -= int64(n); *b.left < 0 {
		return n, errUnpacked
	}
	return n, err
}

// properties reads Maven's pom.properties: which artifact it is, "group:artifact".
func (o *opener) properties(ctx context.Context, f *zip.File) (inventory.Package, error) {
	b, err := o.read(ctx, f, maxProperties)
	if err != nil {
		return inventory.Package{}, err
	}
	var group, artifact, version string
	err = lines(ctx, bytes.NewReader(b), func(line string) (bool, error) {
		name, val, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch val = strings.TrimSpace(val); strings.TrimSpace(name) {
		case "groupId":
			group = val
		case "artifactId":
			artifact = val
		case "version":
			version = val
		}
		return true, nil
	})
	return maven(group, artifact, version), err
}

// maven is a package of Maven, an empty one if it has not all that names one.
func maven(group, artifact, version string) inventory.Package {
	if group == "" || artifact == "" || version == "" || len(group)+len(artifact)+len(version) > maxWord || strings.Contains(group+artifact+version, "${") {
		return inventory.Package{}
	}
	return inventory.Package{Name: group + ":" + artifact, Version: version}
}

// pomLicenses are the names of the licences in a pom.xml.
func (o *opener) pomLicenses(ctx context.Context, f *zip.File) ([]string, error) {
	b, err := o.read(ctx, f, maxProperties)
	if err != nil {
		return nil, err
	}
	var at []string
	var found []string
	d := xml.NewDecoder(bytes.NewReader(b))
	d.CharsetReader = asIs
	for {
		t, err := d.RawToken()
		if err != nil {
			// A pom in another character set or with mistakes: it has no licence then, no more.
			return found, nil
		}
		switch t := t.(type) {
		case xml.StartElement:
			if at = append(at, t.Name.Local); len(at) > maxNesting {
				return found, nil
			}
		case xml.EndElement:
			at = at[:max(0, len(at)-1)]
		case xml.CharData:
			if strings.Join(at, "/") == "project/licenses/license/name" && len(found) < 16 && len(t) <= 200 {
				found = append(found, string(t))
			}
		}
	}
}

// label makes the name of an entry one that is safe to show: of one line, below the archive.
func label(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
	return name[:min(len(name), 1024)]
}

// egg reads a zipped distribution of Python.
func (o *opener) egg(ctx context.Context, r *io.SectionReader) error {
	files, err := o.open(r)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Name != "EGG-INFO/PKG-INFO" {
			continue
		}
		b, err := o.read(ctx, f, maxText)
		if err != nil {
			return err
		}
		return parsePythonMetadata(ctx, File{}, bytes.NewReader(b), o.c)
	}
	return nil
}
