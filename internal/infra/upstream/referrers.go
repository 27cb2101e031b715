package upstream

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

const (
	// indexType is the media type of a list of referrers.
	indexType = "application/vnd.oci.image.index.v1+json"
	// maxPages is how many pages of a list are read.
	maxPages = 20
)

// referrerIndex is a list of referrers, with its entries as they came.
type referrerIndex struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Manifests     []json.RawMessage `json:"manifests"`
}

// Referrers reads the index of what refers to a digest, of one artifact type or,
// with "", of all. Pages are put together. A registry without the referrers API is
// asked for the tag that stands in for it (OCI distribution specification,
// "Referrers Tag Schema"); where there is none either, the index is empty. What the
// entries say is not verified.
func (c *Client) Referrers(ctx context.Context, e Endpoint, repo, digest string, artifactType string) (index []byte, err error) {
	if _, ok := digestAlgorithm(digest); !ok || !repositoryName.MatchString(repo) {
		return nil, unnamed(repo, digest)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeouts.Manifest, errSlow)
	defer cancel()
	query := url.Values{}
	if artifactType != "" {
		query.Set("artifactType", artifactType)
	}
	t, err := c.start(e, repo, http.MethodGet, "/v2/"+repo+"/referrers/"+digest, query)
	if err != nil {
		return nil, err
	}
	all := referrerIndex{SchemaVersion: 2, MediaType: indexType, Manifests: []json.RawMessage{}}
	left := c.maxManifest
	for page := 0; ; page++ {
		if page == maxPages {
			return nil, t.fail(Invalid, 0, "has more than %d pages of referrers", maxPages)
		}
		one, next, n, err := c.referrers(ctx, t, left, page == 0)
		switch {
		case KindOf(err) == NotFound && page == 0:
			if one, err = c.referrersTag(ctx, e, repo, digest); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		}
		left -= n
		for _, entry := range one {
			if artifactType == "" || artifactTypeOf(entry) == artifactType {
				all.Manifests = append(all.Manifests, entry)
			}
		}
		if next == nil {
			return json.Marshal(all)
		}
		t.at = next
	}
}

// referrers reads one page, its size and where the next one is.
func (c *Client) referrers(ctx context.Context, t call, limit int64, first bool) (entries []json.RawMessage, next *url.URL, n int64, err error) {
	resp, at, err := c.ok(ctx, t, http.Header{"Accept": {indexType}})
	if err != nil {
		return nil, nil, 0, err
	}
	defer drain(resp)
	body, err := c.readAll(ctx, at, resp, limit)
	if err != nil {
		return nil, nil, 0, err
	}
	entries, ok := readIndex(resp.Header, body)
	if !ok {
		if first && mediaType(resp.Header) != indexType {
			// A registry that answers all paths with some page has no referrers API.
			return nil, nil, 0, at.fail(NotFound, resp.StatusCode, "answers with no list of referrers")
		}
		return nil, nil, 0, at.fail(Invalid, resp.StatusCode, "answers with no list of referrers")
	}
	next, ok = nextPage(at.at, resp.Header.Values("Link"))
	if !ok || (next != nil && !t.site.same(next)) {
		return nil, nil, 0, at.fail(Invalid, resp.StatusCode, "continues its list of referrers elsewhere")
	}
	return entries, next, int64(len(body)), nil
}

// referrersTag reads the list from the tag that registries without the API have.
func (c *Client) referrersTag(ctx context.Context, e Endpoint, repo, digest string) ([]json.RawMessage, error) {
	m, err := c.Manifest(ctx, e, repo, strings.Replace(digest, ":", "-", 1), []string{indexType})
	if KindOf(err) == NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, ok := readIndex(http.Header{"Content-Type": {m.MediaType}}, m.Body)
	if !ok {
		return nil, nil // somebody's own tag of that name
	}
	return entries, nil
}

func readIndex(h http.Header, body []byte) ([]json.RawMessage, bool) {
	var index referrerIndex
	ok := mediaType(h) == indexType && json.Unmarshal(body, &index) == nil
	return index.Manifests, ok
}

func artifactTypeOf(entry json.RawMessage) string {
	var d struct {
		ArtifactType string `json:"artifactType"`
	}
	if json.Unmarshal(entry, &d) != nil {
		return ""
	}
	return d.ArtifactType
}

// nextPage finds the next page in Link headers (RFC 8288), nil where there is
// none, false where it cannot be read.
func nextPage(at *url.URL, links []string) (*url.URL, bool) {
	for _, link := range links {
		address, params, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
		if !ok || !strings.Contains(strings.ReplaceAll(params, " ", ""), `rel="next"`) {
			continue
		}
		next, err := at.Parse(address)
		return next, err == nil
	}
	return nil, true
}
