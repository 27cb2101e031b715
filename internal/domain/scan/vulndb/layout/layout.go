// Package layout reads and writes the vulnerability database's artifact as OCI layouts
// have it: in a directory, or in a tar archive.
//
// It owns the artifact's media types, what a manifest of one has to be, and the files of a
// layout. It does not look into the layer, compare its digest, or put anything into use
// (scan/vulndb does, and makes its own refusals of this package's), and it fetches nothing
// (app/vulndbfetch does).
package layout

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/berth-registry/berth/internal/domain/name"
)

// Media types of the artifact, and of the manifests that it may have.
const (
	MediaTypeConfig = "application/vnd.aquasec.trivy.config.v1+json"
	MediaTypeLayer  = "application/vnd.aquasec.trivy.db.layer.v1.tar+gzip"
	MediaTypeOCI    = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeDocker = "application/vnd.docker.distribution.manifest.v2+json"
)

// The files of an OCI layout (OCI image specification, "Image Layout").
const (
	layoutFile = "oci-layout"
	indexFile  = "index.json"
	layoutText = `{"imageLayoutVersion":"1.0.0"}`
)

const (
	// maxManifest bounds manifests, lists and configurations, in bytes.
	maxManifest = 1 << 20
	// maxEntries and maxListed bound what a layout may hold beside the artifact.
	maxEntries = 10_000
	maxListed  = 64
	copyBytes  = 256 << 10
)

// What refusals end in, here and in scan/vulndb: it says what to do.
const (
	// Wanted is for files that are something else.
	Wanted = "; what is wanted is the file that berth vulndb fetch writes, or db.tar.gz of the trivy-db artifact, or an OCI layout of it"
	// Again is for damaged files.
	Again = "; fetch it again, or copy it again and compare its size and sha256sum with the original's"
)

// Refused is every error about a layout or a manifest that has no usable artifact.
type Refused struct {
	// Reason says what is wrong and what to do, for the operator.
	Reason string
	// Cause is the error behind it, nil if there is none.
	Cause error
}

// Error is the reason.
func (r *Refused) Error() string { return r.Reason }

// Unwrap is the cause.
func (r *Refused) Unwrap() error { return r.Cause }

func refuse(format string, args ...any) *Refused {
	return &Refused{Reason: fmt.Sprintf(format, args...)}
}

// Descriptor names a blob of an artifact.
type Descriptor struct {
	MediaType string      `json:"mediaType"`
	Digest    name.Digest `json:"digest"`
	Size      int64       `json:"size"`
}

// Artifact is a database as registries keep it.
type Artifact struct {
	// Manifest is the digest of Body, MediaType its type.
	Manifest  name.Digest
	MediaType string
	Body      []byte
	// Config is small and says nothing; Layer is the archive.
	Config, Layer Descriptor
}

// ParseManifest reads the manifest of an artifact, of mediaType or, with "", of
// that which it tells itself. What is none is Refused.
func ParseManifest(body []byte, mediaType string) (Artifact, error) {
	a := Artifact{Manifest: name.SHA256(body), Body: body}
	var m struct {
		MediaType string       `json:"mediaType"`
		Config    Descriptor   `json:"config"`
		Layers    []Descriptor `json:"layers"`
	}
	if len(body) > maxManifest {
		return a, refuse("the manifest has more than %d bytes%s", maxManifest, Wanted)
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return a, &Refused{Reason: "the manifest cannot be read (" + err.Error() + ")" + Again, Cause: err}
	}
	if a.MediaType = m.MediaType; a.MediaType == "" {
		a.MediaType = mediaType
	}
	if a.MediaType == "" {
		a.MediaType = MediaTypeOCI // whose manifests may leave it out
	}
	if a.MediaType != MediaTypeOCI && a.MediaType != MediaTypeDocker {
		return a, refuse("the manifest is of the type %.200q, not that of one artifact%s", a.MediaType, Wanted)
	}
	if m.Config.MediaType != MediaTypeConfig || len(m.Layers) != 1 || m.Layers[0].MediaType != MediaTypeLayer {
		what := m.Config.MediaType
		if len(m.Layers) > 0 {
			what = m.Layers[0].MediaType
		}
		return a, refuse("the artifact is no vulnerability database: it holds %.200q in place of one %q%s", what, MediaTypeLayer, Wanted)
	}
	a.Config, a.Layer = m.Config, m.Layers[0]
	for _, d := range []Descriptor{a.Config, a.Layer} {
		if _, err := name.ParseDigest(string(d.Digest)); err != nil || d.Digest.Algorithm() != "sha256" || d.Size < 0 {
			return a, refuse("the manifest names the blob %.200q, which is no sha256 digest%s", string(d.Digest), Again)
		}
	}
	return a, nil
}

