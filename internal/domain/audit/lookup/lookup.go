// Package lookup finds audit records by what LookupEvents asks for: one attribute, a range of
// time, the newest first. It owns the tables that stand beside the records for this purpose, and
// fills them: with each record that is written, and with those from before. It owns the table of
// segments too, which have records and what they are found by in one.
//
// It does not say what records are, or which of them share a segment (domain/audit), and knows no API.
//
// A record is found by hashes of 64 bits of account, region, attribute and value, so that an entry
// of an index is three numbers; what is found is compared with the record itself before it is
// handed out, so that two values with one hash do no harm. Attributes with few values (read-only,
// event source, resource type, none at all) have one index together: that of kinds, which are
// their combinations. There are some dozens of them, their newest records are merged.
//
// A segment has the same hashes, each once for all of its records, with the time of the newest of
// them. So a page walks the segments of a hash, opens those that may have something for it, and is
// merged with the records that have rows of their own.
package lookup

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The attributes of a Query, by CloudTrail's names.
const (
	EventID      = "EventId"
	EventName    = "EventName"
	ReadOnly     = "ReadOnly"
	Username     = "Username"
	ResourceType = "ResourceType"
	ResourceName = "ResourceName"
	EventSource  = "EventSource"
	AccessKeyID  = "AccessKeyId"
)

// MaxLimit bounds the events of one page; it is LookupEvents'.
const MaxLimit = 50

// Query asks for the records of an account.
type Query struct {
	Account name.AccountID
	// Region is whose records; "" is all regions.
	Region name.Region
	// Attribute is one of the constants above, "" for none, and Value what it has to be:
	// exactly; "true" or "false" for ReadOnly; an ARN, or a name without one, for ResourceName.
	Attribute, Value string
	// From and To bound the time, both included, zero for no bound. Records have whole seconds, so To
	// includes the whole of its second.
	From, To time.Time
	// Limit is 1 to MaxLimit; 0 means MaxLimit.
	Limit int
	// Before is where the page before this one has ended; "" for the first page.
	Before Cursor
}

// Cursor is where a page ends: text that means nothing to others, safe in URLs.
type Cursor string

// Resource is what a call was about.
type Resource struct {
	// Type is as in CloudFormation, AWS::ECR::Repository; "" where there is no word for it.
	Type string
	// Name is the ARN.
	Name string
}

// Event is one record, with what it is found by.
type Event struct {
	ID, Name, Source      string
	Username, AccessKeyID string // "" for none
	ReadOnly              bool
	Region                name.Region
	Time                  time.Time
	Resources             []Resource
	// Record is the whole record, JSON.
	Record string
}

// Index is the tables beside the records. It is safe for concurrent use.
type Index struct {
	db *sqldb.DB

	mu    sync.Mutex
	kinds map[int64]struct{} // those that are known to have their row
}

// New returns the index of the records in db.
func New(db *sqldb.DB) *Index { return &Index{db: db, kinds: map[int64]struct{}{}} }

// source is one index that a page is merged from: a condition with its key.
type source struct {
	table, column string
	key           int64
}

// place is where a record stands in the order of a page.
type place struct {
	at, row int64
}

func newestFirst(a, b place) int {
	return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(b.row, a.row))
}

// Find returns a page of records, the newest first, and where the next page begins: "" where
// there is none. What is no cursor, attribute or value of one is errs.InvalidInput.
func (x *Index) Find(ctx context.Context, q Query) (page []Event, next Cursor, err error) {
	if q.Limit <= 0 || q.Limit > MaxLimit {
		q.Limit = MaxLimit
	}
	from, before, err := q.bounds()
	if err != nil {
		return nil, "", err
	}
	if q.Attribute == ReadOnly && q.Value != "true" && q.Value != "false" {
		return nil, "", errs.New(errs.InvalidInput, "The value of the attribute ReadOnly has to be true or false.")
	}
	err = x.db.View(ctx, func(tx *sqldb.Tx) error {
		page, next = nil, ""
		if row, ok := rowOf(q.Value); ok && q.Attribute == EventID {
			e, err := one(ctx, tx, q, row)
			if e != nil && from <= e.Time.UnixMicro() && newestFirst(before, place{e.Time.UnixMicro(), row}) < 0 {
				page = append(page, *e)
			}
			return err
		}
		sources, err := sourcesOf(ctx, tx, q)
		if err != nil || len(sources) == 0 {
			return err
		}
		for start := before; ; {
			all, err := newest(ctx, tx, q, sources, from, start, q.Limit+1)
			if err != nil {
				return err
			}
			for _, f := range all {
				if f.event == nil { // another value with the same hash, or a record that has just expired
					start = f.place
					continue
				}
				if len(page) == q.Limit {
					next = cursorOf(start)
					return nil
				}
				page, start = append(page, *f.event), f.place
			}
			if len(all) <= q.Limit {
				return nil
			}
		}
	})
	return page, next, err
}

