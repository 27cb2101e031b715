package gallery_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
)

func pushed(r repository.Repository, d name.Digest) event.Event {
	return event.Event{Registry: r.Registry, Kind: event.ImagePushed, Detail: event.ImageDetail{Repository: r.Name, Digest: d}}
}

// tags reads all pages of so many.
func (w *world) tags(r repository.Repository, text string, limit int) (all []gallery.Tag) {
	w.t.Helper()
	for after := ""; ; {
		page, next, err := w.here.Tags(w.ctx, gallery.Repository{ID: r.ID}, gallery.TagQuery{Text: text, After: after, Limit: limit})
		w.must(err)
		if len(page) > limit || next != "" && len(page) < limit {
			w.t.Fatalf("a page of %d, next %q", len(page), next)
		}
		all = append(all, page...)
		if after = next; next == "" {
			return all
		}
	}
}

func names(tags []gallery.Tag) string {
	var all []string
	for _, t := range tags {
		all = append(all, string(t.Name))
	}
	return strings.Join(all, " ")
}

func TestTags(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r, other := w.repo(us, "app", nil), w.repo(us, "other", nil)
		if got := w.tags(r, "", 10); got != nil {
			t.Errorf("%v", got)
		}
		one := w.on("linux", "amd64", "", "1")
		began := w.clk.Now()
		d := w.push(r, one, "1.0")
		w.push(other, one, "theirs")
		w.clk.Advance(time.Hour)
		w.push(r, w.on("linux", "amd64", "", "2"), "1.1")
		w.push(r, w.on("linux", "amd64", "", "untagged"), "")
		w.push(r, w.on("linux", "amd64", "", "3"), "1.2_Beta")
		w.push(r, w.on("linux", "amd64", "", "3"), "latest")
		w.push(r, one, "a-late-one")
		for limit := 1; limit <= 6; limit++ {
			if got := names(w.tags(r, "", limit)); got != "1.2_Beta latest 1.1 1.0 a-late-one" {
				t.Errorf("by %d: %s", limit, got)
			}
			for text, want := range map[string]string{"1.": "1.2_Beta 1.1 1.0", "LATE": "latest a-late-one", "beta": "1.2_Beta", "_": "1.2_Beta", "%": "", "x": "", ".1": "1.1", "é": "", "theirs": ""} {
				if got := names(w.tags(r, text, limit)); got != want {
					t.Errorf("%q by %d: %s", text, limit, got)
				}
			}
		}
		got := w.tags(r, "late-one", 1)[0]
		if got.Digest != d || got.MediaType != "application/vnd.oci.image.manifest.v1+json" || got.ArtifactType != ociConfig || got.Size == 0 ||
			!got.PushedAt.Equal(began) || !got.CreatedAt.Equal(w.clk.Now()) || got.Platforms != nil {
			t.Errorf("%+v", got)
		}
		w.exec(`UPDATE image SET status = 1 WHERE digest = $1`, string(d))
		if got := names(w.tags(r, "", 10)) + ";" + names(w.tags(r, "1", 10)); got != "1.2_Beta latest 1.1;1.2_Beta 1.1" {
			t.Errorf("with an archived image: %s", got)
		}
	})
}

