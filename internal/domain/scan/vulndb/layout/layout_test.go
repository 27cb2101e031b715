package layout_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb/layout"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// artifact is one with an archive, whatever that holds.
func artifact(t *testing.T, archive []byte) layout.Artifact {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"config": layout.Descriptor{MediaType: layout.MediaTypeConfig, Digest: name.SHA256([]byte("{}")), Size: 2},
		"layers": []any{layout.Descriptor{MediaType: layout.MediaTypeLayer, Digest: name.SHA256(archive), Size: int64(len(archive))}},
	})
	must(t, err)
	a, err := layout.ParseManifest(body, "")
	must(t, err)
	return a
}

// directory has the files of a layout, without its configuration.
func directory(t *testing.T, a layout.Artifact, archive []byte) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755))
	index, err := json.Marshal(map[string]any{"manifests": []any{layout.Descriptor{MediaType: a.MediaType, Digest: a.Manifest, Size: int64(len(a.Body))}}})
	must(t, err)
	for file, content := range map[string][]byte{
		"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": index,
		"blobs/sha256/" + a.Manifest.Hex(): a.Body, "blobs/sha256/" + a.Layer.Digest.Hex(): archive,
	} {
		must(t, os.WriteFile(filepath.Join(dir, file), content, 0o644))
	}
	return dir
}

// tarred is the layout in a file.
func tarred(t *testing.T, content []byte) (layout.Layout, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, content, 0o644))
	f, err := os.Open(file)
	must(t, err)
	t.Cleanup(func() { must(t, f.Close()) })
	return layout.InTar(t.Context(), f)
}

// TestForms finds the artifact again, and its archive, in each form of a layout.
func TestForms(t *testing.T) {
	archive := bytes.Repeat([]byte("archive"), 100_000)
	a := artifact(t, archive)
	var written, packed bytes.Buffer
	must(t, layout.Write(&written, a, []byte("{}"), bytes.NewReader(archive)))
	dir := directory(t, a, archive)
	must(t, layout.PackDirectory(dir, &packed))
	root, err := os.OpenRoot(dir)
	must(t, err)
	t.Cleanup(func() { must(t, root.Close()) })
	for form, open := range map[string]func() (layout.Layout, error){
		"written":   func() (layout.Layout, error) { return tarred(t, written.Bytes()) },
		"packed":    func() (layout.Layout, error) { return tarred(t, packed.Bytes()) },
		"directory": func() (layout.Layout, error) { return layout.InDirectory(root), nil },
	} {
		t.Run(form, func(t *testing.T) {
			l, err := open()
			must(t, err)
			got, err := l.Artifact()
			must(t, err)
			if got.Manifest != a.Manifest || got.MediaType != layout.MediaTypeOCI || got.Config != a.Config || got.Layer != a.Layer || !bytes.Equal(got.Body, a.Body) {
				t.Errorf("got %+v in place of %+v", got, a)
			}
			content, err := l.Layer(got)
			must(t, err)
			read, err := io.ReadAll(content)
			must(t, errors.Join(err, content.Close()))
			if !bytes.Equal(read, archive) {
				t.Errorf("the archive has %d bytes in place of %d, or other ones", len(read), len(archive))
			}
		})
	}
}

// TestRefused makes sure that refusals are of this package's kind, and keep their cause.
func TestRefused(t *testing.T) {
	archive := []byte("archive")
	a := artifact(t, archive)
	without := func(file string) error {
		dir := directory(t, a, archive)
		must(t, os.Remove(filepath.Join(dir, file)))
		return layout.PackDirectory(dir, io.Discard)
	}
	_, manifestErr := layout.ParseManifest([]byte(`{"mediaType":"`+strings.Repeat("ü", 1000)+`"}`), "")
	_, tarErr := tarred(t, bytes.Repeat([]byte("no tar archive"), 100))
	for what, c := range map[string]struct {
		err     error
		want    string
		missing bool
	}{
		"manifest":         {manifestErr, "of the type \"" + strings.Repeat("ü", 200) + "\", not that of one artifact" + layout.Wanted, false},
		"tar":              {tarErr, "damaged", false},
		"without a layer":  {without("blobs/sha256/" + a.Layer.Digest.Hex()), "lacks the layer", true},
		"without an index": {without("index.json"), "no index.json" + layout.Wanted, true},
	} {
		var r *layout.Refused
		if !errors.As(c.err, &r) || !strings.Contains(r.Reason, c.want) {
			t.Errorf("%s: %v does not say %q", what, c.err, c.want)
		}
		if errors.Is(c.err, fs.ErrNotExist) != c.missing {
			t.Errorf("%s: what is behind it is %v", what, errors.Unwrap(c.err))
		}
	}
}

// TestShort has an archive come short, or too long: no layout is made of it.
func TestShort(t *testing.T) {
	archive := []byte("archive")
	a := artifact(t, archive)
	for _, content := range []string{"", "archiv", "archive and more"} {
		if err := layout.Write(io.Discard, a, nil, strings.NewReader(content)); err == nil {
			t.Errorf("%q is taken for %q", content, archive)
		}
	}
}