// one returns the record in a row or a segment; nil for none that the query is for.
func one(ctx context.Context, tx *sqldb.Tx, q Query, id int64) (*Event, error) {
	rows, err := read(ctx, tx, q, []int64{id})
	if err != nil {
		return nil, err
	}
	if e, ok := rows[id]; ok {
		return &e, nil
	}
	return inSegment(ctx, tx, q, id)
}

// newest returns the limit newest places of rows and segments that are behind before and not older
// than from, with their events: without one where it is not what the query is for after all.
func newest(ctx context.Context, tx *sqldb.Tx, q Query, sources []source, from int64, before place, limit int) ([]found, error) {
	places, err := merge(ctx, tx, sources, from, before, limit)
	if err != nil {
		return nil, err
	}
	if len(places) == limit { // what is older cannot come into the page
		from = max(from, places[limit-1].at)
	}
	var keys []int64
	for _, s := range sources {
		if !slices.Contains(keys, s.key) {
			keys = append(keys, s.key)
		}
	}
	all, err := newestInSegments(ctx, tx, q, keys, from, before, limit)
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		all = append(all, found{place: p})
	}
	slices.SortFunc(all, newestFound)
	all = all[:min(limit, len(all))]
	var rows []int64
	for _, f := range all {
		if f.event == nil {
			rows = append(rows, f.row)
		}
	}
	if len(rows) == 0 {
		return all, nil
	}
	events, err := read(ctx, tx, q, rows)
	if err != nil {
		return nil, err
	}
	for i, f := range all {
		if e, ok := events[f.row]; ok && f.event == nil {
			all[i].event = &e
		}
	}
	return all, nil
}

// bounds are the oldest time, in microseconds, and the place that all of the page is behind.
func (q Query) bounds() (from int64, before place, err error) {
	from, before = math.MinInt64, place{math.MaxInt64, math.MaxInt64}
	if !q.From.IsZero() {
		from = q.From.UnixMicro()
	}
	if !q.To.IsZero() {
		before.at = q.To.Truncate(time.Second).Add(time.Second).UnixMicro() - 1
	}
	if q.Before == "" {
		return from, before, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(string(q.Before))
	at, row, two := strings.Cut(string(text), ".")
	var p place
	if err == nil {
		p.at, err = strconv.ParseInt(at, 10, 64)
	}
	if err == nil {
		p.row, err = strconv.ParseInt(row, 10, 64)
	}
	if err != nil || !two {
		return 0, place{}, errs.New(errs.InvalidInput, "The token is not one that this operation has answered. Begin with the first page again.")
	}
	if newestFirst(p, before) > 0 { // further back than To
		before = p
	}
	return from, before, nil
}

func cursorOf(p place) Cursor {
	return Cursor(base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(p.at, 10) + "." + strconv.FormatInt(p.row, 10))))
}

// kind is a row of audit_kind.
type kind struct {
	key          int64
	account      name.AccountID
	region       name.Region
	source       string
	readOnly     bool
	resourceType string
}

func (k kind) hash() int64 {
	return keyOf("kind", string(k.account), string(k.region), k.source, strconv.FormatBool(k.readOnly), k.resourceType)
}

// sourcesOf says which indexes answer a query: one for each region, or for each kind.
func sourcesOf(ctx context.Context, tx *sqldb.Tx, q Query) ([]source, error) {
	kinds, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (k kind, err error) {
		return k, row.Scan(&k.key, &k.region, &k.source, &k.readOnly, &k.resourceType)
	}, `SELECT kind_key, region, source, read_only, resource_type FROM audit_kind WHERE account_id = $1 AND ($2 = '' OR region = $2) ORDER BY region, kind_key`,
		string(q.Account), string(q.Region))
	if err != nil {
		return nil, err
	}
	byKind := func(wanted func(kind) bool) (all []source) {
		for _, k := range kinds {
			if wanted(k) {
				all = append(all, source{"audit_lookup", "kind_key", k.key})
			}
		}
		return all
	}
	byRegion := func(table, column, attribute, value string) (all []source) {
		for i, k := range kinds {
			if i == 0 || k.region != kinds[i-1].region {
				all = append(all, source{table, column, keyOf(attribute, string(q.Account), string(k.region), value)})
			}
		}
		return all
	}
	switch q.Attribute {
	case "":
		return byKind(func(kind) bool { return true }), nil
	case ReadOnly:
		return byKind(func(k kind) bool { return strconv.FormatBool(k.readOnly) == q.Value }), nil
	case EventSource:
		return byKind(func(k kind) bool { return k.source == q.Value }), nil
	case ResourceType:
		return append(byKind(func(k kind) bool { return k.resourceType == q.Value }), byRegion("audit_term", "term", ResourceType, q.Value)...), nil
	case ResourceName:
		short := shortName(q.Value)
		return append(byRegion("audit_lookup", "resource_key", ResourceName, short), byRegion("audit_term", "term", ResourceName, short)...), nil
	case EventName:
		return byRegion("audit_lookup", "name_key", EventName, q.Value), nil
	case Username:
		return byRegion("audit_lookup", "user_key", Username, q.Value), nil
	case AccessKeyID:
		return byRegion("audit_lookup", "access_key", AccessKeyID, q.Value), nil
	case EventID:
		return byRegion("audit_term", "term", EventID, strings.ToLower(q.Value)), nil
	}
	return nil, errs.New(errs.InvalidInput, "The attribute has to be one of %s, %s, %s, %s, %s, %s, %s and %s.",
		EventID, EventName, ReadOnly, Username, ResourceType, ResourceName, EventSource, AccessKeyID)
}

