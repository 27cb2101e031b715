package image_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestTranslationByTag(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		oci, docker := w.oci(w.app, "one", ""), w.docker(w.app, "two")
		w.push(w.app, oci, "oci")
		w.push(w.app, docker, "docker")
		node := image.New(w.config) // another one, which has served nothing yet
		for _, c := range []struct {
			tag         name.Tag
			stored      picture
			accept      string
			wantType    string
			wantConfig  string
			wantSchema1 bool
		}{
			{"oci", oci, manifest.OCIImage, manifest.OCIImage, "", false},
			{"oci", oci, manifest.DockerSchema2, manifest.DockerSchema2, "application/vnd.docker.container.image.v1+json", false},
			{"docker", docker, manifest.OCIImage + ", " + manifest.DockerSchema1Signed, manifest.OCIImage, "application/vnd.oci.image.config.v1+json", false},
			{"oci", oci, manifest.DockerSchema1Signed, manifest.DockerSchema1Signed, "", true},
			{"docker", docker, manifest.DockerSchema1, manifest.DockerSchema1Signed, "", true},
		} {
			got, err := w.Get(ctx, w.app, image.Ref{Tag: c.tag}, []string{c.accept})
			if err != nil || got.MediaType != c.wantType || got.Stored != c.stored.digest || got.ManifestSize != int64(len(got.Manifest)) {
				t.Errorf("%s as %s: %+v %v", c.tag, c.accept, got, err)
				continue
			}
			if c.wantConfig != "" && got.ArtifactType != c.wantConfig {
				t.Errorf("%s as %s has the artifact type %q", c.tag, c.accept, got.ArtifactType)
			}
			m, err := manifest.Parse(got.Manifest, got.MediaType, manifest.Limits{})
			if err != nil || name.SHA256(m.Canonical) != got.Digest {
				t.Errorf("%s as %s: the digest is not that of the bytes: %v", c.tag, c.accept, err)
			}
			stat, err := w.Stat(ctx, w.app, image.Ref{Tag: c.tag}, []string{c.accept})
			if err != nil || stat.Digest != got.Digest || stat.MediaType != got.MediaType || stat.ManifestSize != got.ManifestSize {
				t.Errorf("stat of %s as %s: %+v %v", c.tag, c.accept, stat, err)
			}
			again, err := node.Get(ctx, w.app, image.Ref{Tag: c.tag}, []string{c.accept})
			if err != nil || string(again.Manifest) != string(got.Manifest) {
				t.Errorf("%s as %s is other bytes on another node: %v", c.tag, c.accept, err)
			}
			// By digest nothing is translated, whatever the client accepts.
			for _, ref := range []image.Ref{{Digest: got.Digest}, {Digest: got.Digest, Tag: c.tag}} {
				byDigest, err := node.Get(ctx, w.app, ref, []string{"text/plain"})
				if err != nil || string(byDigest.Manifest) != string(got.Manifest) || byDigest.Digest != got.Digest || byDigest.MediaType != got.MediaType {
					t.Errorf("%s as %s by %+v: %+v %v", c.tag, c.accept, ref, byDigest, err)
				}
			}
		}
		translated, err := w.Get(ctx, w.app, image.Ref{Tag: "oci"}, []string{manifest.DockerSchema2})
		w.must(err)
		// A translation is no image of its own, and belongs to its image's tags.
		_, err = w.Get(ctx, w.app, image.Ref{Tag: "docker", Digest: translated.Digest}, nil)
		expect(t, err, errs.ImageNotFound, "Requested image tag and digest do not match")
		if _, failures, err := w.Delete(ctx, w.app, []image.Ref{{Digest: translated.Digest}}); err != nil || len(failures) != 1 || failures[0].Code != image.NotFound {
			t.Errorf("delete by a translated digest: %v %v", failures, err)
		}
		_, _, err = w.Describe(ctx, w.app, image.DescribeQuery{Refs: []image.Ref{{Digest: translated.Digest}}})
		expect(t, err, errs.ImageNotFound, "")
		if len(w.state(w.app)) != 2 {
			t.Error("a translation is listed")
		}
	})
}

