package usage

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/usage/metric"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The namespaces, names and dimensions of ECR's metrics (user guide, "Amazon ECR usage
// metrics" and "Amazon ECR repository metrics").
const (
	NamespaceUsage = "AWS/Usage"
	NamespaceECR   = "AWS/ECR"

	CallCount           = "CallCount"
	ResourceCount       = "ResourceCount"
	RepositoryPullCount = "RepositoryPullCount"

	// RepositoryCount and ImagesPerRepositoryCount are values of the dimension Resource.
	RepositoryCount          = "RepositoryCount"
	ImagesPerRepositoryCount = "ImagesPerRepositoryCount"

	service, api, resourceType = "ECR", "API", "RESOURCE"
	// class is what CloudWatch shows in the dimension Class of metrics that do not use it.
	class            = "None"
	repositoryPrefix = "repository/"
)

// ECR's dimensions.
const (
	dimensionService    = "Service"
	dimensionType       = "Type"
	dimensionResource   = "Resource"
	dimensionResourceID = "ResourceId"
	dimensionClass      = "Class"
	dimensionRepository = "RepositoryName"
)

// shape is what the series of a kind look like.
type shape struct {
	kind            kind
	namespace, name string
	fixed           []metric.Dimension // those that all have
	varies          string             // the dimension that tells them apart, "" for none
	prefix          string             // of its value
}

func shapes() []shape {
	usage := func(kind, resource string) []metric.Dimension {
		all := []metric.Dimension{{Name: dimensionService, Value: service}, {Name: dimensionType, Value: kind}, {Name: dimensionClass, Value: class}}
		if resource != "" {
			all = append(all, metric.Dimension{Name: dimensionResource, Value: resource})
		}
		return all
	}
	return []shape{
		{kind: calls, namespace: NamespaceUsage, name: CallCount, fixed: usage(api, ""), varies: dimensionResource},
		{kind: pulls, namespace: NamespaceECR, name: RepositoryPullCount, varies: dimensionRepository},
		{kind: repositories, namespace: NamespaceUsage, name: ResourceCount, fixed: usage(resourceType, RepositoryCount)},
		{kind: images, namespace: NamespaceUsage, name: ResourceCount, fixed: usage(resourceType, ImagesPerRepositoryCount), varies: dimensionResourceID, prefix: repositoryPrefix},
	}
}

// series is the one of a resource.
func (s shape) series(resource string) metric.Series {
	all := slices.Clone(s.fixed)
	if s.varies != "" {
		all = append(all, metric.Dimension{Name: s.varies, Value: s.prefix + resource})
	}
	slices.SortFunc(all, func(a, b metric.Dimension) int { return strings.Compare(a.Name, b.Name) })
	return metric.Series{Namespace: s.namespace, Name: s.name, Dimensions: all}
}

// match says whether series of the shape can have the dimensions, and of which resource
// these are then; every one where they do not say.
func (s shape) match(dimensions []metric.Dimension) (resource string, every, ok bool) {
	every = s.varies != ""
	for _, d := range dimensions {
		switch at := slices.IndexFunc(s.fixed, func(f metric.Dimension) bool { return f.Name == d.Name }); {
		case at >= 0:
			if d.Value != "" && d.Value != s.fixed[at].Value {
				return "", false, false
			}
		case d.Name != s.varies || s.varies == "":
			return "", false, false
		case d.Value != "":
			value, has := strings.CutPrefix(d.Value, s.prefix)
			if !has || value == "" || !every && value != resource {
				return "", false, false
			}
			resource, every = value, false
		}
	}
	return resource, every, true
}

// maxPage bounds a page of List.
const maxPage = 500

// List lists the series of an account and region that have points, in a fixed order. A
// page begins behind after, which is what the page before returned as next, and has up to
// limit series (500 where limit is less than 1 or more); next is "" where there are no
// more. An after that is none is errs.InvalidInput.
func (s *Service) List(ctx context.Context, account name.AccountID, region name.Region, f metric.Filter, after string, limit int) (all []metric.Series, next string, err error) {
	if limit < 1 || limit > maxPage {
		limit = maxPage
	}
	from, behind, err := position(after)
	if err != nil {
		return nil, "", err
	}
	since := minuteOf(s.c.Clock.Now().Add(-Keep))
	if !f.Since.IsZero() {
		since = max(since, minuteOf(f.Since))
	}
	for _, shape := range shapes() {
		resource, every, ok := shape.match(f.Dimensions)
		if !ok || shape.kind < from || f.Namespace != "" && f.Namespace != shape.namespace || f.Name != "" && f.Name != shape.name {
			continue
		}
		if shape.kind > from {
			behind = "" // resources are never ""; that of a repository count is given by itself
		}
		found, err := s.resources(ctx, account, region, shape.kind, resource, every, behind, shape.kind == from, since, limit-len(all)+1)
		if err != nil {
			return nil, "", err
		}
		for _, r := range found {
			if len(all) == limit {
				return all, next, nil
			}
			all = append(all, shape.series(r))
			next = strconv.Itoa(int(shape.kind)) + "/" + r
		}
	}
	return all, "", nil
}

// position reads the after of a page.
func position(after string) (kind, string, error) {
	if after == "" {
		return 0, "", nil
	}
	number, resource, ok := strings.Cut(after, "/")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < int(calls) || n > int(images) {
		return 0, "", errs.New(errs.InvalidInput, "%q is no token of a page of metrics. Take the one that the page before came with.", after)
	}
	return kind(n), resource, nil
}

