package observe

import (
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/oci/observation"
)

// recorder is one request, from its header to the end of its answer. It is the
// writer that the edges answer through, which is how they tell it what they know.
type recorder struct {
	http.ResponseWriter
	r     *http.Request
	begun time.Time
	body  countedBody

	status    int
	first     time.Time // when the answer's header went out
	sent      int64     // bytes of its body
	announced int64     // bytes that it said it would have, -1 where it did not say

	api      api
	aws      aws.Observation
	registry observation.Request
	span     trace.Span // nil: not traced
	direct   directRecorder
}

var _ http.ResponseWriter = (*recorder)(nil)

// directRecorder is the recorder of a request on a plain TCP connection, which can
// take a file from the kernel. What is encrypted on its way has no use for that.
type directRecorder struct {
	*recorder
	to io.ReaderFrom
}

var _ io.ReaderFrom = (*directRecorder)(nil)

// writer is what the edges answer the request through.
func (rec *recorder) writer() http.ResponseWriter {
	if to, ok := rec.ResponseWriter.(io.ReaderFrom); ok && rec.r.TLS == nil {
		rec.direct = directRecorder{rec, to}
		return &rec.direct
	}
	return rec
}

// recorderOf finds the recorder of a request; nil where there is none.
func recorderOf(w http.ResponseWriter) *recorder {
	switch rec := w.(type) {
	case *recorder:
		return rec
	case *directRecorder:
		return rec.recorder
	}
	return nil
}

// countedBody counts what is read of a request's body. A reader may be left behind
// that still reads when the request is over.
type countedBody struct {
	io.ReadCloser
	n atomic.Int64
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

func (rec *recorder) received() int64 { return rec.body.n.Load() }

// Unwrap lets http.ResponseController through.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (rec *recorder) WriteHeader(status int) {
	if rec.status == 0 && status >= http.StatusOK {
		rec.head(status)
	}
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *recorder) head(status int) {
	rec.status, rec.first, rec.announced = status, time.Now(), -1
	if length := rec.Header()["Content-Length"]; len(length) == 1 && rec.r.Method != http.MethodHead && status != http.StatusNotModified {
		if n, err := strconv.ParseInt(length[0], 10, 64); err == nil {
			rec.announced = n
		}
	}
}

// Write implements http.ResponseWriter.
func (rec *recorder) Write(p []byte) (int, error) {
	if rec.status == 0 {
		rec.head(http.StatusOK)
	}
	n, err := rec.ResponseWriter.Write(p)
	rec.sent += int64(n)
	return n, err
}

// ReadFrom implements io.ReaderFrom.
func (rec *directRecorder) ReadFrom(src io.Reader) (int64, error) {
	if rec.status == 0 {
		rec.head(http.StatusOK)
	}
	n, err := rec.to.ReadFrom(src)
	rec.sent += n
	return n, err
}

// isCut says whether less was sent than announced.
func (rec *recorder) isCut() bool { return rec.announced >= 0 && rec.sent < rec.announced }

// Middleware watches all requests that next answers.
func (o *Observer) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := o.recorders.Get().(*recorder)
		rec.ResponseWriter, rec.r, rec.begun = w, r, time.Now()
		hasBody := r.Body != nil && r.Body != http.NoBody
		if hasBody {
			rec.body.ReadCloser = r.Body
			r.Body = &rec.body
		}
		if o.cfg.Tracing != nil {
			trusted := o.cfg.TrustsTrace != nil && o.cfg.TrustsTrace(r)
			ctx, span := o.cfg.Tracing.Request(r.Context(), r.Header, trusted)
			if span.IsRecording() {
				rec.span = span
				rec.r = r.WithContext(ctx)
			}
		}
		o.m.inFlight.Inc()
		defer func() {
			o.finish(rec)
			if !hasBody { // else a reader may be left behind
				*rec = recorder{}
				o.recorders.Put(rec)
			}
		}()
		next.ServeHTTP(rec.writer(), rec.r)
		if rec.status == 0 { // an answer without a body, which net/http then sends
			rec.head(http.StatusOK)
		}
	})
}

// finish counts, logs and traces a request. A handler that panicked without a
// word has a status of 500 here, whatever the client saw.
func (o *Observer) finish(rec *recorder) {
	took := time.Since(rec.begun)
	if rec.status == 0 {
		rec.status = http.StatusInternalServerError
	}
	o.count(rec, took)
	o.measure(rec)
	ctx := rec.r.Context()
	logged := o.requests.Wants(ctx, rec.status)
	if logged || rec.span != nil {
		e := o.entry(rec, took)
		if logged {
			o.requests.Write(ctx, e)
		}
		if rec.span != nil {
			rec.span.SetName(e.API + " " + e.Operation)
			rec.span.SetAttributes(
				attribute.String("berth.request_id", e.RequestID), attribute.String("berth.api", e.API), attribute.String("berth.operation", e.Operation),
				attribute.String("berth.error.code", e.Code), attribute.Int("http.response.status_code", rec.status),
				attribute.Int64("berth.bytes_in", e.Received), attribute.Int64("berth.bytes_out", e.Sent),
			)
			if rec.status >= http.StatusInternalServerError {
				rec.span.SetStatus(codes.Error, "")
			}
			rec.span.End()
		}
	}
	o.m.inFlight.Dec()
}
