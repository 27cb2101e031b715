package image_test

import (
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/libtrust"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestPutAndGet(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		p := w.oci(w.app, "one", "")
		put := w.push(w.app, p, "v1")
		if put.MediaType != manifest.OCIImage || put.ArtifactType != "application/vnd.oci.image.config.v1+json" || put.Tag != "v1" || string(put.Manifest) != p.body {
			t.Errorf("put %+v", put)
		}
		for _, ref := range []image.Ref{{Tag: "v1"}, {Digest: p.digest}, {Tag: "v1", Digest: p.digest}} {
			got, err := w.Get(ctx, w.app, ref, nil)
			if err != nil || string(got.Manifest) != p.body || got.Digest != p.digest || got.Stored != p.digest || got.Tag != ref.Tag ||
				got.MediaType != manifest.OCIImage || got.ManifestSize != int64(len(p.body)) || got.ID != put.ID {
				t.Errorf("get %+v: %+v %v", ref, got, err)
			}
			stat, err := w.Stat(ctx, w.app, ref, []string{manifest.OCIImage})
			if err != nil || stat.Digest != p.digest || stat.ManifestSize != int64(len(p.body)) {
				t.Errorf("stat %+v: %+v %v", ref, stat, err)
			}
		}
		details, _, err := w.Describe(ctx, w.app, image.DescribeQuery{Refs: []image.Ref{{Tag: "v1"}}})
		if err != nil || len(details) != 1 {
			t.Fatalf("%v %v", details, err)
		}
		size := int64(len(w.layers.blobs[w.app.ID][p.config]) + len("the base layer") + len("the layer of one"))
		if d := details[0]; d.Size != size || !d.PushedAt.Equal(w.clk.Now()) || fmt.Sprint(d.Tags) != "[v1]" || !d.LastPulledAt.IsZero() {
			t.Errorf("%+v, want the size %d", d, size)
		}
		if got := w.events(); fmt.Sprint(got) != fmt.Sprintf("[ImagePushed %s v1]", short(p.digest)) {
			t.Errorf("events %v", got)
		}
	})
}

func TestPutAgain(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		one, two := w.oci(w.app, "one", ""), w.oci(w.app, "two", "")
		first := w.push(w.app, one, "v1")
		w.clk.Advance(time.Hour)
		for _, tag := range []name.Tag{"v1", ""} {
			img, created, err := w.Put(ctx, w.app, image.Put{Manifest: []byte(one.body), Tag: tag})
			if err != nil || created || img.ID != first.ID || !img.PushedAt.Equal(first.PushedAt) {
				t.Errorf("the same with tag %q: %+v %v %v", tag, img, created, err)
			}
			expect(t, image.Exists(w.app, img.Digest, tag), errs.ImageExists, fmt.Sprintf(
				"Image with digest '%s' and tag '%s' already exists in the repository with name 'app' in registry with id '123456789012'", one.digest, map[name.Tag]string{"v1": "v1", "": "null"}[tag]))
		}
		again := w.push(w.app, one, "v2")
		if again.ID != first.ID || !again.PushedAt.Equal(first.PushedAt) {
			t.Errorf("a second tag: %+v, want %+v", again, first)
		}
		w.push(w.app, two, "v1")
		w.push(w.app, two, "v2")
		if got, want := fmt.Sprint(w.state(w.app)), fmt.Sprint(map[name.Digest]string{one.digest: "[]", two.digest: "[v1 v2]"}); got != want {
			t.Errorf("after the tags moved: %s, want %s", got, want)
		}
		if got, want := fmt.Sprint(w.events()), fmt.Sprintf("[ImagePushed %[1]s v1 ImagePushed %[1]s v2 ImagePushed %[2]s v1 ImagePushed %[2]s v2]", short(one.digest), short(two.digest)); got != want {
			t.Errorf("events %s, want %s", got, want)
		}
	})
}

