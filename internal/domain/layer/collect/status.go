package collect

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// CountLimit is where the counting of waiting rows stops, so that to ask costs
// little however many there are.
const CountLimit = 100_000

// Stats is how the collection stands. Counts of waiting rows stop at CountLimit.
type Stats struct {
	// Reviews wait, Due of them for nothing but a run of the collector. OldestDue
	// is since when the first of those does.
	Reviews   int64     `json:"reviews"`
	Due       int64     `json:"due"`
	OldestDue time.Time `json:"oldestDue,omitzero"`
	// Garbage are objects that wait to be deleted, copies under way among them, and
	// GarbageBytes what they take as far as it is known.
	Garbage      int64 `json:"garbage"`
	GarbageBytes int64 `json:"garbageBytes"`
	// Holds that live keep the garbage.
	Holds int64 `json:"holds"`
	// Missing are blobs whose objects were not found where they should be.
	Missing int64 `json:"missing"`
	// Total is the sum of all runs, and Since when the first began; zero if there
	// was none.
	Total Collected `json:"total"`
	Since time.Time `json:"since,omitzero"`
	// Last is the run that began last; nil if there was none.
	Last *Run `json:"last,omitempty"`
}

// HoldInfo describes a live hold.
type HoldInfo struct {
	ID      string    `json:"id"`
	Owner   string    `json:"owner"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// Stats reads how the collection stands: a few short queries, to be asked as often
// as every some seconds.
func (s *Service) Stats(ctx context.Context) (t Stats, err error) {
	now := s.Clock.Now()
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		t = Stats{}
		for _, c := range []struct {
			to    []any
			query string
			args  []any
		}{
			{[]any{&t.Reviews}, `SELECT count(*) FROM (SELECT 1 FROM layer_review LIMIT $1) AS few`, []any{int64(CountLimit)}},
			{[]any{&t.Due}, `SELECT count(*) FROM (SELECT 1 FROM layer_review WHERE due_at <= $2 LIMIT $1) AS few`, []any{int64(CountLimit), now.UnixMicro()}},
			{[]any{&t.Garbage, &t.GarbageBytes}, `SELECT count(*), CAST(COALESCE(sum(size), 0) AS BIGINT) FROM (SELECT size FROM garbage LIMIT $1) AS few`, []any{int64(CountLimit)}},
			{[]any{&t.Holds}, `SELECT count(*) FROM layer_hold WHERE expires_at > $1`, []any{now.UnixMicro()}},
			{[]any{&t.Missing}, `SELECT count(*) FROM layer_missing`, nil},
		} {
			if err := tx.QueryRow(ctx, c.query, c.args...).Scan(c.to...); err != nil {
				return err
			}
		}
		var since, oldest int64
		if err := tx.QueryRow(ctx, `SELECT COALESCE(min(due_at), 0) FROM layer_review WHERE due_at <= $1`, now.UnixMicro()).Scan(&oldest); err != nil {
			return err
		}
		t.OldestDue = at(oldest)
		err := tx.QueryRow(ctx, `SELECT since, reviews, layers, blobs, bytes, objects, freed FROM layer_collection_total WHERE id = 1`).
			Scan(&since, &t.Total.Reviews, &t.Total.Layers, &t.Total.Blobs, &t.Total.Bytes, &t.Total.Objects, &t.Total.Freed)
		if err != nil && !errors.Is(err, sqldb.ErrNoRows) {
			return err
		}
		t.Since = at(since)
		last, err := runs(ctx, tx, 1)
		if len(last) == 1 {
			t.Last = &last[0]
		}
		return err
	})
	return t, err
}

// Runs returns the last runs, the newest first, at most limit of them.
func (s *Service) Runs(ctx context.Context, limit int) (all []Run, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		all, err = runs(ctx, tx, limit)
		return err
	})
	return all, err
}

func runs(ctx context.Context, tx *sqldb.Tx, limit int) ([]Run, error) {
	return sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (r Run, err error) {
		var started, seen, ended int64
		err = row.Scan(&started, &seen, &ended, &r.Reviews, &r.Layers, &r.Blobs, &r.Bytes, &r.Objects, &r.Freed, &r.Held, &r.Error)
		r.Started, r.Seen, r.Ended = at(started), at(seen), at(ended)
		return r, err
	}, `SELECT started_at, seen_at, ended_at, reviews, layers, blobs, bytes, objects, freed, held, error FROM layer_collection ORDER BY id DESC LIMIT $1`, int64(limit))
}

// Holds returns the holds that live, the oldest first.
func (s *Service) Holds(ctx context.Context) (all []HoldInfo, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (h HoldInfo, err error) {
			var created, expires int64
			err = row.Scan(&h.ID, &h.Owner, &created, &expires)
			h.Created, h.Expires = at(created), at(expires)
			return h, err
		}, `SELECT id, owner, created_at, expires_at FROM layer_hold WHERE expires_at > $1 ORDER BY created_at, id`, s.Clock.Now().UnixMicro())
		return err
	})
	return all, err
}

// at is the time of a column, the zero one for 0.
func at(micro int64) time.Time {
	if micro == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}

// printable makes an error's text fit for a column, whatever it quotes.
func printable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "�"), "\x00", "�")
}
