package quota

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const (
	account = name.AccountID("111122223333")
	region  = name.Region("us-east-1")
)

var quiet = slog.New(slog.DiscardHandler)

func migrate(t testing.TB, db *sqldb.DB) {
	t.Helper()
	if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
		t.Fatal(err)
	}
	err := db.Update(t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO account (id, name, created_at) VALUES ($1, 'one', 0)`, string(account))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// tick is the step of the simulated clock.
const tick = 10 * time.Millisecond

// cluster is n nodes on one database and one clock that the test moves.
type cluster struct {
	t     *testing.T
	clk   *clock.Fake
	db    *sqldb.DB
	limit int64
	nodes []*node
	ticks int
}

type node struct {
	*Service
	load    float64 // requests a second
	owed    float64 // of a request
	phase   int     // tick of the second at which it exchanges
	stopped bool
}

func newCluster(t *testing.T, db *sqldb.DB, limit int64) *cluster {
	t.Helper()
	err := db.Update(t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), `DELETE FROM quota_demand`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{t: t, clk: clock.NewFake(time.Unix(1_800_000_000, 0)), db: db, limit: limit}
}

func (c *cluster) join(load float64) *node {
	n := &node{load: load, phase: (len(c.nodes)*37 + c.ticks) % 100, Service: New(Config{
		DB: c.db, Clock: c.clk, Log: quiet, Limits: Default(), Rates: Rates{"PutImage": c.limit}, Share: true,
	})}
	c.nodes = append(c.nodes, n)
	return n
}

// run has d go by and returns how many requests were admitted a second.
func (c *cluster) run(d time.Duration) float64 {
	c.t.Helper()
	admitted := 0
	for range d / tick {
		c.ticks++
		c.clk.Advance(tick)
		for _, n := range c.nodes {
			if n.stopped {
				continue
			}
			if c.ticks%100 == n.phase {
				if err := n.exchange(c.t.Context()); err != nil {
					c.t.Fatal(err)
				}
			}
			for n.owed += n.load * tick.Seconds(); n.owed >= 1; n.owed-- {
				err := n.Admit(c.t.Context(), Request{Account: account, Region: region, Action: "PutImage"})
				switch {
				case err == nil:
					admitted++
				case !errs.Is(err, errs.Throttled):
					c.t.Fatal(err)
				}
			}
		}
	}
	return float64(admitted) / d.Seconds()
}

// TestShare holds what n nodes admit together against the limit: 0.8 to 1.25 of
// it once the nodes know each other.
func TestShare(t *testing.T) {
	db := sqldbtest.Postgres(t)
	migrate(t, db)
	for _, limit := range []int64{10, 100} {
		l := float64(limit)
		for _, n := range []int{1, 2, 4, 8} {
			for what, load := range map[string]func(i int) float64{
				"even":        func(int) float64 { return 3 * l / float64(n) },
				"all busy":    func(int) float64 { return 3 * l },
				"uneven":      func(i int) float64 { return 2 * l / float64(int(1)<<i) },
				"one has all": func(i int) float64 { return map[bool]float64{true: 2 * l, false: 0}[i == 0] },
				"one has most": func(i int) float64 {
					return map[bool]float64{true: 5 * l, false: 0.02 * l}[i == 0]
				},
			} {
				t.Run(fmt.Sprintf("%d/%d nodes/%s", limit, n, what), func(t *testing.T) {
					c := newCluster(t, db, limit)
					for i := range n {
						c.join(load(i))
					}
					first := c.run(2 * time.Second)
					// Twice what a bucket admits in two seconds, and a token of each node.
					if most := max(1, float64(n)*startShare)*1.5*l + float64(n); first > most {
						t.Errorf("%.1f/s in the first two seconds, want at most %.1f", first, most)
					}
					c.run(time.Second)
					var settled [2]float64
					for i := range settled {
						settled[i] = c.run(5*time.Second) / l
						if settled[i] > 1.25 || settled[i] < 0.8 {
							t.Errorf("%.2f of the limit was admitted", settled[i])
						}
					}
					t.Logf("first two seconds %.2f of the limit, then %.2f", first/l, settled)
				})
			}
		}
	}
}

// TestShareChanges has nodes come, go and die, and the load move from one to
// another.
func TestShareChanges(t *testing.T) {
	db := sqldbtest.Postgres(t)
	migrate(t, db)
	c := newCluster(t, db, 50)
	within := func(what string, got, least, most float64) {
		t.Helper()
		t.Logf("%s: %.2f of the limit", what, got/50)
		if got < least*50 || got > most*50 {
			t.Errorf("%s: %.2f of the limit was admitted, want %.2f to %.2f", what, got/50, least, most)
		}
	}
	a, b := c.join(100), c.join(100)
	c.run(3 * time.Second)
	within("two nodes", c.run(5*time.Second), 0.8, 1.25)
	x, y := c.join(200), c.join(20)
	within("two more", c.run(5*time.Second), 0.8, 1.25)
	within("four nodes", c.run(5*time.Second), 0.8, 1.25)
	a.stopped, b.stopped = true, true // they die
	within("two dead", c.run(deadAfter+2*time.Second), 0.4, 1.25)
	within("two left", c.run(5*time.Second), 0.8, 1.25)
	x.load, y.load = 0, 200
	c.run(4 * time.Second)
	within("moved", c.run(5*time.Second), 0.8, 1.25)
	y.leave(t.Context())
	y.stopped, x.load = true, 100
	c.run(2 * time.Second)
	within("left alone", c.run(5*time.Second), 0.8, 1.25)
	c.run(removeAfter)
	if rows := count(t, c.db); rows != 1 {
		t.Errorf("%d rows are left, want the living node's", rows)
	}
	x.load = 0
	c.run(10 * time.Second)
	if rows := count(t, c.db); rows != 0 {
		t.Errorf("a node that is asked for nothing has %d rows", rows)
	}
	c.clk.Advance(idleLife)
	c.run(time.Second)
	kept := 0
	x.buckets.each(func(bucketKey, *bucket) bool { kept++; return false })
	if kept != 0 {
		t.Errorf("%d buckets are kept that nobody uses", kept)
	}
}

// TestShareWithoutDatabase: shares stay, and requests are admitted as before.
func TestShareWithoutDatabase(t *testing.T) {
	db := sqldbtest.Postgres(t)
	migrate(t, db)
	c := newCluster(t, db, 20)
	a, b := c.join(40), c.join(40)
	c.run(5 * time.Second)
	url := sqldbtest.PostgresURL(t)
	broken, err := sqldb.OpenPostgres(t.Context(), sqldb.PostgresOptions{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	if err := broken.Close(); err != nil {
		t.Fatal(err)
	}
	a.db, b.db = broken, broken
	a.phase, b.phase = -1, -1
	a.step(t.Context()) // logs, and does not fail
	b.step(t.Context())
	if got := c.run(5 * time.Second); got < 16 || got > 25 {
		t.Errorf("%.1f/s are admitted, want some 20", got)
	}
}

func count(t *testing.T, db *sqldb.DB) (n int64) {
	t.Helper()
	err := db.View(t.Context(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM quota_demand`).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestDemandText(t *testing.T) {
	want := map[bucketKey]float64{
		{account, region, "PutImage"}:                  0.25,
		{"444455556666", "eu-west-1", "BatchGetImage"}: 1999.5,
	}
	got := readDemand("something newer\n" + demandText(want) + "444455556666 eu-west-1 PutImage -1\n")
	if len(got) != len(want) {
		t.Fatalf("read %v", got)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%v is %v, want %v", k, got[k], v)
		}
	}
	if text := demandText(want); strings.Count(text, "\n") != 2 {
		t.Errorf("written as %q", text)
	}
}

