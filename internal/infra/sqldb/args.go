package sqldb

import (
	"strconv"
	"strings"
)

// In returns the placeholders of an IN list with n values, the first of which
// is $from: In(3, 2) is "($3,$4)". n must be at least 1, since SQL has no empty
// list.
func In(from, n int) string {
	var b strings.Builder
	b.WriteByte('(')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(from + i))
	}
	b.WriteByte(')')
	return b.String()
}
