package cloudwatch

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/usage/metric"
)

// listSize is how many metrics a page of ListMetrics has (API reference).
const listSize = 500

// recently is what RecentlyActive asks for: a point in the last three hours.
const recently = 3 * time.Hour

func (a *API) listMetrics(ctx context.Context, c *aws.Call, in *ListMetricsInput) (*ListMetricsOutput, error) {
	own := string(c.Principal.Account)
	if in.OwningAccount != nil && *in.OwningAccount != own {
		return nil, errs.New(errs.InvalidParameter, "The account %s is not linked to this one; accounts see their own metrics only. Leave OwningAccount out.", *in.OwningAccount)
	}
	f := metric.Filter{Namespace: text(in.Namespace), Name: text(in.MetricName)}
	for _, d := range in.Dimensions {
		f.Dimensions = append(f.Dimensions, metric.Dimension{Name: *d.Name, Value: text(d.Value)})
	}
	if in.RecentlyActive != nil {
		f.Since = a.Clock.Now().Add(-recently)
	}
	asked := *in
	asked.NextToken = nil
	scope, err := scopeOf("ListMetrics", c, asked)
	if err != nil {
		return nil, err
	}
	after, err := a.tokens.Cursor(scope, in.NextToken)
	if err != nil {
		return nil, errs.New(errs.InvalidParameter, "The parameter NextToken is not one of this request. Leave it out to begin at the first page.")
	}
	found, next, err := a.Metrics.List(ctx, c.Principal.Account, c.Region, f, after, listSize)
	if err != nil {
		return nil, err
	}
	out := &ListMetricsOutput{Metrics: make([]Metric, 0, len(found)), NextToken: a.tokens.Token(scope, next)}
	for _, s := range found {
		m := Metric{Namespace: &s.Namespace, MetricName: &s.Name, Dimensions: make([]Dimension, 0, len(s.Dimensions))}
		for _, d := range s.Dimensions {
			m.Dimensions = append(m.Dimensions, Dimension{Name: new(d.Name), Value: new(d.Value)})
		}
		out.Metrics = append(out.Metrics, m)
		if in.IncludeLinkedAccounts != nil && *in.IncludeLinkedAccounts {
			out.OwningAccounts = append(out.OwningAccounts, own)
		}
	}
	return out, nil
}

// scopeOf is what a page token is good for: the same question of the same caller.
func scopeOf(operation string, c *aws.Call, asked any) (string, error) {
	b, err := json.Marshal(asked)
	return operation + "\x00" + string(c.Principal.Account) + "\x00" + string(c.Region) + "\x00" + string(b), err
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// seriesOf is the series of a metric as the domain knows it.
func seriesOf(namespace, metricName string, dimensions []Dimension) metric.Series {
	s := metric.Series{Namespace: namespace, Name: metricName}
	for _, d := range dimensions {
		s.Dimensions = append(s.Dimensions, metric.Dimension{Name: *d.Name, Value: *d.Value})
	}
	slices.SortFunc(s.Dimensions, func(x, y metric.Dimension) int { return strings.Compare(x.Name, y.Name) })
	return s
}

// unitOf is the unit of a metric's points: numbers of pulls are Count. What is in
// AWS/Usage has none, as on AWS.
func unitOf(s metric.Series) StandardUnit {
	if s.Namespace == "AWS/Usage" {
		return StandardUnitNone
	}
	return StandardUnitCount
}

// otherUnit says whether a unit is asked for that the metric does not have, so that no
// point is of it.
func otherUnit(s metric.Series, asked *StandardUnit) bool { return asked != nil && *asked != unitOf(s) }

// statistic computes one statistic of a point; ok is false for one that there is not.
func statistic(p metric.Point, called string) (value float64, ok bool) {
	switch Statistic(called) {
	case StatisticSampleCount:
		return p.Samples, true
	case StatisticSum:
		return p.Sum, true
	case StatisticMinimum:
		return p.Minimum, true
	case StatisticMaximum:
		return p.Maximum, true
	case StatisticAverage:
		if p.Samples == 0 {
			return 0, true
		}
		return p.Sum / p.Samples, true
	}
	return 0, false
}

// maxPeriod is the longest period, CloudWatch's longest retention of 455 days.
const maxPeriod = 455 * 24 * 60 * 60

// validPeriod says whether a period can be answered, in seconds: usage is kept by the
// minute.
func validPeriod(seconds int64) bool { return seconds%60 == 0 && seconds <= maxPeriod }

// rounded is the beginning of a range as CloudWatch rounds it (API reference,
// GetMetricStatistics, StartTime).
func rounded(start, now time.Time) time.Time {
	const day = 24 * time.Hour
	switch age := now.Sub(start); {
	case age > 63*day:
		return start.UTC().Truncate(time.Hour)
	case age > 15*day:
		return start.UTC().Truncate(5 * time.Minute)
	}
	return start.UTC().Truncate(time.Minute)
}
