package search

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	// MaxQuery is how many characters of a query are looked at.
	MaxQuery = 200
	// MaxWords is how many different words of a query are looked for.
	MaxWords = 8
	// maxWord bounds a word, in bytes: what is longer is cut, in documents and queries.
	maxWord = 64
	// maxText bounds what is indexed of one field of a document, in bytes.
	maxText = 8 << 10
)

// words cuts a text into its folded words, in their order, and gives each to yield until
// that says false.
func words(text string, yield func(word string) bool) {
	if len(text) > maxText {
		text = text[:maxText]
	}
	plain := true
	for i := 0; i < len(text); i++ {
		if text[i] >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if plain {
		cut(strings.ToLower(text), yield)
		return
	}
	var folded strings.Builder
	folded.Grow(len(text))
	for _, r := range norm.NFKD.String(strings.ToValidUTF8(text, " ")) {
		switch {
		case unicode.Is(unicode.Mn, r), r == '\u200d', r == '\u200c', r == '\u00ad': // accents, joiners, soft hyphens
		default:
			folded.WriteRune(unicode.ToLower(unicode.ToUpper(r))) // some letters meet only by way of the upper case
		}
	}
	// What is lower case now may have come apart again.
	cut(strings.Map(withoutAccent, norm.NFKD.String(folded.String())), yield)
}

func withoutAccent(r rune) rune {
	if unicode.Is(unicode.Mn, r) {
		return -1
	}
	return r
}

// cut gives the words of a folded text.
func cut(text string, yield func(string) bool) {
	start := -1
	for i, r := range text {
		letter := unicode.IsLetter(r) || unicode.IsNumber(r)
		alone := r >= 0x2e80 && letter && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana)
		if letter && !alone {
			if start < 0 {
				start = i
			}
			continue
		}
		if start >= 0 && !yield(shorten(text[start:i])) {
			return
		}
		start = -1
		if alone && !yield(text[i:i+utf8.RuneLen(r)]) {
			return
		}
	}
	if start >= 0 {
		yield(shorten(text[start:]))
	}
}

// shorten cuts a word to maxWord bytes, between two characters.
func shorten(word string) string {
	if len(word) <= maxWord {
		return word
	}
	n := maxWord
	for !utf8.RuneStart(word[n]) {
		n--
	}
	return word[:n]
}

// queryWords are the distinct words of a query, the last one in its text at the end.
func queryWords(text string) []string {
	if utf8.RuneCountInString(text) > MaxQuery {
		n := 0
		for i := range text {
			if n == MaxQuery {
				text = text[:i]
				break
			}
			n++
		}
	}
	var all []string
	words(text, func(word string) bool {
		for i, w := range all {
			if w == word { // its last place counts, for the last word may be a beginning
				all = append(all[:i], all[i+1:]...)
				break
			}
		}
		all = append(all, word)
		return len(all) < MaxWords
	})
	return all
}

// hasDigit says whether a word has a digit in it.
func hasDigit(word string) bool { return strings.IndexFunc(word, unicode.IsNumber) >= 0 }

// signature is a set of the characters of a word, coarsely: two words at an edit distance
// of d have signatures that differ in 2d bits at most.
func signature(word string) uint32 {
	var s uint32
	for _, r := range word {
		s |= 1 << (uint32(r) * 2654435761 >> 27)
	}
	return s
}

// within says whether the edit distance of two words is most at most, with two letters
// swapped as one change (optimal string alignment), and what it is. Words are at most
// maxWord characters long.
func within(a, b []rune, most int) (int, bool) {
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return 0, false
	}
	var rows [3][maxWord + 1]int
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := 0; j <= len(b); j++ {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		best := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, before[j-2]+1)
			}
			row[j] = d
			best = min(best, d)
		}
		if best > most {
			return 0, false
		}
		before, last, row = last, row, before
	}
	return last[len(b)], last[len(b)] <= most
}