func TestKeepLargest(t *testing.T) {
	key := func(i int) bucketKey { return bucketKey{account, region, strconv.Itoa(i)} }
	rates := []float64{5, 1, 3, 3, 3, 0.5}
	for range 50 { // a map has no order
		for most, want := range map[int][]float64{1: {5}, 2: {3, 5}, 3: {3, 3, 5}, 5: {1, 3, 3, 3, 5}, 6: {0.5, 1, 3, 3, 3, 5}, 9: {0.5, 1, 3, 3, 3, 5}} {
			m := map[bucketKey]float64{}
			for i, rate := range rates {
				m[key(i)] = rate
			}
			keepLargest(m, most)
			if got := slices.Sorted(maps.Values(m)); !slices.Equal(got, want) {
				t.Fatalf("the %d largest are %v, want %v", most, got, want)
			}
		}
	}
}

// BenchmarkSharing has n nodes share a limit of 200 requests a second in real
// time, for six seconds, asked for three times as much: evenly, and all but a
// twentieth of it from one node. It reports the part of the limit that was
// admitted in the first two seconds and after them.
func BenchmarkSharing(b *testing.B) {
	const limit, seconds, settle = 200, 6, 2
	for _, uneven := range []bool{false, true} {
		for _, n := range []int{1, 2, 4, 8} {
			b.Run(fmt.Sprintf("%d nodes/uneven=%t", n, uneven), func(b *testing.B) {
				db := sqldbtest.Postgres(b)
				migrate(b, db)
				for b.Loop() {
					ctx, stop := context.WithTimeout(b.Context(), seconds*time.Second)
					var first, later atomic.Int64
					var all sync.WaitGroup
					began := time.Now()
					for i := range n {
						s := New(Config{DB: db, Clock: clock.System{}, Log: quiet, Rates: Rates{"PutImage": limit}, Share: true})
						load := 3.0 * limit / float64(n)
						if uneven && n > 1 {
							load = 3 * limit * 0.05 / float64(n-1)
							if i == 0 {
								load = 3 * limit * 0.95
							}
						}
						all.Go(func() { _ = s.Run(ctx) }) // ends with ctx
						all.Go(func() {
							pace := time.NewTicker(time.Duration(float64(time.Second) / load))
							defer pace.Stop()
							for {
								select {
								case <-ctx.Done():
									return
								case <-pace.C:
								}
								if s.Admit(ctx, Request{Account: account, Region: region, Action: "PutImage"}) != nil {
									continue
								}
								if time.Since(began) < settle*time.Second {
									first.Add(1)
								} else {
									later.Add(1)
								}
							}
						})
					}
					all.Wait()
					stop()
					b.ReportMetric(float64(first.Load())/limit/settle, "first2s/limit")
					b.ReportMetric(float64(later.Load())/limit/(seconds-settle), "settled/limit")
					b.ReportMetric(0, "ns/op")
				}
			})
		}
	}
}
