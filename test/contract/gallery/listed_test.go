package gallery

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"

	"github.com/berth-registry/berth/test/contract/gallery/browser"
)

// TestListed follows repositories into the gallery and out of it.
func TestListed(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.publisher(t, "111122223333")
	page := browser.Start(t).Page(t, browser.Options{Base: w.PublicEndpoint})
	// listed waits until a repository is in the gallery, or is in none of its pages any more.
	listed := func(t *testing.T, name string, want bool) {
		t.Helper()
		status := http.StatusNotFound
		if want {
			status = http.StatusOK
		}
		wait(t, "the pages of "+name, func() bool {
			for _, address := range []string{"/", "/search?searchTerm=" + name, "/" + p.alias} {
				page.Goto(address)
				if there := page.Count(cardLink+"[href$='/"+name+"']") > 0; there != want {
					return false
				}
			}
			return page.Goto("/"+p.alias+"/"+name) == status
		})
	}

	t.Run("while it holds an image", func(t *testing.T) {
		p.repository(t, "coming", &data{Description: text("There is something to say already.")})
		listed(t, "coming", false)
		digest := p.image(t, "coming", "v1", "linux/amd64")
		p.retag(t, "coming", digest, "v2")
		listed(t, "coming", true)
		p.remove(t, "coming", "v1")
		listed(t, "coming", true) // by its other tag
		p.remove(t, "coming", digest)
		listed(t, "coming", false)
		p.image(t, "coming", "v3", "linux/amd64")
		listed(t, "coming", true)
		lacks(t, "what was said of it", page.Text("main"), "There is something to say already.")
		p.remove(t, "coming", "v3") // its last tag, and so its last image
		listed(t, "coming", false)
	})

	t.Run("until it is deleted", func(t *testing.T) {
		p.published(t, "going", nil)
		listed(t, "going", true)
		name := "going"
		if _, err := p.DeleteRepository(t.Context(), &ecrpublic.DeleteRepositoryInput{RepositoryName: &name}); err == nil || !strings.Contains(err.Error(), "RepositoryNotEmptyException") {
			t.Errorf("it is deleted with what it holds: %v", err)
		}
		listed(t, "going", true)
		_, err := p.DeleteRepository(t.Context(), &ecrpublic.DeleteRepositoryInput{RepositoryName: &name, Force: true})
		must(t, "DeleteRepository", err)
		listed(t, "going", false)
		p.published(t, "going", nil) // another one of the same name
		listed(t, "going", true)
	})

	t.Run("under every alias", func(t *testing.T) {
		address := "/going"
		w.berth(t, "public", "alias", "request", "newname", "--account", p.account)
		equal(t, "a page under an alias that is not approved", page.Goto("/newname"+address), http.StatusNotFound)
		w.berth(t, "public", "alias", "approve", "newname")
		wait(t, "the page under the new alias", func() bool { return page.Goto("/newname"+address) == http.StatusOK })
		for _, alias := range []string{"newname", p.alias} {
			equal(t, alias, page.Goto("/"+alias+address), http.StatusOK)
			equal(t, "the heading", page.Text("h1"), "newname/going")
			canonical, _ := page.Attribute("link[rel=canonical]", "href")
			equal(t, "the page's own address", canonical, w.PublicEndpoint+"/newname"+address)
			equal(t, "the publisher's page", page.Goto("/"+alias), http.StatusOK)
			lacks(t, "the publisher's page", page.Text("main"), "newname", p.alias)
			for _, repo := range []string{alias + address} {
				if _, _, err := w.anonymous(t).Manifest(t.Context(), repo, "v1"); err != nil {
					t.Errorf("a pull under the alias: %v", err)
				}
			}
		}
	})

	t.Run("with its downloads", func(t *testing.T) {
		p.published(t, "popular", nil)
		const count = "dl div:has(dt:text-is('Downloads')) dd"
		listed(t, "popular", true)
		equal(t, "the downloads", page.Text(count), "0")
		// A HEAD and layers are none.
		whole, err := w.anonymous(t).Pull(t.Context(), p.alias+"/popular", "v1")
		must(t, "the pull", err)
		equal(t, "what was pulled", len(whole.Blobs), 2)
		wait(t, "the downloads to be counted", func() bool {
			page.Goto("/newname/popular")
			return page.Text(count) == "2" // by the tag and by the digest
		})
		wait(t, "the most downloaded to be the first", func() bool {
			page.Goto("/search?sort=popular")
			names := page.Texts(cardLink)
			return len(names) == 2 && (names[0] == "newname/popular" || names[0] == "newname/going")
		})
		lacks(t, "the list", page.Text("main"), "2 downloads")
	})
	quiet(t, page, "the pages")
	w.MustFsck(t)
}
