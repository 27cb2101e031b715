package gallery_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/web/gallery/gallerytest"
)

// BenchmarkPages makes pages out of what the read model gives at once, so that what is left is this package's
// own part: with texts that were seen before ("known"), with texts that are rendered each time,
// and with one that was made to take long.
func BenchmarkPages(b *testing.B) {
	full := strings.Repeat(gallerytest.About, 25_600/len(gallerytest.About)+1)[:25_600]
	w := gallerytest.Sample()
	p := gallery.Publisher{Account: "999988887777", Alias: "bench", Aliases: []name.Alias{"bench"}}
	known := w.Add(p, "known", catalog.Data{About: full, Set: true}, 1, gallerytest.Tag("latest", 0, 1, "linux/amd64"))
	id := known.ID
	h := serve(b, w, "")
	for _, page := range []struct {
		name, path string
		fresh      string
	}{
		{"home", "/", ""}, {"search", "/search?operatingSystems=Linux", ""}, {"publisher", "/bulk", ""}, {"tags", "/harbour/server?tab=tags", ""},
		{"known", "/bench/known", ""}, {"rendered", "/bench/known", full}, {"hostile", "/bench/known", strings.Repeat("![a](", 25_500/5)},
	} {
		b.Run(page.name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if page.fresh != "" {
					w.Repositories[id-1].Data.About = page.fresh + strconv.Itoa(i)
				}
				if rec := ask(h, http.MethodGet, page.path, "Accept-Encoding", "gzip"); rec.Code != http.StatusOK {
					b.Fatal(rec.Code)
				}
			}
		})
	}
}
