package lookup

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Row is a record that is to be found.
type Row struct {
	ID         int64 // of the record's row
	Account    name.AccountID
	Region     name.Region
	OccurredAt int64 // microseconds
	Facts      Facts
}

// keys are what stands in the tables for a row.
type keys struct {
	kind                         kind
	name, user, access, resource int64
	terms                        []int64
}

func (r Row) keys() keys {
	f := r.Facts
	k := keys{kind: kind{account: r.Account, region: r.Region, source: f.Source, readOnly: f.ReadOnly}}
	of := func(attribute, value string) int64 {
		if value == "" {
			return 0
		}
		return keyOf(attribute, string(r.Account), string(r.Region), value)
	}
	k.name, k.user, k.access = of(EventName, f.Name), of(Username, f.Username), of(AccessKeyID, f.AccessKeyID)
	terms := map[int64]struct{}{}
	for i, resource := range f.Resources {
		called := of(ResourceName, shortName(resource.Name))
		if i == 0 {
			k.kind.resourceType, k.resource = resource.Type, called
			continue
		}
		if called != k.resource {
			terms[called] = struct{}{}
		}
		if resource.Type != k.kind.resourceType {
			terms[of(ResourceType, resource.Type)] = struct{}{}
		}
	}
	if f.EventID != "" {
		terms[of(EventID, strings.ToLower(f.EventID))] = struct{}{}
	}
	delete(terms, 0)
	k.terms = slices.Sorted(maps.Keys(terms))
	k.kind.key = k.kind.hash()
	return k
}

// AddTx makes records findable, in the transaction that writes them. Rows that are there already
// stay as they are.
func (x *Index) AddTx(ctx context.Context, tx *sqldb.Tx, rows ...Row) error {
	all := make([]keys, len(rows))
	kinds := map[int64]kind{}
	for i, r := range rows {
		all[i] = r.keys()
		kinds[all[i].kind.key] = all[i].kind
	}
	if err := x.addKinds(ctx, tx, kinds); err != nil {
		return err
	}
	err := InsertTx(ctx, tx, `INSERT INTO audit_lookup (audit_id, occurred_at, kind_key, name_key, user_key, access_key, resource_key) VALUES `, ` ON CONFLICT (audit_id) DO NOTHING`,
		len(rows), func(i int) []any {
			k := all[i]
			return []any{rows[i].ID, rows[i].OccurredAt, k.kind.key, k.name, k.user, k.access, k.resource}
		})
	if err != nil {
		return err
	}
	for i, r := range rows {
		k := all[i]
		for _, term := range k.terms {
			_, err := tx.Exec(ctx, `INSERT INTO audit_term (audit_id, term, occurred_at) VALUES ($1, $2, $3) ON CONFLICT (audit_id, term) DO NOTHING`, r.ID, term, r.OccurredAt)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// addKinds makes the rows of kinds that are not known to have theirs.
func (x *Index) addKinds(ctx context.Context, tx *sqldb.Tx, kinds map[int64]kind) error {
	var unknown []int64
	x.mu.Lock()
	for key := range kinds {
		if _, known := x.kinds[key]; !known {
			unknown = append(unknown, key)
		}
	}
	x.mu.Unlock()
	if len(unknown) == 0 {
		return nil
	}
	// In order: two nodes that meet two kinds for the first time must not wait for each other.
	slices.Sort(unknown)
	for _, key := range unknown {
		k := kinds[key]
		_, err := tx.Exec(ctx, `INSERT INTO audit_kind (kind_key, account_id, region, source, read_only, resource_type) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (kind_key) DO NOTHING`, key, string(k.account), string(k.region), k.source, k.readOnly, k.resourceType)
		if err != nil {
			return err
		}
	}
	tx.AfterCommit(func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		for _, key := range unknown {
			x.kinds[key] = struct{}{}
		}
	})
	return nil
}

// atOnce are how many rows one statement inserts, the larger first: few texts to prepare,
// and few ways to the database.
var atOnce = [...]int{100, 10, 1}

// InsertTx inserts n rows of the values that row gives, with many in a statement between
// head, which ends in VALUES, and tail.
func InsertTx(ctx context.Context, tx *sqldb.Tx, head, tail string, n int, row func(i int) []any) error {
	for i := 0; i < n; {
		size := atOnce[slices.IndexFunc(atOnce[:], func(size int) bool { return size <= n-i })]
		var text strings.Builder
		var values []any
		text.WriteString(head)
		for end := i + size; i < end; i++ {
			one := row(i)
			if len(values) > 0 {
				text.WriteString(", ")
			}
			text.WriteString(sqldb.In(len(values)+1, len(one)))
			values = append(values, one...)
		}
		text.WriteString(tail)
		if _, err := tx.Exec(ctx, text.String(), values...); err != nil {
			return err
		}
	}
	return nil
}

// ExpireTx removes the segments from before a time, in microseconds, at which a segment.Span
// begins, and what stands here for the rows of the records from before it. It returns how many
// records the segments had; the caller removes the rows.
func (x *Index) ExpireTx(ctx context.Context, tx *sqldb.Tx, before int64) (records int64, err error) {
	for _, table := range []string{"audit_lookup", "audit_term"} {
		_, err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE audit_id IN (SELECT id FROM audit WHERE occurred_at < $1)`, before)
		if err != nil {
			return 0, err
		}
	}
	return expireSegmentsTx(ctx, tx, before)
}

// backfillBatch bounds the records that one transaction of Backfill reads.
const backfillBatch = 500

// Backfill makes the records findable that were written before there was an index, the newest
// first, in batches, until there are none left or ctx ends. It goes on where it was when it is
// called again, and returns how many records it looked at. Run it on one node at a time.
func (x *Index) Backfill(ctx context.Context) (records int64, err error) {
	for ctx.Err() == nil {
		n, err := x.backfill(ctx)
		records += int64(n)
		if err != nil || n == 0 {
			return records, err
		}
	}
	return records, ctx.Err()
}

func (x *Index) backfill(ctx context.Context) (n int, err error) {
	err = x.db.Update(ctx, func(tx *sqldb.Tx) error {
		n = 0
		type position struct {
			below int64
			done  bool
		}
		at, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (p position, err error) { return p, row.Scan(&p.below, &p.done) },
			`SELECT below, done FROM audit_backfill WHERE id = 1`)
		if err != nil {
			return err
		}
		below := sqldb.NewID()
		if len(at) > 0 {
			if at[0].done {
				return nil
			}
			below = at[0].below
		}
		rows, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (Row, error) {
			var r Row
			var record string
			if err := row.Scan(&r.ID, (*string)(&r.Account), (*string)(&r.Region), &r.OccurredAt, &record); err != nil {
				return r, err
			}
			f, err := Describe(r.ID, record)
			if err != nil { // none that this program wrote; it must not keep the others from being found
				f = Facts{}
			}
			r.Facts = f
			return r, nil
		}, `SELECT id, account_id, region, occurred_at, record FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2`, below, backfillBatch)
		if err != nil {
			return err
		}
		n = len(rows)
		if n > 0 {
			below = rows[n-1].ID
		}
		if err := x.AddTx(ctx, tx, rows...); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO audit_backfill (id, below, done) VALUES (1, $1, $2) ON CONFLICT (id) DO UPDATE SET below = excluded.below, done = excluded.done`,
			below, n == 0)
		return err
	})
	return n, err
}