func TestImmutableTags(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		for i, c := range []struct {
			m        repository.Mutability
			allowed  name.Tag
			refused  name.Tag
			excluded bool
		}{
			{m: repository.Mutability{Setting: repository.Mutable}, allowed: "v1"},
			{m: repository.Mutability{Setting: repository.Immutable}, refused: "v1"},
			{m: repository.Mutability{Setting: repository.ImmutableWithExclusion, Filters: []string{"dev-*"}}, allowed: "dev-1", refused: "v1"},
			{m: repository.Mutability{Setting: repository.MutableWithExclusion, Filters: []string{"release*"}}, allowed: "v1", refused: "release-1"},
		} {
			r := w.repo(name.Repository(fmt.Sprintf("repo-%d", i)), c.m)
			one, two := w.oci(r, "one", ""), w.oci(r, "two", "")
			if c.allowed != "" {
				w.push(r, one, c.allowed)
				w.push(r, two, c.allowed)
			}
			if c.refused != "" {
				w.push(r, one, c.refused)
				_, _, err := w.Put(ctx, r, image.Put{Manifest: []byte(two.body), Tag: c.refused})
				expect(t, err, errs.TagExists, fmt.Sprintf("The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the tag is immutable.", c.refused, r.Name))
				if _, created, err := w.Put(ctx, r, image.Put{Manifest: []byte(one.body), Tag: c.refused}); err != nil || created {
					t.Errorf("%s: the same image again: %v %v", c.m.Setting, created, err)
				}
				if got, err := w.Get(ctx, r, image.Ref{Tag: c.refused}, nil); err != nil || got.Digest != one.digest {
					t.Errorf("%s: the tag moved to %s: %v", c.m.Setting, got.Digest, err)
				}
				// A deleted tag is free.
				if _, failures, err := w.Delete(ctx, r, []image.Ref{{Tag: c.refused}}); err != nil || len(failures) > 0 {
					t.Errorf("delete: %v %v", failures, err)
				}
				if _, _, err := w.Put(ctx, r, image.Put{Manifest: []byte(two.body), Tag: c.refused}); err != nil {
					t.Errorf("%s: after the tag was deleted: %v", c.m.Setting, err)
				}
			}
			w.state(r)
		}
	})
}

func TestPutNeedsLayersAndChildren(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		p := w.oci(w.app, "one", "")
		delete(w.layers.blobs[w.app.ID], p.config)
		delete(w.layers.blobs[w.app.ID], p.layers[1])
		_, _, err := w.Put(ctx, w.app, image.Put{Manifest: []byte(p.body), Tag: "v1"})
		expect(t, err, errs.LayersNotFound, fmt.Sprintf("Layers with digests '[%s, %s]' required for pushing image into repository with name 'app' in the registry with id '123456789012' do not exist", p.config, p.layers[1]))

		p = w.oci(w.app, "one", "")
		w.push(w.app, p, "")
		missing, other := name.SHA256([]byte("missing")), w.repo("other", repository.Mutability{Setting: repository.Mutable})
		elsewhere := w.oci(other, "elsewhere", "")
		w.push(other, elsewhere, "")
		_, _, err = w.Put(ctx, w.app, image.Put{Manifest: []byte(index("x", missing, p.digest, elsewhere.digest, missing).body)})
		expect(t, err, errs.ReferencedImagesNotFound, fmt.Sprintf("Images with digests '[%s, %s]' required for pushing image into repository with name 'app' in the registry with id '123456789012' do not exist", missing, elsewhere.digest))
		if got := w.state(w.app); len(got) != 1 {
			t.Errorf("the refused index left %v", got)
		}
		if got := w.events(); len(got) != 2 {
			t.Errorf("a refused push recorded an event: %v", got)
		}
		// The subject need not be there.
		w.push(w.app, w.oci(w.app, "signature", `,"subject":{"mediaType":"a/b","digest":"`+string(missing)+`","size":1}`), "")
	})
}

func TestSizesHaveToBeRight(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		p := w.oci(w.app, "one", "")
		_, _, err := w.Put(ctx, w.app, image.Put{Manifest: []byte(strings.Replace(p.body, `"size":14`, `"size":15`, 1))})
		expect(t, err, errs.ManifestInvalid, fmt.Sprintf("Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'the layer %s has 14 bytes, not 15'", p.layers[0]))
		if got := w.state(w.app); len(got) != 0 {
			t.Errorf("the refused image left %v", got)
		}
	})
}

