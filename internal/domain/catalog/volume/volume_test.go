package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("volatile_version", schema.Volatile()...))
}

// world is some nodes on one database.
type world struct {
	t   *testing.T
	db  *sqldb.DB
	clk *clock.Fake
	log bytes.Buffer
}

func each(t *testing.T, fn func(w *world)) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		if err := db.Migrate(t.Context(), "volatile_version", schema.Volatile()...); err != nil {
			t.Fatal(err)
		}
		fn(&world{t: t, db: db, clk: clock.NewFake(time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC))})
	})
}

func (w *world) node(limit int64) *Meter {
	return New(Config{DB: w.db, Clock: w.clk, Log: slog.New(slog.NewTextHandler(&w.log, nil)), Limit: limit})
}

func (w *world) flush(m *Meter) {
	w.t.Helper()
	if err := m.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// allowed fails unless the address may go on, or may not.
func (w *world) allowed(m *Meter, from string, want bool) {
	w.t.Helper()
	err := m.Allowed(w.t.Context(), netip.MustParseAddr(from))
	if err != nil && !errs.Is(err, errs.Throttled) {
		w.t.Fatal(err)
	}
	if got := err == nil; got != want {
		w.t.Errorf("%s is allowed: %v, want %v", from, got, want)
	}
}

// rows is the table, one "month address bytes" a line.
func (w *world) rows() string {
	w.t.Helper()
	var all []string
	err := w.db.View(w.t.Context(), func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(w.t.Context(), tx, func(row sqldb.Scanner) (string, error) {
			var month, n int64
			var address string
			err := row.Scan(&month, &address, &n)
			return fmt.Sprintf("%d-%02d %s %d", month/12, month%12+1, address, n), err
		}, `SELECT month, address, bytes FROM catalog_volume ORDER BY month, address`)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

func add(m *Meter, from string, n int64) { m.Add(netip.MustParseAddr(from), n) }

// TestVolume: addresses are counted each for itself, on all nodes together, and anew in
// every month.
func TestVolume(t *testing.T) {
	each(t, func(w *world) {
		one, two := w.node(100), w.node(100)
		w.allowed(one, "192.0.2.1", true)
		add(one, "192.0.2.1", 60)
		w.allowed(one, "192.0.2.1", true)
		add(one, "192.0.2.1", 39)
		add(one, "192.0.2.1", 0)
		add(one, "192.0.2.1", -5)
		w.allowed(one, "192.0.2.1", true)
		w.allowed(two, "192.0.2.1", true)
		w.flush(one)
		w.allowed(one, "192.0.2.1", true)

		// The other node learns of it when what it has seen has become old.
		add(two, "192.0.2.1", 1)
		w.allowed(two, "192.0.2.1", true)
		w.clk.Advance(Period)
		w.allowed(two, "192.0.2.1", false)
		w.flush(two)
		w.allowed(two, "192.0.2.1", false)
		w.allowed(one, "192.0.2.1", false)
		w.allowed(w.node(100), "::ffff:192.0.2.1", false)
		w.allowed(w.node(101), "192.0.2.1", true)

		// Only that address, and of IPv6 its network.
		w.allowed(one, "192.0.2.2", true)
		add(one, "2001:db8::1", 50)
		add(one, "2001:db8::2", 50)
		w.allowed(one, "2001:db8::3", false)
		w.allowed(one, "2001:db8:0:1::1", true)
		w.flush(one)
		if got, want := w.rows(), "2026-01 192.0.2.1 100\n2026-01 2001:db8::/64 100"; got != want {
			t.Errorf("the table has\n%s\nwant\n%s", got, want)
		}

		// A refusal says what to do.
		err := one.Allowed(w.t.Context(), netip.MustParseAddr("192.0.2.1"))
		var refusal *errs.Error
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Message, "Authenticate to go on, or wait for February 1, 2026.") || refusal.Detail[quota.RetryAfter] != 3595+1 {
			t.Errorf("%v %+v", err, refusal)
		}

		add(one, "192.0.2.9", 7) // of January, written down in February
		w.clk.Advance(time.Hour)
		w.allowed(one, "192.0.2.1", true)
		add(one, "192.0.2.1", 5)
		w.flush(one)
		if got, want := w.rows(), "2026-01 192.0.2.1 100\n2026-01 192.0.2.9 7\n2026-01 2001:db8::/64 100\n2026-02 192.0.2.1 5"; got != want {
			t.Errorf("in February the table has\n%s\nwant\n%s", got, want)
		}
		w.clk.Advance(28 * 24 * time.Hour)
		w.flush(one)
		if got, want := w.rows(), "2026-02 192.0.2.1 5"; got != want {
			t.Errorf("in March the table has\n%s\nwant\n%s", got, want)
		}
	})
}

// TestOff: without a limit nothing is counted, asked for or kept.
func TestOff(t *testing.T) {
	m := New(Config{Clock: clock.NewFake(time.Unix(0, 0))}) // it has no database to ask
	add(m, "192.0.2.1", 1<<50)
	if err := m.Allowed(t.Context(), netip.MustParseAddr("192.0.2.1")); err != nil || len(m.all) != 0 {
		t.Error(err, len(m.all))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Run(ctx); err != nil {
		t.Error(err)
	}
}

// TestAtOnce: what many count at once, while it is written down, is all there at the end.
func TestAtOnce(t *testing.T) {
	each(t, func(w *world) {
		nodes := []*Meter{w.node(1 << 40), w.node(1 << 40)}
		var counting sync.WaitGroup
		for i := range 8 {
			counting.Go(func() {
				for j := range 200 {
					add(nodes[i%2], fmt.Sprintf("192.0.2.%d", j%50), 1)
					if j%40 == 0 {
						if err := nodes[i%2].Flush(w.t.Context()); err != nil {
							w.t.Error(err)
						}
					}
				}
			})
		}
		counting.Wait()
		for _, m := range nodes {
			ctx, cancel := context.WithCancel(w.t.Context())
			cancel()
			if err := m.Run(ctx); err != nil { // writes down what is left
				w.t.Error(err)
			}
		}
		var rows, total int64
		err := w.db.View(w.t.Context(), func(tx *sqldb.Tx) error {
			return tx.QueryRow(w.t.Context(), `SELECT count(*), CAST(sum(bytes) AS BIGINT) FROM catalog_volume`).Scan(&rows, &total)
		})
		if err != nil || rows != 50 || total != 1600 {
			w.t.Errorf("%d rows with %d, want 50 with 1600: %v", rows, total, err)
		}
	})
}

// TestBounded: the memory has an end, and quiet addresses make room for others.
func TestBounded(t *testing.T) {
	each(t, func(w *world) {
		m := w.node(1000)
		address := func(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255) }
		for i := range maxAddresses {
			m.entry(m.key(netip.MustParseAddr(address(i)), w.clk.Now()), w.clk.Now())
		}
		add(m, "192.0.2.1", 1000)
		add(m, "192.0.2.2", 1000)
		if len(m.all) != maxAddresses || strings.Count(w.log.String(), "too many addresses") != 1 {
			w.t.Errorf("%d addresses are kept\n%s", len(m.all), w.log.String())
		}
		w.allowed(m, "192.0.2.1", true) // not counted, and not refused
		w.clk.Advance(time.Second)
		last := address(maxAddresses - 1)
		add(m, last, 1000)
		w.flush(m)
		if len(m.all) != keptAddresses {
			w.t.Errorf("%d addresses are kept after a flush", len(m.all))
		}
		w.allowed(m, last, false)
		add(m, "192.0.2.1", 1000)
		w.allowed(m, "192.0.2.1", false)
		w.flush(m)
		if got, want := w.rows(), "2026-01 "+last+" 1000\n2026-01 192.0.2.1 1000"; got != want {
			w.t.Errorf("the table has\n%s\nwant\n%s", got, want)
		}
	})
}

// TestDatabaseAway: while the database does not answer, what the node knows holds, and
// nothing is lost that was counted.
func TestDatabaseAway(t *testing.T) {
	each(t, func(w *world) {
		rename := func(from, to string) {
			w.t.Helper()
			if err := w.db.Update(w.t.Context(), func(tx *sqldb.Tx) error {
				_, err := tx.Exec(w.t.Context(), `ALTER TABLE `+from+` RENAME TO `+to)
				return err
			}); err != nil {
				w.t.Fatal(err)
			}
		}
		rename("catalog_volume", "elsewhere")
		m := w.node(100)
		w.allowed(m, "192.0.2.1", true)
		add(m, "192.0.2.1", 100)
		w.allowed(m, "192.0.2.1", false)
		if err := m.Flush(w.t.Context()); err == nil {
			w.t.Error("a flush into nothing succeeds")
		}
		w.allowed(m, "192.0.2.1", false)
		if got := strings.Count(w.log.String(), "cannot be read"); got != 1 {
			w.t.Errorf("the log says it %d times:\n%s", got, w.log.String())
		}
		rename("elsewhere", "catalog_volume")
		w.flush(m)
		if got, want := w.rows(), "2026-01 192.0.2.1 100"; got != want {
			w.t.Errorf("the table has %q, want %q", got, want)
		}
	})
}
