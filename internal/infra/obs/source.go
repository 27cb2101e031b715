package obs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/internal/infra/clock"
)

// sourceTimeout bounds one reading of a source.
const sourceTimeout = 5 * time.Second

// Source is metrics whose values are read when somebody asks for them.
type Source struct {
	// Name tells the source in the errors that Failed is given.
	Name    string
	Metrics []Metric // gauges and counters
	// Read gives the values, through set, which takes the labels in their order.
	Read func(ctx context.Context, set func(metric string, value float64, labels ...string)) error
	// Hold is how long values that were read are given again, for what costs
	// something to read; 0 reads each time.
	Hold  time.Duration
	Clock clock.Clock // for Hold
	// Failed is told when the values could not be read; then they are left out.
	Failed func(source string, err error)
}

// Source adds a source's metrics.
func (r *Registry) Source(s Source) {
	c := &sourceCollector{s: s, descs: map[string]described{}}
	for _, m := range s.Metrics {
		d := described{desc: prometheus.NewDesc(m.Name, m.Help, m.Labels, nil), labels: len(m.Labels), as: prometheus.GaugeValue}
		switch m.Kind {
		case Gauge:
		case Counter:
			d.as = prometheus.CounterValue
		case Histogram:
			r.wrong = append(r.wrong, errors.New("obs: the source "+s.Name+" has a histogram, which nobody could read"))
		}
		c.descs[m.Name] = d
		r.note(m)
	}
	r.register(c)
}

type described struct {
	desc   *prometheus.Desc
	labels int
	as     prometheus.ValueType
}

// sourceCollector is a source as Prometheus's client has it.
type sourceCollector struct {
	s     Source
	descs map[string]described

	mu    sync.Mutex
	held  []prometheus.Metric
	until time.Time
}

var _ prometheus.Collector = (*sourceCollector)(nil)

// Describe implements prometheus.Collector.
func (c *sourceCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		to <- d.desc
	}
}

// Collect implements prometheus.Collector.
func (c *sourceCollector) Collect(to chan<- prometheus.Metric) {
	for _, m := range c.values() {
		to <- m
	}
}

// values are those held, or new ones. Who asks meanwhile waits for the answer.
func (c *sourceCollector) values() []prometheus.Metric {
	c.mu.Lock()
	defer c.mu.Unlock()
	var now time.Time
	if c.s.Hold > 0 {
		now = c.s.Clock.Now()
		if now.Before(c.until) && c.until.Sub(now) <= c.s.Hold {
			return c.held
		}
	}
	values, err := c.read()
	if err != nil {
		if c.s.Failed != nil {
			c.s.Failed(c.s.Name, err)
		}
		return nil
	}
	c.held, c.until = values, now.Add(c.s.Hold)
	return values
}

func (c *sourceCollector) read() ([]prometheus.Metric, error) {
	// A scrape has no context that reaches here.
	ctx, cancel := context.WithTimeout(context.Background(), sourceTimeout)
	defer cancel()
	var all []prometheus.Metric
	var wrong error
	seen := map[string]bool{}
	err := c.s.Read(ctx, func(metric string, value float64, labels ...string) {
		d, ok := c.descs[metric]
		key := metric + strconv.Quote(fmt.Sprint(labels))
		switch {
		case !ok || d.labels != len(labels):
			wrong = fmt.Errorf("the metric %s with %d labels is none of this source", metric, len(labels))
		case seen[key]:
			wrong = fmt.Errorf("the metric %s was given twice for %q", metric, labels)
		default:
			seen[key] = true
			m, err := prometheus.NewConstMetric(d.desc, d.as, value, slices.Clone(labels)...)
			wrong = errors.Join(wrong, err)
			all = append(all, m)
		}
	})
	return all, errors.Join(err, wrong)
}
