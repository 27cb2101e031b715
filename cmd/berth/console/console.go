// Package console is how the commands of berth write: JSON for programs, and what people
// read in a terminal.
//
// It does not own what a command shows.
package console

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// JSON writes v, indented by two spaces, with a line end behind it. It fails where w does,
// and for what has no JSON.
func JSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Minute is a time to the minute, in UTC.
func Minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// Plain takes out what a terminal would obey: names, reasons and what comes out of images
// may be anybody's.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// Table prints rows in aligned columns.
type Table struct{ w *tabwriter.Writer }

// NewTable begins a table, with a row of titles where there are any.
func NewTable(w io.Writer, head ...string) Table {
	t := Table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	if len(head) > 0 {
		t.Row(head...)
	}
	return t
}

// Row adds a row of Printable cells; its errors come from Flush.
func (t Table) Row(cells ...string) {
	shown := make([]string, len(cells))
	for i, c := range cells {
		shown[i] = Printable(c)
	}
	fmt.Fprintln(t.w, strings.Join(shown, "\t"))
}

// Flush writes the table.
func (t Table) Flush() error { return t.w.Flush() }

// Printable is the text of a cell: without what would move the cursor, since some texts
// are anybody's (Sids of repository policies), and never empty, so that the columns can be
// told apart.
func Printable(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
