package vulndb_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb/layout"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestForms(t *testing.T) {
	bare := database(t, 1)
	tarred := laidOut(t, bare)
	forms := map[string]func(n *node) (vulndb.Database, error){
		"db.tar.gz": func(n *node) (vulndb.Database, error) {
			return n.Import(t.Context(), file(t, bare), "here", vulndb.ImportOptions{})
		},
		"layout": func(n *node) (vulndb.Database, error) {
			return n.Import(t.Context(), file(t, tarred), "here", vulndb.ImportOptions{})
		},
		"directory": func(n *node) (vulndb.Database, error) {
			return n.Import(t.Context(), files(t, tarred), "here", vulndb.ImportOptions{})
		},
		"packed directory": func(n *node) (vulndb.Database, error) {
			var b bytes.Buffer
			must(t, layout.PackDirectory(files(t, tarred), &b))
			return n.ImportReader(t.Context(), &b, "here", vulndb.ImportOptions{})
		},
		"reader": func(n *node) (vulndb.Database, error) {
			return n.ImportReader(t.Context(), bytes.NewReader(bare), "here", vulndb.ImportOptions{})
		},
		"artifact": func(n *node) (vulndb.Database, error) {
			return n.ImportArtifact(t.Context(), manifest(t, bare).Body, func(_ context.Context, d name.Digest) (io.ReadCloser, error) {
				if d != name.SHA256(bare) {
					t.Errorf("the blob %s is asked for", d)
				}
				return io.NopCloser(bytes.NewReader(bare)), nil
			}, "here")
		},
	}
	for form, load := range forms {
		t.Run(form, func(t *testing.T) {
			sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
				d := deploy(t, db)
				n := d.node()
				if _, ok, err := n.Current(t.Context()); ok || err != nil {
					t.Fatalf("without a database: %t, %v", ok, err)
				}
				got, err := load(n)
				must(t, err)
				want := vulndb.Database{
					Digest: name.SHA256(bare), Dir: filepath.Join(n.dir, name.SHA256(bare).Hex()), Schema: 2, UpdatedAt: made(1), NextUpdate: made(1).Add(6 * time.Hour),
					DownloadedAt: got.DownloadedAt, ImportedAt: start, Size: int64(len(bare)), Source: "here",
				}
				if form != "db.tar.gz" && form != "reader" {
					want.Manifest = manifest(t, bare).Manifest
				}
				if got != want {
					t.Errorf("imported %+v\nwant     %+v", got, want)
				}
				if got := n.serves(bare); got != want {
					t.Errorf("serves %+v\nwant   %+v", got, want)
				}
				if other := d.node().serves(bare); other.Digest != want.Digest {
					t.Error("another node has another database")
				}
				if told := d.told(); len(told) != 1 || told[0] != want.Digest {
					t.Errorf("told of %v", told)
				}
				if entries := n.entries(); len(entries) != 1 || entries[0] != want.Digest.Hex() {
					t.Errorf("the directory has %v", entries)
				}
				if s := d.states(); s != "current" || len(d.objects()) != 1 {
					t.Errorf("rows %s, objects %v", s, d.objects())
				}
			})
		})
	}
}

