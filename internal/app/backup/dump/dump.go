// Package dump writes all rows of a deployment's database as text that depends on
// no engine, and loads them into another one.
//
// It knows no table but for those in its lists of exceptions (leftOut, stands,
// seeded): what tables there are, the database says. Where a dump is kept is for
// package backup.
//
// A dump is lines of JSON: the Header, then for each table its Table and its rows,
// one array a line, then the end, which counts them. Integers are numbers, bytes
// base64. Tables come in an order in which each follows those that it refers to,
// rows in that of the primary key.
package dump

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/app/backends"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/catalogue"
)

// dumpFormat changes when an older program would read a dump wrongly.
const dumpFormat = 1

// Header begins a dump.
type Header struct {
	// Format is that of the dump, 1 so far.
	Format int `json:"berthDump"`
	// Version is the form of the database: the highest number of its migrations.
	Version int64 `json:"schemaVersion"`
	// Program is the version of the program that wrote the dump.
	Program string `json:"program"`
	// Taken is when the reading began.
	Taken time.Time `json:"taken"`
	// Account and Region are the deployment's default ones.
	Account name.AccountID `json:"account"`
	Region  name.Region    `json:"region"`
}

// Table begins a table.
type Table struct {
	Name    string   `json:"table"`
	Columns []Column `json:"columns"`
}

// Column says what a value of each row is.
type Column struct {
	Name string         `json:"name"`
	Kind catalogue.Kind `json:"kind"`
}

// endLine ends a dump; Error is why it ended early.
type endLine struct {
	Rows  map[string]int64 `json:"rows,omitempty"`
	Error string           `json:"error,omitempty"`
}

// leftOut are tables that do not belong to a backup. Upload sessions, in
// PostgreSQL's tables without a log, do not either.
func leftOut(t catalogue.Table) bool {
	switch t.Name {
	case "keyring", // has a file of its own: what seals it differs from one deployment to the next
		"layer_hold",      // belongs to those who copy from this deployment
		"garbage",         // names objects that are not copied
		"layer_reconcile", // speaks of this deployment's stores
		"scan_database",   // speaks of objects that are not copied: who restores imports anew
		"scan_database_state",
		"quota_demand", "event_stream", "usage_task": // speak of its nodes
		return true
	}
	return t.Volatile || t.Name == backends.VersionTable || strings.HasPrefix(t.Name, backends.VersionTable+"_")
}

// stands gives the columns of a table whose rows are written differently from how
// they stand. A job that runs waits, in the backup, as one that was not begun.
func stands(table, column string) string {
	if table == "job" {
		switch column {
		case "state":
			return `CASE WHEN state = 1 THEN 0 ELSE state END`
		case "attempt":
			return `CASE WHEN state = 1 AND attempt > 0 THEN attempt - 1 ELSE attempt END`
		case "again":
			return `again AND state <> 1`
		case "owner":
			return `CASE WHEN state = 1 THEN '' ELSE owner END`
		case "lease_until":
			return `CASE WHEN state = 1 THEN 0 ELSE lease_until END`
		}
	}
	return quote(column)
}

// quote writes a name of the database's own as SQL has it.
func quote(id string) string { return `"` + strings.ReplaceAll(id, `"`, `""`) + `"` }

