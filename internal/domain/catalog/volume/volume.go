// Package volume counts what each address pulls from public registries without a token
// in a calendar month, and says when that is too much.
//
// It owns the table catalog_volume. Which requests count, and what their clients are
// told, is for api/oci/public to say.
package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// Period is how often what was counted is written down, and how old what is known
	// of other nodes may be.
	Period = 5 * time.Second
	// maxAddresses bounds the addresses in memory, some 200 bytes each. Beyond it
	// further addresses are not counted until the next flush.
	maxAddresses = 100_000
	// perCommit is how many addresses are written in one transaction.
	perCommit = 200
	// flushTimeout bounds the last flush.
	flushTimeout = 5 * time.Second
	// readTimeout bounds the look at an address that is not in memory.
	readTimeout = 2 * time.Second
	// maxRetryAfter bounds what a refused client is told, in seconds: a month would
	// have clients sleep for weeks that keep to it.
	maxRetryAfter = 3600
)

// Config is what a Meter stands on.
type Config struct {
	// DB is the volatile database.
	DB    *sqldb.DB
	Clock clock.Clock
	Log   *slog.Logger
	// Limit is what one address may pull in a month (UTC), in bytes; 0 is no limit, and
	// nothing is counted.
	Limit int64
}

// Meter counts. It is safe for concurrent use. A client that is under the limit when it
// asks gets what it asks for, however large; nodes know of each other's counts after two
// Periods.
type Meter struct {
	c Config

	flushing sync.Mutex // held by one Flush at a time
	mu       sync.Mutex
	all      map[key]*count
	dropping bool // addresses are not counted, and the log says so
	failing  bool
	cleaned  int64 // the month in which older rows were removed
}

// key is an address in a month. IPv6 addresses of one /64 are one.
type key struct {
	month   int64
	address string
}

// count is what is known of a key.
type count struct {
	stored  int64     // as the database was last seen to have it
	read    time.Time // when that was; zero: never
	pending int64     // not in the database yet
	used    time.Time
}

// New makes a Meter. Run has to run for it to write anything down.
func New(c Config) *Meter { return &Meter{c: c, all: map[key]*count{}} }

// monthOf counts months from the year 0.
func monthOf(t time.Time) int64 {
	t = t.UTC()
	return int64(t.Year())*12 + int64(t.Month()) - 1
}

func (m *Meter) key(from netip.Addr, now time.Time) key {
	return key{monthOf(now), string(quota.OfAddress(from))}
}

// Allowed returns errs.Throttled, with the detail quota.RetryAfter, for an address that has
// had its month's volume. Where the database does not answer, what this node knows holds.
func (m *Meter) Allowed(ctx context.Context, from netip.Addr) error {
	if m.c.Limit <= 0 {
		return nil
	}
	now := m.c.Clock.Now()
	k := m.key(from, now)
	used, fresh := m.known(k, now)
	if !fresh && used < m.c.Limit {
		stored, err := m.read(ctx, k)
		switch {
		case err == nil:
			used = m.learn(k, stored, now)
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			m.failed("the volume that an address has pulled cannot be read; what this node knows of it holds", err)
		}
	}
	if used < m.c.Limit {
		return nil
	}
	next := time.Date(now.UTC().Year(), now.UTC().Month()+1, 1, 0, 0, 0, 0, time.UTC)
	seconds := min(int(next.Sub(now)/time.Second)+1, maxRetryAfter)
	return errs.New(errs.Throttled, "This address has pulled all that may be pulled without authentication in a month. Authenticate to go on, or wait for %s.", next.Format("January 2, 2006")).With(quota.RetryAfter, seconds)
}

// known is what the address has had, as far as this node knows, and whether the database
// need not be asked.
func (m *Meter) known(k key, now time.Time) (used int64, fresh bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.all[k]
	if c == nil {
		return 0, false
	}
	c.used = now
	return c.stored + c.pending, !c.read.IsZero() && now.Sub(c.read) < Period
}

// learn keeps what the database says, and returns what the address has had.
func (m *Meter) learn(k key, stored int64, now time.Time) (used int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.entry(k, now)
	if c == nil {
		return stored
	}
	// While a flush is under way, stored may have what it writes already: then this is
	// too much until the flush is done.
	c.stored, c.read = max(stored, c.stored), now
	return c.stored + c.pending
}

// entry finds or makes the count of a key; nil where there is no room. m.mu is held.
func (m *Meter) entry(k key, now time.Time) *count {
	c := m.all[k]
	if c == nil {
		if len(m.all) >= maxAddresses {
			return nil
		}
		c = &count{}
		m.all[k] = c
	}
	c.used = now
	return c
}

func (m *Meter) read(ctx context.Context, k key) (stored int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	err = m.c.DB.View(ctx, func(tx *sqldb.Tx) error {
		err := tx.QueryRow(ctx, `SELECT bytes FROM catalog_volume WHERE month = $1 AND address = $2`, k.month, k.address).Scan(&stored)
		if errors.Is(err, sqldb.ErrNoRows) {
			stored, err = 0, nil
		}
		return err
	})
	return stored, err
}

