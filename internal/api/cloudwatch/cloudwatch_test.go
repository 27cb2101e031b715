package cloudwatch_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	client "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/berth-registry/berth/internal/domain/usage/metric"
)

func TestListMetrics(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.caller(), t.Context()
	list := func(in client.ListMetricsInput) (all []string) {
		t.Helper()
		out, err := c.ListMetrics(ctx, &in)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range out.Metrics {
			text := *m.Namespace + " " + *m.MetricName
			for _, d := range m.Dimensions {
				text += " " + *d.Name + "=" + *d.Value
			}
			all = append(all, text)
		}
		return all
	}
	const put, get, pull = "AWS/Usage CallCount Resource=PutImage Service=ECR Type=API", "AWS/Usage CallCount Resource=BatchGetImage Service=ECR Type=API", "AWS/ECR RepositoryPullCount RepositoryName=team/app"
	for what, row := range map[string]struct {
		in   client.ListMetricsInput
		want []string
	}{
		"all":                 {client.ListMetricsInput{}, []string{pull, get, put}},
		"a namespace":         {client.ListMetricsInput{Namespace: p("AWS/ECR")}, []string{pull}},
		"a name":              {client.ListMetricsInput{MetricName: p("CallCount")}, []string{get, put}},
		"a dimension":         {client.ListMetricsInput{Dimensions: []types.DimensionFilter{{Name: p("RepositoryName")}}}, []string{pull}},
		"a dimension's value": {client.ListMetricsInput{Dimensions: []types.DimensionFilter{{Name: p("Resource"), Value: p("PutImage")}, {Name: p("Type")}}}, []string{put}},
		"nothing":             {client.ListMetricsInput{Namespace: p("AWS/EC2")}, nil},
		"recently":            {client.ListMetricsInput{RecentlyActive: types.RecentlyActivePt3h}, []string{pull, get, put}},
		"the own account":     {client.ListMetricsInput{OwningAccount: p(string(account)), Namespace: p("AWS/ECR")}, []string{pull}},
	} {
		if got := list(row.in); !slices.Equal(got, row.want) {
			t.Errorf("%s: %q", what, got)
		}
	}
	out, err := c.ListMetrics(ctx, &client.ListMetricsInput{IncludeLinkedAccounts: p(true)})
	if err != nil || !slices.Equal(out.OwningAccounts, []string{string(account), string(account), string(account)}) {
		t.Errorf("linked accounts: %+v, %v", out, err)
	}
	if n := w.asked[len(w.asked)-1].Needs; len(n) != 1 || n[0].Action != "cloudwatch:ListMetrics" || !n[0].Resource.IsZero() {
		t.Errorf("asked for %+v", n)
	}
	if e := w.entries[len(w.entries)-1]; e.EventSource != "monitoring.amazonaws.com" || e.EventName != "ListMetrics" || !e.ReadOnly {
		t.Errorf("recorded %+v", e)
	}

	for i := range 700 {
		w.metrics.add(pulls(fmt.Sprintf("many/%04d", i)), 1)
	}
	pages, seen := client.NewListMetricsPaginator(c, &client.ListMetricsInput{Namespace: p("AWS/ECR")}), map[string]bool{}
	var sizes []int
	var token *string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(page.Metrics))
		for _, m := range page.Metrics {
			seen[*m.Dimensions[0].Value] = true
		}
		if page.NextToken != nil {
			token = page.NextToken
		}
	}
	if !slices.Equal(sizes, []int{500, 201}) || len(seen) != 701 {
		t.Errorf("pages of %v, %d metrics", sizes, len(seen))
	}
	_, err = c.ListMetrics(ctx, &client.ListMetricsInput{NextToken: token})
	failed(t, "a token of another question", err, "InvalidParameterValue", "NextToken")
	_, err = c.ListMetrics(ctx, &client.ListMetricsInput{OwningAccount: p("210987654321")})
	failed(t, "another account", err, "InvalidParameterValue", "210987654321 is not linked")
	_, err = c.ListMetrics(ctx, &client.ListMetricsInput{Namespace: p(":x")})
	failed(t, "a wrong namespace", err, "ValidationError", "1 validation error detected: Value ':x' at 'namespace'")
}

