package obs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TracingConfig says where spans go.
type TracingConfig struct {
	// Endpoint is the collector's address, https://collector:4318; a path is
	// taken as it is, and without one it is /v1/traces. "" switches tracing off.
	// The exporter reads the headers that the collector asks for from the
	// environment, OTEL_EXPORTER_OTLP_HEADERS, so that no file holds them.
	Endpoint string
	// Sample is the part of the requests that are traced, 0 to 1. A request whose
	// trusted caller has decided is traced as that says.
	Sample float64
	// Version and Node tell the program and the process in the spans.
	Version, Node string
	// Log is told of spans that could not be sent, at most once a minute.
	Log *slog.Logger
}

// Tracing makes spans. A nil *Tracing makes none, at no cost.
type Tracing struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	carry    propagation.TraceContext
}

// NewTracing prepares tracing, nil where it is off. It does not wait for the
// collector: one that cannot be reached costs spans and nothing else.
func NewTracing(ctx context.Context, c TracingConfig) (*Tracing, error) {
	if c.Endpoint == "" {
		return nil, nil
	}
	endpoint, err := CheckTracing(c.Endpoint, c.Sample)
	if err != nil {
		return nil, err
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
	if err != nil {
		return nil, fmt.Errorf("tracing.endpoint: %w", err)
	}
	about := resource.NewSchemaless(
		attribute.String("service.name", "berth"), attribute.String("service.version", c.Version), attribute.String("service.instance.id", c.Node))
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&loggingExporter{SpanExporter: exporter, log: c.Log}),
		sdktrace.WithResource(about),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.Sample))),
	)
	return &Tracing{provider: provider, tracer: provider.Tracer("github.com/berth-registry/berth")}, nil
}

// CheckTracing says what is wrong with the settings, and returns the address that
// spans are sent to.
func CheckTracing(endpoint string, sample float64) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("tracing.endpoint: write an address such as https://collector:4318")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("tracing.endpoint: write no password and no query into the address; OTEL_EXPORTER_OTLP_HEADERS in the environment gives the collector's headers")
	}
	if !(sample >= 0 && sample <= 1) {
		return "", errors.New("tracing.sample: is not between 0 and 1; 0.01 traces one request in a hundred")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}

// Shutdown sends what is left, within ctx.
func (t *Tracing) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Request begins the span of a request. Where the caller is trusted its
// traceparent header makes the span part of the caller's trace; everybody else's
// is passed over, who could otherwise have every request traced.
func (t *Tracing) Request(ctx context.Context, h http.Header, trusted bool) (context.Context, trace.Span) {
	if trusted {
		ctx = t.carry.Extract(ctx, propagation.HeaderCarrier(h))
	}
	return t.tracer.Start(ctx, "request", trace.WithSpanKind(trace.SpanKindServer))
}

// Job begins the span of a job's run, a trace of its own.
func (t *Tracing) Job(ctx context.Context, kind string, attempt int) (context.Context, trace.Span) {
	return t.tracer.Start(ctx, "job "+kind, trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("berth.job.kind", kind), attribute.Int("berth.job.attempt", attempt)))
}

// Within says whether ctx is of a request or a job that is traced; only then
// Done makes a span, and its arguments are worth making.
func (t *Tracing) Within(ctx context.Context) bool {
	return t != nil && trace.SpanContextFromContext(ctx).IsSampled()
}

// Done writes the span of a step that is over, a child of that in ctx. failed
// marks it; the error's text, which can name what belongs to others, is the
// log's.
func (t *Tracing) Done(ctx context.Context, name string, begun time.Time, took time.Duration, failed bool, attrs ...attribute.KeyValue) {
	if !t.Within(ctx) {
		return
	}
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(begun), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
	if failed {
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(begun.Add(took)))
}

// logPause is how long failures to send are not logged after one that was.
const logPause = time.Minute

// loggingExporter logs failures to send, where the SDK would tell a handler that
// the whole process shares. It is called by one goroutine at a time.
type loggingExporter struct {
	sdktrace.SpanExporter
	log    *slog.Logger
	silent time.Time
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *loggingExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if now := time.Now(); err != nil && now.After(e.silent) {
		e.silent = now.Add(logPause)
		e.log.WarnContext(ctx, "spans could not be sent to tracing.endpoint and are lost", "spans", len(spans), "error", err)
	}
	return nil
}
