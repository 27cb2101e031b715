package cloudwatch

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/usage/math"
	"github.com/berth-registry/berth/internal/domain/usage/metric"
)

// maxQueries is how many queries a call of GetMetricData has at the most (API reference).
const maxQueries = 500

// defaultPeriod is that of constants in a request without a metric.
const defaultPeriod = 5 * time.Minute

// idPattern is what ids are, as CloudWatch's messages show it.
const idPattern = `^[a-z][a-zA-Z0-9_]*$`

var idRE = regexp.MustCompile(idPattern)

// dataQuery is one query of GetMetricData: a metric, or an expression.
type dataQuery struct {
	id, label string
	// silent says that its data is not asked for.
	silent bool
	// period is a metric's, or one that an expression was given; else 0.
	period    time.Duration
	series    metric.Series
	statistic string
	unit      *StandardUnit
	// expression is nil for a metric.
	expression *math.Expression
	// named says that an expression needs the query; known, that value is there.
	named, known bool
	value        math.Value
}

// newRequest reads a request. All that is wrong with it is said at once, a line each, as
// CloudWatch does.
func (a *API) newRequest(c *aws.Call, in *GetMetricDataInput) (*request, error) {
	var wrong []string
	fail := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	r := &request{
		a: a, c: c, from: rounded(in.StartTime.Time, a.Clock.Now()), to: in.EndTime.UTC(),
		ascending: in.ScanBy != nil && *in.ScanBy == ScanByTimestampAscending, period: defaultPeriod,
	}
	switch n := len(in.MetricDataQueries); {
	case n == 0:
		fail("The collection MetricDataQueries must not have a size less than 1.")
	case n > maxQueries:
		fail("The collection MetricDataQueries must not have a size greater than %d.", maxQueries)
	}
	if !in.StartTime.Before(in.EndTime.Time) {
		fail("The parameter StartTime must be less than the parameter EndTime.")
	}
	if in.MaxDatapoints != nil && (*in.MaxDatapoints < 1 || *in.MaxDatapoints > pageDatapoints) {
		fail("The value %d for parameter MaxDatapoints must be from 1 to %d.", *in.MaxDatapoints, pageDatapoints)
	}
	if len(wrong) > 0 {
		return nil, errs.New(errs.Validation, "%s", strings.Join(wrong, "\n"))
	}
	seen := map[string]bool{}
	for i := range in.MetricDataQueries {
		given, at := &in.MetricDataQueries[i], fmt.Sprintf("MetricDataQueries.member.%d", i+1)
		if !idRE.MatchString(*given.Id) {
			fail("The value %s for parameter %s.Id is not matching the expected pattern %s.", *given.Id, at, idPattern)
		} else if seen[*given.Id] {
			fail("The value %s for parameter %s.Id is there twice; ids have to be unique.", *given.Id, at)
		}
		seen[*given.Id] = true
		if given.AccountId != nil && *given.AccountId != string(c.Principal.Account) {
			fail("The account %s of %s.AccountId is not linked to this one; accounts see their own metrics only.", *given.AccountId, at)
		}
		q, problems := readQuery(given, at)
		wrong = append(wrong, problems...)
		r.queries = append(r.queries, q)
	}
	if len(wrong) > 0 {
		return nil, errs.New(errs.Validation, "%s", strings.Join(wrong, "\n"))
	}
	r.nameAll()
	return r, r.link()
}

