// Package batch writes many rows with few statements.
package batch

import (
	"context"
	"strings"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Size is how many rows or values one statement has at the most, far below the engines'
// limits on placeholders.
const Size = 500

// Insert inserts n rows whose values row gives; insert ends where they begin, behind VALUES.
func Insert(ctx context.Context, tx *sqldb.Tx, insert string, n int, row func(int) []any) error {
	for from := 0; from < n; from += Size {
		var text strings.Builder
		text.WriteString(insert)
		var args []any
		for k := from; k < min(from+Size, n); k++ {
			values := row(k)
			if k > from {
				text.WriteByte(',')
			}
			text.WriteString(sqldb.In(len(args)+1, len(values)))
			args = append(args, values...)
		}
		if _, err := tx.Exec(ctx, text.String(), args...); err != nil {
			return err
		}
	}
	return nil
}
