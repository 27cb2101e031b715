package direct

import (
	"errors"
	"strconv"
	"strings"
)

// maxNumber bounds the number of a placeholder; SQLite has fewer variables.
const maxNumber = 1 << 16

// passages are the parts of a text in which nothing is a placeholder: how they
// begin and how they end.
var passages = [...][2]string{{"'", "'"}, {`"`, `"`}, {"--", "\n"}, {"/*", "*/"}}

// number sets arguments and order, and returns the text with the placeholders $1,
// $2 and so on in a form whose name the driver need not look up each time: a plain
// ?, which SQLite numbers in the order of the text. One that occurs more often is ?
// with that number wherever it stands, since SQLite compares expressions by their
// texts.
func (st *statement) number() (string, error) {
	parts, err := split(st.text)
	if err != nil {
		return "", err
	}
	times := map[int]int{} // that an argument occurs
	for _, p := range parts {
		times[p.argument]++
	}
	var b strings.Builder
	variables := map[int]int{} // of the arguments that occurred
	for _, p := range parts {
		b.WriteString(p.text)
		if p.argument == 0 {
			continue
		}
		if variables[p.argument] == 0 {
			st.order = append(st.order, p.argument)
			st.arguments = max(st.arguments, p.argument)
			variables[p.argument] = len(st.order)
		}
		if strings.HasSuffix(p.text, "LIMIT ") {
			// SQLite plans for the value of a limit that is a variable and nothing else,
			// which is to parse the statement again each time that it is bound.
			b.WriteByte('+')
		}
		b.WriteByte('?')
		if times[p.argument] > 1 {
			b.WriteString(strconv.Itoa(variables[p.argument]))
		}
	}
	return b.String(), nil
}

// part is a piece of a text and the number of the placeholder behind it, 0 if
// there is none.
type part struct {
	text     string
	argument int
}

func split(text string) (parts []part, err error) {
	begin := 0
	for i := 0; i < len(text); {
		switch text[i] {
		case '\'', '"', '-', '/':
			i += passage(text[i:])
		case '?':
			return nil, errors.New("sqldb: placeholders are $1, $2 and so on, not ?")
		case '$':
			argument, n := placeholder(text[i:])
			if argument > 0 {
				parts = append(parts, part{text[begin:i], argument})
				begin = i + n
			}
			i += n
		default:
			i++
		}
	}
	return append(parts, part{text[begin:], 0}), nil
}

// passage is the length of the passage at the beginning of text, 1 if there is
// none. One that does not end is for SQLite to refuse.
func passage(text string) int {
	for _, p := range passages {
		inner, begins := strings.CutPrefix(text, p[0])
		if !begins {
			continue
		}
		if end := strings.Index(inner, p[1]); end >= 0 {
			return len(p[0]) + end + len(p[1])
		}
		return len(text)
	}
	return 1
}

// placeholder is the number behind the $ at the beginning of text, 0 if there is
// none, and the length of both.
func placeholder(text string) (argument, length int) {
	for length = 1; length < len(text) && '0' <= text[length] && text[length] <= '9'; length++ {
		argument = min(argument*10+int(text[length]-'0'), maxNumber)
	}
	return argument, length
}
