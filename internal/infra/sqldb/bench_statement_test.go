package sqldb_test

import (
	"context"
	"strconv"
	"syscall"
	"testing"

	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const thingTable = `CREATE TABLE thing (id BIGINT NOT NULL PRIMARY KEY, name btext NOT NULL, size BIGINT NOT NULL, digest BYTEA NOT NULL,
	hidden BOOLEAN NOT NULL, made BIGINT NOT NULL, kind btext NOT NULL, note btext);`

// things makes 1000 rows of eight columns.
func things(b *testing.B) *sqldb.DB {
	db := sqldbtest.SQLite(b)
	migrate(b, db, thingTable)
	ctx := b.Context()
	err := db.Update(ctx, func(tx *sqldb.Tx) error {
		for i := range int64(1000) {
			_, err := tx.Exec(ctx, `INSERT INTO thing (id, name, size, digest, hidden, made, kind, note) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
				i, "a name of a common length "+strconv.FormatInt(i, 10), i*1000, make([]byte, 32), i%2 == 0, 1732147200123456+i, "application/json", nil)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return db
}

// measure runs fn b.N times with a context that can end, as that of a request
// can, and reports the processor time of all threads beside the time that went by.
func measure(b *testing.B, fn func(ctx context.Context, i int64) error) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	if err := fn(ctx, 0); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	begun := processorTime(b)
	for i := range int64(b.N) {
		if err := fn(ctx, i); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processorTime(b)-begun)/float64(b.N), "cpu-ns/op")
}

func processorTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkStatement is what statements on SQLite cost.
func BenchmarkStatement(b *testing.B) {
	const byID = `SELECT name, size, digest FROM thing WHERE id = $1`
	row := func(ctx context.Context, tx *sqldb.Tx, id int64) error {
		var name string
		var size int64
		var digest []byte
		return tx.QueryRow(ctx, byID, id%1000).Scan(&name, &size, &digest)
	}
	b.Run("view-row", func(b *testing.B) {
		db := things(b)
		measure(b, func(ctx context.Context, i int64) error {
			return db.View(ctx, func(tx *sqldb.Tx) error { return row(ctx, tx, i) })
		})
	})
	b.Run("lookup-row", func(b *testing.B) {
		db := things(b)
		measure(b, func(ctx context.Context, i int64) error {
			return db.Lookup(ctx, func(tx *sqldb.Tx) error { return row(ctx, tx, i) })
		})
	})
	b.Run("view-3-rows", func(b *testing.B) {
		db := things(b)
		measure(b, func(ctx context.Context, i int64) error {
			return db.View(ctx, func(tx *sqldb.Tx) error {
				for j := range int64(3) {
					if err := row(ctx, tx, i+j); err != nil {
						return err
					}
				}
				return nil
			})
		})
	})
	b.Run("view-100x8", func(b *testing.B) {
		db := things(b)
		measure(b, func(ctx context.Context, i int64) error {
			return db.View(ctx, func(tx *sqldb.Tx) error {
				rows, err := tx.Query(ctx, `SELECT id, name, size, digest, hidden, made, kind, note FROM thing WHERE id >= $1 ORDER BY id LIMIT 100`, i%900)
				if err != nil {
					return err
				}
				for rows.Next() {
					var id, size, made int64
					var name, kind string
					var digest []byte
					var hidden bool
					var note *string
					if err := rows.Scan(&id, &name, &size, &digest, &hidden, &made, &kind, &note); err != nil {
						return err
					}
				}
				return rows.Close()
			})
		})
	})
	b.Run("update-insert", func(b *testing.B) {
		db := things(b)
		digest := make([]byte, 32)
		measure(b, func(ctx context.Context, i int64) error {
			return db.Update(ctx, func(tx *sqldb.Tx) error {
				_, err := tx.Exec(ctx, `INSERT INTO thing (id, name, size, digest, hidden, made, kind) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
					sqldb.NewID(), "name", i, digest, false, i, "application/json")
				return err
			})
		})
	})
}