// TestSequence replaces databases, and goes back.
func TestSequence(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		d := deploy(t, db)
		n := d.node(func(c *vulndb.Config) { c.MaxAge = 48 * time.Hour })
		_, err := n.UseFormer(t.Context())
		refused(t, err, "no former")
		n.mustImport(database(t, 1))
		n.mustImport(database(t, 2))
		if s := d.states(); s != "current former" {
			t.Errorf("rows %s", s)
		}
		n.mustImport(database(t, 3))
		n.serves(database(t, 3))
		if s := d.states(); s != "current former" || len(d.objects()) != 2 {
			t.Errorf("rows %s, objects %v", s, d.objects())
		}

		_, err = n.Import(t.Context(), file(t, database(t, 2)), "", vulndb.ImportOptions{})
		refused(t, err, "before the one in use", "--older", "2026-01-02 16:00")
		if r := new(vulndb.Refused); !errors.As(err, &r) || !r.Older {
			t.Error("it is not called older")
		}
		n.serves(database(t, 3))
		got, err := n.Import(t.Context(), file(t, database(t, 2)), "", vulndb.ImportOptions{Older: true})
		must(t, err)
		if got.UpdatedAt != made(2) {
			t.Errorf("%+v", got)
		}
		n.serves(database(t, 2))
		back, err := n.UseFormer(t.Context())
		must(t, err)
		if back.Digest != name.SHA256(database(t, 3)) {
			t.Errorf("back to %+v", back)
		}
		n.serves(database(t, 3))
		_, err = n.UseFormer(t.Context())
		must(t, err)
		n.serves(database(t, 2))

		// The same again replaces what is stored, and changes nothing else.
		told, objects := len(d.told()), d.objects()
		n.mustImport(database(t, 2))
		n.serves(database(t, 2))
		if s := d.states(); s != "current former" || len(d.told()) != told {
			t.Errorf("rows %s, told of %v", s, d.told())
		}
		if after := d.objects(); len(after) != 2 || strings.Join(after, " ") == strings.Join(objects, " ") {
			t.Errorf("the objects were %v and are %v", objects, after)
		}
		if told := d.told(); len(told) != 6 {
			t.Errorf("told of %v", told)
		}

		st, err := n.Status(t.Context())
		must(t, err)
		if st.Current == nil || st.Former == nil || st.Current.Digest != name.SHA256(database(t, 2)) || st.Former.Digest != name.SHA256(database(t, 3)) || !st.Unpacked || st.Stale || st.Advice != "" || st.Age != 8*time.Hour {
			t.Errorf("%+v", st)
		}
		d.clk.Advance(48 * time.Hour)
		if st, err = n.Status(t.Context()); err != nil || !st.Stale || st.Age != 56*time.Hour || !strings.Contains(st.Advice, "old") {
			t.Errorf("%+v, %v", st, err)
		}
		n.mustImport(database(t, 4)) // old as well, and newer than the present one
		n.serves(database(t, 4))
	})
}

