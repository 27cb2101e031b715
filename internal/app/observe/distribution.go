package observe

import (
	"context"
	"maps"
	"slices"

	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/outcome"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/infra/obs"
)

// Replication says what waits to be copied; *replication.Service does.
type Replication interface {
	Backlog(ctx context.Context) ([]replication.Backlog, error)
}

// Upstreams says how pulls through the cache went; *cache.Service does.
type Upstreams interface{ Stats() outcome.Stats }

// Distribution attaches replication and the pull-through cache.
func (o *Observer) Distribution(r Replication, u Upstreams) {
	o.attach(func(s *sources) { s.replication, s.upstreams = r, u })
}

// replicationMetrics are those that readReplication gives.
func replicationMetrics() []obs.Metric {
	return []obs.Metric{
		gauge("berth_replication_backlog", "Copies of images that wait, or are under way, of the whole deployment, by the region that they go to. Counting stops at 100,000.", "region"),
		gauge("berth_replication_lag_seconds", "How long the oldest of them has waited since its push, by region.", "region"),
	}
}

func (o *Observer) readReplication(ctx context.Context, set set) error {
	s, _, _ := o.attached()
	if s.replication == nil {
		return nil
	}
	all, err := s.replication.Backlog(ctx)
	if err != nil {
		return err
	}
	items, lag := map[string]int64{}, map[string]float64{}
	for _, b := range all {
		region := string(b.Destination.Region)
		items[region] += b.Items
		if !b.Oldest.IsZero() {
			lag[region] = max(lag[region], o.cfg.Clock.Now().Sub(b.Oldest).Seconds())
		}
	}
	for _, region := range slices.Sorted(maps.Keys(items)) {
		set("berth_replication_backlog", float64(items[region]), region)
		set("berth_replication_lag_seconds", lag[region], region)
	}
	return nil
}

// upstreamMetrics are those that readUpstreams gives.
func upstreamMetrics() []obs.Metric {
	return []obs.Metric{
		counter("berth_upstream_requests_total", "Requests of this node's pull-through cache to upstreams by outcome: ok, not found, unauthorized, too many requests, unavailable, refused (an address, a redirect, a certificate), invalid.", "outcome"),
		counter("berth_upstream_stale_total", "Pulls that were given the cached image because the upstream, which should have been asked, could not be: by reason, the outcomes of requests, or slow, credentials, layers, local.", "reason"),
		counter("berth_upstream_received_bytes_total", "Bytes of layers that this node has fetched from upstreams."),
		counter("berth_upstream_images_total", "Images that this node's pull-through cache brought to their end: imported whole, or dropped because their layers could not be had.", "result"),
		gauge("berth_upstream_downloads", "Layers that this node is fetching from upstreams."),
	}
}

func (o *Observer) readUpstreams(_ context.Context, set set) error {
	s, _, _ := o.attached()
	if s.upstreams == nil {
		return nil
	}
	t := s.upstreams.Stats()
	for _, what := range slices.Sorted(maps.Keys(t.Requests)) {
		set("berth_upstream_requests_total", float64(t.Requests[what]), what)
	}
	for _, why := range slices.Sorted(maps.Keys(t.Stale)) {
		set("berth_upstream_stale_total", float64(t.Stale[why]), why)
	}
	set("berth_upstream_received_bytes_total", float64(t.Bytes))
	set("berth_upstream_images_total", float64(t.Imported), "imported")
	set("berth_upstream_images_total", float64(t.Dropped), "dropped")
	set("berth_upstream_downloads", float64(t.Downloads))
	return nil
}
