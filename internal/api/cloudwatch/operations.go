// Package cloudwatch is the reading half of Amazon CloudWatch (2010-08-01) for the usage
// metrics of the registry: ListMetrics, GetMetricStatistics and GetMetricData, in the
// three protocols that CloudWatch's clients speak (CBOR, JSON 1.0, Query). It owns
// CloudWatch's rules on periods, ranges and statistics, and the translation between its
// shapes and the domain.
//
// It does not authenticate, validate shapes, authorize or write answers; the pipeline in
// api/aws does. What is measured and kept is domain/usage's, metric math is
// domain/usage/math's. Alarms and dashboards are not built, and nobody can put metrics.
package cloudwatch

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/aws/query"
	"github.com/berth-registry/berth/internal/api/aws/rpccbor"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/usage/metric"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// Metrics is where the metrics are; *usage.Service is one.
type Metrics interface {
	// List returns up to limit series behind after, which is "" or what an earlier call
	// returned as next; next is "" where there are no more.
	List(ctx context.Context, account name.AccountID, region name.Region, f metric.Filter, after string, limit int) (all []metric.Series, next string, err error)
	// Points are those from from on and before to, in the order of time, in periods that
	// begin at from. A series that there is not has none.
	Points(ctx context.Context, account name.AccountID, region name.Region, s metric.Series, from, to time.Time, period time.Duration) ([]metric.Point, error)
}

// Config is what the API stands on.
type Config struct {
	Metrics Metrics
	// Quota is the quota that a usage metric counts against, for SERVICE_QUOTA; ok is
	// false where there is none. nil: none has one.
	Quota func(ctx context.Context, account name.AccountID, region name.Region, s metric.Series) (value float64, ok bool, err error)
	Clock clock.Clock
	// SigningKey signs page tokens; 32 bytes.
	SigningKey []byte
}

// API holds the operations.
type API struct {
	Config
	tokens paging.Tokens
}

// New returns the API.
func New(c Config) *API { return &API{Config: c, tokens: paging.Tokens{Key: c.SigningKey}} }

// Service describes the API to the pipeline. It can be described without a Config, for
// the documentation.
func (a *API) Service() aws.Service {
	return aws.Service{
		Name:         "cloudwatch",
		EventSource:  "monitoring.amazonaws.com",
		TargetPrefix: "GraniteServiceVersion20100801",
		Version:      "2010-08-01",
		Protocols: aws.Protocols{
			CBOR:   rpccbor.Protocol{},
			JSON10: json11.Protocol{V10: true},
			Query:  query.Protocol{Namespace: "http://monitoring.amazonaws.com/doc/2010-08-01/"},
		},
		SigningNames: []string{"monitoring"},
		Host:         name.HostCloudWatch,
		Known:        OperationNames(),
		Errors:       errorOf,
		ErrorShapes:  ErrorShapes(),
		Notes: map[string]string{
			"GetMetricStatistics": "percentiles are refused: usage is kept as sums by the minute",
			"GetMetricData":       "metric math has arithmetic, lists, SERVICE_QUOTA, METRICS, FILL, RATE and the simple aggregates; SEARCH, IF, anomaly detection, Metrics Insights and `${}` in labels are not there",
		},
		Operations: []aws.Operation{
			aws.Op("ListMetrics", false, needs[ListMetricsInput]("ListMetrics"), a.listMetrics),
			aws.Op("GetMetricStatistics", false, needs[GetMetricStatisticsInput]("GetMetricStatistics"), a.getMetricStatistics),
			aws.Op("GetMetricData", false, needs[GetMetricDataInput]("GetMetricData"), a.getMetricData),
		},
	}
}

// needs asks for an action on everything: the service authorization reference, "Amazon
// CloudWatch", has neither a resource nor a condition key for reading metrics.
func needs[I any](action string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(*aws.Call, *I) ([]authz.Need, error) {
		return []authz.Need{{Action: "cloudwatch:" + action}}, nil
	}
}
