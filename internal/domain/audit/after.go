package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Stored is a record as it is kept.
type Stored struct {
	ID         int64
	Account    name.AccountID
	Region     name.Region
	OccurredAt time.Time
	Name       string // the operation
	Record     json.RawMessage
}

// After returns up to limit records of an account with larger ids than afterID, ascending by id; of
// all regions where region is "". Ids come from the clock of the machine, when a record is written (see
// sqldb.NewID), and until bounds them, not the times in the records: records are left out that were
// written at until or later. The zero time is no bound. A record shows when its transaction has
// committed, which may be after that of one with a larger id: with until some time ago, longer than
// transactions take and than clocks of nodes are apart, nothing is passed over.
//
// Fewer than limit records mean that there are no others before until; what others have written
// since the last of them need not be read again then: the next call can begin at an id of that time.
func (t *Trail) After(ctx context.Context, account name.AccountID, region name.Region, afterID int64, limit int, until time.Time) (all []Stored, err error) {
	end := int64(math.MaxInt64)
	if !until.IsZero() {
		end = sqldb.IDBefore(time.Since(until))
	}
	err = t.db.View(ctx, func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (s Stored, err error) {
			var at int64
			var record string
			err = row.Scan(&s.ID, &s.Account, &s.Region, &at, &s.Name, &record)
			s.OccurredAt, s.Record = time.UnixMicro(at).UTC(), json.RawMessage(lookup.WithID(s.ID, record))
			return s, err
		}, `SELECT id, account_id, region, occurred_at, name, record FROM audit
			WHERE id > $1 AND id < $2 AND account_id = $3 AND ($4 = '' OR region = $4) ORDER BY id LIMIT $5`,
			afterID, end, string(account), string(region), limit)
		if err != nil {
			return err
		}
		below := end
		if len(all) == limit { // larger ones are not wanted
			below = all[limit-1].ID
		}
		kept, err := lookup.After(ctx, tx, account, region, afterID, below, limit)
		if err != nil || len(kept) == 0 {
			return err
		}
		for _, k := range kept {
			all = append(all, Stored{ID: k.ID, Account: account, Region: k.Region, OccurredAt: time.UnixMicro(k.OccurredAt).UTC(), Name: k.Name, Record: json.RawMessage(k.Record)})
		}
		slices.SortFunc(all, func(a, b Stored) int { return cmp.Compare(a.ID, b.ID) })
		all = all[:min(limit, len(all))]
		return nil
	})
	return all, err
}
