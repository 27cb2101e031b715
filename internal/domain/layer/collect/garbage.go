package collect

import (
	"context"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Condemn sees to it that nobody removes the object from now on, in the transaction
// that is about to name it; false if somebody has begun to. The object goes to the
// garbage and is pardoned in the end: whoever removes objects does the same, so that
// one of the two finds the other's row. Where transactions run one after the other it
// is enough to look for that row, and an object in its Seal is nothing to remove.
func Condemn(ctx context.Context, tx *sqldb.Tx, region name.Region, obj blobstore.Object, now int64) (free bool, err error) {
	switch {
	case obj.Within():
		return true, nil
	case tx.Serial():
		taken, err := exists(ctx, tx, `SELECT 1 FROM garbage WHERE region = $1 AND object_key = $2`, string(region), obj.Key)
		return !taken, err
	}
	return Discard(ctx, tx, region, obj.Key, obj.Size, now)
}

// Discard puts an object of so many bytes, if they are known, into the garbage, to be
// removed at once. false: it is there already.
func Discard(ctx context.Context, tx *sqldb.Tx, region name.Region, objectKey string, size, now int64) (added bool, err error) {
	n, err := tx.Exec(ctx, `INSERT INTO garbage (region, object_key, due_at, size) VALUES ($1, $2, $3, $4) ON CONFLICT (region, object_key) DO NOTHING`,
		string(region), objectKey, now, size)
	return n == 1, err
}

// Pardon takes an object back from the garbage, in the transaction that put it
// there: nobody else has seen the row, so nobody has claimed it.
func Pardon(ctx context.Context, tx *sqldb.Tx, region name.Region, objectKey string) error {
	_, err := tx.Exec(ctx, `DELETE FROM garbage WHERE region = $1 AND object_key = $2`, string(region), objectKey)
	return err
}
