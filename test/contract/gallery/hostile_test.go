package gallery

import (
	"bytes"
	"image"
	_ "image/jpeg" // registers itself with image
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"

	"github.com/berth-registry/berth/test/contract/gallery/browser"
	"github.com/berth-registry/berth/test/contract/gallery/hostile"
)

// TestHostile publishes what was made to harm those who look at it, from a verified
// account, of which the gallery shows the most.
func TestHostile(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.publisher(t, "111122223333")
	p.named(t, "mallory", "Mallory")
	p.published(t, "trap", nil)
	b := browser.Start(t)
	page := b.Page(t, browser.Options{Base: w.PublicEndpoint})
	// sees opens a page, in which nothing may run, load, or be wider than the window.
	sees := func(t *testing.T, page *browser.Page, what, address string, publishers ...string) {
		t.Helper()
		if status := page.Goto(address); status != http.StatusOK {
			t.Errorf("%s: %s is answered with %d", what, address, status)
			return
		}
		for _, selector := range publishers {
			var wrong []string
			page.Evaluate(hostile.Look(selector), &wrong)
			for _, s := range wrong {
				t.Errorf("%s, %s: %s", what, address, s)
			}
		}
		quiet(t, page, what+", "+address)
	}

	t.Run("Markdown", func(t *testing.T) {
		all := hostile.Markdown()
		for i, m := range all {
			// Each text is the one and the other, of the same repository one after the other.
			usage := all[(i+1)%len(all)]
			_, err := p.describe(t, "trap", data{AboutText: &m.Text, UsageText: &usage.Text})
			must(t, m.Name+", "+usage.Name, err)
			// Of some there is nothing left, which the page says.
			sees(t, page, m.Name, "/mallory/trap?tab=about", ".text, .empty")
			sees(t, page, usage.Name, "/mallory/trap?tab=usage", ".text, .empty")
			if t.Failed() {
				return // the page remembers what went wrong before
			}
		}
	})

	t.Run("names", func(t *testing.T) {
		for _, n := range hostile.Names() {
			_, err := p.PutRegistryCatalogData(t.Context(), &ecrpublic.PutRegistryCatalogDataInput{DisplayName: &n.Text})
			if taken := err == nil; n.Fate == hostile.Accepted && !taken || n.Fate == hostile.Refused && taken {
				t.Errorf("%s as a display name: %v", n.Name, err)
			}
			d := data{Description: &n.Text}
			if length := utf8.RuneCountInString(n.Text); length <= 50 {
				d.OperatingSystems, d.Architectures = []string{n.Text}, []string{n.Text}
			}
			_, bad := p.describe(t, "trap", d)
			if n.Fate == hostile.Accepted && bad != nil {
				t.Errorf("%s as a description: %v", n.Name, bad)
			}
			if err != nil && bad != nil {
				continue // nothing to see
			}
			if n.Fate == hostile.Accepted {
				wait(t, "the name to be shown: "+n.Name, func() bool {
					page.Goto("/mallory")
					return page.Text("h1") == n.Text
				})
			}
			for _, address := range []string{"/mallory/trap", "/mallory", "/search?searchTerm=trap"} {
				sees(t, page, n.Name, address)
			}
			if n.Fate == hostile.Accepted {
				equal(t, n.Name+" in the list", strings.TrimSpace(page.Text(".card .about")), n.Text)
			}
			if t.Failed() {
				return
			}
		}
		// What a visitor writes comes back too.
		for _, n := range hostile.Names() {
			page.Goto("/search?searchTerm=" + url.QueryEscape(n.Text))
			quiet(t, page, n.Name+" as a search")
			if t.Failed() {
				return
			}
		}
	})

	t.Run("tags and platforms", func(t *testing.T) {
		const evil = `<img src=x onerror=alert(1)>/"><script>alert(1)</script>/` + "\u202e"
		p.repository(t, "tags", nil)
		digest := p.image(t, "tags", strings.Repeat("W", 128), "linux/amd64")
		p.retag(t, "tags", digest, "__proto__", "constructor", "onerror-alert.1", "null", strings.Repeat("_", 128), "0"+strings.Repeat(".", 127))
		p.image(t, "tags", "evil", evil)
		p.image(t, "tags", "evils", evil, strings.Repeat("w", 2000)+"/"+strings.Repeat("x", 2000), "linux/amd64")
		for _, tag := range []string{"<script>", "a b", strings.Repeat("a", 129), ".a"} {
			if err := p.push.PutManifest(t.Context(), p.alias+"/tags", tag, "application/vnd.oci.image.manifest.v1+json", []byte("{}")); err == nil {
				t.Errorf("%q is a tag", tag)
			}
		}
		narrow := b.Page(t, browser.Options{Base: w.PublicEndpoint, Phone: true})
		for _, page := range []*browser.Page{page, narrow} {
			// What an image runs on is found out after the push.
			wait(t, "the platforms", func() bool {
				page.Goto("/mallory/tags?tab=tags")
				return page.Count("tr:has(th:has-text('evils')) td:has-text('linux/amd64')") == 1
			})
			sees(t, page, "tags", "/mallory/tags?tab=tags", "tbody tr td:nth-child(3)")
			equal(t, "the tags", page.Count("tbody tr"), 9)
			sees(t, page, "tags", "/mallory/tags")
		}
	})

	t.Run("logos", func(t *testing.T) {
		logos, err := hostile.Logos()
		must(t, "the logos", err)
		for _, l := range logos {
			out, err := p.describe(t, "trap", data{LogoImageBlob: l.Body})
			if err == nil && len(l.Body) == 0 { // is none
				if out.CatalogData.LogoUrl != nil {
					t.Errorf("%s has the address %s", l.Name, *out.CatalogData.LogoUrl)
				}
				continue
			}
			if taken := err == nil; l.Fate == hostile.Accepted && !taken || l.Fate == hostile.Refused && taken {
				t.Errorf("%s: %v", l.Name, err)
			}
			if err != nil {
				lacks(t, l.Name, err.Error(), "InvalidParameterException")
				continue
			}
			// The address is the gallery's on the main host, under which the API was called.
			address := *out.CatalogData.LogoUrl
			if !strings.HasPrefix(address, w.Endpoint+"/gallery/logo/") {
				t.Errorf("%s is at %s", l.Name, address)
			}
			status, header, body := get(t, http.DefaultClient, http.MethodGet, address, "")
			_, format, err := image.Decode(bytes.NewReader(body))
			if status != http.StatusOK || err != nil || header.Get("Content-Type") != "image/"+format || bytes.Contains(body, []byte(hostile.Marker)) {
				t.Errorf("%s is served as %d %s, %s, with the marker: %v: %v", l.Name, status, header.Get("Content-Type"), format, bytes.Contains(body, []byte(hostile.Marker)), err)
			}
			equal(t, l.Name+" may be guessed at", header.Get("X-Content-Type-Options"), "nosniff")
			lacks(t, l.Name+"'s policy", header.Get("Content-Security-Policy"), "default-src 'none'")
			sees(t, page, l.Name, "/mallory/trap")
			var wide int
			page.Evaluate(`(() => { const i = document.querySelector("main img"); return i.decode().then(() => i.naturalWidth) })()`, &wide)
			if wide < 60 || wide > 2048 {
				t.Errorf("%s is %d pixels wide", l.Name, wide)
			}
		}
	})
	w.MustFsck(t)
}
