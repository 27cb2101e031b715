package markdown

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean returns text as a page may show it: valid UTF-8 without control characters but tab
// and line break, without characters that turn the direction of writing, and without those
// that have no width. A joiner stays between characters beyond ASCII, where scripts
// and emoji need it. Line breaks are \n.
func Clean(text string) string {
	if plain(text) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	var last rune
	for i, r := range text {
		switch {
		case r == utf8.RuneError: // also what is not UTF-8
			b.WriteRune(utf8.RuneError)
		case r == '\r':
			if !strings.HasPrefix(text[i+1:], "\n") {
				b.WriteByte('\n')
			}
		case r == '\u200c' || r == '\u200d': // joiners
			next, _ := utf8.DecodeRuneInString(text[i+utf8.RuneLen(r):])
			if last < utf8.RuneSelf || next < utf8.RuneSelf || unseen(next) || next == utf8.RuneError {
				continue
			}
			b.WriteRune(r)
		case unseen(r):
			continue
		default:
			b.WriteRune(r)
		}
		last = r
	}
	return b.String()
}

// plain says whether nothing has to be cleaned, which is so for most texts.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c >= utf8.RuneSelf || c == 0x7f || c < ' ' && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}

// unseen are the characters that Clean takes out: controls, those of Unicode's category Cf
// (bidirectional formatting, zero width, tags), and the fillers and separators that show nothing.
func unseen(r rune) bool {
	switch r {
	case '\n', '\t':
		return false
	case '\u2028', '\u2029', '\u115f', '\u1160', '\u3164', '\uffa0', '\u034f', '\u2800':
		return true
	}
	return unicode.In(r, unicode.Cc, unicode.Cf) || unicode.Is(unicode.Variation_Selector, r) && r > '\ufe0f'
}
