package cloudwatch_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/smithy-go"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/api/cloudwatch"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/usage/metric"
	"github.com/berth-registry/berth/internal/infra/clock"
)

const (
	account = name.AccountID("123456789012")
	region  = name.Region("eu-test-1")
)

// noon is where the metrics of the tests begin; their clock stands at one o'clock.
func noon() time.Time { return time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC) }

func after(minutes int) time.Time { return noon().Add(time.Duration(minutes) * time.Minute) }

// kept are metrics in memory: what was measured in each minute from noon on.
type kept struct {
	series []metric.Series
	values map[string][]float64
	err    error
}

func key(s metric.Series) string { return fmt.Sprint(s.Namespace, s.Name, s.Dimensions) }

func (k *kept) add(s metric.Series, values ...float64) {
	k.series = append(k.series, s)
	k.values[key(s)] = values
}

func (k *kept) List(_ context.Context, a name.AccountID, r name.Region, f metric.Filter, behind string, limit int) (all []metric.Series, next string, err error) {
	if k.err != nil || a != account || r != region {
		return nil, "", k.err
	}
	for _, s := range k.series {
		switch {
		case key(s) <= behind, f.Namespace != "" && f.Namespace != s.Namespace, f.Name != "" && f.Name != s.Name:
			continue
		case !f.Since.IsZero() && !f.Since.Before(after(len(k.values[key(s)]))):
			continue
		}
		if slices.ContainsFunc(f.Dimensions, func(d metric.Dimension) bool {
			return !slices.ContainsFunc(s.Dimensions, func(has metric.Dimension) bool { return has.Name == d.Name && (d.Value == "" || has == d) })
		}) {
			continue
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(x, y metric.Series) int { return cmp.Compare(key(x), key(y)) })
	if len(all) > limit {
		all = all[:limit]
		next = key(all[limit-1])
	}
	return all, next, nil
}

func (k *kept) Points(_ context.Context, a name.AccountID, r name.Region, s metric.Series, from, to time.Time, period time.Duration) ([]metric.Point, error) {
	if k.err != nil || a != account || r != region {
		return nil, k.err
	}
	var out []metric.Point
	for i, v := range k.values[key(s)] {
		if at := after(i); at.Before(from) || !at.Before(to) || v < 0 {
			continue
		} else if start := from.Add(at.Sub(from) / period * period); len(out) == 0 || !out[len(out)-1].Start.Equal(start) {
			out = append(out, metric.Point{Start: start, Samples: 1, Sum: v, Minimum: v, Maximum: v})
		} else {
			p := &out[len(out)-1]
			p.Samples, p.Sum, p.Minimum, p.Maximum = p.Samples+1, p.Sum+v, min(p.Minimum, v), max(p.Maximum, v)
		}
	}
	return out, nil
}

func calls(resource string) metric.Series {
	return metric.Series{Namespace: "AWS/Usage", Name: "CallCount", Dimensions: []metric.Dimension{{Name: "Resource", Value: resource}, {Name: "Service", Value: "ECR"}, {Name: "Type", Value: "API"}}}
}

func pulls(repo string) metric.Series {
	return metric.Series{Namespace: "AWS/ECR", Name: "RepositoryPullCount", Dimensions: []metric.Dimension{{Name: "RepositoryName", Value: repo}}}
}

// world is the API behind the real pipeline and verifier.
type world struct {
	t       *testing.T
	url     string
	metrics *kept
	refuse  bool
	asked   []authz.Request
	entries []audit.Entry
	log     bytes.Buffer
}

// AccessKey knows one key, of the account's root user.
func (w *world) AccessKey(_ context.Context, id, _ string) (sigv4.Key, bool, error) {
	return sigv4.Key{Secret: "secret", Enabled: true, Principal: principal.Principal{Account: account, ARN: principal.RootARN(account), ID: string(account)}}, id == "AKIDEXAMPLE", nil
}

// Authorize remembers what was asked.
func (w *world) Authorize(_ context.Context, r authz.Request) error {
	w.asked = append(w.asked, r)
	if w.refuse {
		return errs.New(errs.AccessDenied, "User: %s is not authorized", r.Principal.ARN)
	}
	return nil
}

// Record keeps the audit records.
func (w *world) Record(_ context.Context, e audit.Entry) { w.entries = append(w.entries, e) }

func newWorld(t *testing.T) *world {
	w := &world{t: t, metrics: &kept{values: map[string][]float64{}}}
	w.metrics.add(calls("PutImage"), 60, 120, -1, 600)
	w.metrics.add(calls("BatchGetImage"), 1, 2, 3, 4, 5, 6)
	w.metrics.add(pulls("team/app"), 7)
	api := cloudwatch.New(cloudwatch.Config{
		Metrics: w.metrics, Clock: clock.NewFake(noon().Add(time.Hour)), SigningKey: make([]byte, 32),
		Quota: func(_ context.Context, a name.AccountID, r name.Region, s metric.Series) (float64, bool, error) {
			return 10, a == account && r == region && key(s) == key(calls("PutImage")), nil
		},
	})
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	pipeline, err := aws.New(aws.Config{
		Services:      []aws.Service{api.Service()},
		Authenticator: sigv4.New(sigv4.Config{Keys: w, Clock: clock.System{}, Log: log}), // the SDK signs with the machine's time
		Authorizer:    w, Audit: w, Clock: clock.System{}, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(pipeline)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// client is the SDK's, which speaks CBOR.
func (w *world) client(id, secret string) *client.Client {
	return client.New(client.Options{Region: string(region), BaseEndpoint: &w.url, RetryMaxAttempts: 1, HTTPClient: awstest.Client{Client: http.DefaultClient},
		Credentials: sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
			return sdk.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
		})})
}

func (w *world) caller() *client.Client { return w.client("AKIDEXAMPLE", "secret") }

func p[T any](v T) *T { return &v }

// failed makes sure that an error has the code, and the text in its message.
func failed(t *testing.T, what string, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), message) {
		t.Errorf("%s: got %v, want %s with %q", what, err, code, message)
	}
}

func dimensions(s metric.Series) (out []types.Dimension) {
	for _, d := range s.Dimensions {
		out = append(out, types.Dimension{Name: p(d.Name), Value: p(d.Value)})
	}
	slices.Reverse(out) // their order does not count
	return out
}

// of is a query for a metric, by the minute.
func of(id string, s metric.Series, stat string) types.MetricDataQuery {
	return types.MetricDataQuery{Id: &id, MetricStat: &types.MetricStat{
		Metric: &types.Metric{Namespace: p(s.Namespace), MetricName: p(s.Name), Dimensions: dimensions(s)}, Period: p(int32(60)), Stat: &stat,
	}}
}

func expression(id, text string) types.MetricDataQuery {
	return types.MetricDataQuery{Id: &id, Expression: &text}
}

func silent(q types.MetricDataQuery) types.MetricDataQuery {
	q.ReturnData = p(false)
	return q
}

// data asks for the first minutes, in the order of time.
func data(minutes int, queries ...types.MetricDataQuery) *client.GetMetricDataInput {
	return &client.GetMetricDataInput{MetricDataQueries: queries, StartTime: p(noon()), EndTime: p(after(minutes)), ScanBy: types.ScanByTimestampAscending}
}

// show writes a result as "label: minute=value ... status".
func show(r types.MetricDataResult) string {
	out := *r.Label + ":"
	for i, at := range r.Timestamps {
		out += fmt.Sprintf(" %d=%g", int(at.Sub(noon())/time.Minute), r.Values[i])
	}
	return out + " " + string(r.StatusCode)
}