func statistics(s metric.Series) *client.GetMetricStatisticsInput {
	return &client.GetMetricStatisticsInput{
		Namespace: &s.Namespace, MetricName: &s.Name, Dimensions: dimensions(s), StartTime: p(noon()), EndTime: p(after(10)), Period: p(int32(300)),
		Statistics: []types.Statistic{types.StatisticSum, types.StatisticAverage, types.StatisticMinimum, types.StatisticMaximum, types.StatisticSampleCount},
	}
}

func TestGetMetricStatistics(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.caller(), t.Context()
	get := func(change func(*client.GetMetricStatisticsInput)) string {
		t.Helper()
		in := statistics(calls("BatchGetImage"))
		change(in)
		out, err := c.GetMetricStatistics(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		text := *out.Label + ":"
		for _, d := range out.Datapoints {
			text += fmt.Sprintf(" %d", int(d.Timestamp.Sub(noon())/time.Minute))
			for _, v := range []*float64{d.Sum, d.Average, d.Minimum, d.Maximum, d.SampleCount} {
				if v != nil {
					text += fmt.Sprintf("/%g", *v)
				}
			}
			text += "/" + string(d.Unit)
		}
		return text
	}
	for what, row := range map[string]struct {
		change func(*client.GetMetricStatisticsInput)
		want   string
	}{
		"five minutes":       {func(*client.GetMetricStatisticsInput) {}, "CallCount: 0/15/3/1/5/5/None 5/6/6/6/6/1/None"},
		"not on the minute":  {func(in *client.GetMetricStatisticsInput) { in.StartTime = p(noon().Add(30 * time.Second)) }, "CallCount: 0/15/3/1/5/5/None 5/6/6/6/6/1/None"},
		"one statistic":      {func(in *client.GetMetricStatisticsInput) { in.Statistics = in.Statistics[:1] }, "CallCount: 0/15/None 5/6/None"},
		"from another start": {func(in *client.GetMetricStatisticsInput) { in.StartTime = p(after(4)) }, "CallCount: 4/11/5.5/5/6/2/None"},
		"its unit":           {func(in *client.GetMetricStatisticsInput) { in.Unit = types.StandardUnitNone; in.EndTime = p(after(1)) }, "CallCount: 0/1/1/1/1/1/None"},
		"another unit":       {func(in *client.GetMetricStatisticsInput) { in.Unit = types.StandardUnitBytes }, "CallCount:"},
		"no such metric":     {func(in *client.GetMetricStatisticsInput) { in.Dimensions = nil }, "CallCount:"},
		"pulls":              {func(in *client.GetMetricStatisticsInput) { *in = *statistics(pulls("team/app")) }, "RepositoryPullCount: 0/7/7/7/7/1/Count"},
		// Ranges that begin long ago are rounded to what is kept of them.
		"weeks ago": {func(in *client.GetMetricStatisticsInput) {
			in.StartTime, in.Period = p(after(3).AddDate(0, 0, -20)), p(int32(30*86400))
		}, "CallCount: -28800/21/3.5/1/6/6/None"},
		"months ago": {func(in *client.GetMetricStatisticsInput) {
			in.StartTime, in.Period = p(after(43).AddDate(0, 0, -100)), p(int32(200*86400))
		}, "CallCount: -144000/21/3.5/1/6/6/None"},
	} {
		if got := get(row.change); got != row.want {
			t.Errorf("%s: %s", what, got)
		}
	}
	for what, row := range map[string]struct {
		change        func(*client.GetMetricStatisticsInput)
		code, message string
	}{
		"no statistics":    {func(in *client.GetMetricStatisticsInput) { in.Statistics = nil }, "InvalidParameterCombination", "At least one of"},
		"both":             {func(in *client.GetMetricStatisticsInput) { in.ExtendedStatistics = []string{"p99"} }, "InvalidParameterCombination", "both"},
		"percentiles":      {func(in *client.GetMetricStatisticsInput) { in.Statistics, in.ExtendedStatistics = nil, []string{"p99"} }, "InvalidParameterValue", "p99 for parameter ExtendedStatistics.member.1 is not supported"},
		"a wrong range":    {func(in *client.GetMetricStatisticsInput) { in.EndTime = in.StartTime }, "InvalidParameterValue", "StartTime must be less than"},
		"a short period":   {func(in *client.GetMetricStatisticsInput) { in.Period = p(int32(90)) }, "InvalidParameterValue", "multiple of 60"},
		"a long period":    {func(in *client.GetMetricStatisticsInput) { in.Period = p(int32(2147483640)) }, "InvalidParameterValue", "not greater than 39312000"},
		"no period":        {func(in *client.GetMetricStatisticsInput) { in.Period = p(int32(0)) }, "ValidationError", "'period'"},
		"a day and minute": {func(in *client.GetMetricStatisticsInput) { in.Period, in.EndTime = p(int32(60)), p(after(24*60+1)) }, "InvalidParameterCombination", "You have requested up to 1441 datapoints, which exceeds the limit of 1440."},
		"centuries":        {func(in *client.GetMetricStatisticsInput) { in.StartTime = p(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)) }, "InvalidParameterCombination", "exceeds the limit"},
	} {
		in := statistics(calls("BatchGetImage"))
		row.change(in)
		_, err := c.GetMetricStatistics(ctx, in)
		failed(t, what, err, row.code, row.message)
	}
	in := statistics(calls("PutImage"))
	in.Period, in.EndTime = p(int32(60)), p(after(24*60))
	if out, err := c.GetMetricStatistics(ctx, in); err != nil || len(out.Datapoints) != 3 {
		t.Errorf("a whole day: %+v, %v", out, err)
	}
}

