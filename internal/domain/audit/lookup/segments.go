package lookup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/berth-registry/berth/internal/domain/audit/segment"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Ids of records that have rows of their own, and ids of those in segments, are in blocks of
// segment.Block: the even blocks are for rows, each odd one is for a segment. So the keys of the
// two tables keep the ids of all records apart, also those that two nodes make at once.

// NewRowID returns the id of a record that gets a row of its own.
func NewRowID() int64 {
	for {
		if id := sqldb.NewID(); id/segment.Block%2 == 0 {
			return id
		}
	}
}

func newSegmentID() int64 {
	for {
		if id := sqldb.NewIDs(segment.Block); id/segment.Block%2 == 1 {
			return id
		}
	}
}

// Packer makes segments of records, one after the other. It is not for use by several
// goroutines; its zero value is ready after Begin.
type Packer struct {
	builder segment.Builder
	account name.AccountID
	region  name.Region
	kinds   map[int64]kind
}

// Segment is records of one account and region that are kept together.
type Segment struct {
	account name.AccountID
	region  name.Region
	kinds   map[int64]kind
	segment.Built
}

// Begin begins a segment.
func (p *Packer) Begin(account name.AccountID, region name.Region) {
	p.account, p.region, p.kinds = account, region, map[int64]kind{}
}

// Describe returns a number by which Add knows what records are found by.
func (p *Packer) Describe(f Facts) int {
	k := Row{Account: p.account, Region: p.region, Facts: f}.keys()
	p.kinds[k.kind.key] = k.kind
	all := append([]int64{k.kind.key, k.name, k.user, k.access, k.resource}, k.terms...)
	return p.builder.Set(f.Name, slices.DeleteFunc(all, func(key int64) bool { return key == 0 }))
}

// Fits says whether the segment takes another record, of n bytes. All records of a segment are
// of one segment.Span.
func (p *Packer) Fits(n int) bool { return p.builder.Fits(n) }

// Add adds a record: when it occurred, in microseconds, what it is found by, and its text, in which
// the event id belongs at split.
func (p *Packer) Add(at int64, described int, text []byte, split int) {
	p.builder.Add(at, described, text, split)
}

// End returns the segment.
func (p *Packer) End() Segment {
	return Segment{account: p.account, region: p.region, kinds: p.kinds, Built: p.builder.Finish()}
}

