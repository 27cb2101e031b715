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
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit/lookup"
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
	Resources         []string
	ReadOnly          bool
}

// Limits of the buffer between the calls and the table.
const (
	maxBuffered      = 20_000   // entries; beyond it Overflow says what happens
	maxBufferedBytes = 64 << 20 // of their parameters and answers, which hold manifests
	batchSize        = 500      // rows in one transaction
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

	mu      sync.Mutex
	room    *sync.Cond
	pending []Entry
	bytes   int
	dropped int64
	warned  time.Time
	wake    chan struct{}
}

// NewTrail returns a trail that writes to db once Run is called.
func NewTrail(db *sqldb.DB, log *slog.Logger, options Options) *Trail {
	t := &Trail{db: db, log: log, options: options, index: lookup.New(db), wake: make(chan struct{}, 1)}
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
	t.pending = append(t.pending, e)
	t.bytes += e.size()
	full := len(t.pending) >= batchSize
	t.mu.Unlock()
	if full {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

func (t *Trail) full() bool { return len(t.pending) >= maxBuffered || t.bytes >= maxBufferedBytes }

func (e Entry) size() int { return len(e.RequestParameters) + len(e.ResponseElements) }

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
		select {
		case <-tick.C:
		case <-t.wake:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			return t.Flush(last)
		}
		if err := t.Flush(ctx); err != nil && ctx.Err() == nil {
			t.log.Error("the audit trail cannot be written; will try again", "error", err)
		}
	}
}

// Flush writes everything that is pending.
func (t *Trail) Flush(ctx context.Context) error {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	for {
		t.mu.Lock()
		n := min(len(t.pending), batchSize)
		batch := t.pending[:n:n] // Record only adds behind it
		t.mu.Unlock()
		if n == 0 {
			return nil
		}
		if err := t.write(ctx, batch); err != nil {
			return err
		}
		t.mu.Lock()
		for _, e := range batch {
			t.bytes -= e.size()
		}
		clear(batch) // what it held is free before the array is
		t.pending = t.pending[n:]
		t.room.Broadcast()
		t.mu.Unlock()
	}
}

func (t *Trail) write(ctx context.Context, batch []Entry) error {
	texts := make([]text, len(batch))
	for i, e := range batch {
		var err error
		if texts[i], err = t.textOf(e); err != nil {
			return err
		}
	}
	return t.db.Update(ctx, func(tx *sqldb.Tx) error {
		rows := make([]lookup.Row, len(batch))
		for i, e := range batch {
			// The id is made here, where it is late: whoever reads the trail by ids has to
			// wait only for transactions that are under way (see After).
			rows[i] = lookup.Row{ID: sqldb.NewID(), Account: e.Account, Region: e.Region, OccurredAt: e.Time.UnixMicro(), Facts: e.facts()}
		}
		err := lookup.InsertTx(ctx, tx, insertInto, "", len(rows), func(i int) []any { return values(rows[i], batch[i].EventName, texts[i].record(rows[i].ID)) })
		if err != nil {
			return err
		}
		return t.index.AddTx(ctx, tx, rows...)
	})
}

const insertInto = `INSERT INTO audit (id, account_id, region, occurred_at, name, record) VALUES `

// values are a row of it.
func values(r lookup.Row, event, record string) []any {
	return []any{r.ID, string(r.Account), string(r.Region), r.OccurredAt, event, record}
}

// facts are what the entry's record is found by.
func (e Entry) facts() lookup.Facts {
	f := lookup.Facts{Name: e.EventName, Source: e.EventSource, ReadOnly: e.ReadOnly}
	if p := e.Principal; p.ARN != "" {
		f.AccessKeyID, f.Username = p.AccessKeyID, lookup.UserOf(p.Type, p.ARN, p.UserName)
	}
	for _, arn := range e.Resources {
		f.Resources = append(f.Resources, lookup.ResourceOf(arn))
	}
	return f
}

// expireBatch bounds the records that one transaction of Expire removes.
const expireBatch = 5_000

// Expire removes the records from before the given time, in batches, and
// returns how many there were.
func (t *Trail) Expire(ctx context.Context, before time.Time) (removed int64, err error) {
	for {
		var n int64
		err := t.db.Update(ctx, func(tx *sqldb.Tx) error {
			if err := t.index.RemoveTx(ctx, tx, before.UnixMicro(), expireBatch); err != nil {
				return err
			}
			var err error
			n, err = tx.Exec(ctx, `DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE occurred_at < $1 ORDER BY occurred_at, id LIMIT $2)`,
				before.UnixMicro(), expireBatch)
			return err
		})
		if err != nil {
			return removed, err
		}
		removed += n
		if n < expireBatch {
			return removed, nil
		}
	}
}

// Backfill makes the records findable that were written before records could be found; see
// lookup.Index.Backfill.
func (t *Trail) Backfill(ctx context.Context) (records int64, err error) {
	return t.index.Backfill(ctx)
}
