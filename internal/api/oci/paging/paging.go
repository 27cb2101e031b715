// Package paging is how the registry's lists are cut into pages: their sizes, the
// tokens, and the link to the next one. What is listed is api/oci's.
package paging

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

// Pages cuts lists into pages. Quirks asks for ECR's ways where they break the
// specification.
type Pages struct{ Quirks bool }

// Size reads n out of a query. Beyond the maximum the page is the largest one,
// with a Link to the next; ECR refuses.
func (p Pages) Size(query url.Values) (int, error) {
	text := query.Get("n")
	if text == "" {
		if p.Quirks {
			return quirksPage, nil
		}
		return maxPage, nil
	}
	n, err := transfer.Number(text)
	switch {
	case err != nil:
		return 0, problem.Invalid(p.Quirks, problem.Unsupported, "maxResults", "Member must be a whole number")
	case n > maxPage && p.Quirks:
		return 0, problem.Invalid(p.Quirks, problem.Unsupported, "maxResults", "Member must have value less than or equal to 1000")
	}
	return int(min(n, maxPage)), nil
}

// Link is the Link header's value for the page after this one (RFC 8288). It is
// relative, so that it holds behind any proxy; ECR's is absolute, below base.
func (p Pages) Link(base, path string, query url.Values) []string {
	target := path + "?" + query.Encode()
	if p.Quirks {
		target = base + target
	}
	return []string{"<" + target + `>; rel="next"`}
}

// Next is the link to the page behind last, of the size that was asked for.
func (p Pages) Next(base, path string, asked url.Values, n int, last string) []string {
	query := url.Values{"last": {last}}
	if asked.Has("n") {
		query.Set("n", strconv.Itoa(n))
	}
	return p.Link(base, path, query)
}

// Cursor reads a `last` that is a page token; without one it is the beginning.
func Cursor(query url.Values) (image.Cursor, error) {
	text, err := base64.RawURLEncoding.DecodeString(query.Get("last"))
	if err != nil {
		return "", errs.Parameter("nextToken", "Invalid token")
	}
	return image.Cursor(text), nil
}

// Token writes a cursor so that nobody takes it for anything but a token.
func Token(next image.Cursor) string { return base64.RawURLEncoding.EncodeToString([]byte(next)) }