// IsPart says whether a file of this name at the top of an archive is one of a layout.
func IsPart(file string) bool { return file == layoutFile || file == indexFile || file == "blobs/" }

// Layout is an OCI layout.
type Layout struct{ files files }

// files are the files of a layout. open is fs.ErrNotExist for what is not there.
type files interface {
	open(file string) (content io.ReadCloser, size int64, err error)
}

func blobFile(d name.Digest) string { return "blobs/" + d.Algorithm() + "/" + d.Hex() }

// InDirectory is the layout in a directory, which stays the caller's to close. Links in it
// are not followed.
func InDirectory(root *os.Root) Layout { return Layout{directory{root}} }

type directory struct{ root *os.Root }

func (l directory) open(file string) (io.ReadCloser, int64, error) {
	info, err := l.root.Lstat(file)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, refuse("%s is not a regular file: links are not followed", file)
	}
	f, err := l.root.Open(file)
	if err != nil {
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// archived are files in a tar archive.
type archived struct {
	file  io.ReaderAt
	spans map[string]span
}

type span struct{ at, size int64 }

func (l archived) open(file string) (io.ReadCloser, int64, error) {
	s, ok := l.spans[file]
	if !ok {
		return nil, 0, fmt.Errorf("%s: %w", file, fs.ErrNotExist)
	}
	return io.NopCloser(io.NewSectionReader(l.file, s.at, s.size)), s.size, nil
}

// InTar is the layout in a tar archive, which is read through once for where its files
// are, and stays the caller's to close. What is no whole tar archive is Refused.
func InTar(ctx context.Context, f *os.File) (Layout, error) {
	l, err := find(ctx, f)
	return Layout{l}, err
}

// find finds the files of a tar archive.
func find(ctx context.Context, f *os.File) (archived, error) {
	l := archived{file: f, spans: map[string]span{}}
	info, err := f.Stat()
	if err != nil {
		return l, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return l, err
	}
	entries := tar.NewReader(f)
	for n := 0; ; n++ {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if ctx.Err() != nil {
			return l, ctx.Err()
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return l, &Refused{Reason: "the OCI layout ends early, it has not come whole" + Again, Cause: err}
		}
		if err != nil {
			return l, &Refused{Reason: "the OCI layout is damaged (" + err.Error() + ")" + Again, Cause: err}
		}
		if n >= maxEntries {
			return l, refuse("the OCI layout has more than %d files%s", maxEntries, Wanted)
		}
		file := path.Clean(header.Name)
		if header.Typeflag != tar.TypeReg {
			continue // directories; whatever else is there is not used
		}
		if _, twice := l.spans[file]; twice {
			return l, refuse("the OCI layout has two files %.200q%s", file, Wanted)
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return l, err
		}
		if header.Size > info.Size()-at {
			return l, refuse("the OCI layout ends early, it has not come whole%s", Again)
		}
		l.spans[file] = span{at, header.Size}
	}
	return l, nil
}

// small reads a small file whole, and compares its digest unless that is "".
func (l Layout) small(file string, digest name.Digest) ([]byte, error) {
	content, size, err := l.files.open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Refused{Reason: "the OCI layout has no " + file + Wanted, Cause: err}
	}
	if err != nil {
		return nil, err
	}
	if size > maxManifest {
		err = refuse("%s has %d bytes, more than the %d that are taken%s", file, size, maxManifest, Wanted)
		return nil, errors.Join(err, content.Close())
	}
	body, err := io.ReadAll(io.LimitReader(content, maxManifest+1))
	if err := errors.Join(err, content.Close()); err != nil {
		return nil, err
	}
	if digest != "" && name.SHA256(body) != digest {
		return nil, refuse("the OCI layout is damaged: %s has the digest %s%s", file, name.SHA256(body), Again)
	}
	return body, nil
}