func results(t *testing.T, c *client.Client, in *client.GetMetricDataInput) (all []string) {
	t.Helper()
	out, err := c.GetMetricData(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range out.MetricDataResults {
		all = append(all, *r.Id+" "+show(r))
	}
	return all
}

// The first is the user guide's, "Visualizing your service quotas and setting alarms".
func TestGetMetricData(t *testing.T) {
	w := newWorld(t)
	c := w.caller()
	put, get := of("m1", calls("PutImage"), "Sum"), of("m2", calls("BatchGetImage"), "Average")
	five := get
	five.MetricStat = &types.MetricStat{Metric: get.MetricStat.Metric, Period: p(int32(300)), Stat: p("Maximum")}
	labelled := put
	labelled.Label = p("pushes")
	bytesOnly := put
	bytesOnly.MetricStat = &types.MetricStat{Metric: put.MetricStat.Metric, Period: p(int32(60)), Stat: p("Sum"), Unit: types.StandardUnitBytes}
	constant := expression("e1", "TIME_SERIES(7)")
	constant.Period = p(int32(180))
	for what, row := range map[string]struct {
		in   *client.GetMetricDataInput
		want []string
	}{
		"a share of a quota": {data(4, silent(put), expression("e1", "m1/60/SERVICE_QUOTA(m1)*100")), []string{"e1 e1: 0=10 1=20 3=100 Complete"}},
		"a quota":            {data(4, put, expression("e1", "SERVICE_QUOTA(m1)")), []string{"m1 CallCount: 0=60 1=120 3=600 Complete", "e1 e1: 0=10 1=10 2=10 3=10 Complete"}},
		"no quota":           {data(4, silent(get), expression("e1", "SERVICE_QUOTA(m2)")), []string{"e1 e1: Complete"}},
		"two metrics":        {data(2, put, get), []string{"m1 PutImage ECR API CallCount: 0=60 1=120 Complete", "m2 BatchGetImage ECR API CallCount: 0=1 1=2 Complete"}},
		"a label":            {data(2, labelled), []string{"m1 pushes: 0=60 1=120 Complete"}},
		"five minutes":       {data(10, five), []string{"m2 CallCount: 0=5 5=6 Complete"}},
		"another unit":       {data(10, bytesOnly), []string{"m1 CallCount: Complete"}},
		"expressions in expressions": {data(2, silent(put), silent(get), expression("e2", "e1*2"), silent(expression("e1", "m1+m2")), expression("e3", "e1")),
			[]string{"e2 e2: 0=122 1=244 Complete", "e3 e3: 0=61 1=122 Complete"}},
		"a list":           {data(2, silent(labelled), silent(get), expression("e1", "[m1,m2]*2")), []string{"e1 pushes: 0=120 1=240 Complete", "e1 BatchGetImage ECR API CallCount: 0=2 1=4 Complete"}},
		"all metrics":      {data(2, silent(labelled), silent(get), expression("e1", "METRICS(\"m\")"), expression("e2", "SUM(METRICS())")), []string{"e1 pushes: 0=60 1=120 Complete", "e1 BatchGetImage ECR API CallCount: 0=1 1=2 Complete", "e2 e2: 0=61 1=122 Complete"}},
		"a constant":       {data(10, constant), []string{"e1 e1: 0=7 3=7 6=7 9=7 Complete"}},
		"its own constant": {data(10, expression("e1", "TIME_SERIES(7)")), []string{"e1 e1: 0=7 5=7 Complete"}},
		"with a metric":    {data(3, silent(put), expression("e1", "FILL(m1,0)")), []string{"e1 e1: 0=60 1=120 2=0 Complete"}},
		"nothing":          {data(3, silent(put)), nil},
	} {
		if got := results(t, c, row.in); !slices.Equal(got, row.want) {
			t.Errorf("%s: %q", what, got)
		}
	}
	latest := data(4, put)
	latest.ScanBy = ""
	if got := results(t, c, latest); !slices.Equal(got, []string{"m1 CallCount: 3=600 1=120 0=60 Complete"}) {
		t.Errorf("the latest first: %q", got)
	}
}

// TestPages: a page has as many datapoints as were asked for, and all pages together are
// the whole.
func TestPages(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.caller(), t.Context()
	for _, order := range []types.ScanBy{types.ScanByTimestampAscending, types.ScanByTimestampDescending} {
		in := data(10, of("m1", calls("PutImage"), "Sum"), silent(of("m9", calls("PutImage"), "Sum")), of("m2", calls("BatchGetImage"), "Sum"), of("m3", calls("none"), "Sum"), expression("e1", "[m1,m2]"))
		in.ScanBy = order
		whole, err := c.GetMetricData(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if whole.NextToken != nil || len(whole.MetricDataResults) != 5 {
			t.Fatalf("%+v", whole)
		}
		for size := 1; size <= 20; size++ {
			in.MaxDatapoints = p(int32(size))
			var got []types.MetricDataResult
			pages := client.NewGetMetricDataPaginator(c, in)
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					t.Fatal(err)
				}
				points := 0
				for i, r := range page.MetricDataResults {
					points += len(r.Values)
					if i < len(page.MetricDataResults)-1 && r.StatusCode != types.StatusCodeComplete {
						t.Errorf("pages of %d: %s in the middle", size, show(r))
					}
				}
				if points > size || points < size && pages.HasMorePages() {
					t.Fatalf("a page of %d has %d", size, points)
				}
				got = append(got, page.MetricDataResults...)
			}
			if a, b := joined(got), joined(whole.MetricDataResults); a != b {
				t.Errorf("pages of %d: %s\nwant %s", size, a, b)
			}
		}
	}
	in := data(10, of("m1", calls("PutImage"), "Sum"))
	in.MaxDatapoints = p(int32(1))
	first, err := c.GetMetricData(ctx, in)
	if err != nil || first.NextToken == nil || first.MetricDataResults[0].StatusCode != types.StatusCodePartialData {
		t.Fatalf("%+v, %v", first, err)
	}
	other := data(10, of("m1", calls("BatchGetImage"), "Sum"))
	other.NextToken = first.NextToken
	_, err = c.GetMetricData(ctx, other)
	failed(t, "a token of another request", err, "InvalidNextToken", "NextToken")
	var typed *types.InvalidNextToken
	if !errors.As(err, &typed) {
		t.Errorf("%T", err)
	}
}

