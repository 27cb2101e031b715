package vulndb

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
)

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
		return a, refuse("the manifest has more than %d bytes%s", maxManifest, wanted)
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return a, &Refused{Reason: "the manifest cannot be read (" + err.Error() + ")" + again, Cause: err}
	}
	if a.MediaType = m.MediaType; a.MediaType == "" {
		a.MediaType = mediaType
	}
	if a.MediaType == "" {
		a.MediaType = MediaTypeOCI // whose manifests may leave it out
	}
	if a.MediaType != MediaTypeOCI && a.MediaType != MediaTypeDocker {
		return a, refuse("the manifest is of the type %q, not that of one artifact%s", clip(a.MediaType), wanted)
	}
	if m.Config.MediaType != MediaTypeConfig || len(m.Layers) != 1 || m.Layers[0].MediaType != MediaTypeLayer {
		what := clip(m.Config.MediaType)
		if len(m.Layers) > 0 {
			what = clip(m.Layers[0].MediaType)
		}
		return a, refuse("the artifact is no vulnerability database: it holds %q in place of one %q%s", what, MediaTypeLayer, wanted)
	}
	a.Config, a.Layer = m.Config, m.Layers[0]
	for _, d := range []Descriptor{a.Config, a.Layer} {
		if _, err := name.ParseDigest(string(d.Digest)); err != nil || d.Digest.Algorithm() != "sha256" || d.Size < 0 {
			return a, refuse("the manifest names the blob %q, which is no sha256 digest%s", clip(string(d.Digest)), again)
		}
	}
	return a, nil
}

// layout is an OCI layout. open is fs.ErrNotExist for what it does not have.
type layout interface {
	open(file string) (content io.ReadCloser, size int64, err error)
}

func blobFile(d name.Digest) string { return "blobs/" + d.Algorithm() + "/" + d.Hex() }

// dirLayout is a layout in a directory.
type dirLayout struct{ root *os.Root }

func (l dirLayout) open(file string) (io.ReadCloser, int64, error) {
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

// tarLayout is a layout in a tar archive.
type tarLayout struct {
	file  io.ReaderAt
	spans map[string]span
}

type span struct{ at, size int64 }

func (l tarLayout) open(file string) (io.ReadCloser, int64, error) {
	s, ok := l.spans[file]
	if !ok {
		return nil, 0, fmt.Errorf("%s: %w", file, fs.ErrNotExist)
	}
	return io.NopCloser(io.NewSectionReader(l.file, s.at, s.size)), s.size, nil
}

// readTarLayout finds the files of a layout in a tar archive.
func readTarLayout(ctx context.Context, f *os.File) (tarLayout, error) {
	l := tarLayout{file: f, spans: map[string]span{}}
	info, err := f.Stat()
	if err != nil {
		return l, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return l, err
	}
	files := tar.NewReader(f)
	for n := 0; ; n++ {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if ctx.Err() != nil {
			return l, ctx.Err()
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return l, &Refused{Reason: "the OCI layout ends early, it has not come whole" + again, Cause: err}
		}
		if err != nil {
			return l, &Refused{Reason: "the OCI layout is damaged (" + err.Error() + ")" + again, Cause: err}
		}
		if n >= maxEntries {
			return l, refuse("the OCI layout has more than %d files%s", maxEntries, wanted)
		}
		file := path.Clean(header.Name)
		if header.Typeflag != tar.TypeReg {
			continue // directories; whatever else is there is not used
		}
		if _, twice := l.spans[file]; twice {
			return l, refuse("the OCI layout has two files %q%s", clip(file), wanted)
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return l, err
		}
		if header.Size > info.Size()-at {
			return l, refuse("the OCI layout ends early, it has not come whole%s", again)
		}
		l.spans[file] = span{at, header.Size}
	}
	return l, nil
}

// small reads a small file of a layout whole, and compares its digest unless that is "".
func small(l layout, file string, digest name.Digest) ([]byte, error) {
	content, size, err := l.open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Refused{Reason: "the OCI layout has no " + file + wanted, Cause: err}
	}
	if err != nil {
		return nil, err
	}
	if size > maxManifest {
		err = refuse("%s has %d bytes, more than the %d that are taken%s", file, size, maxManifest, wanted)
		return nil, errors.Join(err, content.Close())
	}
	body, err := io.ReadAll(io.LimitReader(content, maxManifest+1))
	if err := errors.Join(err, content.Close()); err != nil {
		return nil, err
	}
	if digest != "" && name.SHA256(body) != digest {
		return nil, refuse("the OCI layout is damaged: %s has the digest %s%s", file, name.SHA256(body), again)
	}
	return body, nil
}

// artifactOf finds the one database in a layout.
func artifactOf(l layout) (Artifact, error) {
	if _, err := small(l, layoutFile, ""); err != nil {
		return Artifact{}, err
	}
	text, err := small(l, indexFile, "")
	if err != nil {
		return Artifact{}, err
	}
	var index struct {
		Manifests []Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return Artifact{}, &Refused{Reason: "the OCI layout's index.json cannot be read (" + err.Error() + ")" + again, Cause: err}
	}
	if len(index.Manifests) == 0 || len(index.Manifests) > maxListed {
		return Artifact{}, refuse("the OCI layout's index.json lists %d images, not one%s", len(index.Manifests), wanted)
	}
	var found *Artifact
	var why error
	for _, d := range index.Manifests {
		if _, err := name.ParseDigest(string(d.Digest)); err != nil || d.Digest.Algorithm() != "sha256" {
			return Artifact{}, refuse("the OCI layout's index.json names %q, which is no sha256 digest%s", clip(string(d.Digest)), again)
		}
		body, err := small(l, blobFile(d.Digest), d.Digest)
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

// layer opens the archive of an artifact in a layout.
func layer(l layout, a Artifact) (io.ReadCloser, error) {
	content, size, err := l.open(blobFile(a.Layer.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Refused{Reason: fmt.Sprintf("the OCI layout lacks the layer %s that its manifest names%s", a.Layer.Digest, again), Cause: err}
	}
	if err != nil {
		return nil, err
	}
	if size != a.Layer.Size {
		err := refuse("the layer %s has %d bytes in place of the %d that its manifest tells%s", a.Layer.Digest, size, a.Layer.Size, again)
		return nil, errors.Join(err, content.Close())
	}
	return content, nil
}

// WriteLayout writes an artifact as an OCI layout in a tar archive. archive has to
// yield just a.Layer.Size bytes; whether they have the digest is for who reads the layout, or
// for the caller. config may be nil, where the configuration is not at hand.
func WriteLayout(w io.Writer, a Artifact, config []byte, archive io.Reader) error {
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

// PackDirectory writes the database of an OCI layout in a directory as WriteLayout
// does. Digests of manifests are compared, that of the layer is for the importer.
func PackDirectory(dir string, w io.Writer) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	l := dirLayout{root}
	a, err := artifactOf(l)
	if err != nil {
		return err
	}
	config, err := small(l, blobFile(a.Config.Digest), a.Config.Digest)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	content, err := layer(l, a)
	if err != nil {
		return err
	}
	return errors.Join(WriteLayout(w, a, config, content), content.Close())
}