// Artifact finds the one database in the layout. None, several, and what is damaged are
// Refused.
func (l Layout) Artifact() (Artifact, error) {
	if _, err := l.small(layoutFile, ""); err != nil {
		return Artifact{}, err
	}
	text, err := l.small(indexFile, "")
	if err != nil {
		return Artifact{}, err
	}
	var list struct {
		Manifests []Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return Artifact{}, &Refused{Reason: "the OCI layout's index.json cannot be read (" + err.Error() + ")" + Again, Cause: err}
	}
	if len(list.Manifests) == 0 || len(list.Manifests) > maxListed {
		return Artifact{}, refuse("the OCI layout's index.json lists %d images, not one%s", len(list.Manifests), Wanted)
	}
	var found *Artifact
	var why error
	for _, d := range list.Manifests {
		if _, err := name.ParseDigest(string(d.Digest)); err != nil || d.Digest.Algorithm() != "sha256" {
			return Artifact{}, refuse("the OCI layout's index.json names %.200q, which is no sha256 digest%s", string(d.Digest), Again)
		}
		body, err := l.small(blobFile(d.Digest), d.Digest)
		if err != nil {
			return Artifact{}, err
		}
		a, err := ParseManifest(body, d.MediaType)
		switch {
		case err != nil:
			why = err
		case found != nil && found.Manifest != a.Manifest:
			return Artifact{}, refuse("the OCI layout has several vulnerability databases (%s and %s): copy one alone", found.Manifest, a.Manifest)
		default:
			found = &a
		}
	}
	if found == nil {
		return Artifact{}, why
	}
	return *found, nil
}

// Layer opens the archive of the layout's artifact, whose size is compared, and whose
// digest is not. One that is not there, or has another size, is Refused.
func (l Layout) Layer(a Artifact) (io.ReadCloser, error) {
	content, size, err := l.files.open(blobFile(a.Layer.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Refused{Reason: fmt.Sprintf("the OCI layout lacks the layer %s that its manifest names%s", a.Layer.Digest, Again), Cause: err}
	}
	if err != nil {
		return nil, err
	}
	if size != a.Layer.Size {
		err := refuse("the layer %s has %d bytes in place of the %d that its manifest tells%s", a.Layer.Digest, size, a.Layer.Size, Again)
		return nil, errors.Join(err, content.Close())
	}
	return content, nil
}

// Write writes an artifact as an OCI layout in a tar archive. archive has to yield just
// a.Layer.Size bytes; whether they have the digest is for who reads the layout, or for the
// caller. config may be nil, where the configuration is not at hand.
func Write(w io.Writer, a Artifact, config []byte, archive io.Reader) error {
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
		"manifests": []any{map[string]any{
			"mediaType": a.MediaType, "digest": a.Manifest, "size": len(a.Body),
			"annotations": map[string]string{"org.opencontainers.image.ref.name": "trivy-db"},
		}},
	})
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	put := func(file string, content io.Reader, size int64) error {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file, Mode: 0o644, Size: size, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{content}, make([]byte, copyBytes))
		if err == nil && n != size {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	texts := []struct {
		file string
		text []byte
	}{{layoutFile, []byte(layoutText)}, {indexFile, index}, {blobFile(a.Manifest), a.Body}, {blobFile(a.Config.Digest), config}}
	for _, t := range texts {
		if t.text == nil {
			continue
		}
		if err := put(t.file, bytes.NewReader(t.text), int64(len(t.text))); err != nil {
			return err
		}
	}
	if err := put(blobFile(a.Layer.Digest), archive, a.Layer.Size); err != nil {
		return err
	}
	return out.Close()
}

// PackDirectory writes the database of an OCI layout in a directory as Write does.
// Digests of manifests are compared, that of the layer is for the importer.
func PackDirectory(dir string, w io.Writer) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	l := InDirectory(root)
	a, err := l.Artifact()
	if err != nil {
		return err
	}
	config, err := l.small(blobFile(a.Config.Digest), a.Config.Digest)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	content, err := l.Layer(a)
	if err != nil {
		return err
	}
	return errors.Join(Write(w, a, config, content), content.Close())
}
