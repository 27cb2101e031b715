package math

import (
	"math"
	"slices"
	"time"
)

// Point is one value in time.
type Point struct {
	// At is the beginning of the point's period.
	At    time.Time
	Value float64
}

// Series are points in the order of time, no two at the same.
type Series struct {
	// Label is what the series is called in answers.
	Label  string
	Period time.Duration
	Points []Point
}

// Kind is what an expression or an id stands for.
type Kind int

// The kinds of values.
const (
	// Scalar is one number.
	Scalar Kind = iota
	// Single is one series.
	Single
	// Several is a list of series.
	Several
)

// Value is a number or series.
type Value struct {
	Kind   Kind
	Number float64  // of a Scalar
	Series []Series // one of a Single, any number of Several
}

// Of is a Value of one series.
func Of(s Series) Value { return Value{Kind: Single, Series: []Series{s}} }

// Env is what an expression is evaluated against. Errors of its functions are returned
// as they are.
type Env struct {
	// Value is what an id of Expression.IDs stands for.
	Value func(id string) (Value, error)
	// Metrics are the metrics of the request whose ids contain a text.
	Metrics func(containing string) ([]Series, error)
	// Quota is the quota that a metric's id counts against; ok is false where there is
	// none.
	Quota func(id string) (value float64, ok bool, err error)
	// From, To and Period are the grid that constants are drawn on: the beginnings of
	// periods from From on, before To.
	From, To time.Time
	Period   time.Duration

	spent *int // points that were handled so far
}

// maxWork bounds the points that one evaluation handles, all steps added up: a list can
// name the same metrics again and again. It is a second's work.
const maxWork = 20_000_000

// maxGrid bounds the points of a constant; it is what a call of GetMetricData answers at
// the most. Where there would be more, the latest are drawn.
const maxGrid = 100_800

// Eval evaluates the expression. Points whose value is no number, such as those of a
// division by zero, are left out. It is an *Error where the outcome is a number and no
// series: CloudWatch answers series only.
func (e Expression) Eval(env Env) (Value, error) {
	env.spent = new(int)
	v, err := env.eval(e.root)
	if err == nil && v.Kind == Scalar {
		err = wrong("the expression has to give a time series, and this is a number; combine it with a metric, or use TIME_SERIES")
	}
	return v, err
}

func (env Env) eval(n node) (Value, error) {
	v, err := env.step(n)
	for _, s := range v.Series {
		*env.spent += len(s.Points)
	}
	if err == nil && *env.spent > maxWork {
		err = wrong("the expression handles more than %d datapoints; use a longer period, a shorter range or fewer metrics", maxWork)
	}
	return v, err
}

func (env Env) step(n node) (Value, error) {
	switch n := n.(type) {
	case number:
		return Value{Number: float64(n)}, nil
	case identifier:
		if n[0] < 'a' || n[0] > 'z' {
			return Value{}, wrong("'%s' is neither an id nor a function that is called; ids begin with a small letter", n)
		}
		return env.Value(string(n))
	case list:
		return env.list(n)
	case negation:
		v, err := env.eval(n.of)
		if err != nil {
			return v, err
		}
		return each(v, func(x float64) float64 { return -x }), nil
	case operation:
		left, err := env.eval(n.left)
		if err != nil {
			return left, err
		}
		right, err := env.eval(n.right)
		if err != nil {
			return right, err
		}
		return combine(n.operator, left, right)
	case call:
		return env.call(n)
	}
	return Value{}, wrong("a text stands where a metric or a number has to be")
}

func (env Env) list(items list) (Value, error) {
	out := Value{Kind: Several}
	for _, item := range items {
		v, err := env.eval(item)
		switch {
		case err != nil:
			return v, err
		case v.Kind == Scalar:
			return v, wrong("a list holds time series, and no numbers")
		}
		out.Series = append(out.Series, v.Series...)
	}
	return out, nil
}

// each applies a function to all numbers of a value.
func each(v Value, apply func(float64) float64) Value {
	out := Value{Kind: v.Kind, Number: apply(v.Number)}
	for _, s := range v.Series {
		out.Series = append(out.Series, s.each(apply))
	}
	return out
}

func (s Series) each(apply func(float64) float64) Series {
	points := make([]Point, 0, len(s.Points))
	for _, p := range s.Points {
		points = with(points, p.At, apply(p.Value))
	}
	s.Points = points
	return s
}

// with appends a point, unless it is no number.
func with(points []Point, at time.Time, value float64) []Point {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return points
	}
	return append(points, Point{At: at, Value: value})
}

func compute(operator byte, a, b float64) float64 {
	switch operator {
	case '+':
		return a + b
	case '-':
		return a - b
	case '*':
		return a * b
	case '/':
		return a / b
	}
	return math.Pow(a, b)
}

// combine joins two values. Two series have a point where both have one.
func combine(operator byte, left, right Value) (Value, error) {
	switch {
	case right.Kind == Scalar:
		return each(left, func(x float64) float64 { return compute(operator, x, right.Number) }), nil
	case left.Kind == Scalar:
		return each(right, func(x float64) float64 { return compute(operator, left.Number, x) }), nil
	case left.Kind == Several && right.Kind == Several:
		return left, wrong("the operator %c does not take two lists", operator)
	}
	out := Value{Kind: max(left.Kind, right.Kind)}
	for _, l := range left.Series {
		for _, r := range right.Series {
			joined := join(operator, l, r)
			if right.Kind == Several {
				joined.Label = r.Label
			}
			out.Series = append(out.Series, joined)
		}
	}
	return out, nil
}

func join(operator byte, l, r Series) Series {
	out := Series{Label: l.Label, Period: max(l.Period, r.Period)}
	for i, j := 0, 0; i < len(l.Points) && j < len(r.Points); {
		switch a, b := l.Points[i], r.Points[j]; a.At.Compare(b.At) {
		case -1:
			i++
		case 1:
			j++
		default:
			out.Points = with(out.Points, a.At, compute(operator, a.Value, b.Value))
			i, j = i+1, j+1
		}
	}
	return out
}

// constant is a series that has the value at every point of a grid.
func (env Env) constant(value float64, period time.Duration) Series {
	out := Series{Period: period}
	if period <= 0 || !env.From.Before(env.To) {
		return out
	}
	n := int64((env.To.Sub(env.From) + period - 1) / period)
	for i := max(n-maxGrid, 0); i < n; i++ {
		out.Points = with(out.Points, env.From.Add(time.Duration(i)*period), value)
	}
	return out
}

// merged aggregates several series into one, time by time.
func merged(series []Series, aggregate func([]float64) float64) Series {
	at := map[int64][]float64{}
	out := Series{}
	for _, s := range series {
		out.Period = max(out.Period, s.Period)
		for _, p := range s.Points {
			at[p.At.UnixNano()] = append(at[p.At.UnixNano()], p.Value)
		}
	}
	times := make([]int64, 0, len(at))
	for t := range at {
		times = append(times, t)
	}
	slices.Sort(times)
	for _, t := range times {
		out.Points = with(out.Points, time.Unix(0, t).UTC(), aggregate(at[t]))
	}
	return out
}
