package sqldbtest_test

import (
	"testing"

	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// TestPrivate: what was committed is there after a kill and after a proper end.
func TestPrivate(t *testing.T) {
	p := sqldbtest.NewPrivate(t)
	rows := 0
	for name, down := range map[string]func(testing.TB){"killed": p.Kill, "stopped": p.Stop} {
		t.Run(name, func(t *testing.T) {
			db := sqldbtest.OpenPostgres(t, p.URL)
			err := db.Update(t.Context(), func(tx *sqldb.Tx) error {
				if _, err := tx.Exec(t.Context(), `CREATE TABLE IF NOT EXISTS kept (n bigint)`); err != nil {
					return err
				}
				_, err := tx.Exec(t.Context(), `INSERT INTO kept VALUES (1)`)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			rows++
			down(t)
			p.Start(t)
			got := 0
			err = db.View(t.Context(), func(tx *sqldb.Tx) error {
				return tx.QueryRow(t.Context(), `SELECT count(*) FROM kept`).Scan(&got)
			})
			if err != nil || got != rows {
				t.Fatalf("%d rows (%v), want %d", got, err, rows)
			}
		})
	}
}
