package cloudwatch

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/usage/math"
)

// pageDatapoints is how many datapoints GetMetricData answers at the most, over all
// queries (API reference).
const pageDatapoints = 100_800

// maxHeld bounds the datapoints of metrics that expressions name, which are held
// together: about 64 MB.
const maxHeld = 2_000_000

// cursor is where a page of GetMetricData begins: a query, a series of it, and a point of
// that.
type cursor struct{ query, series, point int }

func (c cursor) String() string { return fmt.Sprintf("%d.%d.%d", c.query, c.series, c.point) }

func parseCursor(s string) (c cursor, err error) {
	parts := strings.Split(s, ".")
	for i, into := range []*int{&c.query, &c.series, &c.point} {
		if s == "" {
			break
		}
		if len(parts) != 3 {
			return c, strconv.ErrSyntax
		}
		if *into, err = strconv.Atoi(parts[i]); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (a *API) getMetricData(ctx context.Context, c *aws.Call, in *GetMetricDataInput) (*GetMetricDataOutput, error) {
	r, err := a.newRequest(c, in)
	if err != nil {
		return nil, err
	}
	asked := *in
	asked.NextToken, asked.MaxDatapoints = nil, nil
	scope, err := scopeOf("GetMetricData", c, asked)
	if err != nil {
		return nil, err
	}
	text, err := a.tokens.Cursor(scope, in.NextToken)
	if err != nil {
		return nil, errs.New(errs.InvalidInput, "The parameter NextToken is not one of this request. Leave it out to begin at the first page.")
	}
	at, err := parseCursor(text)
	if err != nil {
		return nil, err
	}
	left := pageDatapoints
	if in.MaxDatapoints != nil {
		left = int(*in.MaxDatapoints)
	}
	out := &GetMetricDataOutput{MetricDataResults: []MetricDataResult{}, Messages: []MessageData{}}
	for ; at.query < len(r.queries); at = (cursor{query: at.query + 1}) {
		q := &r.queries[at.query]
		if q.silent {
			continue
		}
		if left == 0 {
			break
		}
		v, err := r.value(ctx, q)
		if err != nil {
			return nil, err
		}
		var results []MetricDataResult
		results, left, at = r.take(q, v, at, left)
		out.MetricDataResults = append(out.MetricDataResults, results...)
		if at.series < len(v.Series) {
			break
		}
	}
	if at.query < len(r.queries) {
		out.NextToken = a.tokens.Token(scope, at.String())
	}
	return out, nil
}

// take answers with the series of a query from the cursor on, up to limit points. It
// returns how many more there may be, and where it stopped.
func (r *request) take(q *dataQuery, v math.Value, at cursor, limit int) ([]MetricDataResult, int, cursor) {
	var out []MetricDataResult
	for ; at.series < len(v.Series) && limit > 0; at.series, at.point = at.series+1, 0 {
		s := v.Series[at.series]
		res := result(q, s, r.ascending, at.point, limit)
		at.point += len(res.Values)
		limit -= len(res.Values)
		if at.point < len(s.Points) {
			res.StatusCode = new(StatusCodePartialData)
			return append(out, res), limit, at
		}
		out = append(out, res)
	}
	return out, limit, at
}

// result is up to limit points of a series from the point at position from on, in the
// order that was asked for.
func result(q *dataQuery, s math.Series, ascending bool, from, limit int) MetricDataResult {
	label := q.label
	if s.Label != "" {
		label = s.Label
	}
	n := max(min(limit, len(s.Points)-from), 0)
	out := MetricDataResult{Id: &q.id, Label: &label, StatusCode: new(StatusCodeComplete), Timestamps: make([]shape.Timestamp, 0, n), Values: make([]float64, 0, n)}
	for i := range n {
		at := from + i
		if !ascending {
			at = len(s.Points) - 1 - at
		}
		out.Timestamps = append(out.Timestamps, shape.Timestamp{Time: s.Points[at].At})
		out.Values = append(out.Values, s.Points[at].Value)
	}
	return out
}

// request is one call of GetMetricData while it is answered.
type request struct {
	a         *API
	c         *aws.Call
	queries   []dataQuery
	from, to  time.Time
	ascending bool
	period    time.Duration // of constants that no metric gives one
	held      int
}

// value is what a query stands for. What expressions name is worked out once.
func (r *request) value(ctx context.Context, q *dataQuery) (math.Value, error) {
	if q.known {
		return q.value, nil
	}
	var v math.Value
	var err error
	if q.expression != nil {
		v, err = r.evaluate(ctx, q)
	} else {
		v, err = r.points(ctx, q)
	}
	if err == nil && q.named {
		for _, s := range v.Series {
			r.held += len(s.Points)
		}
		if r.held > maxHeld {
			return v, errs.New(errs.Validation, "The expressions of the request need more than %d datapoints at once. Use a longer Period, a shorter range or fewer metrics.", maxHeld)
		}
		q.value, q.known = v, true
	}
	return v, err
}

func (r *request) points(ctx context.Context, q *dataQuery) (math.Value, error) {
	out := math.Series{Period: q.period}
	if otherUnit(q.series, q.unit) {
		return math.Of(out), nil
	}
	points, err := r.a.Metrics.Points(ctx, r.c.Principal.Account, r.c.Region, q.series, r.from, r.to, q.period)
	if err != nil {
		return math.Value{}, err
	}
	out.Points = make([]math.Point, len(points))
	for i, p := range points {
		value, _ := statistic(p, q.statistic) // checked when the request was read
		out.Points[i] = math.Point{At: p.Start, Value: value}
	}
	return math.Of(out), nil
}

func (r *request) evaluate(ctx context.Context, q *dataQuery) (math.Value, error) {
	env := math.Env{
		From: r.from, To: r.to, Period: r.period,
		Value: func(id string) (math.Value, error) { return r.labelled(ctx, r.find(id)) },
		Metrics: func(containing string) (all []math.Series, err error) {
			for i := range r.queries {
				m := &r.queries[i]
				if m.expression != nil || !strings.Contains(m.id, containing) {
					continue
				}
				v, err := r.labelled(ctx, m)
				if err != nil {
					return nil, err
				}
				all = append(all, v.Series...)
			}
			return all, nil
		},
		Quota: func(id string) (float64, bool, error) {
			m := r.find(id)
			if m.expression != nil || r.a.Quota == nil {
				return 0, false, nil
			}
			return r.a.Quota(ctx, r.c.Principal.Account, r.c.Region, m.series)
		},
	}
	if q.period > 0 {
		env.Period = q.period
	}
	v, err := q.expression.Eval(env)
	if err != nil {
		return v, ofExpression(q.id, err)
	}
	if v.Kind == math.Single { // which is called as the expression is
		one := v.Series[0]
		one.Label = ""
		v = math.Of(one)
	}
	return v, nil
}

// labelled is value for an expression: of a list, each metric keeps its label.
func (r *request) labelled(ctx context.Context, q *dataQuery) (math.Value, error) {
	v, err := r.value(ctx, q)
	if err != nil || v.Kind != math.Single {
		return v, err
	}
	one := v.Series[0]
	one.Label = q.label
	return math.Of(one), nil
}

// find is the query of an id; the request was held against its ids when it was read.
func (r *request) find(id string) *dataQuery {
	return &r.queries[slices.IndexFunc(r.queries, func(q dataQuery) bool { return q.id == id })]
}