// resources lists resources of one kind.
func (s *Service) resources(ctx context.Context, account name.AccountID, region name.Region, k kind, only string, every bool, behind string, begun bool, since int64, limit int) (all []string, err error) {
	if begun && k == repositories {
		return nil, nil // there is one, and it was on the page before
	}
	query, args := `SELECT resource FROM usage_series WHERE account_id = $1 AND region = $2 AND metric = $3 AND last_at > $4`, []any{string(account), string(region), int64(k), since}
	if begun {
		args = append(args, behind)
		query += ` AND resource > $` + itoa(len(args))
	}
	if !every {
		args = append(args, only)
		query += ` AND resource = $` + itoa(len(args))
	}
	err = s.c.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(ctx, tx, sqldb.One[string], query+` ORDER BY resource LIMIT `+itoa(limit), args...)
		return err
	})
	return all, err
}

// Points are those of a series between from (inclusive) and to (exclusive), in time: one
// for each period in which there is something, counted from the minute of from. A period
// of less than a minute is a minute, and of it only whole minutes count. A series that is
// none of ours, or has no points, has none; the dimension Class may be left out.
//
// Of what is counted, a minute in which there was something is one sample; of a number of
// repositories or images, five minutes are one.
func (s *Service) Points(ctx context.Context, account name.AccountID, region name.Region, of metric.Series, from, to time.Time, period time.Duration) ([]metric.Point, error) {
	shape, resource, ok := find(of)
	if !ok {
		return nil, nil
	}
	now := s.c.Clock.Now()
	step := max(int64(period/time.Minute), 1)
	begin, end := minuteOf(from), minuteOf(to)
	if to.After(timeOfMinute(end)) {
		end++ // a minute that begins before to
	}
	// What is no longer kept, or is still to come, is not looked for.
	low := max(begin, minuteOf(now.Add(-Keep)))
	end = min(end, minuteOf(now)+1)
	if low >= end {
		return nil, nil
	}
	id := seriesKey{account, region, shape.kind, resource}.id()
	if shape.kind == repositories || shape.kind == images {
		return s.stood(ctx, id, begin, low, end, step)
	}
	var all []metric.Point
	err := s.c.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (metric.Point, error) {
			var at, samples, sum, least, most int64
			err := row.Scan(&at, &samples, &sum, &least, &most)
			return metric.Point{Start: timeOfMinute(begin + at*step), Samples: float64(samples), Sum: float64(sum), Minimum: float64(least), Maximum: float64(most)}, err
		}, `SELECT (minute - $1) / $2, count(*), CAST(sum(value) AS BIGINT), min(value), max(value) FROM usage_point
			WHERE series_id = $3 AND minute >= $4 AND minute < $5 GROUP BY 1 ORDER BY 1`, begin, step, id, low, end)
		return err
	})
	return all, err
}

// find tells which of ours a series is.
func find(of metric.Series) (shape, string, bool) {
	for _, sh := range shapes() {
		if sh.namespace != of.Namespace || sh.name != of.Name {
			continue
		}
		resource, every, ok := sh.match(of.Dimensions)
		if !ok || every {
			continue
		}
		// All dimensions have to be named, once, but for Class.
		want := sh.series(resource).Dimensions
		got := slices.Clone(of.Dimensions)
		slices.SortFunc(got, func(a, b metric.Dimension) int { return strings.Compare(a.Name, b.Name) })
		without := func(all []metric.Dimension) []metric.Dimension {
			return slices.DeleteFunc(slices.Clone(all), func(d metric.Dimension) bool { return d.Name == dimensionClass })
		}
		if slices.Equal(got, want) || slices.Equal(got, without(want)) {
			return sh, resource, true
		}
	}
	return shape{}, "", false
}

// change is from when on a series stood at a value.
type change struct{ minute, value int64 }

// stood makes points out of changes: those from low on, in periods from begin on.
func (s *Service) stood(ctx context.Context, id, begin, low, end, step int64) ([]metric.Point, error) {
	var changes []change
	err := s.c.DB.View(ctx, func(tx *sqldb.Tx) error {
		before := change{value: gone}
		err := tx.QueryRow(ctx, `SELECT minute, value FROM usage_point WHERE series_id = $1 AND minute <= $2 ORDER BY minute DESC LIMIT 1`, id, low).Scan(&before.minute, &before.value)
		if err != nil && !errors.Is(err, sqldb.ErrNoRows) {
			return err
		}
		later, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (c change, err error) { return c, row.Scan(&c.minute, &c.value) },
			`SELECT minute, value FROM usage_point WHERE series_id = $1 AND minute > $2 AND minute < $3 ORDER BY minute`, id, low, end)
		changes = append([]change{before}, later...)
		return err
	})
	if err != nil {
		return nil, err
	}
	var all []metric.Point
	value, next := changes[0].value, changes[1:]
	for at := floorDiv(low+gaugeMinutes-1, gaugeMinutes) * gaugeMinutes; at < end; at += gaugeMinutes {
		for len(next) > 0 && next[0].minute <= at {
			value, next = next[0].value, next[1:]
		}
		if value == gone {
			continue
		}
		start, v := timeOfMinute(begin+(at-begin)/step*step), float64(value)
		if n := len(all); n == 0 || !all[n-1].Start.Equal(start) {
			all = append(all, metric.Point{Start: start, Minimum: v, Maximum: v})
		}
		p := &all[len(all)-1]
		p.Samples++
		p.Sum += v
		p.Minimum, p.Maximum = min(p.Minimum, v), max(p.Maximum, v)
	}
	return all, nil
}