func TestForeignLayersNeedNotBeThere(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		foreign := "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
		absent, present := name.SHA256([]byte("windows")), w.layers.put(w.app, []byte("pushed all the same"))
		p := w.docker(w.app, "one")
		for _, d := range []name.Digest{absent, present} {
			p.body = strings.Replace(p.body, `"layers":[`, fmt.Sprintf(`"layers":[{"mediaType":"%s","digest":"%s","size":19,"urls":["https://example.com/"]},`, foreign, d), 1)
		}
		p.digest = name.SHA256([]byte(p.body))
		img := w.push(w.app, p, "v1")
		// The one that is there is kept for the image.
		kept := w.texts(`SELECT digest FROM image_layer WHERE image_id = $1 ORDER BY digest`, img.ID)
		if len(kept) != 4 || !strings.Contains(fmt.Sprint(kept), string(present)) || strings.Contains(fmt.Sprint(kept), string(absent)) {
			t.Errorf("kept %v", kept)
		}
		// Without URLs it is a layer like any other.
		_, _, err := w.Put(ctx, w.app, image.Put{Manifest: []byte(strings.ReplaceAll(p.body, `,"urls":["https://example.com/"]`, ""))})
		expect(t, err, errs.LayersNotFound, "")
	})
}

func TestIndex(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		small, large := w.oci(w.app, "s", ""), w.oci(w.app, strings.Repeat("large", 100), "")
		w.push(w.app, small, "")
		w.push(w.app, large, "")
		inner := index("inner", small.digest)
		w.push(w.app, inner, "")
		outer := index("outer", inner.digest, large.digest, large.digest)
		w.push(w.app, outer, "multi")
		sizes := map[name.Digest]int64{}
		details, _, err := w.Describe(ctx, w.app, image.DescribeQuery{Limit: 10})
		w.must(err)
		for _, d := range details {
			sizes[d.Digest] = d.Size
		}
		if sizes[inner.digest] != sizes[small.digest] || sizes[outer.digest] != sizes[large.digest] || sizes[small.digest] >= sizes[large.digest] {
			t.Errorf("sizes %v", sizes)
		}
		if got, err := w.Get(ctx, w.app, image.Ref{Tag: "multi"}, []string{manifest.OCIIndex}); err != nil || string(got.Manifest) != outer.body || got.ArtifactType != "" {
			t.Errorf("%+v %v", got, err)
		}
		w.state(w.app)
	})
}

