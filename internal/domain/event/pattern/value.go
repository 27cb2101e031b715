package pattern

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// matcher says whether a value will do.
type matcher func(v value) bool

// exactly is a plain value of a pattern: the same type, and equal; addresses are equal in
// all their spellings.
func exactly(want value) matcher {
	if want.kind == kindString && want.addr.IsValid() {
		return func(v value) bool { return v.addr == want.addr }
	}
	return same(want)
}

// same is a value of the same type that is equal, by text or as a number.
func same(want value) matcher {
	return func(v value) bool {
		return v.kind == want.kind && (v.text == want.text || (v.kind == kindNumber && v.number.equal(want.number)))
	}
}

// onString is a test that only strings can pass.
func onString(test func(string) bool) matcher {
	return func(v value) bool { return v.kind == kindString && test(v.text) }
}

// not lets all values through, of any type, but those refused.
func not(refused []matcher, wild []string) parsed {
	return parsed{wild: wild, match: func(v value) bool {
		return !slices.ContainsFunc(refused, func(m matcher) bool { return m(v) })
	}}
}

// foldRune says whether a character is the wanted one in upper or lower case.
func foldRune(want, have rune) bool {
	return want == have || unicode.ToLower(want) == have || unicode.ToUpper(want) == have
}

func equalFold(want string) func(string) bool {
	return func(s string) bool {
		rest, ok := cutPrefixFold(want, s)
		return ok && rest == ""
	}
}

func prefixFold(want string) func(string) bool {
	return func(s string) bool {
		_, ok := cutPrefixFold(want, s)
		return ok
	}
}

func suffixFold(want string) func(string) bool {
	length := utf8.RuneCountInString(want)
	return func(s string) bool {
		// As many characters from the end; upper and lower case may differ in bytes.
		at := len(s)
		for range length {
			_, size := utf8.DecodeLastRuneInString(s[:at])
			if size == 0 {
				return false
			}
			at -= size
		}
		rest, ok := cutPrefixFold(want, s[at:])
		return ok && rest == ""
	}
}

// cutPrefixFold is what stands in s behind the wanted text.
func cutPrefixFold(want, s string) (rest string, ok bool) {
	for _, r := range want {
		have, size := utf8.DecodeRuneInString(s)
		if size == 0 || !foldRune(r, have) {
			return "", false
		}
		s = s[size:]
	}
	return s, true
}

// wildcard is a text with gaps of any length.
type wildcard struct {
	parts []string // what stands between the gaps
}

func (w wildcard) match(s string) bool {
	first, last := w.parts[0], w.parts[len(w.parts)-1]
	if len(w.parts) == 1 {
		return s == first
	}
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range w.parts[1 : len(w.parts)-1] { // each as early as can be
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}
