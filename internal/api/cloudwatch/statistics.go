package cloudwatch

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/errs"
)

// maxDatapoints is how many datapoints GetMetricStatistics answers at the most (API
// reference).
const maxDatapoints = 1440

func (a *API) getMetricStatistics(ctx context.Context, c *aws.Call, in *GetMetricStatisticsInput) (*GetMetricStatisticsOutput, error) {
	from, to := rounded(in.StartTime.Time, a.Clock.Now()), in.EndTime.UTC()
	switch {
	case len(in.Statistics) == 0 && len(in.ExtendedStatistics) == 0:
		return nil, errs.New(errs.ParameterConflict, "At least one of the parameters Statistics and ExtendedStatistics must be specified.")
	case len(in.Statistics) > 0 && len(in.ExtendedStatistics) > 0:
		return nil, errs.New(errs.ParameterConflict, "The parameters Statistics and ExtendedStatistics must not be specified both.")
	case len(in.ExtendedStatistics) > 0:
		return nil, errs.New(errs.InvalidParameter, "%s", "The value "+in.ExtendedStatistics[0]+" for parameter ExtendedStatistics.member.1 is not supported: "+noPercentiles)
	case !in.StartTime.Before(in.EndTime.Time):
		return nil, errs.New(errs.InvalidParameter, "The parameter StartTime must be less than the parameter EndTime.")
	case !validPeriod(*in.Period):
		return nil, errs.New(errs.InvalidParameter, "The parameter Period must be a multiple of 60, and not greater than %d.", maxPeriod)
	}
	period := time.Duration(*in.Period) * time.Second
	// Sub stops at 292 years, which are too many at any period.
	if n := (to.Sub(from)-1)/period + 1; n > maxDatapoints {
		return nil, errs.New(errs.ParameterConflict, "You have requested up to %d datapoints, which exceeds the limit of %d. You may reduce the datapoints requested by increasing Period, or decreasing the time range.", n, maxDatapoints)
	}
	s := seriesOf(*in.Namespace, *in.MetricName, in.Dimensions)
	out := &GetMetricStatisticsOutput{Label: in.MetricName, Datapoints: []Datapoint{}}
	if otherUnit(s, in.Unit) {
		return out, nil
	}
	points, err := a.Metrics.Points(ctx, c.Principal.Account, c.Region, s, from, to, period)
	if err != nil {
		return nil, err
	}
	for _, p := range points {
		d := Datapoint{Timestamp: shape.At(p.Start), Unit: new(unitOf(s))}
		for _, asked := range in.Statistics {
			value, _ := statistic(p, string(asked)) // the model lets no others through
			switch asked {
			case StatisticSampleCount:
				d.SampleCount = &value
			case StatisticAverage:
				d.Average = &value
			case StatisticSum:
				d.Sum = &value
			case StatisticMinimum:
				d.Minimum = &value
			case StatisticMaximum:
				d.Maximum = &value
			}
		}
		out.Datapoints = append(out.Datapoints, d)
	}
	return out, nil
}

// noPercentiles is why percentiles and the like are refused.
const noPercentiles = "usage is kept as sums by the minute, which have no percentiles. Use SampleCount, Sum, Average, Minimum or Maximum."
