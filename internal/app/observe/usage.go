package observe

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/oci/observation"
	"github.com/berth-registry/berth/internal/domain/usage"
	"github.com/berth-registry/berth/internal/infra/obs"
)

// Meter is told of requests that are over, with the bytes that their answers sent and
// their bodies had; metering.Metering is one. It is not to wait.
type Meter interface {
	AWS(a aws.Observation, sent, received int64)
	Registry(r observation.Request, sent, received int64)
	Download(path string, status int, sent int64)
}

// Meter attaches what usage is counted with.
func (o *Observer) Meter(m Meter) { o.meter = m }

// measure tells the meter of a request that is over.
func (o *Observer) measure(rec *recorder) {
	if o.meter == nil {
		return
	}
	switch rec.api {
	case apiAWS:
		o.meter.AWS(rec.aws, rec.sent, rec.received())
	case apiRegistry:
		o.meter.Registry(rec.registry, rec.sent, rec.received())
	case apiDownload:
		o.meter.Download(rec.r.URL.Path, rec.status, rec.sent)
	case apiOther:
	}
}

// RepositoryPulls says how often repositories were pulled from; *usage.Service does.
type RepositoryPulls interface {
	PullCounts() []usage.PullCount
}

// RepositoryPulls attaches, and makes, the one metric with names that clients choose, for
// operators who ask for it; p bounds how many there are.
func (o *Observer) RepositoryPulls(p RepositoryPulls) error {
	const metric = "berth_usage_repository_pulls_total"
	o.registry.Source(obs.Source{
		Name: "usage", Clock: o.cfg.Clock, Failed: o.unread,
		Metrics: []obs.Metric{counter(metric, "RepositoryPullCount of the CloudWatch namespace AWS/ECR, and the same of public registries: manifests that this node has given out, by repository; those of the repositories with the most.", "account", "region", "repository")},
		Read: func(_ context.Context, set set) error {
			for _, n := range p.PullCounts() {
				set(metric, float64(n.Pulls), string(n.Registry.Account), string(n.Registry.Region), string(n.Repository))
			}
			return nil
		},
	})
	o.m.failures.WithLabelValues("usage")
	return o.registry.Err()
}
