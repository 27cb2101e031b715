package usage

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Query asks for a report.
type Query struct {
	// GroupBy is account, region, repository, or tag:KEY.
	GroupBy string
	// From and To are the first and the last day, UTC; a zero From is the first of the
	// month of To, a zero To is today.
	From, To time.Time
	// By is none, day or month.
	By Interval
	// Account leaves out all others; "" leaves out none.
	Account name.AccountID
}

// Interval is how long a time each row of a report is about.
type Interval string

// The intervals; none is all days of the report together.
const (
	ByNone  Interval = ""
	ByDay   Interval = "day"
	ByMonth Interval = "month"
)

// Row is what one group has used.
type Row struct {
	// Period is the day (2026-01-31) or the month (2026-01), "" for all of the report.
	Period string `json:"period,omitempty"`
	// Account, Region and Repository are those of the group, as far as it has them. The
	// region of public registries is "public".
	Account    name.AccountID  `json:"account,omitempty"`
	Region     name.Region     `json:"region,omitempty"`
	Repository name.Repository `json:"repository,omitempty"`
	// Tag is the value of the tag that the report is grouped by; Untagged says that
	// the repositories of the row do not have it.
	Tag      string `json:"tag,omitempty"`
	Untagged bool   `json:"untagged,omitempty"`
	// StoredBytes is the average of the hourly samples, ByteHours their sum; those of
	// archived images are apart. Samples are the hours that they are of: where no server
	// ran there is none.
	StoredBytes       float64 `json:"storedBytes"`
	ByteHours         float64 `json:"byteHours"`
	ArchivedBytes     float64 `json:"archivedBytes"`
	ArchivedByteHours float64 `json:"archivedByteHours"`
	Samples           int64   `json:"samples"`
	// SentBytes went to clients, ReceivedBytes came from them.
	SentBytes     int64 `json:"sentBytes"`
	ReceivedBytes int64 `json:"receivedBytes"`
	Pulls         int64 `json:"pulls"`
	Pushes        int64 `json:"pushes"`
}

// Report answers a Query.
type Report struct {
	// GroupBy, By and Account are the query's; From and To are the first and the last
	// day, UTC: 2026-01-31.
	GroupBy string         `json:"groupBy"`
	By      Interval       `json:"by,omitempty"`
	Account name.AccountID `json:"account,omitempty"`
	From    string         `json:"from"`
	To      string         `json:"to"`
	// Rows are the groups in which there is anything.
	Rows []Row `json:"rows"`
}

// MaxRows bounds a report.
const MaxRows = 200_000

// tagPrefix begins a GroupBy that is a resource tag's.
const tagPrefix = "tag:"

// span checks a query's days and returns them, the last one included.
func (q Query) span(now time.Time) (first, last int64, err error) {
	to, from := q.To, q.From
	if to.IsZero() {
		to = now
	}
	if from.IsZero() {
		year, month, _ := to.UTC().Date()
		from = time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
	}
	first, last = dayOf(from), dayOf(to)
	if first > last {
		return 0, 0, errs.New(errs.InvalidParameter, "The report would end on %s, before it begins on %s.", timeOfDay(last).Format(time.DateOnly), timeOfDay(first).Format(time.DateOnly))
	}
	return first, last, nil
}

// period is what a day's row is filed under.
func (i Interval) period(day int64) string {
	switch i {
	case ByDay:
		return timeOfDay(day).Format(time.DateOnly)
	case ByMonth:
		return timeOfDay(day).Format("2006-01")
	case ByNone:
	}
	return ""
}

// amounts are the columns that are added up, of rows of usage_day.
const amounts = `CAST(sum(d.byte_hours) AS BIGINT), CAST(sum(d.archived_byte_hours) AS BIGINT), CAST(sum(d.sent) AS BIGINT), CAST(sum(d.received) AS BIGINT), CAST(sum(d.pulls) AS BIGINT), CAST(sum(d.pushes) AS BIGINT)`

// stored are amounts where only a registry as a whole counts what is stored, so that a
// layer of several repositories counts once.
const stored = `CAST(sum(CASE WHEN r.name = '' THEN d.byte_hours ELSE 0 END) AS BIGINT), CAST(sum(CASE WHEN r.name = '' THEN d.archived_byte_hours ELSE 0 END) AS BIGINT),
	CAST(sum(d.sent) AS BIGINT), CAST(sum(d.received) AS BIGINT), CAST(sum(d.pulls) AS BIGINT), CAST(sum(d.pushes) AS BIGINT)`

// text is the statement of a query: day, account, region, repository, tags and amounts.
func (q Query) text() (string, error) {
	const days = ` FROM usage_day d JOIN usage_repository r ON r.id = d.repository_id WHERE d.day >= $1 AND d.day <= $2 AND ($3 = '' OR r.account_id = $3)`
	day := `d.day`
	if q.By == ByNone {
		day = `0`
	}
	key, tagged := strings.CutPrefix(q.GroupBy, tagPrefix)
	switch {
	case q.By != ByNone && q.By != ByDay && q.By != ByMonth:
		return "", errs.New(errs.InvalidParameter, "A report cannot be by the %s. Have it by day, by month, or by neither.", q.By)
	case q.GroupBy == "account":
		return `SELECT d.day, r.account_id, '', '', 0, ` + stored + days + ` GROUP BY d.day, r.account_id`, nil
	case q.GroupBy == "region":
		return `SELECT d.day, '', r.region, '', 0, ` + stored + days + ` GROUP BY d.day, r.region`, nil
	case q.GroupBy == "repository":
		return `SELECT ` + day + `, r.account_id, r.region, r.name, 0, ` + amounts + days + ` AND r.name <> '' GROUP BY 1, r.account_id, r.region, r.name`, nil
	case tagged && key != "":
		return `SELECT d.day, '', '', '', d.tags_id, ` + amounts + days + ` AND r.name <> '' GROUP BY d.day, d.tags_id`, nil
	}
	return "", errs.New(errs.InvalidParameter, "A report cannot be by %q. Group it by account, region, repository or tag:KEY.", q.GroupBy)
}

