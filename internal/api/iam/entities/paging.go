package entities

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// defaultPage is how many items a page has that asks for no number.
const defaultPage = 100

// markerForm begins every marker, so that what is none is mostly found out.
const markerForm = "1:"

// paging is where a page begins and how long it may be.
type paging struct {
	after string
	limit int
}

func pageOf(marker *string, maxItems *int64) (paging, error) {
	p := paging{limit: defaultPage}
	if maxItems != nil {
		p.limit = int(*maxItems)
	}
	if marker == nil {
		return p, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(*marker)
	after, ok := strings.CutPrefix(string(raw), markerForm)
	if err != nil || !ok || !utf8.ValidString(after) || strings.ContainsRune(after, 0) {
		return p, errs.New(errs.Validation, "Invalid Marker.")
	}
	p.after = after
	return p, nil
}

// cut makes the page out of up to one item more than it may have: what answers
// say of themselves. key is what the next page begins after.
func cut[T any](p paging, items []T, key func(T) string) (page []T, truncated *bool, marker *string) {
	if len(items) <= p.limit {
		return items, new(false), nil
	}
	page = items[:p.limit]
	return page, new(true), new(base64.RawURLEncoding.EncodeToString([]byte(markerForm + key(page[p.limit-1]))))
}

// pick is cut for a list that is there as a whole, in the order of its keys.
func pick[T any](p paging, all []T, key func(T) string) (page []T, truncated *bool, marker *string) {
	for len(all) > 0 && p.after != "" && key(all[0]) <= p.after {
		all = all[1:]
	}
	return cut(p, all, key)
}

// shaped turns a list into shapes. It is never nil, so that an empty list has an
// element in the answer.
func shaped[T, S any](items []T, f func(T) S) []S {
	out := make([]S, len(items))
	for i, item := range items {
		out[i] = f(item)
	}
	return out
}
