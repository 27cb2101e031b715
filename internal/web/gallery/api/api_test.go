package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/web/gallery/api"
	"github.com/berth-registry/berth/internal/web/gallery/gallerytest"
)

func serve(w *gallerytest.World) http.Handler {
	return api.New(api.Config{
		Gallery: w, Log: slog.New(slog.DiscardHandler),
		Logo: func(r *http.Request, id string) string { return "https://" + r.Host + "/logo/" + id + ".png" },
	})
}

func call(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(method, path, strings.NewReader(body)))
	return rec
}

// post calls an operation as public clients do and reads the answer.
func post[T any](t *testing.T, h http.Handler, path, body string) (out T) {
	t.Helper()
	rec := call(h, http.MethodPost, path, body)
	if rec.Code != http.StatusOK || rec.Header().Get("Content-Type") != "application/json" || rec.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("POST %s %s: %d %v %s", path, body, rec.Code, rec.Header(), rec.Body)
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// found is what clients read of a search.
type found struct {
	TotalResults                      int
	NextToken                         string
	RepositoryCatalogSearchResultList []struct {
		PrimaryRegistryAliasName, RepositoryName, DisplayName, RepositoryDescription, LogoURL string
		RegistryVerified                                                                      bool
		OperatingSystems, Architectures                                                       []string
		DownloadCount                                                                         int64
	}
}

func TestSearch(t *testing.T) {
	h := serve(gallerytest.Sample())
	got := post[found](t, h, "/searchRepositoryCatalogData", `{"searchTerm":"server","sortConfiguration":{"sortKey":"POPULARITY"},"unknown":[1]}`)
	if got.TotalResults != 4 {
		t.Errorf("%d results", got.TotalResults)
	}
	if first := got.RepositoryCatalogSearchResultList[0]; first.RepositoryName != "server" || first.LogoURL != "https://example.com/logo/l0g0.png" || !first.RegistryVerified || first.DisplayName != "Harbour Software" || first.DownloadCount != 48_213_377 {
		t.Errorf("%+v", first)
	}
	for _, r := range post[found](t, h, "/searchRepositoryCatalogData", `{"searchTerm":"redis"}`).RepositoryCatalogSearchResultList {
		if r.DisplayName != "Amazon" || r.LogoURL != "" || r.RegistryVerified {
			t.Errorf("who is not verified shows %+v", r)
		}
	}
	// all of them, page by page, as catalogues of packages read them
	seen, token := map[string]bool{}, ""
	for range 10 {
		body := `{"maxResults":25}`
		if token != "" {
			body = `{"maxResults":25,"nextToken":"` + token + `"}`
		}
		page := post[found](t, h, "/searchRepositoryCatalogData", body)
		for _, r := range page.RepositoryCatalogSearchResultList {
			seen[r.PrimaryRegistryAliasName+"/"+r.RepositoryName] = true
		}
		if token = page.NextToken; token == "" {
			break
		}
	}
	if len(seen) != 67 || token != "" {
		t.Errorf("%d repositories on all pages, then %q", len(seen), token)
	}
	if rec := call(h, http.MethodPost, "/searchRepositoryCatalogData", `{"searchTerm":"nothing"}`); rec.Body.String() != `{"repositoryCatalogSearchResultList":[],"totalResults":0}` {
		t.Errorf("nothing is %s", rec.Body)
	}
	if got := post[found](t, h, "/searchRepositoryCatalogData", ``); got.TotalResults != 67 {
		t.Errorf("%d repositories without a body", got.TotalResults)
	}
}

func TestRepository(t *testing.T) {
	h := serve(gallerytest.Sample())
	type answer struct {
		CatalogData struct {
			Description, LogoURL, AboutText, UsageText string
			Architectures, OperatingSystems            []string
			MarketplaceCertified                       *bool
		}
		InsightData struct{ DownloadCount int64 }
	}
	got := post[answer](t, h, "/getRepositoryCatalogData", `{"registryAliasName":"h4r8o2r1","repositoryName":"server"}`)
	if got.InsightData.DownloadCount != 48_213_377 || got.CatalogData.AboutText != gallerytest.About || got.CatalogData.LogoURL != "https://example.com/logo/l0g0.png" ||
		got.CatalogData.MarketplaceCertified == nil || fmt.Sprint(got.CatalogData.Architectures) != "[x86-64 ARM 64]" || got.CatalogData.UsageText == "" {
		t.Errorf("%+v", got)
	}
}

func TestRegistry(t *testing.T) {
	h := serve(gallerytest.Sample())
	for alias, want := range map[string]string{"harbour": `{"registryCatalogData":{"displayName":"Harbour Software"}}`, "k5n6o2s4": `{"registryCatalogData":{"displayName":"Amazon"}}`} {
		if rec := call(h, http.MethodPost, "/getRegistryCatalogData", `{"registryAliasName":"`+alias+`"}`); rec.Code != http.StatusOK || rec.Body.String() != want {
			t.Errorf("%s: %d %s", alias, rec.Code, rec.Body)
		}
	}
}

func TestTags(t *testing.T) {
	h := serve(gallerytest.Sample())
	type answer struct {
		NextToken       string
		ImageTagDetails []struct {
			ImageTag, CreatedAt string
			ImageDetail         struct {
				ImageDigest, ImagePushedAt, ImageManifestMediaType, ArtifactMediaType string
				ImageSizeInBytes                                                      int64
			}
		}
	}
	const repo = `"registryAliasName":"harbour","repositoryName":"server"`
	got := post[answer](t, h, "/describeImageTags", `{`+repo+`}`)
	if len(got.ImageTagDetails) != 123 || got.NextToken != "" {
		t.Fatalf("%d tags, then %q", len(got.ImageTagDetails), got.NextToken)
	}
	tag := gallerytest.Tag("latest", 1, 0)
	if first := fmt.Sprint(got.ImageTagDetails[0]); first != fmt.Sprintf("{latest 2026-03-13T15:09:27.000Z {%s 2026-03-13T15:09:26.000Z %s %s 12400000}}", tag.Digest, tag.MediaType, tag.ArtifactType) {
		t.Errorf("%s", first)
	}
	// page by page, and more than the read model gives at once
	for _, size := range []int{1, 50, 100, 110, 1000} {
		seen, token := map[string]bool{}, ""
		for {
			page := post[answer](t, h, "/describeImageTags", fmt.Sprintf(`{%s,"maxResults":%d,"nextToken":%q}`, repo, size, token))
			if len(page.ImageTagDetails) > size {
				t.Fatalf("%d tags of at most %d", len(page.ImageTagDetails), size)
			}
			for _, d := range page.ImageTagDetails {
				seen[d.ImageTag] = true
			}
			if token = page.NextToken; token == "" {
				break
			}
		}
		if len(seen) != 123 {
			t.Errorf("%d tags by %d", len(seen), size)
		}
	}
}

func TestRefusals(t *testing.T) {
	w := gallerytest.Sample()
	h := serve(w)
	type refusal struct {
		Type    string `json:"__type"`
		Message string
	}
	check := func(method, path, body string, status int, kind string) {
		t.Helper()
		rec := call(h, method, path, body)
		var got refusal
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || rec.Code != status || got.Type != kind || got.Message == "" || rec.Header().Get("x-amzn-ErrorType") != kind || strings.Contains(got.Message, "secret") {
			t.Errorf("%s %s %.60s: %d %s", method, path, body, rec.Code, rec.Body)
		}
		if rec.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s %s: pages of other origins cannot read the error", method, path)
		}
	}
	const invalid, search, tags = "InvalidParameterException", "/searchRepositoryCatalogData", "/describeImageTags"
	for _, path := range []string{tags, "/getRepositoryCatalogData"} {
		check(http.MethodPost, path, `{"registryAliasName":"harbour","repositoryName":"none"}`, 400, "RepositoryNotFoundException")
		check(http.MethodPost, path, `{"registryAliasName":"none","repositoryName":"server"}`, 400, "RegistryNotFoundException")
		check(http.MethodPost, path, `{"registryAliasName":"harbour","repositoryName":"../x"}`, 400, invalid)
		check(http.MethodPost, path, `{"repositoryName":"server"}`, 400, invalid)
		check(http.MethodPost, path, ``, 400, invalid)
	}
	check(http.MethodPost, "/getRegistryCatalogData", `{"registryAliasName":"none"}`, 400, "RegistryNotFoundException")
	check(http.MethodPost, "/getRegistryCatalogData", `{}`, 400, invalid)
	for _, body := range []string{`[]`, `{`, `"x"`, `{"searchTerm":1}`, `{"maxResults":0}`, `{"maxResults":1001}`, `{"maxResults":-1}`, `{"nextToken":"x"}`, `{"nextToken":"-1"}`, `{"nextToken":"10001"}`,
		`{"sortConfiguration":{"sortKey":"x"}}`, `{"searchTerm":"` + strings.Repeat("x", 201) + `"}`, `{"x":"` + strings.Repeat("x", 20_000) + `"}`} {
		check(http.MethodPost, search, body, 400, invalid)
	}
	check(http.MethodPost, tags, `{"registryAliasName":"harbour","repositoryName":"server","nextToken":"x"}`, 400, invalid)
	check(http.MethodPost, tags, `{"registryAliasName":"harbour","repositoryName":"server","maxResults":1001}`, 400, invalid)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		check(method, search, ``, 405, "UnsupportedCommandException")
	}
	for fails, status := range map[error]int{errors.New("secret"): 500, errs.New(errs.Unavailable, "away"): 503} {
		w.Fails = fails
		check(http.MethodPost, search, `{}`, status, "ServerException")
	}
	w.Fails = errs.New(errs.Throttled, "slower")
	check(http.MethodPost, search, `{}`, 429, "TooManyRequestsException")
}

func TestPreflight(t *testing.T) {
	rec := call(serve(gallerytest.Sample()), http.MethodOptions, "/describeImageTags", "")
	if h := rec.Header(); rec.Code != http.StatusNoContent || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Methods") != "POST, OPTIONS" || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "content-type") {
		t.Errorf("%d %v", rec.Code, h)
	}
}

func TestServes(t *testing.T) {
	for path, want := range map[string]bool{"/describeImageTags": true, "/searchRepositoryCatalogData": true, "/getRepositoryCatalogData": true, "/getRegistryCatalogData": true, "/describeimagetags": false, "/": false, "/describeImageTags/x": false} {
		if api.Serves(path) != want {
			t.Errorf("%s", path)
		}
	}
}
