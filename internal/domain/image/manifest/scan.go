package manifest

import (
	"bytes"
	"encoding/json"
	"strings"
)

// scanner goes through a text that is known to be valid JSON. On any other it ends
// somewhere, without saying so.
type scanner struct {
	b []byte
	i int
}

// next passes over white space and returns the byte behind it, 0 at the end.
func (s *scanner) next() byte {
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// each reads an object or a list up to its last byte. read has to pass over one of
// its members or elements; its error ends the reading.
func (s *scanner) each(end byte, read func() error) error {
	s.i++ // the first byte
	for {
		switch s.next() {
		case end, 0:
			s.i++
			return nil
		case ',':
			s.i++
		}
		if err := read(); err != nil {
			return err
		}
	}
}

// key passes over the name of a member and the colon, and returns the name.
func (s *scanner) key() string {
	s.next()
	key, _ := unquote(s.skip())
	s.next()
	s.i++
	return key
}

// skip passes over a value of any kind and returns its text.
func (s *scanner) skip() []byte {
	first := s.next()
	start := s.i
	switch first {
	case '"':
		s.skipString()
	case '{', '[':
		for depth := 0; s.i < len(s.b); {
			switch s.b[s.i] {
			case '"':
				s.skipString()
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			if s.i++; depth == 0 {
				break
			}
		}
	default:
		for s.i++; s.i < len(s.b) && strings.IndexByte(",]} \t\n\r", s.b[s.i]) < 0; s.i++ {
		}
	}
	return s.b[start:min(s.i, len(s.b))]
}

func (s *scanner) skipString() {
	for s.i++; s.i < len(s.b); s.i++ {
		switch s.b[s.i] {
		case '\\':
			s.i++
		case '"':
			s.i++
			return
		}
	}
}

// unquote reads a string; false for what is none.
func unquote(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if plain := raw[1 : len(raw)-1]; bytes.IndexByte(plain, '\\') < 0 {
		return string(plain), true
	}
	var text string
	err := json.Unmarshal(raw, &text)
	return text, err == nil
}