// joined puts the parts of each series together.
func joined(results []types.MetricDataResult) string {
	var order []string
	all := map[string][]string{}
	for _, r := range results {
		id := *r.Id + " " + *r.Label
		if _, ok := all[id]; !ok {
			order = append(order, id)
		}
		all[id] = append(all[id], "")
		for i, at := range r.Timestamps {
			all[id] = append(all[id], fmt.Sprintf("%s=%g", at.Format("15:04"), r.Values[i]))
		}
	}
	out := ""
	for _, id := range order {
		out += id + ": " + strings.Join(slices.DeleteFunc(all[id], func(s string) bool { return s == "" }), " ") + "; "
	}
	return out
}

func TestGetMetricDataRefuses(t *testing.T) {
	w := newWorld(t)
	c := w.caller()
	put := of("m1", calls("PutImage"), "Sum")
	with := func(change func(*types.MetricDataQuery)) *client.GetMetricDataInput {
		q := of("m1", calls("PutImage"), "Sum")
		change(&q)
		return data(5, q)
	}
	backwards := data(5, put)
	backwards.EndTime = backwards.StartTime
	greedy := data(5, put)
	greedy.MaxDatapoints = p(int32(100_801))
	for what, row := range map[string]struct {
		in      *client.GetMetricDataInput
		message string
	}{
		"no queries":      {&client.GetMetricDataInput{MetricDataQueries: []types.MetricDataQuery{}, StartTime: p(noon()), EndTime: p(after(1))}, "must not have a size less than 1"},
		"too many":        {data(5, slices.Repeat([]types.MetricDataQuery{put}, 501)...), "must not have a size greater than 500"},
		"a wrong range":   {backwards, "StartTime must be less than"},
		"too many points": {greedy, "The value 100801 for parameter MaxDatapoints must be from 1 to 100800."},
		"a wrong id":      {with(func(q *types.MetricDataQuery) { q.Id = p("M1") }), "The value M1 for parameter MetricDataQueries.member.1.Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$."},
		"an id twice":     {data(5, put, put), "The value m1 for parameter MetricDataQueries.member.2.Id is there twice"},
		"neither":         {data(5, types.MetricDataQuery{Id: p("m1")}), "MetricDataQueries.member.1.MetricStat or"},
		"both":            {with(func(q *types.MetricDataQuery) { q.Expression = p("1") }), "and not both"},
		"a percentile":    {with(func(q *types.MetricDataQuery) { q.MetricStat.Stat = p("p99") }), "The value for parameter MetricDataQueries.member.1.MetricStat.Stat is not a valid statistic: usage is kept as sums"},
		"a short period":  {with(func(q *types.MetricDataQuery) { q.MetricStat.Period = p(int32(1)) }), "MetricDataQueries.member.1.MetricStat.Period must be a multiple of 60"},
		"another period":  {data(5, types.MetricDataQuery{Id: p("e1"), Expression: p("TIME_SERIES(1)"), Period: p(int32(61))}), "MetricDataQueries.member.1.Period must be a multiple of 60"},
		"no name":         {with(func(q *types.MetricDataQuery) { q.MetricStat.Metric.MetricName = nil }), "Metric.MetricName are required"},
		"another account": {with(func(q *types.MetricDataQuery) { q.AccountId = p("210987654321") }), "The account 210987654321 of MetricDataQueries.member.1.AccountId is not linked"},
		"all at once":     {data(5, of("M1", calls("x"), "p1"), expression("e1", "(")), "\nError in expression 'e1': the expression ends too early"},
		"an unknown id":   {data(5, put, expression("e1", "m1+m7")), "Error in expression 'e1': there is no query with the id 'm7'"},
		"a circle":        {data(5, expression("e1", "e2+1"), expression("e2", "e3+1"), expression("e3", "e1+1")), "Error in expression 'e1': it needs itself"},
		"itself":          {data(5, expression("e1", "e1")), "it needs itself"},
		"a number":        {data(5, silent(put), expression("e1", "AVG(m1)")), "Error in expression 'e1': the expression has to give a time series"},
		"inside":          {data(5, silent(put), silent(expression("e1", "NOPE(m1)")), expression("e2", "e1+1")), "Error in expression 'e1': the function NOPE is not supported"},
		"insights":        {data(5, expression("e1", `SELECT AVG(CallCount) FROM "AWS/Usage"`)), "Error in expression 'e1': 'AVG' is not expected"},
	} {
		_, err := c.GetMetricData(t.Context(), row.in)
		failed(t, what, err, "ValidationError", row.message)
	}
	// A wide net of expressions is worked out once each.
	queries := []types.MetricDataQuery{silent(put), silent(expression("e0", "m1"))}
	for i := range 200 {
		queries = append(queries, silent(expression(fmt.Sprintf("e%d", i+1), fmt.Sprintf("(e%d+e%d)/2", i, i))))
	}
	if got := results(t, c, data(4, append(queries, expression("last", "e200"))...)); !slices.Equal(got, []string{"last last: 0=60 1=120 3=600 Complete"}) {
		t.Errorf("a net of expressions: %q", got)
	}
}