func TestUntranslatable(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		one := w.oci(w.app, "one", "")
		w.push(w.app, one, "one")
		w.push(w.app, index("x", one.digest), "index")
		w.push(w.app, w.oci(w.app, "artifact", `,"artifactType":"a/b"`), "artifact")
		odd := w.oci(w.app, "odd", "")
		odd.body = regexp.MustCompile(`"digest":"`+string(odd.config)+`","size":\d+`).ReplaceAllString(odd.body,
			`"digest":"`+string(w.layers.put(w.app, []byte("no JSON at all")))+`","size":14`)
		odd.digest = name.SHA256([]byte(odd.body))
		w.push(w.app, odd, "odd")
		for tag, accept := range map[name.Tag]string{"one": manifest.OCIIndex, "index": manifest.OCIImage + "," + manifest.DockerList, "artifact": manifest.DockerSchema2, "odd": manifest.DockerSchema1Signed} {
			for _, ask := range []func(context.Context) error{
				func(ctx context.Context) error {
					_, err := w.Get(ctx, w.app, image.Ref{Tag: tag}, []string{accept})
					return err
				},
				func(ctx context.Context) error {
					_, err := w.Stat(ctx, w.app, image.Ref{Tag: tag}, []string{accept})
					return err
				},
			} {
				expect(t, ask(ctx), errs.ManifestUntranslated, "")
			}
		}
		unsigned := w.config
		unsigned.Signer = nil
		_, err := image.New(unsigned).Get(ctx, w.app, image.Ref{Tag: "one"}, []string{manifest.DockerSchema1Signed})
		expect(t, err, errs.ManifestUntranslated, "")
	})
}

func TestImagesThatShareATranslation(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		// They differ in what docker cannot say.
		one, two := w.oci(w.app, "x", `,"annotations":{"a":"1"}`), w.oci(w.app, "x", `,"annotations":{"a":"2"}`)
		w.push(w.app, one, "one")
		w.push(w.app, two, "two")
		docker, err := w.Get(ctx, w.app, image.Ref{Tag: "one"}, []string{manifest.DockerSchema2})
		w.must(err)
		for _, gone := range []picture{one, two} {
			for _, tag := range []name.Tag{"one", "two"} {
				got, err := w.Get(ctx, w.app, image.Ref{Tag: tag, Digest: docker.Digest}, nil)
				if there := gone.digest == one.digest || tag == "two"; (err == nil) != there || (there && got.Digest != docker.Digest) {
					t.Errorf("%s by the shared digest: %+v %v", tag, got.Digest, err)
				}
			}
			if got, err := w.Get(ctx, w.app, image.Ref{Digest: docker.Digest}, nil); err != nil || string(got.Manifest) != string(docker.Manifest) {
				t.Errorf("by the shared digest: %v", err)
			}
			_, _, err := w.Delete(ctx, w.app, []image.Ref{{Digest: gone.digest}})
			w.must(err)
		}
		_, err = w.Get(ctx, w.app, image.Ref{Digest: docker.Digest}, nil)
		expect(t, err, errs.ImageNotFound, "")
		// What was a translation can be pushed as an image of its own.
		w.push(w.app, one, "one")
		w.push(w.app, picture{body: string(docker.Manifest), digest: docker.Digest}, "docker")
		if got, err := w.Get(ctx, w.app, image.Ref{Digest: docker.Digest}, nil); err != nil || got.Stored != docker.Digest {
			t.Errorf("%+v %v", got.Stored, err)
		}
		w.state(w.app)
	})
}