// merge returns the limit newest places of all sources that are behind before and not older than
// from. Each place is there once.
func merge(ctx context.Context, tx *sqldb.Tx, sources []source, from int64, before place, limit int) ([]place, error) {
	var all []place
	for _, s := range sources {
		oldest := from
		if len(all) >= limit { // what is older than the page so far cannot come into it
			slices.SortFunc(all, newestFirst)
			all = slices.Compact(all)
			all = all[:min(limit, len(all))]
			if len(all) == limit {
				oldest = max(oldest, all[limit-1].at)
			}
		}
		more, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (p place, err error) { return p, row.Scan(&p.at, &p.row) },
			`SELECT occurred_at, audit_id FROM `+s.table+` WHERE `+s.column+` = $1 AND `+s.column+` <> 0 AND occurred_at >= $2
				AND (occurred_at, audit_id) < ($3, $4) ORDER BY occurred_at DESC, audit_id DESC LIMIT $5`,
			s.key, oldest, before.at, before.row, limit)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	slices.SortFunc(all, newestFirst)
	all = slices.Compact(all)
	return all[:min(limit, len(all))], nil
}

// read reads the records of rows, those that the query is for.
func read(ctx context.Context, tx *sqldb.Tx, q Query, rows []int64) (map[int64]Event, error) {
	found := make(map[int64]Event, len(rows))
	var args [MaxLimit + 1]any // always as many: one statement to prepare
	for i := range args {
		args[i] = int64(0)
	}
	for i, row := range rows {
		args[i] = row
	}
	type stored struct {
		row, at         int64
		account, region string
		record          string
	}
	all, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (s stored, err error) {
		return s, row.Scan(&s.row, &s.account, &s.region, &s.at, &s.record)
	}, readQuery(len(args)), args[:]...)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if s.account != string(q.Account) || q.Region != "" && s.region != string(q.Region) {
			continue
		}
		e := eventOf(s.row, s.at, name.Region(s.region), WithID(s.row, s.record))
		if e.is(q.Attribute, q.Value) {
			found[s.row] = e
		}
	}
	return found, nil
}

func readQuery(n int) string {
	var b strings.Builder
	b.WriteString(`SELECT id, account_id, region, occurred_at, record FROM audit WHERE id IN (`)
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(i+1))
	}
	return b.String() + ")"
}

// is says whether the event has the attribute with the value.
func (e Event) is(attribute, value string) bool {
	switch attribute {
	case EventID:
		return strings.EqualFold(e.ID, value)
	case EventName:
		return e.Name == value
	case ReadOnly:
		return strconv.FormatBool(e.ReadOnly) == value
	case Username:
		return e.Username == value
	case AccessKeyID:
		return e.AccessKeyID == value
	case EventSource:
		return e.Source == value
	case ResourceType:
		return slices.ContainsFunc(e.Resources, func(r Resource) bool { return r.Type == value })
	case ResourceName:
		return slices.ContainsFunc(e.Resources, func(r Resource) bool { return r.Name == value || shortName(r.Name) == value })
	}
	return true
}

// keyOf hashes texts, each apart from the next, to a number that is not 0. It must never change:
// numbers are stored.
func keyOf(texts ...string) int64 {
	h := sha256.New()
	var length [8]byte
	for _, t := range texts {
		binary.BigEndian.PutUint64(length[:], uint64(len(t)))
		h.Write(length[:])
		h.Write([]byte(t))
	}
	n := int64(binary.BigEndian.Uint64(h.Sum(nil)))
	if n == 0 {
		return 1
	}
	return n
}