// TestHeld: what expressions hold at once is bounded.
func TestHeld(t *testing.T) {
	w := newWorld(t)
	w.metrics.add(calls("Busy"), make([]float64, 20_160)...)
	queries := []types.MetricDataQuery{expression("e1", "SUM(METRICS())")}
	for i := range 120 {
		queries = append(queries, silent(of(fmt.Sprintf("m%d", i), calls("Busy"), "Sum")))
	}
	_, err := w.caller().GetMetricData(t.Context(), data(20_160, queries...))
	failed(t, "too much at once", err, "ValidationError", "need more than 2000000 datapoints at once")
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, err := w.client("AKIDNOBODY", "secret").ListMetrics(ctx, &client.ListMetricsInput{})
	failed(t, "an unknown key", err, "InvalidClientTokenId", "")
	_, err = w.client("AKIDEXAMPLE", "wrong").ListMetrics(ctx, &client.ListMetricsInput{})
	failed(t, "a wrong secret", err, "SignatureDoesNotMatch", "")
	_, err = w.caller().DescribeAlarms(ctx, &client.DescribeAlarmsInput{})
	failed(t, "alarms", err, "InvalidAction", "")
	w.metrics.err = errors.New("the disk is on fire")
	for what, call := range map[string]func() error{
		"ListMetrics":         func() error { _, err := w.caller().ListMetrics(ctx, &client.ListMetricsInput{}); return err },
		"GetMetricStatistics": func() error { _, err := w.caller().GetMetricStatistics(ctx, statistics(calls("PutImage"))); return err },
		"GetMetricData": func() error {
			_, err := w.caller().GetMetricData(ctx, data(5, of("m1", calls("PutImage"), "Sum")))
			return err
		},
		"an expression": func() error {
			_, err := w.caller().GetMetricData(ctx, data(5, of("m1", calls("PutImage"), "Sum"), expression("e1", "METRICS()")))
			return err
		},
	} {
		err := call()
		failed(t, what, err, "InternalServiceError", "request id")
		if strings.Contains(err.Error(), "fire") {
			t.Errorf("%s tells too much: %v", what, err)
		}
	}
	w.refuse = true
	_, err = w.caller().GetMetricData(ctx, data(5, of("m1", calls("PutImage"), "Sum")))
	failed(t, "not allowed", err, "AccessDenied", "is not authorized")
	if n := w.asked[len(w.asked)-1].Needs; len(n) != 1 || n[0].Action != "cloudwatch:GetMetricData" {
		t.Errorf("asked for %+v", n)
	}
}

