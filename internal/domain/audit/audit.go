// Package audit keeps a record of every call, in the shape of CloudTrail's
// records, for those who have to answer who did what.
//
// It does not decide what a record says (the pipelines fill it in) and delivers
// nothing; audit/lookup finds records, audit/trails writes them to files.
package audit

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/audit/segment"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Identity is the caller of a recorded call: what principal.Principal says.
type Identity struct {
	Account     name.AccountID
	ARN         string
	ID          string
	AccessKeyID string
	// Type is CloudTrail's word: Root, IAMUser, AssumedRole, FederatedUser.
	Type string
	// UserName is an IAM user's name; "" for others.
	UserName string
	// Session is what temporary credentials say of themselves, nil for others.
	Session *Session
}

// Session is the sessionContext of a record.
type Session struct {
	Created time.Time
	MFA     bool
	// IssuerID, IssuerARN and IssuerName are the role's; "" for others.
	IssuerID, IssuerARN, IssuerName string
}

// TLS is the tlsDetails of a record.
type TLS struct {
	// Version and CipherSuite are as in TLSv1.3 and TLS_AES_128_GCM_SHA256.
	Version, CipherSuite string
	// Host is the host that the client asked for.
	Host string
}

// Entry is one call, answered or refused.
type Entry struct {
	Time        time.Time
	EventSource string // "ecr.amazonaws.com"
	EventName   string // the operation
	Region      name.Region
	// Principal is zero when the caller could not be told.
	Principal Identity
	// InvokedBy is the AWS service that made the call on the principal's behalf,
	// "" for calls that the principal made.
	InvokedBy string
	// Account owns the trail that the record belongs to: the account of the
	// addressed registry.
	Account name.AccountID
	// SourceIP and UserAgent are the client's.
	SourceIP  string
	UserAgent string
	// Proxied says that the client does not speak this API: it is a registry client, and the
	// service calls on its behalf (see Options.ClientAddresses).
	Proxied bool
	// TLS is how the client was connected, nil where that is not known.
	TLS       *TLS
	RequestID string
	// ErrorCode and ErrorMessage are empty for a call that succeeded.
	ErrorCode    string
	ErrorMessage string
	// RequestParameters and ResponseElements are JSON without secrets and
	// without layer bytes; the latter nil for reads.
	RequestParameters json.RawMessage
	ResponseElements  json.RawMessage
	// Marshaled says that both are written as encoding/json writes them, so that they can stand in
	// a record as they are.
	Marshaled bool
	Resources []string
	ReadOnly  bool
}

// Limits of the buffer between the calls and the table.
const (
	maxBuffered      = 20_000   // entries; beyond it Overflow says what happens
	maxBufferedBytes = 64 << 20 // of their parameters and answers, which hold manifests
	batchSize        = 1000     // in one transaction
	flushInterval    = time.Second
	// dropWarning is how far apart warnings of dropped entries are at least.
	dropWarning = time.Minute
)

// Overflow says what becomes of a call whose entry finds the buffer full, as it is when the database
// does not keep up.
type Overflow int

// The kinds of Overflow.
const (
	// Block has the call wait until there is room: no call without its record.
	Block Overflow = iota
	// Drop lets the call go on without a record; Dropped counts them.
	Drop
)

// Options are what an operator can choose.
type Options struct {
	Overflow Overflow
	// ClientAddresses writes the address and the user agent of registry clients as those of the
	// record, as for any API call. Without it the record names the service in both, and as
	// invokedBy, which is how CloudTrail has recorded docker's calls since July 2024, and the
	// client's own stand in additionalEventData.
	ClientAddresses bool
}

// Trail collects entries in memory and writes them in batches, so that a pull
// waits for no database. A kill -9 loses at most the last second of entries.
type Trail struct {
	db      *sqldb.DB
	log     *slog.Logger
	options Options
	index   *lookup.Index

	flushing sync.Mutex // one writer at a time
	packer   packer     // the writer's

	mu   sync.Mutex
	room *sync.Cond
	// pending are the entries that are not written, the oldest first, in pieces of batchSize, of which
	// only the last has room; done of the first one are written.
	pending [][]Entry
	done    int
	spare   [][]Entry // pieces that are free
	entries int
	bytes   int
	dropped int64
	warned  time.Time
	wake    chan struct{}
}

// NewTrail returns a trail that writes to db once Run is called.
func NewTrail(db *sqldb.DB, log *slog.Logger, options Options) *Trail {
	t := &Trail{db: db, log: log, options: options, index: lookup.New(db), packer: packer{options: options}, wake: make(chan struct{}, 1)}
	t.room = sync.NewCond(&t.mu)
	return t
}

