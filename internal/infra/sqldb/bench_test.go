package sqldb_test

import (
	"context"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// BenchmarkUpdate is small transactions, each acknowledged only when it is on
// the disk, by a growing number of goroutines: with group commit the number of
// transactions a second grows with them, since they share the syncs.
func BenchmarkUpdate(b *testing.B) {
	for _, goroutines := range []int{1, 16, 64} {
		b.Run("sqlite-durable/"+strconv.Itoa(goroutines), func(b *testing.B) {
			db, err := sqldb.OpenSQLite(b.Context(), sqldb.SQLiteOptions{Path: filepath.Join(b.TempDir(), "bench.db"), Durable: true})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := db.Close(); err != nil {
					b.Error(err)
				}
			})
			benchmarkUpdate(b, db, goroutines)
		})
	}
	for _, goroutines := range []int{1, 16, 64} {
		b.Run("sqlite-volatile/"+strconv.Itoa(goroutines), func(b *testing.B) {
			benchmarkUpdate(b, sqldbtest.SQLite(b), goroutines)
		})
	}
}

func benchmarkUpdate(b *testing.B, db *sqldb.DB, goroutines int) {
	migrate(b, db, `CREATE TABLE item (id BIGINT NOT NULL PRIMARY KEY, name btext NOT NULL UNIQUE, body BYTEA NOT NULL);`)
	body := make([]byte, 200)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				id := sqldb.NewID()
				err := db.Update(context.Background(), func(tx *sqldb.Tx) error {
					_, err := tx.Exec(context.Background(), `INSERT INTO item (id, name, body) VALUES ($1, $2, $3)`, id, strconv.FormatInt(id, 36), body)
					return err
				})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
}

// BenchmarkView is one small read, by itself or in a transaction of its own.
func BenchmarkView(b *testing.B) {
	type verb func(*sqldb.DB, context.Context, func(*sqldb.Tx) error) error
	run := func(b *testing.B, db *sqldb.DB, read verb) {
		migrate(b, db, `CREATE TABLE item (id BIGINT NOT NULL PRIMARY KEY, name btext NOT NULL);`)
		err := db.Update(b.Context(), func(tx *sqldb.Tx) error {
			_, err := tx.Exec(b.Context(), `INSERT INTO item (id, name) VALUES ($1, $2)`, 1, "one")
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		ctx := b.Context()
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				err := read(db, ctx, func(tx *sqldb.Tx) error {
					var name string
					return tx.QueryRow(ctx, `SELECT name FROM item WHERE id = $1`, 1).Scan(&name)
				})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.Run("sqlite", func(b *testing.B) { run(b, sqldbtest.SQLite(b), (*sqldb.DB).View) })
	b.Run("sqlite-lookup", func(b *testing.B) { run(b, sqldbtest.SQLite(b), (*sqldb.DB).Lookup) })
	b.Run("postgres", func(b *testing.B) { run(b, sqldbtest.Postgres(b), (*sqldb.DB).View) })
	b.Run("postgres-lookup", func(b *testing.B) { run(b, sqldbtest.Postgres(b), (*sqldb.DB).Lookup) })
}
