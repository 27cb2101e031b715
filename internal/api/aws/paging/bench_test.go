package paging

import "testing"

// BenchmarkTokens makes a page's token and opens it.
func BenchmarkTokens(b *testing.B) {
	tokens := Tokens{Key: make([]byte, 32)}
	const cursor = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:v1.4.0"
	b.ReportAllocs()
	for b.Loop() {
		if got, err := tokens.Cursor("images/4711/0", tokens.Token("images/4711/0", cursor)); err != nil || got != cursor {
			b.Fatal(got, err)
		}
	}
}