func TestPlatforms(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := w.repo(us, "app", nil)
		amd, arm := w.on("linux", "amd64", "", "1"), w.on("linux", "arm64", "v8", "1")
		w.push(r, amd, "amd")
		w.push(r, arm, "arm")
		w.push(r, w.on("windows", "amd64", "", "1"), "windows")
		w.push(r, index(child(arm, `,"platform":{"os":"linux","architecture":"arm64","variant":"v8"}`), child(amd, `,"platform":{"os":"linux","architecture":"amd64"}`),
			child(w.attestation(r), `,"platform":{"os":"unknown","architecture":"unknown"}`)), "multi")
		w.push(r, index(child(amd, ""), child(arm, "")), "bare")
		w.push(r, w.image(`{"os":"linux"}`, "application/vnd.cncf.helm.config.v1+json"), "chart")
		w.push(r, w.image(`not JSON`, ociConfig), "broken")
		w.push(r, w.image(`{"os":["linux"],"architecture":"amd64"}`, ociConfig), "shape")
		w.push(r, w.image(`{"os":"linux<script>","architecture":"amd64"}`, ociConfig), "hostile")
		w.push(r, w.image(`{"os":"linux","architecture":"amd64","variant":"v2\u202e"}`, ociConfig), "variant")
		w.push(r, w.image(`{"os":"linux","architecture":"`+strings.Repeat("x", 1000)+`"}`, ociConfig), "long")
		w.push(r, w.image(`{"os":"linux","architecture":"amd64","pad":"`+strings.Repeat("x", 5<<20)+`"}`, ociConfig), "huge")
		var many []string
		for i := range 150 {
			many = append(many, child(amd, fmt.Sprintf(`,"platform":{"os":"linux","architecture":"a%03d"}`, i)))
		}
		w.push(r, index(many...), "many")
		w.work()
		want := map[name.Tag]string{
			"amd": "[linux/amd64]", "arm": "[linux/arm64/v8]", "windows": "[windows/amd64]", "multi": "[linux/amd64 linux/arm64/v8]", "bare": "[linux/amd64 linux/arm64/v8]",
			"chart": "[]", "broken": "[]", "shape": "[]", "hostile": "[]", "variant": "[linux/amd64]", "long": "[]", "huge": "[]",
		}
		for _, tag := range w.tags(r, "", 5) {
			if tag.Name == "many" {
				if len(tag.Platforms) != 100 || tag.Platforms[99] != "linux/a099" {
					t.Errorf("many: %v", tag.Platforms)
				}
			} else if got := fmt.Sprint(tag.Platforms); got != want[tag.Name] {
				t.Errorf("%s: %s, want %s", tag.Name, got, want[tag.Name])
			}
		}
		if n := w.number(`SELECT count(*) FROM catalog_platform`); n != 14 { // the attestation has none, but a row
			t.Errorf("%d rows", n)
		}
		// A tag alone is no reason to look again.
		w.push(r, amd, "again")
		if n := w.number(`SELECT count(*) FROM job WHERE kind = $1`, gallery.JobPlatforms); n != 0 {
			t.Errorf("%d jobs", n)
		}
	})
}

func (w *world) attestation(r repository.Repository) []byte {
	m := w.image(`{"architecture":"unknown","os":"unknown"}`, ociConfig)
	w.push(r, m, "")
	return m
}

func TestPlatformsGoWithTheirImages(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r, same := w.repo(us, "app", nil), w.repo(them, "app", nil)
		m := w.on("linux", "amd64", "", "1")
		d := w.push(r, m, "a")
		w.push(r, m, "b")
		w.push(same, m, "a")
		w.work()
		rows := func() []int64 {
			return []int64{w.number(`SELECT count(*) FROM catalog_platform WHERE repository_id = $1`, r.ID), w.number(`SELECT count(*) FROM catalog_platform WHERE repository_id = $1`, same.ID)}
		}
		w.remove(r, image.Ref{Tag: "a"})
		if got := rows(); !slices.Equal(got, []int64{1, 1}) {
			t.Errorf("after a tag: %v", got)
		}
		w.remove(r, image.Ref{Tag: "b"})
		if got := rows(); !slices.Equal(got, []int64{0, 1}) {
			t.Errorf("after the image: %v", got)
		}
		// A job that comes too late leaves nothing either.
		w.push(r, m, "a")
		w.remove(r, image.Ref{Digest: d})
		w.work()
		if got := rows(); !slices.Equal(got, []int64{0, 1}) {
			t.Errorf("after a late job: %v", got)
		}
		w.push(r, m, "a")
		w.exec(`DELETE FROM repository WHERE id = $1`, r.ID)
		w.work()
		if got := rows(); !slices.Equal(got, []int64{0, 1}) {
			t.Errorf("after the repository: %v", got)
		}
	})
}
