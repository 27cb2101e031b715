package policies

import (
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// pageSize is what a page holds when the request does not say.
const pageSize = 100

func limitOf(maxItems *int64) int {
	if maxItems == nil {
		return pageSize
	}
	return int(*maxItems)
}

// markerOf makes a marker out of the keys of a page's last item.
func markerOf(keys ...string) *string {
	return new(base64.URLEncoding.EncodeToString([]byte(strings.Join(keys, "\x00"))))
}

// cursor opens a marker of n keys; without one all keys are "".
func cursor(marker *string, n int) ([]string, error) {
	if marker == nil {
		return make([]string, n), nil
	}
	b, err := base64.URLEncoding.DecodeString(*marker)
	keys := strings.Split(string(b), "\x00")
	if err != nil || len(keys) != n || keys[0] == "" {
		return nil, errInvalidMarker()
	}
	return keys, nil
}

func errInvalidMarker() error { return errs.New(errs.Validation, "Invalid Marker.") }

// page cuts a list that was read with one item more than wanted. The marker is
// nil on the last page.
func page[T any](all []T, limit int, keys func(T) []string) (items []T, truncated *bool, marker *string) {
	if len(all) <= limit {
		return all, new(false), nil
	}
	return all[:limit], new(true), markerOf(keys(all[limit-1])...)
}

// mapped translates a list; it is never nil, so that the answer has the element.
func mapped[T, U any](all []T, f func(T) U) []U {
	out := make([]U, len(all))
	for i, v := range all {
		out[i] = f(v)
	}
	return out
}

// encoded is a policy document as IAM's answers have it: URL-encoded (RFC 3986).
func encoded(document string) *string {
	return new(strings.ReplaceAll(url.QueryEscape(document), "+", "%20"))
}

// or is what a text says, or the standard for one that was not given.
func or[T ~string](given *T, standard T) T {
	if given == nil {
		return standard
	}
	return *given
}
