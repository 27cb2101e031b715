package jsontree

import (
	"fmt"
	"strings"
)

// Compact writes the value without any space between its tokens.
func (n *Node) Compact() string {
	w := writer{colon: ":"}
	w.value(n, 0)
	return w.b.String()
}

// Pretty writes the value as Jackson's DefaultPrettyPrinter does, which ECR
// returns policies with: members on lines of their own, two
// spaces a level, arrays on one line.
func (n *Node) Pretty() string {
	w := writer{colon: " : ", pretty: true}
	w.value(n, 0)
	return w.b.String()
}

type writer struct {
	b      strings.Builder
	colon  string
	pretty bool
}

// value writes n, which depth objects enclose. Arrays do not count, as in
// Jackson.
func (w *writer) value(n *Node, depth int) {
	switch n.Kind {
	case Object:
		w.b.WriteByte('{')
		for i, m := range n.Members {
			if i > 0 {
				w.b.WriteByte(',')
			}
			w.line(depth + 1)
			w.string(m.Key)
			w.b.WriteString(w.colon)
			w.value(m.Value, depth+1)
		}
		if len(n.Members) > 0 {
			w.line(depth)
		} else if w.pretty {
			w.b.WriteByte(' ')
		}
		w.b.WriteByte('}')
	case Array:
		w.b.WriteByte('[')
		for i, item := range n.Items {
			if i > 0 {
				w.b.WriteByte(',')
			}
			w.gap()
			w.value(item, depth)
		}
		w.gap()
		w.b.WriteByte(']')
	case String:
		w.string(n.Text)
	default: // Number, Bool, Null
		w.b.WriteString(n.Text)
	}
}

func (w *writer) gap() {
	if w.pretty {
		w.b.WriteByte(' ')
	}
}

func (w *writer) line(depth int) {
	if w.pretty {
		w.b.WriteByte('\n')
		for range depth {
			w.b.WriteString("  ")
		}
	}
}

// string writes a string with the escapes that JSON demands and no other, as
// Jackson does.
func (w *writer) string(s string) {
	w.b.WriteByte('"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		w.b.WriteString(s[start:i])
		start = i + 1
		if j := strings.IndexByte("\"\\\b\f\n\r\t", c); j >= 0 {
			w.b.WriteByte('\\')
			w.b.WriteByte(`"\bfnrt`[j])
		} else {
			fmt.Fprintf(&w.b, `\u%04X`, c)
		}
	}
	w.b.WriteString(s[start:])
	w.b.WriteByte('"')
}