func TestGetAll(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		one, two := w.oci(w.app, "one", ""), w.oci(w.app, "two", "")
		w.push(w.app, one, "one")
		w.push(w.app, two, "two")
		w.push(w.app, index("x", one.digest), "index")
		refs := []image.Ref{{Tag: "two"}, {}, {Tag: "no"}, {Digest: one.digest}, {Tag: "one", Digest: two.digest}, {Digest: "x"}, {Tag: "/"}, {Tag: "index"}, {Tag: "one"}}
		images, failures, err := w.GetAll(ctx, w.app, refs, []string{manifest.DockerSchema2}, true)
		w.must(err)
		var got []string
		for _, i := range images {
			got = append(got, short(i.Stored)+" "+string(i.Tag)+" "+i.MediaType[len(i.MediaType)-17:])
		}
		want := []string{short(two.digest) + " two ifest.v2+json", short(one.digest) + "  manifest.v1+json", short(one.digest) + " one ifest.v2+json"}
		if len(images) != 3 || images[0].MediaType != manifest.DockerSchema2 || images[1].MediaType != manifest.OCIImage || images[1].Digest != one.digest ||
			images[2].MediaType != manifest.DockerSchema2 || images[0].Stored != two.digest || images[2].Stored != one.digest {
			t.Errorf("images %v, want %v", got, want)
		}
		var codes []image.FailureCode
		for i, f := range failures {
			codes = append(codes, f.Code)
			if wantRef := []image.Ref{refs[1], refs[2], refs[4], refs[5], refs[6], refs[7]}[i]; f.Ref != wantRef || f.Reason == "" {
				t.Errorf("failure %d is of %+v, want %+v", i, f.Ref, wantRef)
			}
		}
		if fmt.Sprint(codes) != fmt.Sprint([]image.FailureCode{image.MissingRef, image.NotFound, image.TagMismatch, image.InvalidDigest, image.InvalidTag, image.NotFound}) {
			t.Errorf("codes %v", codes)
		}
		if _, ok := image.FailureOf(image.Ref{}, context.Canceled); ok {
			t.Error("a fault became the failure of one image")
		}
		if f, ok := image.FailureOf(refs[0], errs.New(errs.KeyFailure, "key")); !ok || f.Code != image.KeyFailed || f.Reason != "key" || f.Ref != refs[0] {
			t.Errorf("%+v", f)
		}
	})
}

func TestPullTimes(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		one, two, gone := w.oci(w.app, "one", ""), w.oci(w.app, "two", ""), w.oci(w.app, "gone", "")
		for i, p := range []picture{one, two, gone} {
			w.push(w.app, p, name.Tag(fmt.Sprint("t", i)))
		}
		pulled := func() []string {
			details, _, err := w.Describe(ctx, w.app, image.DescribeQuery{Limit: 10})
			w.must(err)
			var all []string
			for _, d := range details {
				if d.LastPulledAt.IsZero() {
					all = append(all, "never")
				} else {
					all = append(all, d.LastPulledAt.UTC().Format("15:04"))
				}
			}
			return all
		}
		get := func(ref image.Ref, accept ...string) {
			_, err := w.Get(ctx, w.app, ref, accept)
			w.must(err)
		}
		if _, err := w.Stat(ctx, w.app, image.Ref{Tag: "t1"}, nil); err != nil {
			t.Fatal(err)
		}
		get(image.Ref{Tag: "t0"}, manifest.DockerSchema2)
		get(image.Ref{Tag: "t2"})
		if got := fmt.Sprint(pulled()); got != "[never never never]" {
			t.Errorf("a pull wrote to the database: %s", got)
		}
		_, _, err := w.Delete(ctx, w.app, []image.Ref{{Tag: "t2"}})
		w.must(err)
		w.must(w.Flush(ctx))
		if got := fmt.Sprint(pulled()); got != "[12:00 never]" {
			t.Errorf("pulled %s", got)
		}
		w.clk.Advance(time.Hour)
		get(image.Ref{Digest: one.digest})
		get(image.Ref{Digest: two.digest})
		w.must(w.Flush(ctx))
		w.must(w.Flush(ctx))
		if got := fmt.Sprint(pulled()); got != "[13:00 13:00]" {
			t.Errorf("pulled %s", got)
		}
		// A node whose clock is behind does not turn the time back.
		w.clk.Advance(-2 * time.Hour)
		get(image.Ref{Digest: one.digest})
		w.must(w.Flush(ctx))
		if got := fmt.Sprint(pulled()); got != "[13:00 13:00]" {
			t.Errorf("pulled %s", got)
		}
	})
}

