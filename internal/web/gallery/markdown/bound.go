package markdown

import (
	"strings"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// What keeps the work for a text in proportion to its length. No text that was written for
// readers comes near.
const (
	// maxMarkers are block quotes and list items that one line may open inside each other.
	maxMarkers = 16
	// maxCells are the cells of all tables: GitHub Flavored Markdown fills short rows up to
	// the width of the first, so that a few kilobytes could become millions.
	maxCells = 20_000
	// maxInline are the brackets, and the runs of emphasis, of one paragraph: each that
	// closes looks for one that opens among all before it.
	maxInline = 1_000
	// maxTargets are the bytes of all links' addresses: many may share one that is
	// written once.
	maxTargets = 100_000
)

// bound returns source with a backslash where it would cost too much to read on.
func bound(source string) string {
	lines := strings.Split(source, "\n")
	cells, rows := maxCells, rowsBelow(lines)
	for i, line := range lines {
		line = boundMarkers(line)
		trimmed := strings.Trim(line, " \t>")
		if columns := delimiter(trimmed); columns > 0 {
			if columns *= rows[i]; columns > cells {
				at := strings.IndexAny(line, "|:-")
				line = line[:at] + `\` + line[at:]
			} else {
				cells -= columns
			}
		}
		lines[i] = line
	}
	return strings.Join(lines, "\n")
}

// boundMarkers ends a line's block quotes and list items after maxMarkers.
func boundMarkers(line string) string {
	markers := 0
	for at := 0; at < len(line); {
		switch c := line[at]; {
		case c == ' ' || c == '\t':
			at++
			continue
		case c == '>', strings.IndexByte("-+*", c) >= 0 && at+1 < len(line) && (line[at+1] == ' ' || line[at+1] == '\t'):
			at++
		case c >= '0' && c <= '9':
			n := at
			for n < len(line) && line[n] >= '0' && line[n] <= '9' {
				n++
			}
			if n >= len(line) || line[n] != '.' && line[n] != ')' {
				return line
			}
			at = n + 1
		default:
			return line
		}
		if markers++; markers == maxMarkers && at < len(line) {
			rest := strings.TrimLeft(line[at:], " \t")
			if strings.Trim(rest, "-*_ \t") == "" {
				return line[:at] // a rule, or markers of nothing
			}
			return line[:at] + ` \` + rest
		}
	}
	return line
}

// delimiter is the number of columns if a line could be the one below a table's head, 0 if
// not.
func delimiter(trimmed string) int {
	if strings.Trim(trimmed, "|:- \t") != "" || !strings.Contains(trimmed, "-") {
		return 0
	}
	if pipes := strings.Count(trimmed, "|"); pipes > 0 {
		return pipes + 1
	}
	return 0 // one column at most: no short rows
}

// rowsBelow counts, for each line, the lines from it to the next empty one.
func rowsBelow(lines []string) []int {
	rows := make([]int, len(lines)+1)
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.Trim(lines[i], " \t>") != "" {
			rows[i] = rows[i+1] + 1
		}
	}
	return rows
}

// limited is one of goldmark's parsers that stops to see anything in a paragraph after it was
// asked maxInline times.
type limited struct {
	parser.InlineParser
	asked parser.ContextKey
}

// Parse asks the parser.
func (l limited) Parse(parent ast.Node, block text.Reader, pc parser.Context) ast.Node {
	n, _ := pc.Get(l.asked).(int)
	if n >= maxInline {
		return nil
	}
	pc.Set(l.asked, n+1)
	return l.InlineParser.Parse(parent, block, pc)
}

// CloseBlock ends a paragraph.
func (l limited) CloseBlock(parent ast.Node, block text.Reader, pc parser.Context) {
	pc.Set(l.asked, 0)
	if c, ok := l.InlineParser.(parser.CloseBlocker); ok {
		c.CloseBlock(parent, block, pc)
	}
}
