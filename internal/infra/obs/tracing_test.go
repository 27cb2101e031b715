package obs_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/berth-registry/berth/internal/infra/obs"
)

// receiver takes spans by OTLP over HTTP, as a collector does.
type receiver struct {
	*httptest.Server
	mu        sync.Mutex
	spans     []*tracev1.Span
	resources []string
	paths     []string
	headers   []http.Header
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	c := &receiver{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(r.Body); err != nil {
				t.Error(err)
				return
			}
		}
		content, err := io.ReadAll(body)
		var in collector.ExportTraceServiceRequest
		if err := errors.Join(err, proto.Unmarshal(content, &in)); err != nil {
			t.Error(err)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.paths, c.headers = append(c.paths, r.URL.Path), append(c.headers, r.Header)
		for _, rs := range in.ResourceSpans {
			for _, a := range rs.Resource.Attributes {
				c.resources = append(c.resources, a.Key+"="+a.Value.GetStringValue())
			}
			for _, ss := range rs.ScopeSpans {
				c.spans = append(c.spans, ss.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

// named are the spans that came, by name.
func (c *receiver) named() map[string]*tracev1.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]*tracev1.Span{}
	for _, s := range c.spans {
		all[s.Name] = s
	}
	return all
}

func newTracing(t *testing.T, endpoint string, sample float64) *obs.Tracing {
	t.Helper()
	tracing, err := obs.NewTracing(t.Context(), obs.TracingConfig{
		Endpoint: endpoint, Sample: sample, Version: "1.2.3", Node: "node-1", Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return tracing
}

func TestTracing(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collector-secret")
	c := newReceiver(t)
	tracing := newTracing(t, c.URL, 1)
	ctx, request := tracing.Request(t.Context(), http.Header{}, false)
	if !tracing.Within(ctx) {
		t.Error("a request that is traced is not")
	}
	begun := time.Now().Add(-time.Second)
	tracing.Done(ctx, "db view", begun, 250*time.Millisecond, true, attribute.String("berth.db", "durable"))
	request.SetName("registry manifest_get")
	request.End()
	_, job := tracing.Job(ctx, "layer.collect", 2)
	job.End()
	tracing.Done(t.Context(), "alone", begun, time.Second, false) // of no request
	if err := tracing.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}

	spans := c.named()
	if len(spans) != 3 {
		t.Fatalf("%d spans came: %v", len(spans), spans)
	}
	root, child, run := spans["registry manifest_get"], spans["db view"], spans["job layer.collect"]
	if root == nil || child == nil || run == nil {
		t.Fatalf("spans are missing: %v", spans)
	}
	if root.Kind != tracev1.Span_SPAN_KIND_SERVER || len(root.ParentSpanId) != 0 {
		t.Errorf("the request's span is %v", root)
	}
	if !bytes.Equal(child.TraceId, root.TraceId) || !bytes.Equal(child.ParentSpanId, root.SpanId) || child.Status.GetCode() != tracev1.Status_STATUS_CODE_ERROR {
		t.Errorf("the transaction's span is %v", child)
	}
	if took := child.EndTimeUnixNano - child.StartTimeUnixNano; took != uint64(250*time.Millisecond) || child.StartTimeUnixNano != uint64(begun.UnixNano()) {
		t.Errorf("the transaction took %d ns from %d", took, child.StartTimeUnixNano)
	}
	if len(child.Attributes) != 1 || child.Attributes[0].Key != "berth.db" || child.Attributes[0].Value.GetStringValue() != "durable" {
		t.Errorf("the transaction's attributes are %v", child.Attributes)
	}
	if bytes.Equal(run.TraceId, root.TraceId) || len(run.ParentSpanId) != 0 {
		t.Errorf("the job's span is none of its own trace: %v", run)
	}
	for _, want := range []string{"service.name=berth", "service.version=1.2.3", "service.instance.id=node-1"} {
		if !slices.Contains(c.resources, want) {
			t.Errorf("the resource is %q, without %s", c.resources, want)
		}
	}
	if c.paths[0] != "/v1/traces" || c.headers[0].Get("Authorization") != "Bearer collector-secret" {
		t.Errorf("sent to %s with %v", c.paths[0], c.headers[0])
	}
}

// TestTrust: who is not trusted can neither join a trace nor have one made.
func TestTrust(t *testing.T) {
	c := newReceiver(t)
	tracing := newTracing(t, c.URL+"/otlp/here", 0)
	h := http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	ctx, span := tracing.Request(t.Context(), h, false)
	if span.IsRecording() || tracing.Within(ctx) {
		t.Error("a stranger had a trace made")
	}
	span.End()
	ctx, span = tracing.Request(t.Context(), h, true)
	if got := trace.SpanContextFromContext(ctx).TraceID().String(); got != "0af7651916cd43dd8448eb211c80319c" || !tracing.Within(ctx) {
		t.Errorf("the trusted caller's trace is %s", got)
	}
	span.SetName("joined")
	span.End()
	if err := tracing.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	if len(c.named()) != 1 || c.named()["joined"] == nil || c.paths[0] != "/otlp/here" {
		t.Errorf("spans: %v to %q", c.named(), c.paths)
	}
}

// TestTracingOff: no endpoint, no spans and no cost.
func TestTracingOff(t *testing.T) {
	tracing, err := obs.NewTracing(t.Context(), obs.TracingConfig{})
	if err != nil || tracing != nil {
		t.Fatalf("%v, %v", tracing, err)
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		if tracing.Within(ctx) {
			t.Error("something is traced")
		}
	}); n != 0 {
		t.Errorf("asking allocates %v times", n)
	}
	tracing.Done(ctx, "x", time.Now(), 0, false)
	if err := tracing.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func TestCheckTracing(t *testing.T) {
	for endpoint, want := range map[string]string{
		"https://collector:4318":  "https://collector:4318/v1/traces",
		"http://collector:4318/":  "http://collector:4318/v1/traces",
		"https://collector/a/b":   "https://collector/a/b",
		"collector:4318":          "",
		"ftp://collector":         "",
		"https://u:p@collector":   "",
		"https://collector?key=x": "",
		"://":                     "",
	} {
		got, err := obs.CheckTracing(endpoint, 0.5)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", endpoint, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("the error holds the password: %v", err)
		}
	}
	for _, sample := range []float64{-0.1, 1.1} {
		if _, err := obs.CheckTracing("https://collector", sample); err == nil {
			t.Errorf("the part %v was taken", sample)
		}
	}
}

// TestLostSpans: a collector that refuses costs a line in the log, and no error
// goes to a handler of the whole process.
func TestLostSpans(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refusing.Close()
	var out bytes.Buffer
	tracing, err := obs.NewTracing(t.Context(), obs.TracingConfig{Endpoint: refusing.URL, Sample: 1, Log: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	_, span := tracing.Request(t.Context(), nil, false)
	span.End()
	if err := tracing.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "spans could not be sent") {
		t.Errorf("the log is %q", out.String())
	}
}
