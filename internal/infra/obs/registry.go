package obs

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Kind is what a metric is.
type Kind string

// The kinds of metrics.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
)

// Metric describes one metric, for whoever documents them.
type Metric struct {
	Name   string
	Kind   Kind
	Help   string
	Labels []string
}

// Registry holds the metrics of one program. Metrics are made before it serves.
type Registry struct {
	reg     *prometheus.Registry
	metrics []Metric
	wrong   []error
}

// NewRegistry returns a registry with the metrics of the process and of the Go
// runtime (process_..., go_...).
func NewRegistry() *Registry {
	r := &Registry{reg: prometheus.NewRegistry()}
	r.register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.register(collectors.NewGoCollector())
	return r
}

// Err says what is wrong with the metrics that were made, a name twice perhaps.
func (r *Registry) Err() error { return errors.Join(r.wrong...) }

func (r *Registry) register(c prometheus.Collector) {
	if err := r.reg.Register(c); err != nil {
		r.wrong = append(r.wrong, err)
	}
}

func (r *Registry) note(m Metric) {
	if strings.TrimSpace(m.Help) == "" {
		r.wrong = append(r.wrong, fmt.Errorf("obs: the metric %s has no meaning", m.Name))
	}
	r.metrics = append(r.metrics, m)
}

// Counter makes a counter.
func (r *Registry) Counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	r.register(v)
	r.note(Metric{Name: name, Kind: Counter, Help: help, Labels: labels})
	return v
}

// Gauge makes a gauge.
func (r *Registry) Gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	r.register(v)
	r.note(Metric{Name: name, Kind: Gauge, Help: help, Labels: labels})
	return v
}

// Histogram makes a histogram with the upper bounds given.
func (r *Registry) Histogram(name, help string, bounds []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: bounds}, labels)
	r.register(v)
	r.note(Metric{Name: name, Kind: Histogram, Help: help, Labels: labels})
	return v
}

// Metrics are all metrics that were made here, by name. Those of the process and
// the runtime are not among them.
func (r *Registry) Metrics() []Metric {
	return slices.SortedFunc(slices.Values(r.metrics), func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
}

// Handler answers with the metrics in the text format that Prometheus reads, or
// in the one that it asks for. What cannot be collected is logged and left out.
func (r *Registry) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(r.reg, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, ErrorLog: slogAdapter{log}, MaxRequestsInFlight: 4,
	})
}

// slogAdapter lets promhttp log.
type slogAdapter struct{ log *slog.Logger }

// Println implements promhttp.Logger.
func (a slogAdapter) Println(v ...any) {
	a.log.Warn("a metric could not be collected", "error", strings.TrimSpace(fmt.Sprintln(v...)))
}
