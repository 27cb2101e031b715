package paging_test

import (
	"net/url"
	"testing"

	"github.com/berth-registry/berth/internal/api/oci/paging"
)

// BenchmarkPage reads what a request asks for and writes the link to the page behind it.
func BenchmarkPage(b *testing.B) {
	query := url.Values{"n": {"100"}, "last": {paging.Token("v1.4.0")}}
	var pages paging.Pages
	b.ReportAllocs()
	for b.Loop() {
		n, err := pages.Size(query)
		if err != nil {
			b.Fatal(err)
		}
		next, err := paging.Cursor(query)
		if err != nil {
			b.Fatal(err)
		}
		if link := pages.Next("https://registry.example", "/v2/platform/checkout/tags/list", query, n, paging.Token(next)); len(link) != 1 {
			b.Fatal(link)
		}
	}
}
