package audit

import (
	"context"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/audit/segment"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// together is how many records of a batch share a segment at least. Fewer are rows of their own:
// a segment costs the database about as much as four rows do, and is opened as a whole.
const together = 16

// group is entries of a batch that can share a segment.
type group struct {
	account name.AccountID
	region  name.Region
	start   int64 // segment.Start of their times
}

// alike are the members of an entry that decide what its record is found by.
type alike struct {
	name, source, kind, arn, user, access, resources string
	readOnly                                         bool
}

func (e *Entry) alike() alike {
	a := alike{
		name: e.EventName, source: e.EventSource, readOnly: e.ReadOnly,
		kind: e.Principal.Type, arn: e.Principal.ARN, user: e.Principal.UserName, access: e.Principal.AccessKeyID,
	}
	switch len(e.Resources) {
	case 0:
	case 1:
		a.resources = e.Resources[0]
	default:
		a.resources = strings.Join(e.Resources, "\n")
	}
	return a
}

// single is a record that gets a row of its own, without its id.
type single struct {
	row   lookup.Row
	name  string
	text  []byte
	split int
}

// packer makes of batches what is written. It is for one goroutine.
type packer struct {
	options  Options
	writer   writer
	segments lookup.Packer
	known    map[alike]int // by the numbers of the segment that is being made
}

// pack sorts a batch into segments and single records.
func (p *packer) pack(batch []Entry) (segments []lookup.Segment, singles []single, err error) {
	numbers := map[group]int{}
	var groups [][]int
	var last group
	n := -1
	for i := range batch {
		e := &batch[i]
		if of := (group{e.Account, e.Region, segment.Start(e.Time.UnixMicro())}); n < 0 || of != last {
			number, there := numbers[of]
			if !there {
				number, groups = len(groups), append(groups, nil)
				numbers[of] = number
			}
			n, last = number, of
		}
		groups[n] = append(groups[n], i)
	}
	var alone []int
	for _, members := range groups {
		if len(members) < together {
			alone = append(alone, members...)
			continue
		}
		if segments, err = p.join(segments, batch, members); err != nil {
			return nil, nil, err
		}
	}
	slices.Sort(alone) // as they came
	for _, i := range alone {
		e := &batch[i]
		split := p.writer.write(e, p.options)
		if p.writer.err != nil {
			return nil, nil, p.writer.err
		}
		row := lookup.Row{Account: e.Account, Region: e.Region, OccurredAt: e.Time.UnixMicro(), Facts: e.facts()}
		singles = append(singles, single{row, e.EventName, slices.Clone(p.writer.b), split})
	}
	return segments, singles, nil
}

// join adds the segments of a group's members.
func (p *packer) join(segments []lookup.Segment, batch []Entry, members []int) ([]lookup.Segment, error) {
	begin := func() {
		p.segments.Begin(batch[members[0]].Account, batch[members[0]].Region)
		if p.known == nil {
			p.known = map[alike]int{}
		}
		clear(p.known)
	}
	begin()
	var last alike
	number := -1 // of last; most records are alike the one before them
	for _, i := range members {
		e := &batch[i]
		split := p.writer.write(e, p.options)
		if p.writer.err != nil {
			p.segments.End() // the next batch begins anew
			return nil, p.writer.err
		}
		if !p.segments.Fits(len(p.writer.b)) {
			segments = append(segments, p.segments.End())
			begin()
			number = -1
		}
		if a := e.alike(); number < 0 || a != last {
			known, there := p.known[a]
			if !there {
				known = p.segments.Describe(e.facts())
				p.known[a] = known
			}
			last, number = a, known
		}
		p.segments.Add(e.Time.UnixMicro(), number, p.writer.b, split)
	}
	return append(segments, p.segments.End()), nil
}

func (t *Trail) write(ctx context.Context, batch []Entry) error {
	segments, singles, err := t.packer.pack(batch)
	if err != nil {
		return err
	}
	return t.db.Update(ctx, func(tx *sqldb.Tx) error {
		// Ids are made here, where it is late: whoever reads the trail by ids has to
		// wait only for transactions that are under way (see After).
		if err := t.index.AddSegmentsTx(ctx, tx, segments...); err != nil {
			return err
		}
		rows := make([]lookup.Row, len(singles))
		for i, s := range singles {
			rows[i] = s.row
			rows[i].ID = lookup.NewRowID()
		}
		err := lookup.InsertTx(ctx, tx, insertInto, "", len(rows), func(i int) []any {
			return values(rows[i], singles[i].name, withID(singles[i].text, singles[i].split, rows[i].ID))
		})
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
func (e *Entry) facts() lookup.Facts {
	f := lookup.Facts{Name: e.EventName, Source: e.EventSource, ReadOnly: e.ReadOnly}
	if p := e.Principal; p.ARN != "" {
		f.AccessKeyID, f.Username = p.AccessKeyID, lookup.UserOf(p.Type, p.ARN, p.UserName)
	}
	for _, arn := range e.Resources {
		f.Resources = append(f.Resources, lookup.ResourceOf(arn))
	}
	return f
}
