// Package catalogue reads what tables a database has, as the database itself
// describes them: for whoever has to go through all of them, such as a backup.
//
// It owns no table, and describes indexes and checks not at all.
package catalogue

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Kind is what a column holds, as far as both engines tell it apart.
type Kind string

// The kinds that SQL of this program uses; every other type of a column is "".
const (
	Integer Kind = "int"
	Boolean Kind = "bool"
	Text    Kind = "text"
	Bytes   Kind = "bytes"
)

// Column is a column of a table.
type Column struct {
	Name string
	Kind Kind
}

// Table is a table as the database describes it.
type Table struct {
	Name    string
	Columns []Column // in the table's order
	Key     []string // the columns of the primary key, in its order; nil: none
	Refers  []string // other tables that its foreign keys lead to
	// Volatile says that the table loses its rows when the server crashes
	// (UNLOGGED). On SQLite such tables have a database of their own, and it is
	// always false.
	Volatile bool
}

// Read describes all tables of the database, those first that others refer to:
// rows that are inserted in this order find what they refer to. The tables in
// which sqldb's Migrate keeps its books are among them.
func Read(ctx context.Context, tx *sqldb.Tx) ([]Table, error) {
	read := sqliteTable
	names := `SELECT name, 0 = 1 FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name`
	if tx.ForUpdate() != "" { // PostgreSQL
		read = postgresTable
		names = `SELECT CAST(relname AS text), relpersistence = 'u' FROM pg_class WHERE relkind = 'r'
			AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) ORDER BY CAST(relname AS text) COLLATE "C"`
	}
	tables, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (t Table, err error) {
		return t, row.Scan(&t.Name, &t.Volatile)
	}, names)
	if err != nil {
		return nil, err
	}
	for i := range tables {
		if err := read(ctx, tx, &tables[i]); err != nil {
			return nil, fmt.Errorf("looking at the table %s: %w", tables[i].Name, err)
		}
	}
	return inOrder(tables)
}

func sqliteTable(ctx context.Context, tx *sqldb.Tx, t *Table) (err error) {
	type column struct {
		Column
		key int64
	}
	columns, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (c column, err error) {
		var kind string
		err = row.Scan(&c.Name, &kind, &c.key)
		c.Kind = kindOf(kind)
		return c, err
	}, `SELECT name, type, pk FROM pragma_table_info($1) ORDER BY cid`, t.Name)
	if err != nil {
		return err
	}
	keys := map[int64]string{}
	for _, c := range columns {
		t.Columns = append(t.Columns, c.Column)
		if c.key > 0 {
			keys[c.key] = c.Name
		}
	}
	for _, n := range slices.Sorted(maps.Keys(keys)) {
		t.Key = append(t.Key, keys[n])
	}
	t.Refers, err = sqldb.Collect(ctx, tx, sqldb.One[string], `SELECT DISTINCT "table" FROM pragma_foreign_key_list($1) WHERE "table" <> $1 ORDER BY 1`, t.Name)
	return err
}

func postgresTable(ctx context.Context, tx *sqldb.Tx, t *Table) (err error) {
	t.Columns, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (c Column, err error) {
		var kind string
		err = row.Scan(&c.Name, &kind)
		c.Kind = kindOf(kind)
		return c, err
	}, `SELECT CAST(column_name AS text), CAST(data_type AS text) FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name = CAST($1 AS text) ORDER BY ordinal_position`, t.Name)
	if err != nil {
		return err
	}
	t.Key, err = sqldb.Collect(ctx, tx, sqldb.One[string], `SELECT CAST(a.attname AS text) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
		WHERE i.indrelid = CAST(quote_ident(CAST($1 AS text)) AS regclass) AND i.indisprimary ORDER BY array_position(CAST(i.indkey AS int2[]), a.attnum)`, t.Name)
	if err != nil {
		return err
	}
	t.Refers, err = sqldb.Collect(ctx, tx, sqldb.One[string], `SELECT DISTINCT CAST(f.relname AS text) FROM pg_constraint k JOIN pg_class f ON f.oid = k.confrelid
		WHERE k.conrelid = CAST(quote_ident(CAST($1 AS text)) AS regclass) AND k.contype = 'f' AND k.confrelid <> k.conrelid ORDER BY 1`, t.Name)
	return err
}

// kindOf reads the name of a type as one of the engines gives it.
func kindOf(name string) Kind {
	switch name {
	case "BIGINT", "bigint", "INTEGER", "integer":
		return Integer
	case "BOOLEAN", "boolean":
		return Boolean
	case "btext", "TEXT", "text":
		return Text
	case "BYTEA", "BLOB", "bytea":
		return Bytes
	}
	return ""
}

// inOrder puts tables behind those that they refer to, and otherwise leaves them
// in their order.
func inOrder(tables []Table) ([]Table, error) {
	var sorted []Table
	done := map[string]bool{}
	for len(sorted) < len(tables) {
		before := len(sorted)
		for _, t := range tables {
			if !done[t.Name] && !slices.ContainsFunc(t.Refers, func(other string) bool { return !done[other] }) {
				sorted, done[t.Name] = append(sorted, t), true
			}
		}
		if len(sorted) == before {
			return nil, fmt.Errorf("tables refer to each other in a circle: %d of them", len(tables)-before)
		}
	}
	return sorted, nil
}