func TestManyLayersAndChildren(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := open(t, db, nil)
		const n = 1203 // more than two statements hold
		var layers []string
		for i := range n {
			d := w.layers.put(w.app, fmt.Appendf(nil, "layer %d", i))
			layers = append(layers, fmt.Sprintf(`{"mediaType":"a/b","digest":"%s","size":%d}`, d, len(fmt.Sprint("layer ", i))))
		}
		config := w.layers.put(w.app, []byte("{}"))
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"a/b","digest":"%s","size":2},"layers":[%s]}`, manifest.OCIImage, config, strings.Join(layers, ","))
		w.push(w.app, picture{body: body, digest: name.SHA256([]byte(body))}, "many")
		if got := w.texts(`SELECT digest FROM image_layer`); len(got) != n+1 {
			t.Errorf("%d layers", len(got))
		}
		var children []name.Digest
		for i := range 601 {
			p := index(fmt.Sprint(i))
			w.push(w.app, p, "")
			children = append(children, p.digest)
		}
		w.push(w.app, index("all", children...), "all")
		if got := w.texts(`SELECT digest FROM image_child`); len(got) != len(children) {
			t.Errorf("%d children", len(got))
		}
		_, failures, err := w.Delete(t.Context(), w.app, []image.Ref{{Digest: children[600]}, {Tag: "all"}, {Digest: children[600]}, {Tag: "many"}})
		if err != nil || len(failures) != 1 || failures[0].Code != image.Referenced {
			t.Errorf("%v %v", failures, err)
		}
		if got := len(w.layers.released); got != n+1 {
			t.Errorf("%d layers were released", got)
		}
		w.state(w.app)
	})
}

func TestAnnouncedDigests(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		p := w.oci(w.app, "one", "")
		sum := sha512.Sum512([]byte(p.body))
		long := name.Digest("sha512:" + hex.EncodeToString(sum[:]))
		wrong := name.SHA256([]byte("something else"))
		_, _, err := w.Put(ctx, w.app, image.Put{Manifest: []byte(p.body), Digest: wrong})
		expect(t, err, errs.ImageDigestMismatch, fmt.Sprintf("The image digest '%s' does not match the calculated digest '%s'", wrong, p.digest))
		_, _, err = w.Put(ctx, w.app, image.Put{Manifest: []byte(p.body), Digest: "md5:900150983cd24fb0d6963f7d28e17f72"})
		expect(t, err, errs.InvalidParameter, "")
		_, _, err = w.Put(ctx, w.app, image.Put{Manifest: []byte(p.body), Tag: "no/tag"})
		expect(t, err, errs.InvalidParameter, "Invalid parameter at 'imageTag' failed to satisfy constraint: 'must satisfy regular expression '[a-zA-Z0-9-_.]+''")
		if len(w.state(w.app)) != 0 {
			t.Error("a refused push left something")
		}

		img, created, err := w.Put(ctx, w.app, image.Put{Manifest: []byte(p.body), Digest: long, Tag: "v1"})
		if err != nil || !created || img.Digest != long {
			t.Fatalf("%+v %v %v", img, created, err)
		}
		for _, ref := range []image.Ref{{Digest: long}, {Tag: "v1"}, {Tag: "v1", Digest: long}} {
			if got, err := w.Get(ctx, w.app, ref, nil); err != nil || got.Digest != long || string(got.Manifest) != p.body {
				t.Errorf("%+v: %+v %v", ref, got, err)
			}
		}
		if _, err := w.Get(ctx, w.app, image.Ref{Digest: p.digest}, nil); !errs.Is(err, errs.ImageNotFound) {
			t.Errorf("by its other digest: %v", err)
		}
		// As a child and as a subject it goes by the digest that it was pushed with.
		parent := index("long", long)
		w.push(w.app, parent, "")
		w.push(w.app, w.oci(w.app, "signature", `,"subject":{"mediaType":"a/b","digest":"`+string(long)+`","size":1}`), "")
		if found, _, err := w.Referrers(ctx, w.app, long, image.ReferrersQuery{Limit: 5}); err != nil || len(found) != 1 {
			t.Errorf("referrers %v %v", found, err)
		}
		_, failures, err := w.Delete(ctx, w.app, []image.Ref{{Digest: long}})
		if err != nil || len(failures) != 1 || failures[0].Reason != "Requested image referenced by manifest list: ["+string(parent.digest)+"]" {
			t.Errorf("%v %v", failures, err)
		}
		if removed, failures, err := w.Delete(ctx, w.app, []image.Ref{{Digest: parent.digest}, {Digest: long}}); err != nil || len(failures) != 0 || len(removed) != 2 {
			t.Errorf("%v %v %v", removed, failures, err)
		}
	})
}

func TestSchema1(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		layer := w.layers.put(w.app, []byte("an old layer"))
		payload := []byte(`{
   "schemaVersion": 1,
   "name": "app",
   "tag": "old",
   "architecture": "amd64",
   "fsLayers": [{"blobSum": "` + string(layer) + `"}],
   "history": [{"v1Compatibility": "{\"id\":\"x\"}"}]
}`)
		js, err := libtrust.NewJSONSignature(payload)
		w.must(err)
		key, err := libtrust.GenerateECP256PrivateKey()
		w.must(err)
		w.must(js.Sign(key))
		body, err := js.PrettySignature("signatures")
		w.must(err)
		digest := name.SHA256(payload)
		img, created, err := w.Put(ctx, w.app, image.Put{Manifest: body, MediaType: manifest.DockerSchema1Signed, Tag: "old", Digest: digest})
		if err != nil || !created || img.Digest != digest {
			t.Fatalf("%+v %v %v", img, created, err)
		}
		// Signed anew it is the same image.
		w.must(js.Sign(key))
		second, err := js.PrettySignature("signatures")
		w.must(err)
		if _, created, err := w.Put(ctx, w.app, image.Put{Manifest: second, Tag: "old"}); err != nil || created {
			t.Errorf("signed again: %v %v", created, err)
		}
		got, err := w.Get(ctx, w.app, image.Ref{Tag: "old"}, []string{manifest.DockerSchema1Signed})
		if err != nil || string(got.Manifest) != string(body) || got.Digest != digest {
			t.Errorf("%+v %v", got, err)
		}
		_, err = w.Get(ctx, w.app, image.Ref{Tag: "old"}, []string{manifest.DockerSchema2, manifest.OCIImage})
		expect(t, err, errs.ManifestUntranslated, "")
		_, _, err = w.Put(ctx, w.app, image.Put{Manifest: []byte(strings.Replace(string(body), `"old"`, `"new"`, 1))})
		expect(t, err, errs.ManifestInvalid, "")
		details, _, err := w.Describe(ctx, w.app, image.DescribeQuery{Limit: 1})
		if err != nil || details[0].Size != int64(len("an old layer")) {
			t.Errorf("%+v %v", details, err)
		}
	})
}

func TestQuotas(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, func(c *image.Config) {
			c.Quotas = limits(func(l *quota.Limits) {
				l.ImagesPerRepository, l.TagsPerImage, l.LayersPerImage, l.ManifestBytes = 2, 2, 2, 2000
			})
		}), t.Context()
		one, two, three := w.oci(w.app, "1", ""), w.oci(w.app, "2", ""), w.oci(w.app, "3", "")
		w.push(w.app, one, "a")
		w.push(w.app, two, "b")
		_, _, err := w.Put(ctx, w.app, image.Put{Manifest: []byte(three.body), Tag: "c"})
		expect(t, err, errs.LimitExceeded, "The repository with name 'app' in registry with id '123456789012' already has the maximum allowed number of images which is '2'")
		w.push(w.app, one, "c")
		_, _, err = w.Put(ctx, w.app, image.Put{Manifest: []byte(one.body), Tag: "d"})
		expect(t, err, errs.LimitExceeded, fmt.Sprintf("The image with digest '%s' in the repository with name 'app' in registry with id '123456789012' already has the maximum allowed number of tags which is '2'", one.digest))
		w.push(w.app, two, "c") // moving a tag away makes room
		w.push(w.app, one, "d")
		if _, _, err := w.Delete(ctx, w.app, []image.Ref{{Digest: two.digest}}); err != nil {
			t.Fatal(err)
		}
		w.push(w.app, three, "c")
		_, _, err = w.Put(ctx, w.app, image.Put{Manifest: []byte(strings.Replace(one.body, `"layers":[`, `"layers":[{"mediaType":"a/b","digest":"`+string(one.layers[0])+`","size":1},`, 1))})
		expect(t, err, errs.ManifestInvalid, "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Limit on number of layers per image exceeded'")
		_, _, err = w.Put(ctx, w.app, image.Put{Manifest: []byte(one.body + strings.Repeat(" ", 2000))})
		expect(t, err, errs.ManifestTooLarge, "")
		w.state(w.app)
	})
}

func TestRepositoryThatIsGone(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		p := w.oci(w.app, "one", "")
		w.push(w.app, p, "v1")
		w.exec(`DELETE FROM repository WHERE id = $1`, w.app.ID)
		_, _, err := w.Put(ctx, w.app, image.Put{Manifest: []byte(p.body), Tag: "v2"})
		expect(t, err, errs.RepositoryNotFound, "")
		_, _, err = w.Delete(ctx, w.app, []image.Ref{{Tag: "v1"}})
		expect(t, err, errs.RepositoryNotFound, "")
		_, err = w.Get(ctx, w.app, image.Ref{Tag: "v1"}, nil)
		expect(t, err, errs.ImageNotFound, "Requested image not found")
		if left := w.texts(`SELECT 'x' FROM image UNION ALL SELECT 'x' FROM manifest UNION ALL SELECT 'x' FROM image_layer UNION ALL SELECT 'x' FROM image_tag UNION ALL SELECT 'x' FROM image_translation`); len(left) > 0 {
			t.Errorf("%d rows are left", len(left))
		}
	})
}