// group is what rows are added up for.
type group struct {
	period     string
	account    name.AccountID
	region     name.Region
	repository name.Repository
	tag        string
	untagged   bool
}

// Report answers what was stored and moved, by groups, in order. errs.InvalidParameter
// for a query that is none, or has more than MaxRows rows.
func (s *Service) Report(ctx context.Context, q Query) (Report, error) {
	first, last, err := q.span(s.c.Clock.Now())
	if err != nil {
		return Report{}, err
	}
	query, err := q.text()
	if err != nil {
		return Report{}, err
	}
	groups := map[group]*Row{}
	samples := map[string]int64{}
	err = s.c.DB.View(ctx, func(tx *sqldb.Tx) error {
		clear(groups) // the closure may run again
		clear(samples)
		values, err := tagValues(ctx, tx, strings.TrimPrefix(q.GroupBy, tagPrefix), strings.HasPrefix(q.GroupBy, tagPrefix))
		if err != nil {
			return err
		}
		hours, err := sqldb.Collect(ctx, tx, sqldb.One[int64], `SELECT hour FROM usage_hour WHERE hour >= $1 AND hour < $2`, first*hoursPerDay, (last+1)*hoursPerDay)
		if err != nil {
			return err
		}
		for _, h := range hours {
			samples[q.By.period(floorDiv(h, hoursPerDay))]++
		}
		rows, err := tx.Query(ctx, query, first, last, string(q.Account))
		if err != nil {
			return err
		}
		for rows.Next() {
			if err := add(rows, q, values, groups); err != nil {
				_ = rows.Close() // the first error is the one to report
				return err
			}
		}
		return rows.Close()
	})
	if err != nil {
		return Report{}, err
	}
	return Report{
		GroupBy: q.GroupBy, By: q.By, Account: q.Account,
		From: timeOfDay(first).Format(time.DateOnly), To: timeOfDay(last).Format(time.DateOnly), Rows: finished(groups, samples),
	}, nil
}

// add adds a row of the database to its group.
func add(row sqldb.Scanner, q Query, values map[int64]string, groups map[group]*Row) error {
	var day, tags, sent, received, pulled, pushed, byteHours, archived int64
	var account, region, repo string
	if err := row.Scan(&day, &account, &region, &repo, &tags, &byteHours, &archived, &sent, &received, &pulled, &pushed); err != nil {
		return err
	}
	g := group{period: q.By.period(day), account: name.AccountID(account), region: name.Region(region), repository: name.Repository(repo)}
	if values != nil {
		value, ok := values[tags]
		g.tag, g.untagged = value, !ok
	}
	r := groups[g]
	if r == nil {
		if len(groups) >= MaxRows {
			return errs.New(errs.InvalidParameter, "The report would have more than %d rows. Ask for fewer days, for one account, or by month.", MaxRows)
		}
		r = &Row{Period: g.period, Account: g.account, Region: g.region, Repository: g.repository, Tag: g.tag, Untagged: g.untagged}
		groups[g] = r
	}
	r.ByteHours += float64(byteHours)
	r.ArchivedByteHours += float64(archived)
	r.SentBytes += sent
	r.ReceivedBytes += received
	r.Pulls += pulled
	r.Pushes += pushed
	return nil
}

// tagValues are the values of a tag by the ids of sets that have it; nil where the
// report is by no tag.
func tagValues(ctx context.Context, tx *sqldb.Tx, key string, wanted bool) (map[int64]string, error) {
	if !wanted {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `SELECT id, tags FROM usage_tags`)
	if err != nil {
		return nil, err
	}
	values := map[int64]string{}
	for rows.Next() {
		var id int64
		var text string
		var tags map[string]string
		err := rows.Scan(&id, &text)
		if err == nil {
			err = json.Unmarshal([]byte(text), &tags)
		}
		if err != nil {
			_ = rows.Close() // the first error is the one to report
			return nil, fmt.Errorf("reading the tags of usage: %w", err)
		}
		if value, ok := tags[key]; ok {
			values[id] = value
		}
	}
	return values, rows.Close()
}

// finished puts the groups in order and makes the averages.
func finished(groups map[group]*Row, samples map[string]int64) []Row {
	all := make([]Row, 0, len(groups))
	for r := range maps.Values(groups) {
		if r.Samples = samples[r.Period]; r.Samples > 0 {
			r.StoredBytes, r.ArchivedBytes = r.ByteHours/float64(r.Samples), r.ArchivedByteHours/float64(r.Samples)
		}
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b Row) int {
		untagged := 0
		if a.Untagged != b.Untagged { // last
			untagged = -1
			if a.Untagged {
				untagged = 1
			}
		}
		return cmp.Or(cmp.Compare(a.Period, b.Period), untagged, cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Repository, b.Repository))
	})
	return all
}