// Add says how many bytes an address has had.
func (m *Meter) Add(from netip.Addr, bytes int64) {
	if m.c.Limit <= 0 || bytes <= 0 {
		return
	}
	now := m.c.Clock.Now()
	k := m.key(from, now)
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.entry(k, now); c != nil {
		c.pending += bytes
		return
	}
	if !m.dropping {
		m.dropping = true
		m.c.Log.Warn("too many addresses pull at once; what further ones pull without a token is not counted", "addresses", maxAddresses)
	}
}

// Run writes down what is counted, every Period and at the end, until ctx ends.
func (m *Meter) Run(ctx context.Context) error {
	if m.c.Limit <= 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(Period)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			switch err := m.Flush(ctx); {
			case err == nil:
				m.recovered()
			case ctx.Err() == nil:
				m.failed("the volumes that addresses have pulled cannot be written down; they are kept in memory until they can", err)
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
			defer cancel()
			return m.Flush(last)
		}
	}
}

// failed logs the first failure of several.
func (m *Meter) failed(text string, err error) {
	m.mu.Lock()
	first := !m.failing
	m.failing = true
	m.mu.Unlock()
	if first {
		m.c.Log.Warn(text, "error", err)
	}
}

func (m *Meter) recovered() {
	m.mu.Lock()
	before := m.failing
	m.failing = false
	m.mu.Unlock()
	if before {
		m.c.Log.Info("the volumes that addresses have pulled are written down again")
	}
}

// Flush writes down what is counted, reads what other nodes have counted for the same
// addresses, forgets addresses that have been quiet where memory is short, and removes
// months that are over. What could not be written is kept for the next time.
func (m *Meter) Flush(ctx context.Context) error {
	m.flushing.Lock()
	defer m.flushing.Unlock()
	var err error
	for batch := range slices.Chunk(m.take(), perCommit) {
		if err == nil {
			err = m.write(ctx, batch)
		}
	}
	if err == nil {
		err = m.clean(ctx)
	}
	m.forget()
	if err != nil {
		return fmt.Errorf("writing down what addresses have pulled: %w", err)
	}
	return nil
}

// take lists the keys with something to write, in the order in which every node writes
// them, so that none waits for another in a circle.
func (m *Meter) take() (keys []key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, c := range m.all {
		if c.pending > 0 {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.month, b.month), cmp.Compare(a.address, b.address))
	})
	return keys
}

// write adds what is pending of some keys to the database.
func (m *Meter) write(ctx context.Context, batch []key) error {
	adding := make([]int64, len(batch))
	m.mu.Lock()
	for i, k := range batch {
		adding[i] = m.all[k].pending
	}
	m.mu.Unlock()
	stored := make([]int64, len(batch))
	err := m.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		for i, k := range batch {
			err := tx.QueryRow(ctx, `INSERT INTO catalog_volume (month, address, bytes) VALUES ($1, $2, $3)
				ON CONFLICT (month, address) DO UPDATE SET bytes = catalog_volume.bytes + excluded.bytes RETURNING bytes`, k.month, k.address, adding[i]).Scan(&stored[i])
			if err != nil {
				return err
			}
		}
		return nil
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.c.Clock.Now()
	if err != nil {
		return err
	}
	for i, k := range batch {
		c := m.all[k]
		c.pending -= adding[i]
		c.stored, c.read = stored[i], now
	}
	return nil
}

// clean removes the months before the last one; clocks of nodes may differ.
func (m *Meter) clean(ctx context.Context) error {
	month := monthOf(m.c.Clock.Now())
	m.mu.Lock()
	done := m.cleaned == month
	m.mu.Unlock()
	if done {
		return nil
	}
	err := m.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM catalog_volume WHERE month < $1`, month-1)
		return err
	})
	if err == nil {
		m.mu.Lock()
		m.cleaned = month
		m.mu.Unlock()
	}
	return err
}

// keptAddresses is how many quiet addresses stay in memory; others are read again when
// they come back.
const keptAddresses = maxAddresses / 2

// forget drops the keys of other months and, beyond keptAddresses, those that were used
// the longest time ago, as far as nothing of them is to be written.
func (m *Meter) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	month := monthOf(m.c.Clock.Now())
	var quiet []key
	for k, c := range m.all {
		switch {
		case c.pending > 0:
		case k.month != month:
			delete(m.all, k)
		default:
			quiet = append(quiet, k)
		}
	}
	if over := len(m.all) - keptAddresses; over > 0 {
		slices.SortFunc(quiet, func(a, b key) int { return m.all[a].used.Compare(m.all[b].used) })
		for _, k := range quiet[:min(over, len(quiet))] {
			delete(m.all, k)
		}
	}
	m.dropping = m.dropping && len(m.all) >= maxAddresses
}