// TestJSON: the protocol of JSON 1.0, which some clients speak.
func TestJSON(t *testing.T) {
	w := newWorld(t)
	post := func(operation, body string) (int, map[string]any, http.Header) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-amz-json-1.0")
		r.Header.Set("X-Amz-Target", "GraniteServiceVersion20100801."+operation)
		r.Header.Set("X-Amzn-Query-Mode", "true")
		sum := sha256.Sum256([]byte(body))
		if err := v4.NewSigner().SignHTTP(context.Background(), sdk.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}, r, hex.EncodeToString(sum[:]), "monitoring", string(region), time.Now()); err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }() // read to its end
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal(b, &out); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		return resp.StatusCode, out, resp.Header
	}
	status, out, header := post("GetMetricStatistics", fmt.Sprintf(`{"Namespace":"AWS/ECR","MetricName":"RepositoryPullCount","Dimensions":[{"Name":"RepositoryName","Value":"team/app"}],"StartTime":%d,"EndTime":%d,"Period":60,"Statistics":["Sum"]}`, noon().Unix(), after(5).Unix()))
	if got, _ := json.Marshal(out); status != 200 || string(got) != fmt.Sprintf(`{"Datapoints":[{"Sum":7,"Timestamp":%d,"Unit":"Count"}],"Label":"RepositoryPullCount"}`, noon().Unix()) {
		t.Errorf("%d %s", status, got)
	}
	if header.Get("Content-Type") != "application/x-amz-json-1.0" {
		t.Errorf("headers %v", header)
	}
	status, out, header = post("ListMetrics", `{"OwningAccount":"1"}`)
	if status != 400 || out["__type"] != "InvalidParameterValueException" || header.Get("X-Amzn-Query-Error") != "InvalidParameterValue;Sender" {
		t.Errorf("%d %v %v", status, out, header)
	}
}

