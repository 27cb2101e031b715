package gallery

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/gallery/browser"
)

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""` // no text is that
	}
	return string(b)
}

// TestOwnHost visits the gallery under its own host name, and calls its JSON API there and
// everywhere else where the gallery is.
func TestOwnHost(t *testing.T) {
	t.Parallel()
	s := open(t, "--public-domain", "something.test")
	_, port, err := net.SplitHostPort(s.Addr)
	must(t, s.Addr, err)
	base, registry := "http://gallery.something.test:"+port, "public.something.test:"+port
	// Every name is the server.
	client := &http.Client{
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.Addr)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(client.CloseIdleConnections)

	t.Run("pages", func(t *testing.T) {
		b := browser.Start(t)
		p := b.Page(t, browser.Options{Base: base})
		for _, address := range s.all() {
			p.Goto(address)
			quiet(t, p, base+address)
		}
		p.Goto("/")
		p.Fill(searchField, "servor")
		p.Press("Enter")
		p.WaitURL(base + "/search?searchTerm=servor")
		p.Click(cardLink + "[href='/harbour/server']")
		p.WaitURL(base + "/harbour/server")
		shown(t, p, "About", aboutHeadings, 10)
		command := "docker pull " + registry + "/harbour/server:latest"
		equal(t, "the pull command", p.Value("#pull"), command)
		// A page without TLS has no clipboard for its script, and copies another way; what is
		// there, only a page of localhost can say.
		p.Click(browser.Role("button", "Copy the pull command"))
		p.WaitFor("button:text('Copied')")
		local := b.Page(t, browser.Options{Base: s.PublicEndpoint})
		local.Goto("/")
		equal(t, "the copied command", local.Clipboard(), command)
		quiet(t, p, "the gallery's host")

		// The registry's host has no pages of its own.
		for _, path := range []string{"/", "/harbour/server"} {
			status, header, _ := get(t, client, http.MethodGet, "http://"+registry+path, "")
			equal(t, path+" at the registry's host", status, http.StatusFound)
			equal(t, "where it leads", header.Get("Location"), base+path)
		}
	})

	t.Run("pulls", func(t *testing.T) {
		status, _, _ := get(t, client, http.MethodGet, "http://"+registry+"/v2/harbour/server/manifests/latest", "")
		equal(t, "a pull without a token", status, http.StatusUnauthorized)
		_, body := send(t, client, http.MethodGet, "http://"+registry+"/token/", "")
		var token struct{ Token string }
		must(t, string(body), json.Unmarshal(body, &token))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+registry+"/v2/harbour/server/manifests/latest", nil)
		must(t, "the pull", err)
		r.Header.Set("Authorization", "Bearer "+token.Token)
		r.Header.Set("Accept", "application/vnd.oci.image.index.v1+json")
		response, err := client.Do(r)
		must(t, "the pull", err)
		_ = response.Body.Close() // the status is all
		equal(t, "the pull", response.StatusCode, http.StatusOK)
	})

	t.Run("JSON API", func(t *testing.T) {
		// Downloads are counted some seconds later, and what is popular goes by them.
		wait(t, "the pull to be counted", func() bool {
			var repository struct {
				InsightData struct{ DownloadCount int64 }
			}
			api(t, client, base, "getRepositoryCatalogData", `{"registryAliasName":"harbour","repositoryName":"server"}`, &repository)
			return repository.InsightData.DownloadCount > 0
		})
		for _, at := range []string{"http://api.us-east-1.gallery.something.test:" + port, base, s.PublicEndpoint, s.Endpoint + "/gallery"} {
			c := client
			if strings.Contains(at, "localhost") {
				c = http.DefaultClient
			}
			jsonAPI(t, s, c, at)
		}
	})
}

// jsonAPI calls the four operations as public clients do.
func jsonAPI(t *testing.T, s *shop, c *http.Client, at string) {
	t.Helper()
	type result struct {
		PrimaryRegistryAliasName, RepositoryName, DisplayName, LogoURL string
		RegistryVerified                                               bool
		OperatingSystems, Architectures                                []string
	}
	var search struct {
		Results      []result `json:"repositoryCatalogSearchResultList"`
		TotalResults int
		NextToken    string
	}
	api(t, c, at, "searchRepositoryCatalogData", `{"searchTerm":"server","sortConfiguration":{"sortKey":"POPULARITY"}}`, &search)
	if len(search.Results) != 2 || search.TotalResults != 2 || search.Results[0].RepositoryName != "server" || !search.Results[0].RegistryVerified || search.Results[0].DisplayName != "Harbour Software" {
		t.Fatalf("%s finds %+v", at, search)
	}
	status, header, _ := get(t, c, http.MethodGet, search.Results[0].LogoURL, "")
	equal(t, at+": the logo", status, http.StatusOK)
	equal(t, at+": the logo's type", header.Get("Content-Type"), "image/png")

	seen := map[string]bool{}
	for token := ""; ; token = search.NextToken {
		search.NextToken, search.Results = "", nil
		api(t, c, at, "searchRepositoryCatalogData", `{"searchTerm":"","maxResults":10,"nextToken":`+quoted(token)+`}`, &search)
		for _, r := range search.Results {
			seen[r.PrimaryRegistryAliasName+"/"+r.RepositoryName] = true
		}
		if search.NextToken == "" || len(search.Results) == 0 {
			break
		}
	}
	equal(t, at+": all repositories", len(seen), labImages+3)

	var repository struct {
		CatalogData struct {
			Description, AboutText, UsageText, LogoURL string
			Architectures                              []string
		}
		InsightData struct{ DownloadCount int64 }
	}
	api(t, c, at, "getRepositoryCatalogData", `{"registryAliasName":"harbour","repositoryName":"server"}`, &repository)
	equal(t, at+": the description", repository.CatalogData.Description, "A small web server.")
	equal(t, at+": About", repository.CatalogData.AboutText, example(t, "about"))
	same(t, at+": the architectures", repository.CatalogData.Architectures, []string{"x86-64", "ARM 64"})

	var registry struct {
		RegistryCatalogData struct{ DisplayName string }
	}
	api(t, c, at, "getRegistryCatalogData", `{"registryAliasName":"harbour"}`, &registry)
	equal(t, at+": the display name", registry.RegistryCatalogData.DisplayName, "Harbour Software")

	var tags struct {
		ImageTagDetails []struct {
			ImageTag    string
			ImageDetail struct {
				ImageDigest, ImageManifestMediaType string
				ImageSizeInBytes                    int64
			}
		}
		NextToken string
	}
	api(t, c, at, "describeImageTags", `{"registryAliasName":"harbour","repositoryName":"server"}`, &tags)
	equal(t, at+": the tags", len(tags.ImageTagDetails), 60)
	equal(t, at+": the newest tag", tags.ImageTagDetails[0].ImageTag, "latest")
	if d := tags.ImageTagDetails[0].ImageDetail; !strings.HasPrefix(d.ImageDigest, "sha256:") || d.ImageSizeInBytes < 3000 {
		t.Errorf("%s: the newest tag is %+v", at, d)
	}
	status, body := send(t, c, http.MethodPost, at+"/getRepositoryCatalogData", `{"registryAliasName":"harbour","repositoryName":"absent"}`)
	if status != http.StatusNotFound && status != http.StatusBadRequest || !strings.Contains(string(body), `"__type":"RepositoryNotFoundException"`) {
		t.Errorf("%s: what is not there is answered with %d %s", at, status, body)
	}
}
