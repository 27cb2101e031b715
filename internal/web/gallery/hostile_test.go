package gallery_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/web/gallery/gallerytest"
)

// TestHostile puts what must change nothing into every field and looks at every page.
func TestHostile(t *testing.T) {
	for _, evil := range []string{
		`"><script>alert(1)</script>`, `'onmouseover='alert(1)`, `</title></textarea></script><img src=x onerror=alert(1)>`, "javascript:alert(1)", "{{.Prefix}}", "<!--", "]]>", "&#60;script&#62;",
		"a\u202egnp.exe\u2066\u200b\ufeff", "\xff\xfe\x00<b>", strings.Repeat("W", 25_000), strings.Repeat("<i>", 8_000),
	} {
		w := &gallerytest.World{Logos: map[string]gallerytest.Logo{}}
		p := gallery.Publisher{Account: "111122223333", Alias: "evil", Aliases: []name.Alias{"evil"}, DisplayName: evil, Verified: true}
		tag := gallerytest.Tag("v1", 1, 1, evil)
		tag.Name, tag.MediaType, tag.ArtifactType = name.Tag(evil), evil, evil
		w.Add(p, "repo", catalog.Data{Description: evil, About: evil, Usage: evil, Logo: evil, OperatingSystems: []string{evil}, Architectures: []string{evil}, Set: true}, 1, tag)
		h := serve(t, w, prefix)
		for _, path := range []string{"/", "/search", "/evil", "/evil/repo", "/evil/repo?tab=usage", "/evil/repo?tab=tags"} {
			rec := ask(h, http.MethodGet, prefix+path)
			if rec.Code != http.StatusOK {
				t.Errorf("GET %s: %d", path, rec.Code)
				continue
			}
			d := read(t, rec)
			for _, r := range d.body {
				if r == 0x202e || r == 0x2066 || r == 0x200b || r == 0xfeff || r == 0 {
					t.Errorf("GET %s shows %U", path, r)
					break
				}
			}
			if n := len(d.all("script", "", "")); n != 1 {
				t.Errorf("GET %s: %d scripts with %.30q", path, n, evil)
			}
			if n := len(d.all("i", "", "")) + len(d.all("b", "", "")); n > 1 { // the brand has one
				t.Errorf("GET %s: elements of the publisher's", path)
			}
		}
		if len(evil) > 200 {
			continue
		}
		query := "?searchTerm=" + strings.NewReplacer("%", "%25", "&", "%26", "#", "%23", "+", "%2b", " ", "+", "\x00", "%00", "\xff", "%ff", "\xfe", "%fe", ";", "%3b").Replace(evil)
		rec := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, prefix+"/search", nil)
		r.URL.RawQuery = strings.TrimPrefix(query, "?")
		h.ServeHTTP(rec, r)
		if rec.Code != http.StatusOK {
			t.Errorf("searching %q: %d", evil, rec.Code)
		}
		read(t, rec)
	}
}