// TestCLI: the AWS CLI of the distribution, which speaks Query.
func TestCLI(t *testing.T) {
	w := newWorld(t)
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "/usr/bin/aws", append([]string{"cloudwatch", "--endpoint-url", w.url, "--region", string(region), "--no-cli-pager", "--output", "json"}, args...)...)
		cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
		out, err := cmd.CombinedOutput()
		var compact bytes.Buffer
		if json.Compact(&compact, out) == nil {
			out = compact.Bytes()
		}
		return string(out), err
	}
	start, end := noon().Format(time.RFC3339), after(4).Format(time.RFC3339)
	for _, row := range []struct {
		args []string
		want string
	}{ // each takes the CLI seconds to start
		{[]string{"get-metric-data", "--start-time", start, "--end-time", end, "--metric-data-queries",
			`[{"Id":"m1","ReturnData":false,"MetricStat":{"Metric":{"Namespace":"AWS/Usage","MetricName":"CallCount","Dimensions":[{"Name":"Service","Value":"ECR"},{"Name":"Type","Value":"API"},{"Name":"Resource","Value":"PutImage"}]},"Period":60,"Stat":"Sum"}},{"Id":"e1","Label":"share","Expression":"m1/60/SERVICE_QUOTA(m1)*100"}]`},
			`{"MetricDataResults":[{"Id":"e1","Label":"share","Timestamps":["2026-11-28T12:03:00+00:00","2026-11-28T12:01:00+00:00","2026-11-28T12:00:00+00:00"],"Values":[100.0,20.0,10.0],"StatusCode":"Complete"}],"Messages":[]}`},
	} {
		if got, err := run(row.args...); err != nil || got != row.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", row.args[0], err, got, row.want)
		}
	}
	if got, err := run("get-metric-statistics", "--namespace", "AWS/ECR", "--metric-name", "x", "--start-time", start, "--end-time", end, "--period", "7", "--statistics", "Sum"); err == nil || !strings.Contains(got, "An error occurred (InvalidParameterValue) when calling the GetMetricStatistics operation: The parameter Period must be a multiple of 60") {
		t.Errorf("a wrong period: %s", got)
	}
}
