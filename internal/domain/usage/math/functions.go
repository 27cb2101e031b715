package math

import (
	"math"
	"slices"
)

// aggregate finds the functions that make a number of one series, and one series of
// several.
func aggregate(function string) func([]float64) float64 {
	switch function {
	case "AVG":
		return average
	case "MAX":
		return func(v []float64) float64 { return extreme(v, slices.Max[[]float64]) }
	case "MIN":
		return func(v []float64) float64 { return extreme(v, slices.Min[[]float64]) }
	case "STDDEV":
		return deviation
	case "SUM":
		return sum
	}
	return nil
}

func sum(v []float64) (total float64) {
	for _, x := range v {
		total += x
	}
	return total
}

// average of nothing is no number, as in all aggregates but SUM.
func average(v []float64) float64 { return sum(v) / float64(len(v)) }

func extreme(v []float64, of func([]float64) float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	return of(v)
}

func deviation(v []float64) float64 {
	mean, squares := average(v), 0.0
	for _, x := range v {
		squares += (x - mean) * (x - mean)
	}
	return math.Sqrt(squares / float64(len(v)))
}

// pointwise finds the functions of single numbers.
func pointwise(function string) func(float64) float64 {
	switch function {
	case "ABS":
		return math.Abs
	case "CEIL":
		return math.Ceil
	case "FLOOR":
		return math.Floor
	case "LOG":
		return math.Log
	case "LOG10":
		return math.Log10
	}
	return nil
}

// stepwise finds the functions of a point and the one before it.
func stepwise(function string) func(before, now Point) float64 {
	switch function {
	case "DIFF":
		return func(before, now Point) float64 { return now.Value - before.Value }
	case "DIFF_TIME":
		return func(before, now Point) float64 { return now.At.Sub(before.At).Seconds() }
	case "RATE":
		return func(before, now Point) float64 { return (now.Value - before.Value) / now.At.Sub(before.At).Seconds() }
	}
	return nil
}

// call evaluates a call of a function.
func (env Env) call(c call) (Value, error) {
	switch c.function {
	case "SERVICE_QUOTA":
		return env.quota(c)
	case "METRICS":
		return env.metrics(c)
	case "FILL":
		return env.fill(c)
	}
	if !slices.Contains(known(), c.function) {
		return Value{}, wrong("the function %s is not supported here; there are %s", c.function, joined(append(known(), "FILL", "METRICS", "SERVICE_QUOTA")))
	}
	if len(c.args) != 1 {
		return Value{}, wrong("%s takes one argument", c.function)
	}
	v, err := env.eval(c.args[0])
	if err != nil {
		return v, err
	}
	if c.function == "TIME_SERIES" {
		if v.Kind != Scalar {
			return v, wrong("TIME_SERIES takes a number")
		}
		return Of(env.constant(v.Number, env.Period)), nil
	}
	if apply := pointwise(c.function); apply != nil {
		return each(v, apply), nil
	}
	if v.Kind == Scalar {
		return v, wrong("%s takes a time series, and no number", c.function)
	}
	return overSeries(c.function, v)
}

// known are the functions of one argument.
func known() []string {
	return []string{"ABS", "AVG", "CEIL", "DIFF", "DIFF_TIME", "FLOOR", "LOG", "LOG10", "MAX", "MIN", "PERIOD", "RATE", "RUNNING_SUM", "STDDEV", "SUM", "TIME_SERIES"}
}

func joined(words []string) string {
	slices.Sort(words)
	out := ""
	for i, w := range words {
		if i > 0 {
			out += ", "
		}
		out += w
	}
	return out
}

// overSeries evaluates the functions that take one series or several.
func overSeries(function string, v Value) (Value, error) {
	if of := aggregate(function); of != nil {
		if v.Kind == Several {
			return Of(merged(v.Series, of)), nil
		}
		values := make([]float64, 0, len(v.Series[0].Points))
		for _, p := range v.Series[0].Points {
			values = append(values, p.Value)
		}
		return Value{Number: of(values)}, nil
	}
	if function == "PERIOD" {
		if v.Kind == Several {
			return v, wrong("PERIOD takes one time series")
		}
		return Value{Number: v.Series[0].Period.Seconds()}, nil
	}
	out := Value{Kind: v.Kind}
	for _, s := range v.Series {
		var points []Point
		running := 0.0
		step := stepwise(function)
		for i, p := range s.Points {
			switch running += p.Value; {
			case function == "RUNNING_SUM":
				points = with(points, p.At, running)
			case step != nil && i > 0:
				points = with(points, p.At, step(s.Points[i-1], p))
			}
		}
		out.Series = append(out.Series, Series{Label: s.Label, Period: s.Period, Points: points})
	}
	return out, nil
}

// quota draws the quota that a metric counts against as a line.
func (env Env) quota(c call) (Value, error) {
	if len(c.args) != 1 {
		return Value{}, wrong("SERVICE_QUOTA takes one argument")
	}
	id, ok := c.args[0].(identifier)
	if !ok {
		return Value{}, wrong("SERVICE_QUOTA takes the id of a usage metric")
	}
	v, err := env.eval(id)
	if err != nil {
		return v, err
	}
	if v.Kind != Single {
		return v, wrong("SERVICE_QUOTA takes the id of a usage metric, and '%s' is none", id)
	}
	value, ok, err := env.Quota(string(id))
	if err != nil || !ok {
		return Of(Series{Period: v.Series[0].Period}), err
	}
	return Of(env.constant(value, v.Series[0].Period)), nil
}

func (env Env) metrics(c call) (Value, error) {
	containing := text("")
	if len(c.args) > 0 {
		var ok bool
		if containing, ok = c.args[0].(text); !ok || len(c.args) > 1 {
			return Value{}, wrong("METRICS takes nothing, or one text in quotation marks")
		}
	}
	series, err := env.Metrics(string(containing))
	return Value{Kind: Several, Series: series}, err
}

// fill puts a number, or the value before it, where a series has no point.
func (env Env) fill(c call) (Value, error) {
	if len(c.args) != 2 {
		return Value{}, wrong("FILL takes a metric, and a number or REPEAT")
	}
	v, err := env.eval(c.args[0])
	if err != nil {
		return v, err
	}
	repeat := c.args[1] == node(identifier("REPEAT"))
	with := Value{}
	if !repeat {
		if c.args[1] == node(identifier("LINEAR")) {
			return v, wrong("FILL with LINEAR is not supported here; use a number or REPEAT")
		}
		if with, err = env.eval(c.args[1]); err != nil {
			return with, err
		}
	}
	if v.Kind == Scalar || with.Kind != Scalar {
		return v, wrong("FILL takes a metric, and a number or REPEAT")
	}
	out := Value{Kind: v.Kind}
	for _, s := range v.Series {
		grid := env.constant(with.Number, s.Period)
		last, have, i := 0.0, !repeat, 0
		filled := Series{Label: s.Label, Period: s.Period}
		for _, p := range grid.Points {
			for i < len(s.Points) && s.Points[i].At.Before(p.At) {
				i++
			}
			switch {
			case i < len(s.Points) && s.Points[i].At.Equal(p.At):
				p.Value = s.Points[i].Value
				last, have = p.Value, true
			case repeat:
				p.Value = last
			}
			if have {
				filled.Points = append(filled.Points, p)
			}
		}
		out.Series = append(out.Series, filled)
	}
	return out, nil
}
