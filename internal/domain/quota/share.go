package quota

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// How nodes share a rate.
//
// Each node counts what it is asked for under each key, smooths it, writes it
// into its row of quota_demand once a second, and reads the others' rows. Its
// share of the rate is its own demand over everybody's, all as they stand in the
// table, so that the shares of all nodes are one together. Demand counts up to
// the rate itself: what is asked beyond it cannot be had, and would only take
// from those that ask for little.
//
// Until its second exchange a key has at most startShare on a node, or less where
// more nodes are seen; after that a node that sees no others has everything. So
// on a key that n nodes begin to use at the same moment they admit together, in
// the two seconds at most until their second exchange, n/4 times what one bucket
// would. A node that joins a busy key adds startShare for as long. A bucket holds
// a second's worth of its share and never less than one token, and a share is
// never less than leastShare, so that n nodes exceed a rate by n tokens once, and
// by n hundredths of it for ever, at the most.
//
// A node that dies keeps its share from the others for deadAfter. While the
// database does not answer, shares stay as they are.
const (
	// exchangePeriod is how often a node writes and reads.
	exchangePeriod = time.Second
	// startShare is of a key that a node has just begun to use.
	startShare = 0.25
	// leastShare is of a node whose part of the demand is smaller still.
	leastShare = 0.01
	// deadAfter is how long a node's row may stand still until the node counts as
	// gone, by the reader's own clock; removeAfter until the row is removed.
	deadAfter   = 5 * time.Second
	removeAfter = time.Minute
	// exchangeTimeout bounds the database's part of one exchange.
	exchangeTimeout = 5 * time.Second
	// maxPublished bounds the keys of accounts in a node's row, some 60 bytes each,
	// maxPublishedAddresses those of addresses; the others have the share that a key
	// starts with.
	maxPublished          = 5_000
	maxPublishedAddresses = 1_000
	// idleDemand is the part of a rate below which the demand of a key that
	// nobody asks for any more counts as none.
	idleDemand = 0.01
)

// demand is what is known of a bucket's use, for the exchange.
type demand struct {
	asked     int64   // requests since the last exchange
	rate      float64 // smoothed, in requests a second, at most the limit
	exchanges int     // since the key came into use
}

// measure brings the demand up to date and returns it: 0 for a key that is not in
// use.
func (b *bucket) measure(period time.Duration) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := &b.demand
	recent := min(float64(d.asked)/period.Seconds(), b.limit)
	switch {
	case d.asked > 0 && d.exchanges == 0:
		d.rate = recent
	case d.asked > 0:
		d.rate = (d.rate + recent) / 2
	default:
		d.rate /= 4
		if d.rate < b.limit*idleDemand {
			*d = demand{}
		}
	}
	d.asked = 0
	return d.rate
}

// apportion gives the bucket its share, others being the demand of all other
// nodes and own this one's, as they stand in the table. A bucket whose demand
// does not stand there has the share that it starts with.
func (b *bucket) apportion(now time.Duration, own, others, start float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	share := start
	if own > 0 {
		share = max(own/(own+others), leastShare)
		if b.demand.exchanges++; b.demand.exchanges < 2 {
			share = min(share, start)
		}
	}
	b.setShare(now, share)
}

// exchanging is the state of the exchange; one goroutine has it.
type exchanging struct {
	node      string
	beat      int64
	published bool
	at        time.Duration // of the last exchange
	peers     map[string]*peer
	failing   bool
}

// peer is another node, as its row was last seen.
type peer struct {
	beat    int64
	changed time.Duration // when it was seen to change
	demand  map[bucketKey]float64
}

func (p *peer) alive(now time.Duration) bool { return now-p.changed <= deadAfter }

func (x *exchanging) init() {
	x.node, x.peers = rand.Text(), map[string]*peer{}
}

// Run does the background work until ctx ends: it forgets what is no longer
// used, and where there are other nodes it reads what they have changed and
// shares the rates with them.
func (s *Service) Run(ctx context.Context) error {
	period := idleLife
	if s.share {
		period = exchangePeriod
	}
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.step(ctx)
		case <-ctx.Done():
			s.leave(context.WithoutCancel(ctx))
			return nil
		}
	}
}