func TestUnusable(t *testing.T) {
	good := unpacked(t, database(t, 1))
	db, meta := entry{tar.Header{Name: "trivy.db"}, good["trivy.db"]}, entry{tar.Header{Name: "metadata.json"}, good["metadata.json"]}
	other := func(name string, header tar.Header, content string) entry {
		header.Name = name
		return entry{header, content}
	}
	says := func(text string) []byte { return packed(t, db, other("metadata.json", tar.Header{}, text)) }
	relayed := func(change func(files map[string]string)) []byte {
		all := map[string]string{}
		for r := tar.NewReader(bytes.NewReader(laidOut(t, database(t, 1)))); ; {
			h, err := r.Next()
			if err != nil {
				break
			}
			b, err := io.ReadAll(r)
			must(t, err)
			all[h.Name] = string(b)
		}
		change(all)
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for file, content := range all {
			must(t, w.WriteHeader(&tar.Header{Name: file, Size: int64(len(content)), Mode: 0o644}))
			_, err := io.WriteString(w, content)
			must(t, err)
		}
		must(t, w.Close())
		return b.Bytes()
	}
	a := manifest(t, database(t, 1))
	manifestFile, layerFile := "blobs/sha256/"+a.Manifest.Hex(), "blobs/sha256/"+a.Layer.Digest.Hex()
	rewritten := func(from, to string) []byte {
		return relayed(func(f map[string]string) {
			body := strings.ReplaceAll(f[manifestFile], from, to)
			d := name.SHA256([]byte(body))
			f["blobs/sha256/"+d.Hex()] = body
			f["index.json"] = strings.ReplaceAll(f["index.json"], string(a.Manifest), string(d))
		})
	}
	squeeze := func(content []byte) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write(content)
		must(t, err)
		must(t, z.Close())
		return b.Bytes()
	}
	cases := map[string]struct {
		file []byte
		want string
	}{
		"empty":                {nil, "empty"},
		"text":                 {[]byte("hello"), "neither a gzip nor a tar"},
		"zstd":                 {append([]byte{0x28, 0xb5, 0x2f, 0xfd}, make([]byte, 1000)...), "neither a gzip nor a tar"},
		"gzip of text":         {squeeze([]byte("hello")), "early"},
		"gzip of noise":        {squeeze(bytes.Repeat([]byte("hello"), 1000)), "damaged"},
		"no metadata":          {packed(t, db), "no metadata.json"},
		"no database":          {packed(t, meta), "no trivy.db"},
		"nothing":              {packed(t), "no trivy.db"},
		"one more":             {packed(t, db, meta, other("extra", tar.Header{}, "x")), `"extra"`},
		"above":                {packed(t, db, other("../metadata.json", tar.Header{}, "x")), `"../metadata.json"`},
		"absolute":             {packed(t, other("/trivy.db", tar.Header{}, "x"), meta), `"/trivy.db"`},
		"below":                {packed(t, other("./trivy.db", tar.Header{}, "x"), meta), `"./trivy.db"`},
		"directory":            {packed(t, other("trivy.db", tar.Header{Typeflag: tar.TypeDir}, ""), meta), "not a regular file"},
		"link":                 {packed(t, other("trivy.db", tar.Header{Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, ""), meta), "not a regular file"},
		"hard link":            {packed(t, meta, other("trivy.db", tar.Header{Typeflag: tar.TypeLink, Linkname: "metadata.json"}, "")), "not a regular file"},
		"device":               {packed(t, other("trivy.db", tar.Header{Typeflag: tar.TypeChar}, ""), meta), "not a regular file"},
		"twice":                {packed(t, db, meta, db), "two files"},
		"long metadata":        {packed(t, db, other("metadata.json", tar.Header{}, strings.Repeat(" ", 100_000))), "more than the 65536"},
		"bomb":                 {packed(t, other("trivy.db", tar.Header{}, strings.Repeat("\x00", 5<<20)), meta), "more than the 4194304"},
		"bomb behind":          {append(packed(t, db, meta), squeeze(make([]byte, 6<<20))...), "unpacks to more than 4194304"},
		"long":                 {append(bytes.Clone(database(t, 1)), make([]byte, 2<<20)...), "the archive "},
		"trailing garbage":     {append(bytes.Clone(database(t, 1)), "garbage garbage"...), "damaged"},
		"metadata of no JSON":  {says("nonsense"), "metadata.json cannot be read"},
		"another schema":       {says(`{"Version":1,"UpdatedAt":"2026-01-01T00:00:00Z"}`), "schema version 1, and this program understands 2"},
		"newer schema":         {archive(t, matchtest.DB{Schema: 3, UpdatedAt: made(1)}), "schema version 3"},
		"no schema":            {says(`{"UpdatedAt":"2026-01-01T00:00:00Z"}`), "schema version 0"},
		"no time":              {says(`{"Version":2}`), "when it was made"},
		"future":               {archive(t, matchtest.DB{UpdatedAt: start.Add(25 * time.Hour)}), "in the future"},
		"no bbolt":             {packed(t, other("trivy.db", tar.Header{}, strings.Repeat("nonsense", 10_000)), meta), "cannot be used"},
		"half a bbolt":         {packed(t, other("trivy.db", tar.Header{}, good["trivy.db"][:len(good["trivy.db"])/2]), meta), "cannot be used"},
		"compressed layout":    {squeeze(laidOut(t, database(t, 1))), "gunzip it first"},
		"layout without index": {relayed(func(f map[string]string) { delete(f, "index.json") }), "no index.json"},
		"no layout":            {relayed(func(f map[string]string) { delete(f, "oci-layout") }), "no oci-layout"},
		"index of no JSON":     {relayed(func(f map[string]string) { f["index.json"] = "{" }), "index.json cannot be read"},
		"index of nothing":     {relayed(func(f map[string]string) { f["index.json"] = "{}" }), "lists 0 images"},
		"index to anywhere": {relayed(func(f map[string]string) {
			f["index.json"] = strings.ReplaceAll(f["index.json"], string(a.Manifest), "sha256:../../../etc/passwd")
		}), "no sha256 digest"},
		"no manifest":        {relayed(func(f map[string]string) { delete(f, manifestFile) }), "no blobs/"},
		"another manifest":   {relayed(func(f map[string]string) { f[manifestFile] += " " }), "damaged"},
		"big manifest":       {relayed(func(f map[string]string) { f[manifestFile] += strings.Repeat(" ", 2<<20) }), "more than the 1048576"},
		"no layer":           {relayed(func(f map[string]string) { delete(f, layerFile) }), "lacks the layer"},
		"another layer":      {relayed(func(f map[string]string) { f[layerFile] = string(database(t, 2)) }), "in place of"},
		"longer layer":       {relayed(func(f map[string]string) { f[layerFile] += "x" }), "in place of"},
		"wrong layer digest": {rewritten(string(a.Layer.Digest), "sha256:"+strings.Repeat("ab", 32)), "lacks the layer"},
		"Java's":             {rewritten("trivy.db.layer", "trivy.javadb.layer"), "no vulnerability database"},
		"an image":           {rewritten(layout.MediaTypeConfig, "application/vnd.oci.image.config.v1+json"), "no vulnerability database"},
		"an index":           {rewritten(layout.MediaTypeOCI, "application/vnd.oci.image.index.v1+json"), "not that of one artifact"},
		"sha512":             {rewritten(string(a.Layer.Digest), "sha512:"+strings.Repeat("ab", 64)), "no sha256 digest"},
		"two databases": {relayed(func(f map[string]string) {
			m := manifest(t, database(t, 2))
			f["blobs/sha256/"+m.Manifest.Hex()] = string(m.Body)
			index, err := json.Marshal(map[string]any{"manifests": []any{
				map[string]any{"digest": a.Manifest, "size": 1}, map[string]any{"digest": m.Manifest, "size": 1},
			}})
			must(t, err)
			f["index.json"] = string(index)
		}), "several vulnerability databases"},
	}
	d := deploy(t, sqldbtest.SQLite(t))
	n := d.node(func(c *vulndb.Config) { c.MaxPlain, c.MaxArchive = 4<<20, 1<<20 })
	for what, c := range cases {
		_, err := n.Import(t.Context(), file(t, c.file), what, vulndb.ImportOptions{})
		t.Run(what, func(t *testing.T) { refused(t, err, c.want) })
	}
	_, err := n.ImportReader(t.Context(), io.LimitReader(zeros{}, 1<<40), "", vulndb.ImportOptions{})
	refused(t, err, "more than")
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, err := n.Import(t.Context(), dir, "", vulndb.ImportOptions{}); err == nil {
			t.Errorf("%s is taken", dir)
		}
	}
	linked := files(t, laidOut(t, database(t, 1)))
	layer := filepath.Join(linked, layerFile)
	must(t, os.Rename(layer, layer+"x"))
	must(t, os.Symlink(layer+"x", layer))
	_, err = n.Import(t.Context(), linked, "", vulndb.ImportOptions{})
	refused(t, err, "links are not followed")
	if s := d.states(); s != "" || len(d.objects()) != 0 || len(n.entries()) != 0 {
		t.Errorf("refused files left rows %q, objects %v, files %v", s, d.objects(), n.entries())
	}
	n.mustImport(laidOut(t, database(t, 1)))
	n.serves(database(t, 1))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestDamaged cuts files off and changes bytes of them. What is taken all the same,