// Record takes one entry. It returns at once unless the buffer is full (see Overflow).
func (t *Trail) Record(_ context.Context, e Entry) {
	t.mu.Lock()
	for t.full() {
		if t.options.Overflow == Drop {
			t.drop()
			return
		}
		t.room.Wait()
	}
	t.add(&e)
	full := t.entries >= batchSize || t.full()
	t.mu.Unlock()
	if full {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// add adds an entry to the pieces, so that none is ever copied to another place.
func (t *Trail) add(e *Entry) {
	last := len(t.pending) - 1
	if last < 0 || len(t.pending[last]) == cap(t.pending[last]) {
		var piece []Entry
		if n := len(t.spare); n > 0 {
			piece, t.spare = t.spare[n-1], t.spare[:n-1]
		} else {
			piece = make([]Entry, 0, batchSize)
		}
		t.pending, last = append(t.pending, piece), last+1
	}
	t.pending[last] = append(t.pending[last], *e)
	t.entries++
	t.bytes += e.size()
}

// maxSpare bounds the free pieces.
const maxSpare = 2

// forget forgets the n oldest entries, which are in one piece.
func (t *Trail) forget(n int) {
	first := t.pending[0]
	batch := first[t.done : t.done+n]
	for i := range batch {
		t.bytes -= batch[i].size()
	}
	clear(batch) // what they held is free before the piece is
	t.entries -= n
	if t.done += n; t.done < len(first) {
		return
	}
	t.done = 0
	if len(t.pending) == 1 { // no entry is behind it
		t.pending[0] = first[:0]
		return
	}
	t.pending = slices.Delete(t.pending, 0, 1)
	if len(t.spare) < maxSpare {
		t.spare = append(t.spare, first[:0])
	}
}

func (t *Trail) full() bool { return t.entries >= maxBuffered || t.bytes >= maxBufferedBytes }

func (e *Entry) size() int { return len(e.RequestParameters) + len(e.ResponseElements) }

// drop counts an entry that is not kept, says so now and then, and unlocks mu.
func (t *Trail) drop() {
	t.dropped++
	n, now := t.dropped, time.Now() // of the log, not of the trail
	warn := now.Sub(t.warned) >= dropWarning
	if warn {
		t.warned = now
	}
	t.mu.Unlock()
	if warn {
		t.log.Warn("audit records are dropped: the database does not keep up with them", "dropped since the start", n)
	}
}

// Dropped is how many entries were not kept since the start; 0 unless Overflow is Drop.
func (t *Trail) Dropped() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dropped
}

// Run writes batches until ctx ends, then writes what is left.
func (t *Trail) Run(ctx context.Context) error {
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for {
		least := 1
		select {
		case <-tick.C:
		case <-t.wake:
			least = batchSize // the few that have come meanwhile would cost as much
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			return t.Flush(last)
		}
		if err := t.flush(ctx, least); err != nil && ctx.Err() == nil {
			t.log.Error("the audit trail cannot be written; will try again", "error", err)
		}
	}
}

// Flush writes everything that is pending.
func (t *Trail) Flush(ctx context.Context) error { return t.flush(ctx, 1) }

// flush writes batches as long as least entries are pending.
func (t *Trail) flush(ctx context.Context, least int) error {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	for {
		batch := t.oldest(least)
		if len(batch) == 0 {
			return nil
		}
		if err := t.write(ctx, batch); err != nil {
			return err
		}
		t.mu.Lock()
		t.forget(len(batch))
		t.room.Broadcast()
		t.mu.Unlock()
	}
}

// oldest returns the next batch, none where fewer than least entries are pending and there is room for
// more. Record only adds behind it.
func (t *Trail) oldest(least int) []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entries < least && !t.full() || t.entries == 0 {
		return nil
	}
	return t.pending[0][t.done:]
}

// expireBatch bounds the rows, and a tenth of it the segments, of which one transaction of Expire
// removes all that are not younger than the last of them by more than a segment.Span.
const expireBatch = 5_000

// Expire removes the records from before the given time, in batches, the oldest first, and
// returns how many there were. The time counts in steps of segment.Span, so that no segment is
// cut: records may stay for up to ten seconds longer.
func (t *Trail) Expire(ctx context.Context, before time.Time) (removed int64, err error) {
	end := segment.Start(before.UnixMicro())
	for {
		var n int64
		last := false
		err := t.db.Update(ctx, func(tx *sqldb.Tx) error {
			border := end
			for _, table := range []struct {
				oldest string
				most   int
			}{{`SELECT occurred_at FROM audit WHERE occurred_at < $1 ORDER BY occurred_at LIMIT 1 OFFSET $2`, expireBatch},
				{`SELECT oldest_at FROM audit_segment WHERE oldest_at < $1 ORDER BY oldest_at LIMIT 1 OFFSET $2`, expireBatch / 10}} {
				at, err := sqldb.Collect(ctx, tx, sqldb.One[int64], table.oldest, end, table.most)
				if err != nil {
					return err
				}
				if len(at) > 0 {
					border = min(border, segment.Start(at[0])+segment.Span)
				}
			}
			last = border == end
			packed, err := t.index.ExpireTx(ctx, tx, border)
			if err != nil {
				return err
			}
			n, err = tx.Exec(ctx, `DELETE FROM audit WHERE occurred_at < $1`, border)
			n += packed
			return err
		})
		if err != nil {
			return removed, err
		}
		if removed += n; last {
			return removed, nil
		}
	}
}

// Backfill makes the records findable that were written before records could be found; see
// lookup.Index.Backfill.
func (t *Trail) Backfill(ctx context.Context) (records int64, err error) {
	return t.index.Backfill(ctx)
}
