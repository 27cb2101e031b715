package qr

import (
	"slices"
	"testing"
)

// A published example: "HELLO WORLD" in letters, 1-M, with its ten words of
// error correction.
func TestRemainder(t *testing.T) {
	data := []byte{32, 91, 11, 120, 209, 114, 220, 77, 67, 64, 236, 17, 236, 17, 236, 17}
	want := []byte{196, 35, 39, 119, 235, 215, 231, 226, 93, 23}
	if got := remainder(data, generator(10)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The tables agree: blocks are never more than one word apart, and all words
// are used.
func TestTables(t *testing.T) {
	total := map[int]int{1: 26, 2: 44, 7: 196, 10: 346, 15: 655, 25: 1588, 32: 2465, 40: 3706}
	for v := 1; v <= maxVersion; v++ {
		if want, ok := total[v]; ok && totalWords(v) != want {
			t.Errorf("version %d has %d words, want %d", v, totalWords(v), want)
		}
		words := interleave(v, make([]byte, capacity(v)))
		if len(words) != totalWords(v) {
			t.Errorf("version %d: %d words of %d", v, len(words), totalWords(v))
		}
		if v > 1 && capacity(v) <= capacity(v-1) {
			t.Errorf("version %d holds less than the one before", v)
		}
	}
}