// readQuery reads one query, and says what is wrong with it.
func readQuery(given *MetricDataQuery, at string) (q dataQuery, wrong []string) {
	fail := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	q = dataQuery{id: *given.Id, label: text(given.Label), silent: given.ReturnData != nil && !*given.ReturnData}
	if given.Period != nil {
		if !validPeriod(*given.Period) {
			fail("The value %d for parameter %s.Period must be a multiple of 60, and not greater than %d.", *given.Period, at, maxPeriod)
		} else {
			q.period = time.Duration(*given.Period) * time.Second
		}
	}
	if (given.MetricStat == nil) == (given.Expression == nil) {
		fail("Either the parameter %s.MetricStat or %s.Expression must be specified, and not both.", at, at)
		return q, wrong
	}
	if given.Expression != nil {
		parsed, err := math.Parse(*given.Expression)
		if err != nil {
			fail("Error in expression '%s': %s", q.id, err)
		}
		q.expression = &parsed
		return q, wrong
	}
	m := given.MetricStat
	if m.Metric.Namespace == nil || m.Metric.MetricName == nil {
		fail("The parameters %s.MetricStat.Metric.Namespace and %s.MetricStat.Metric.MetricName are required.", at, at)
	}
	if !validPeriod(*m.Period) {
		fail("The value %d for parameter %s.MetricStat.Period must be a multiple of 60, and not greater than %d.", *m.Period, at, maxPeriod)
	} else {
		q.period = time.Duration(*m.Period) * time.Second
	}
	if _, ok := statistic(metric.Point{}, *m.Stat); !ok {
		fail("The value for parameter %s.MetricStat.Stat is not a valid statistic: %s", at, noPercentiles)
	}
	q.series, q.statistic, q.unit = seriesOf(text(m.Metric.Namespace), text(m.Metric.MetricName), m.Metric.Dimensions), *m.Stat, m.Unit
	return q, wrong
}

// nameAll gives labels to the queries that have none: an expression its id, a metric its
// name, with its dimensions' values where several metrics have the name.
func (r *request) nameAll() {
	times := map[string]int{}
	for _, q := range r.queries {
		times[q.series.Name]++
	}
	for i := range r.queries {
		q := &r.queries[i]
		switch {
		case q.label != "":
		case q.expression != nil:
			q.label = q.id
		case times[q.series.Name] == 1:
			q.label = q.series.Name
		default:
			var values []string
			for _, d := range q.series.Dimensions {
				values = append(values, d.Value)
			}
			q.label = strings.Join(append(values, q.series.Name), " ")
		}
	}
}

// link holds the expressions against the ids of the request: each has to be there, and
// none may need itself.
func (r *request) link() error {
	at := map[string]int{}
	shortest := time.Duration(0)
	for i, q := range r.queries {
		at[q.id] = i
		if q.expression == nil && (shortest == 0 || q.period < shortest) {
			shortest = q.period
		}
	}
	if shortest > 0 {
		r.period = shortest
	}
	for i := range r.queries {
		q := &r.queries[i]
		if q.expression == nil {
			continue
		}
		for _, id := range q.expression.IDs() {
			j, ok := at[id]
			if !ok {
				return ofExpression(q.id, &math.Error{Text: "there is no query with the id '" + id + "'"})
			}
			r.queries[j].named = true
		}
		if q.expression.Metrics() {
			for j := range r.queries {
				r.queries[j].named = r.queries[j].named || r.queries[j].expression == nil
			}
		}
	}
	done := make([]bool, len(r.queries))
	for i := range r.queries {
		if err := r.walk(i, at, done, nil); err != nil {
			return err
		}
	}
	return nil
}

// walk follows what an expression needs. above are the expressions that led here.
func (r *request) walk(i int, at map[string]int, done []bool, above []int) error {
	q := r.queries[i]
	if done[i] || q.expression == nil {
		return nil
	}
	if slices.Contains(above, i) {
		return ofExpression(q.id, &math.Error{Text: "it needs itself"})
	}
	above = append(above, i)
	for _, id := range q.expression.IDs() {
		if err := r.walk(at[id], at, done, above); err != nil {
			return err
		}
	}
	done[i] = true
	return nil
}

// ofExpression is an error of an expression as the caller is told it; all others stay as
// they are.
func ofExpression(id string, err error) error {
	var wrong *math.Error
	if errors.As(err, &wrong) {
		return errs.New(errs.Validation, "Error in expression '%s': %s", id, wrong.Text)
	}
	return err
}