// Write writes all rows of the database to w, as they stand at one moment. h needs
// no Format and no Version.
func Write(ctx context.Context, db *sqldb.DB, h Header, w io.Writer) error {
	out := bufio.NewWriterSize(w, 256<<10)
	rows := map[string]int64{}
	err := db.Snapshot(ctx, func(tx *sqldb.Tx) error {
		h.Format = dumpFormat
		if err := tx.QueryRow(ctx, `SELECT max(version_id) FROM `+backends.VersionTable+` WHERE is_applied`).Scan(&h.Version); err != nil {
			return err
		}
		if err := writeLine(out, h); err != nil {
			return err
		}
		tables, err := catalogue.Read(ctx, tx)
		if err != nil {
			return err
		}
		for _, t := range tables {
			if leftOut(t) {
				continue
			}
			if rows[t.Name], err = dumpTable(ctx, tx, t, out); err != nil {
				return fmt.Errorf("the table %s: %w", t.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := writeLine(out, endLine{Rows: rows}); err != nil {
		return err
	}
	return out.Flush()
}

func dumpTable(ctx context.Context, tx *sqldb.Tx, t catalogue.Table, out *bufio.Writer) (n int64, err error) {
	line := Table{Name: t.Name}
	var columns, order []string
	var dest []any
	for _, c := range t.Columns {
		line.Columns = append(line.Columns, Column(c))
		columns = append(columns, stands(t.Name, c.Name)+" AS "+quote(c.Name))
		d := newValue(c.Kind)
		if d == nil {
			return 0, fmt.Errorf("the column %s has a type that backups do not know", c.Name)
		}
		dest = append(dest, d)
	}
	for _, k := range t.Key {
		order = append(order, "t."+quote(k))
	}
	if err := writeLine(out, line); err != nil {
		return 0, err
	}
	query := `SELECT ` + strings.Join(columns, ", ") + ` FROM ` + quote(t.Name) + ` AS t`
	if len(order) > 0 {
		query += ` ORDER BY ` + strings.Join(order, ", ")
	}
	rows, err := tx.Query(ctx, query)
	if err != nil {
		return 0, err
	}
	var text []byte
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return n, closing(rows, err)
		}
		if text, err = appendRow(text[:0], dest); err != nil {
			return n, closing(rows, err)
		}
		if _, err := out.Write(text); err != nil {
			return n, closing(rows, err)
		}
		n++
	}
	return n, rows.Err()
}

// closing ends rows after another error, which is the one to report.
func closing(rows *sqldb.Rows, err error) error {
	_ = rows.Close() // err came first
	return err
}

func writeLine(out *bufio.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = out.Write(append(text, '\n'))
	return err
}

// newValue is where a column is read to, nil for an unknown kind.
func newValue(k catalogue.Kind) any {
	switch k {
	case catalogue.Integer:
		return new(*int64)
	case catalogue.Boolean:
		return new(*bool)
	case catalogue.Text:
		return new(*string)
	case catalogue.Bytes:
		return new([]byte)
	}
	return nil
}

func appendRow(b []byte, values []any) ([]byte, error) {
	for i, v := range values {
		b = append(b, "[,"[min(i, 1)])
		switch v := v.(type) {
		case **int64:
			if *v != nil {
				b = strconv.AppendInt(b, **v, 10)
				continue
			}
		case **bool:
			if *v != nil {
				b = strconv.AppendBool(b, **v)
				continue
			}
		case **string:
			if *v != nil {
				if !utf8.ValidString(**v) {
					return nil, fmt.Errorf("a text is not valid UTF-8: %q", **v)
				}
				text, err := json.Marshal(**v)
				if err != nil {
					return nil, err
				}
				b = append(b, text...)
				continue
			}
		case *[]byte:
			b = append(b, '"')
			b = base64.StdEncoding.AppendEncode(b, *v)
			b = append(b, '"')
			continue
		}
		b = append(b, "null"...)
	}
	return append(b, "]\n"...), nil
}

// Fail ends a dump that could not be written to its end.
func Fail(w io.Writer, err error) error {
	return json.NewEncoder(w).Encode(endLine{Error: err.Error()})
}

// Visitor is told what stands in a dump. A func that is nil is not called.
type Visitor struct {
	Header func(Header) error
	Table  func(Table) error
	// Row gets the values of a row as the kinds say: int64, bool, string, []byte or
	// nil. It must not keep the slice.
	Row func(t Table, values []any) error
	// Only skips the rows of all tables but those named; nil: none is skipped.
	Only []string
}

// Read goes through a dump and makes sure that it is whole. It returns how many
// rows each table has.
func Read(r io.Reader, v Visitor) (map[string]int64, error) {
	in := bufio.NewReaderSize(r, 256<<10)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil, cutOff(err)
	}
	var h Header
	if err := json.Unmarshal(line, &h); err != nil {
		return nil, fmt.Errorf("this is no dump of a database: %w", err)
	}
	if h.Format != dumpFormat {
		var end endLine
		if json.Unmarshal(line, &end) == nil && end.Error != "" {
			return nil, fmt.Errorf("the database could not be read: %s", end.Error)
		}
		return nil, fmt.Errorf("the dump has the format %d, which this program does not know: use the version of Berth that wrote it, or a newer one", h.Format)
	}
	if v.Header != nil {
		if err := v.Header(h); err != nil {
			return nil, err
		}
	}
	rows := map[string]int64{}
	var table Table
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return nil, cutOff(err)
		}
		if line[0] == '[' {
			rows[table.Name]++
			if v.Row == nil || v.Only != nil && !slices.Contains(v.Only, table.Name) {
				continue
			}
			values, err := parseRow(line, table.Columns)
			if err == nil {
				err = v.Row(table, values)
			}
			if err != nil {
				return nil, fmt.Errorf("the table %s: %w", table.Name, err)
			}
			continue
		}
		var next struct {
			Table
			endLine
		}
		if err := json.Unmarshal(line, &next); err != nil {
			return nil, fmt.Errorf("the dump is damaged: %w", err)
		}
		switch {
		case next.Error != "":
			return nil, fmt.Errorf("the database could not be read to its end: %s", next.Error)
		case next.Name == "":
			return rows, Compare(rows, next.Rows)
		}
		table = next.Table
		rows[table.Name] = 0
		if v.Table != nil {
			if err := v.Table(table); err != nil {
				return nil, err
			}
		}
	}
}

func cutOff(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the dump ends before its end: %w", err)
}

// Compare holds the rows that were counted against those that there should be.
func Compare(got, want map[string]int64) error {
	for t, n := range want {
		if got[t] != n {
			return fmt.Errorf("the table %s has %d rows and should have %d", t, got[t], n)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("there are %d tables and should be %d", len(got), len(want))
	}
	return nil
}

func parseRow(line []byte, columns []Column) ([]any, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(line, &raw); err != nil {
		return nil, fmt.Errorf("the dump is damaged: %w", err)
	}
	if len(raw) != len(columns) {
		return nil, fmt.Errorf("the dump is damaged: a row has %d values for %d columns", len(raw), len(columns))
	}
	values := make([]any, len(raw))
	for i, text := range raw {
		if string(text) == "null" {
			continue
		}
		var err error
		switch columns[i].Kind {
		case catalogue.Integer:
			values[i], err = strconv.ParseInt(string(text), 10, 64)
		case catalogue.Boolean:
			values[i], err = strconv.ParseBool(string(text))
		case catalogue.Text:
			var s string
			err = json.Unmarshal(text, &s)
			values[i] = s
		case catalogue.Bytes:
			var b []byte
			err = json.Unmarshal(text, &b)
			values[i] = b
		default:
			err = fmt.Errorf("the kind %q is unknown", columns[i].Kind)
		}
		if err != nil {
			return nil, fmt.Errorf("the dump is damaged: the column %s: %w", columns[i].Name, err)
		}
	}
	return values, nil
}
