package sqldb

import "time"

// SetBatch bounds the batches of a SQLite handle; the others have none. It is
// called before the first Update.
func (db *DB) SetBatch(closures int, d time.Duration) {
	w := db.engine.(*sqliteEngine).writer
	w.maxBatch, w.batchTime = closures, d
}
