package observe

import (
	"context"

	"github.com/berth-registry/berth/internal/domain/event/delivery"
	"github.com/berth-registry/berth/internal/infra/obs"
)

// Deliveries says how the delivery of events stands; *delivery.Service does.
type Deliveries interface {
	Stats(ctx context.Context) (delivery.Stats, error)
}

// Lost says how many things were not kept since the start.
type Lost func() int64

// Telling attaches the delivery of events, the audit records that were dropped, and the
// pulls that no event tells of.
func (o *Observer) Telling(d Deliveries, records, pulls Lost) {
	o.attach(func(s *sources) { s.deliveries, s.lostRecords, s.lostPulls = d, records, pulls })
}

// eventMetrics are those that readEvents gives.
func eventMetrics() []obs.Metric {
	return []obs.Metric{
		gauge("berth_events_waiting", "Events of the whole deployment on their way, by state: unrouted, pending (to a target), dead, which wait for an operator (berth events list --state dead).", "state"),
		gauge("berth_events_oldest_seconds", "How long the oldest of those that are not dead has been waiting."),
		counter("berth_events_sent_total", "Messages that this node has brought to targets."),
		counter("berth_events_failures_total", "Tries of this node that failed."),
		counter("berth_events_lost_total", "What this node has not sent, by why: died (given up, and kept for an operator), dropped (the target or its rule is gone), unroutable (no event can be made of it), pulls (more images were pulled at once than are noted).", "reason"),
		counter("berth_audit_dropped_total", "Audit records that this node has not kept, with audit.overflow: drop."),
	}
}

func (o *Observer) readEvents(ctx context.Context, set set) error {
	s, _, _ := o.attached()
	if s.deliveries == nil {
		return nil
	}
	n, err := s.deliveries.Stats(ctx)
	if err != nil {
		return err
	}
	set("berth_events_waiting", float64(n.Unrouted), "unrouted")
	set("berth_events_waiting", float64(n.Pending), "pending")
	set("berth_events_waiting", float64(n.Dead), "dead")
	set("berth_events_oldest_seconds", n.Oldest.Seconds())
	set("berth_events_sent_total", float64(n.Sent))
	set("berth_events_failures_total", float64(n.Failed))
	set("berth_events_lost_total", float64(n.Died), "died")
	set("berth_events_lost_total", float64(n.Dropped), "dropped")
	set("berth_events_lost_total", float64(n.Unroutable), "unroutable")
	set("berth_events_lost_total", float64(s.lostPulls()), "pulls")
	set("berth_audit_dropped_total", float64(s.lostRecords()))
	return nil
}