// step does the work of one period. What fails is tried again in the next.
func (s *Service) step(ctx context.Context) {
	if !s.share {
		s.buckets.forgetIdle(s.now())
		return
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	err := errors.Join(s.Refresh(ctx), s.exchange(ctx))
	switch x := &s.exchanging; {
	case err != nil && ctx.Err() != context.Canceled && !x.failing:
		x.failing = true
		s.log.Warn("request rates cannot be shared with other nodes; the shares stay as they are until they can", "error", err)
	case err == nil && x.failing:
		x.failing = false
		s.log.Info("request rates are shared with other nodes again")
	}
}

// exchange tells the other nodes what this one is asked for, reads the same of
// them, and sets the shares.
func (s *Service) exchange(ctx context.Context) error {
	x, now := &s.exchanging, s.now()
	period := now - x.at
	if period <= 0 {
		return nil
	}
	x.at = now
	s.buckets.forgetIdle(now)
	mine, addresses := map[bucketKey]float64{}, map[bucketKey]float64{}
	s.buckets.each(func(k bucketKey, b *bucket) bool {
		rate := b.measure(period)
		switch {
		case rate <= 0:
		case ofAddresses(k.action):
			addresses[k] = rate
		default:
			mine[k] = rate
		}
		return false
	})
	keepLargest(mine, maxPublished)
	keepLargest(addresses, maxPublishedAddresses)
	maps.Copy(mine, addresses)
	if err := s.publish(ctx, mine); err != nil {
		return err
	}
	if err := s.observe(ctx, now); err != nil {
		return err
	}
	others, alive := map[bucketKey]float64{}, 0
	for _, p := range x.peers {
		if !p.alive(now) {
			continue
		}
		alive++
		for k, rate := range p.demand {
			others[k] += rate
		}
	}
	start := min(startShare, 1/float64(1+alive))
	s.buckets.setStart(start)
	s.buckets.each(func(k bucketKey, b *bucket) bool {
		b.apportion(now, mine[k], others[k], start)
		return false
	})
	return nil
}

// publish writes the node's row, or removes it when nothing is asked for.
func (s *Service) publish(ctx context.Context, mine map[bucketKey]float64) error {
	x := &s.exchanging
	if len(mine) == 0 {
		return s.withdraw(ctx)
	}
	x.beat++
	x.published = true
	text := demandText(mine)
	err := s.db.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO quota_demand (node, beat, demand) VALUES ($1, $2, $3)
			ON CONFLICT (node) DO UPDATE SET beat = excluded.beat, demand = excluded.demand`, x.node, x.beat, text)
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the demand of this node: %w", err)
	}
	return nil
}

// withdraw removes the node's row, if it has one.
func (s *Service) withdraw(ctx context.Context) error {
	x := &s.exchanging
	if !x.published {
		return nil
	}
	err := s.db.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM quota_demand WHERE node = $1`, x.node)
		return err
	})
	if err != nil {
		return fmt.Errorf("removing the demand of this node: %w", err)
	}
	x.published = false
	return nil
}

// leave is the end of the exchange: the others need not wait for deadAfter.
func (s *Service) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	if err := s.withdraw(ctx); err != nil {
		s.log.Debug("the other nodes will take this one for dead", "error", err)
	}
}

// row is another node's row.
type row struct {
	node   string
	beat   int64
	demand string
}

// observe reads the other nodes' rows, and removes those of nodes that are long
// gone. Whether a node is alive is told by its row's changing, so that the
// clocks of the nodes need not agree.
func (s *Service) observe(ctx context.Context, now time.Duration) error {
	x := &s.exchanging
	var rows []row
	err := s.db.View(ctx, func(tx *sqldb.Tx) (err error) {
		rows, err = sqldb.Collect(ctx, tx, func(from sqldb.Scanner) (r row, err error) {
			return r, from.Scan(&r.node, &r.beat, &r.demand)
		}, `SELECT node, beat, demand FROM quota_demand WHERE node <> $1`, x.node)
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the demand of other nodes: %w", err)
	}
	seen := map[string]*peer{}
	var gone []row
	for _, r := range rows {
		p := x.peers[r.node]
		if p == nil || p.beat != r.beat {
			p = &peer{beat: r.beat, changed: now, demand: readDemand(r.demand)}
		}
		if now-p.changed > removeAfter {
			gone = append(gone, r)
		}
		seen[r.node] = p
	}
	x.peers = seen
	if len(gone) == 0 {
		return nil
	}
	err = s.db.Update(ctx, func(tx *sqldb.Tx) error {
		for _, r := range gone {
			if _, err := tx.Exec(ctx, `DELETE FROM quota_demand WHERE node = $1 AND beat = $2`, r.node, r.beat); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("removing the demand of nodes that are gone: %w", err)
	}
	return nil
}

// keepLargest removes all but the most largest.
func keepLargest(m map[bucketKey]float64, most int) {
	if len(m) <= most {
		return
	}
	all := make([]float64, 0, len(m))
	for _, rate := range m {
		all = append(all, rate)
	}
	slices.Sort(all)
	least := all[len(all)-most]
	above, _ := slices.BinarySearch(all, math.Nextafter(least, math.Inf(1)))
	ties := most - (len(all) - above) // how many of those that are least stay
	for k, rate := range m {
		switch {
		case rate < least:
			delete(m, k)
		case rate == least && ties > 0:
			ties--
		case rate == least:
			delete(m, k)
		}
	}
}

// demandText writes one line for each key: account, region, action and demand.
func demandText(m map[bucketKey]float64) string {
	var b strings.Builder
	for k, rate := range m {
		b.WriteString(string(k.account) + " " + string(k.region) + " " + k.action + " " + strconv.FormatFloat(rate, 'g', 6, 64) + "\n")
	}
	return b.String()
}

// readDemand reads what demandText has written. Lines of another form, which a
// newer program may write, are left out.
func readDemand(text string) map[bucketKey]float64 {
	m := map[bucketKey]float64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 4 {
			continue
		}
		if rate, err := strconv.ParseFloat(f[3], 64); err == nil && rate > 0 {
			m[bucketKey{name.AccountID(f[0]), name.Region(f[1]), f[2]}] = rate
		}
	}
	return m
}
