package oci

import (
	"encoding/base64"
	"net/url"
	"strconv"

	"github.com/berth-registry/berth/internal/api/oci/problem"
	"github.com/berth-registry/berth/internal/api/oci/transfer"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
)

// Page sizes of tags/list and _catalog. ECR's page is 100 where the client says
// nothing; the specification's client that says nothing wants everything, and
// gets the largest page.
const (
	maxPage    = 1000
	quirksPage = 100
)

// pageSize reads n. Beyond the maximum the page is the largest one, with a
// Link to the next; ECR refuses.
func (a *API) pageSize(c *call) (int, error) {
	text, ok := c.query("n")
	if !ok || text == "" {
		if a.c.Quirks {
			return quirksPage, nil
		}
		return maxPage, nil
	}
	n, err := transfer.Number(text)
	switch {
	case err != nil:
		return 0, a.invalid(problem.Unsupported, "maxResults", "Member must be a whole number")
	case n > maxPage && a.c.Quirks:
		return 0, a.invalid(problem.Unsupported, "maxResults", "Member must have value less than or equal to 1000")
	}
	return int(min(n, maxPage)), nil
}

// link is the Link header's value for the page after this one (RFC 8288). It is
// relative, so that it holds behind any proxy; ECR's is absolute.
func (a *API) link(c *call, path string, query url.Values) []string {
	target := path + "?" + query.Encode()
	if a.c.Quirks {
		target = c.base + target
	}
	return []string{"<" + target + `>; rel="next"`}
}

// nextPage is the link to the page behind last, of the size that was asked for.
func (a *API) nextPage(c *call, path string, n int, last string) []string {
	query := url.Values{"last": {last}}
	if _, ok := c.query("n"); ok {
		query.Set("n", strconv.Itoa(n))
	}
	return a.link(c, path, query)
}

// cursor reads a `last` that is a page token; without one it is the beginning.
func (a *API) cursor(c *call) (image.Cursor, error) {
	token, _ := c.query("last")
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", errs.Parameter("nextToken", "Invalid token")
	}
	return image.Cursor(text), nil
}

// pageToken writes a cursor so that nobody takes it for anything but a token.
func pageToken(next image.Cursor) string { return base64.RawURLEncoding.EncodeToString([]byte(next)) }

// list answers one page of tags/list or _catalog, with the link to the next.
func (a *API) list(document any, link []string) (response, error) {
	contentType := "application/json"
	if a.c.Quirks {
		contentType = "text/plain; charset=utf-8"
	}
	resp, err := jsonResponse(contentType, document)
	if err == nil && link != nil {
		resp.header["Link"] = link
	}
	return resp, err
}