// AddSegmentsTx writes segments and makes their records findable. The ids of the records are made
// here.
func (x *Index) AddSegmentsTx(ctx context.Context, tx *sqldb.Tx, all ...Segment) error {
	kinds := map[int64]kind{}
	for _, s := range all {
		for key, k := range s.kinds {
			kinds[key] = k
		}
	}
	if err := x.addKinds(ctx, tx, kinds); err != nil {
		return err
	}
	for _, s := range all {
		id := newSegmentID()
		_, err := tx.Exec(ctx, `INSERT INTO audit_segment (id, account_id, region, oldest_at, newest_at, records, content) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			id, string(s.account), string(s.region), s.Oldest, s.Newest, s.Records, s.Content)
		if err != nil {
			return err
		}
		err = InsertTx(ctx, tx, `INSERT INTO audit_segment_term (term, newest_at, segment_id, oldest_at) VALUES `, "", len(s.Keys), func(i int) []any {
			return []any{s.Keys[i], s.Newest, id, s.Oldest}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Kept is a record as a segment has it.
type Kept struct {
	ID         int64
	Region     name.Region
	OccurredAt int64 // microseconds
	Name       string
	Record     string
}

// After returns up to limit records of segments of an account that have ids larger than after and
// smaller than end, ascending; of all regions where region is "".
func After(ctx context.Context, tx *sqldb.Tx, account name.AccountID, region name.Region, after, end int64, limit int) (all []Kept, err error) {
	const atOnce = 4 // segments
	var opened segment.Reader
	for from := max(after, segment.Block) - segment.Block; len(all) < limit; {
		some, err := sqldb.Collect(ctx, tx, scanSegment, `SELECT id, account_id, region, content FROM audit_segment
			WHERE id > $1 AND id < $2 AND account_id = $3 AND ($4 = '' OR region = $4) ORDER BY id LIMIT $5`, from, end, string(account), string(region), atOnce)
		if err != nil {
			return nil, err
		}
		for _, s := range some {
			if err := s.open(&opened); err != nil {
				return nil, err
			}
			for i, r := range opened.Records {
				id := s.id + int64(i)
				if id <= after || id >= end || len(all) == limit {
					continue
				}
				text, err := s.text(&opened, i)
				if err != nil {
					return nil, err
				}
				all = append(all, Kept{ID: id, Region: s.region, OccurredAt: r.At, Name: r.Name, Record: text})
			}
			from = s.id
		}
		if len(some) < atOnce {
			break
		}
	}
	return all, nil
}

// segmentRow is a row of audit_segment.
type segmentRow struct {
	id      int64
	account name.AccountID
	region  name.Region
	content []byte
}

func scanSegment(row sqldb.Scanner) (s segmentRow, err error) {
	return s, row.Scan(&s.id, &s.account, &s.region, &s.content)
}

// unreadable says what to do about a segment that is not as it was written.
func (s segmentRow) unreadable(err error) error {
	return fmt.Errorf("the audit records from %d on cannot be read: %w; restore the row of audit_segment with this id from a backup, or delete it to go on without its records", s.id, err)
}

func (s segmentRow) open(r *segment.Reader, keys ...int64) error {
	err := r.Open(s.content, keys...)
	if err == nil && len(r.Records) > segment.Block {
		err = errors.New("there are too many")
	}
	if err != nil {
		return s.unreadable(err)
	}
	return nil
}

// text is a record with its event id in it.
func (s segmentRow) text(opened *segment.Reader, record int) (string, error) {
	front, back, err := opened.Text(record)
	if err != nil {
		return "", s.unreadable(err)
	}
	return front + `,"eventID":"` + IDOf(s.id+int64(record)) + `"` + back, nil
}

// event is a record of a segment, if it is one that the query is for.
func (s segmentRow) event(q Query, opened *segment.Reader, record int) (found, bool, error) {
	id, at := s.id+int64(record), opened.Records[record].At
	text, err := s.text(opened, record)
	if err != nil {
		return found{}, false, err
	}
	e := eventOf(id, at, s.region, text)
	return found{place{at, id}, &e}, e.is(q.Attribute, q.Value), nil
}

// found is a place with its event, or nil where that is still to be read.
type found struct {
	place
	event *Event
}

func newestFound(a, b found) int { return newestFirst(a.place, b.place) }

// inSegment returns the record with an id that a segment has; nil for none.
func inSegment(ctx context.Context, tx *sqldb.Tx, q Query, id int64) (*Event, error) {
	s, err := scanSegment(tx.QueryRow(ctx, `SELECT id, account_id, region, content FROM audit_segment WHERE id = $1`, id&^(segment.Block-1)))
	if errors.Is(err, sqldb.ErrNoRows) || err == nil && !s.of(q) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var opened segment.Reader
	if err := s.open(&opened); err != nil || int(id-s.id) >= len(opened.Records) {
		return nil, err
	}
	f, ok, err := s.event(q, &opened, int(id-s.id))
	if err != nil || !ok {
		return nil, err
	}
	return f.event, nil
}

func (s segmentRow) of(q Query) bool {
	return s.account == q.Account && (q.Region == "" || s.region == q.Region)
}

// span is a segment that has records with a key.
type span struct {
	newest, oldest, id int64
}

// walk goes through the segments of one key, the newest first.
type walk struct {
	key  int64
	some []span // the next ones
	last bool   // there are no others
}

// walkChunk is how many segments of a key are read at a time: more than a page of an attribute
// that few records have not, fewer than cost anything.
const walkChunk = 32

// next reads on where nothing is left. Segments from before oldest are left out, and those that are newer
// than before as a whole.
func (w *walk) next(ctx context.Context, tx *sqldb.Tx, after span, oldest int64, before place) (err error) {
	w.some, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (s span, err error) { return s, row.Scan(&s.newest, &s.oldest, &s.id) },
		`SELECT newest_at, oldest_at, segment_id FROM audit_segment_term WHERE term = $1 AND newest_at >= $2 AND (newest_at, segment_id) < ($3, $4) AND oldest_at <= $5
			ORDER BY newest_at DESC, segment_id DESC LIMIT $6`, w.key, oldest, after.newest, after.id, before.at, walkChunk)
	w.last = len(w.some) < walkChunk
	return err
}

// look is one walk through the segments of several keys.
type look struct {
	q      Query
	keys   []int64
	from   int64
	before place
	walks  []walk

	// read are segments that were read and not opened, by their ids; nil for one that has expired.
	read   map[int64]*segmentRow
	atOnce int // how many are read next
	opened map[int64]struct{}
	reader segment.Reader
}

// maxAtOnce bounds the segments that one statement reads, and so what a page holds of them.
const maxAtOnce = 8

// newestInSegments returns the limit newest records of segments that the query is for, that are
// behind before and not older than from.
//
// Segments are opened in the order of their newest records, until those that are left are older
// than all of what was found.
func newestInSegments(ctx context.Context, tx *sqldb.Tx, q Query, keys []int64, from int64, before place, limit int) (all []found, err error) {
	l := look{q: q, keys: keys, from: from, before: before, walks: make([]walk, len(keys)), read: map[int64]*segmentRow{}, atOnce: 1, opened: map[int64]struct{}{}}
	// The records of a segment are of one Span, so that none of a later one is behind before.
	top := span{newest: math.MaxInt64, id: math.MaxInt64}
	if before.at < math.MaxInt64-segment.Span {
		top.newest = before.at + segment.Span
	}
	for i, key := range keys {
		l.walks[i].key = key
		if err := l.walks[i].next(ctx, tx, top, from, before); err != nil {
			return nil, err
		}
	}
	for {
		var first *walk
		for i := range l.walks {
			if w := &l.walks[i]; len(w.some) > 0 && (first == nil || w.some[0].newest > first.some[0].newest) {
				first = w
			}
		}
		if first == nil || len(all) == limit && all[limit-1].at > first.some[0].newest {
			return all, nil
		}
		s := first.some[0]
		row, err := l.row(ctx, tx, s)
		if err != nil {
			return nil, err
		}
		if first.some = first.some[1:]; len(first.some) == 0 && !first.last {
			if err := first.next(ctx, tx, s, from, before); err != nil {
				return nil, err
			}
		}
		if row == nil || !row.of(q) { // it has just expired; or it is of another account with a key that has the same hash
			continue
		}
		if all, err = row.into(all, &l, limit); err != nil {
			return nil, err
		}
	}
}

// row reads a segment, and with it some of those that come next; nil for one that is gone, or was
// opened before, for another one of its keys.
func (l *look) row(ctx context.Context, tx *sqldb.Tx, s span) (*segmentRow, error) {
	if _, twice := l.opened[s.id]; twice {
		return nil, nil
	}
	l.opened[s.id] = struct{}{}
	if row, there := l.read[s.id]; there {
		delete(l.read, s.id)
		return row, nil
	}
	next := []span{s}
	for _, w := range l.walks {
		for _, other := range w.some {
			_, opened := l.opened[other.id]
			_, there := l.read[other.id]
			if !opened && !there {
				next = append(next, other)
			}
		}
	}
	slices.SortFunc(next[1:], func(a, b span) int { return cmp.Or(cmp.Compare(b.newest, a.newest), cmp.Compare(b.id, a.id)) })
	next = slices.CompactFunc(next, func(a, b span) bool { return a.id == b.id })
	next = next[:min(len(next), l.atOnce)]
	l.atOnce = min(2*l.atOnce, maxAtOnce)
	var args [maxAtOnce]any // always as many: one statement to prepare
	for i := range args {
		args[i] = int64(0)
	}
	for i, one := range next {
		args[i] = one.id
		l.read[one.id] = nil
	}
	rows, err := sqldb.Collect(ctx, tx, scanSegment, `SELECT id, account_id, region, content FROM audit_segment WHERE id IN `+sqldb.In(1, len(args)), args[:]...)
	if err != nil {
		return nil, err
	}
	for i, row := range rows {
		l.read[row.id] = &rows[i]
	}
	row := l.read[s.id]
	delete(l.read, s.id)
	return row, nil
}

// into adds what a segment has to the limit newest records.
func (s segmentRow) into(all []found, l *look, limit int) ([]found, error) {
	opened := &l.reader
	if err := s.open(opened, l.keys...); err != nil {
		return nil, err
	}
	var places []place
	for i, r := range opened.Records {
		p := place{r.At, s.id + int64(i)}
		if !r.Found || r.At < l.from || newestFirst(p, l.before) <= 0 || len(all) == limit && newestFirst(p, all[limit-1].place) > 0 {
			continue
		}
		places = append(places, p)
	}
	slices.SortFunc(places, newestFirst)
	here := 0
	for _, p := range places {
		if here == limit {
			break
		}
		f, ok, err := s.event(l.q, opened, int(p.row-s.id))
		if err != nil {
			return nil, err
		}
		if ok { // else it is another value with the same hash
			all, here = append(all, f), here+1
		}
	}
	slices.SortFunc(all, newestFound)
	return all[:min(limit, len(all))], nil
}

// expireSegmentsTx removes segments from before a time, in microseconds, at which a segment.Span
// begins. It returns how many records they had.
func expireSegmentsTx(ctx context.Context, tx *sqldb.Tx, before int64) (records int64, err error) {
	err = tx.QueryRow(ctx, `SELECT CAST(coalesce(sum(records), 0) AS BIGINT) FROM audit_segment WHERE oldest_at < $1`, before).Scan(&records)
	if err != nil {
		return 0, err
	}
	for _, statement := range []string{`DELETE FROM audit_segment_term WHERE newest_at < $1`, `DELETE FROM audit_segment WHERE oldest_at < $1`} {
		if _, err := tx.Exec(ctx, statement, before); err != nil {
			return 0, err
		}
	}
	return records, nil
}

// eventOf is a record as a page shows it.
func eventOf(row, at int64, region name.Region, text string) Event {
	f, err := Describe(row, text)
	if err != nil { // altered by somebody; it is shown as it is, where nothing is asked of it
		f = Facts{}
	}
	return Event{
		ID: cmp.Or(f.EventID, IDOf(row)), Name: f.Name, Source: f.Source, Username: f.Username, AccessKeyID: f.AccessKeyID, ReadOnly: f.ReadOnly,
		Region: region, Time: timeOf(at), Resources: f.Resources, Record: text,
	}
}