// because nothing that counts was hit, is the very database.
func TestDamaged(t *testing.T) {
	d := deploy(t, sqldbtest.SQLite(t))
	n := d.node()
	bare := database(t, 1)
	for form, whole := range map[string][]byte{"bare": bare, "layout": laidOut(t, bare)} {
		try := func(what string, at int, content []byte) {
			t.Helper()
			db, err := n.Import(t.Context(), file(t, content), "", vulndb.ImportOptions{})
			if err != nil {
				refused(t, err)
				return
			}
			got, err := os.ReadFile(filepath.Join(db.Dir, "trivy.db"))
			if err != nil || string(got) != unpacked(t, bare)["trivy.db"] {
				t.Errorf("%s %s at %d gives another database", form, what, at)
			}
			if what == "cut" && at < len(bare) {
				t.Errorf("%s cut at %d is taken", form, at)
			}
		}
		for at := 0; at < len(whole); at += 1 + len(whole)/150 {
			try("cut", at, whole[:at])
			flipped := bytes.Clone(whole)
			flipped[at] ^= 1 << (at % 8)
			try("flipped", at, flipped)
		}
	}
	for _, e := range n.entries() {
		if strings.HasPrefix(e, "tmp-") {
			t.Errorf("%s stays", e)
		}
	}
}