func TestPullsOfAFailedFlushAreKept(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := open(t, db, nil)
		p := w.oci(w.app, "one", "")
		w.push(w.app, p, "v1")
		_, err := w.Get(t.Context(), w.app, image.Ref{Tag: "v1"}, nil)
		w.must(err)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.Flush(ended); err == nil {
			t.Fatal("the flush did not fail")
		}
		w.must(w.Flush(t.Context()))
		if got := w.texts(`SELECT 'x' FROM image_pull`); len(got) != 1 {
			t.Errorf("%d pull times", len(got))
		}
	})
}

func TestRunFlushesInTimeAndAtTheEnd(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := open(t, db, func(c *image.Config) { c.FlushPulls = 5 * time.Millisecond })
		late := w.config
		late.FlushPulls = time.Hour
		p := w.oci(w.app, "one", "")
		w.push(w.app, p, "v1")
		written := func() string {
			return strings.Join(w.texts(`SELECT CAST(pulled_at AS TEXT) FROM image_pull`), " ")
		}
		for _, s := range []*image.Service{w.Service, image.New(late)} {
			w.clk.Advance(time.Hour)
			want := fmt.Sprint(w.clk.Now().UnixMicro())
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- s.Run(ctx) }()
			_, err := s.Get(ctx, w.app, image.Ref{Tag: "v1"}, nil)
			w.must(err)
			if s == w.Service {
				for range 1000 {
					if written() == want {
						break
					}
					time.Sleep(5 * time.Millisecond)
				}
			}
			if s == w.Service && written() != want {
				t.Error("nothing was written in time")
			}
			cancel()
			w.must(<-ended)
			if got := written(); got != want {
				t.Errorf("at the end %s is written, want %s", got, want)
			}
		}
	})
}

func TestSchema1IsFoundByItsDigest(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		w.push(w.app, w.docker(w.app, "a"), "one")
		made, err := w.Get(ctx, w.app, image.Ref{Tag: "one"}, []string{manifest.DockerSchema1Signed})
		w.must(err)
		check := func(what string, s *image.Service) {
			t.Helper()
			got, err := s.Get(ctx, w.app, image.Ref{Digest: made.Digest}, nil)
			if err != nil || string(got.Manifest) != string(made.Manifest) || got.Digest != made.Digest || got.MediaType != manifest.DockerSchema1Signed {
				t.Errorf("%s: %+v %v", what, got, err)
			}
			if _, err := s.Get(ctx, w.app, image.Ref{Tag: "one", Digest: made.Digest}, nil); err != nil {
				t.Errorf("%s, with its tag: %v", what, err)
			}
		}
		check("on the node that made it", w.Service)
		other := image.New(w.config)
		_, err = other.Get(ctx, w.app, image.Ref{Digest: made.Digest}, nil)
		expect(t, err, errs.ImageNotFound, "Requested image not found")
		w.must(w.Flush(ctx))
		w.must(w.Flush(ctx))
		check("on another node, once it is written", other)
		if n := len(w.texts(`SELECT digest FROM image_translation WHERE tag = 'one'`)); n != 1 {
			t.Errorf("%d rows for one translation", n)
		}
		w.push(w.app, w.docker(w.app, "b"), "one")
		if got, err := other.Get(ctx, w.app, image.Ref{Digest: made.Digest}, nil); err != nil || string(got.Manifest) != string(made.Manifest) {
			t.Errorf("after the tag has moved: %+v %v", got, err)
		}
		_, _, err = w.Delete(ctx, w.app, []image.Ref{{Digest: made.Stored}})
		w.must(err)
		for what, s := range map[string]*image.Service{"the node that made it": w.Service, "another node": other} {
			if _, err := s.Get(ctx, w.app, image.Ref{Digest: made.Digest}, nil); !errs.Is(err, errs.ImageNotFound) {
				t.Errorf("on %s after the image's delete: %v", what, err)
			}
		}
	})
}
