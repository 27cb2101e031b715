package observe

import (
	"context"
	"errors"
	"time"

	"github.com/berth-registry/berth/internal/domain/layer/collect"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/obs"
)

// Queue says how the jobs stand; *jobs.Queue is one.
type Queue interface {
	Counts(ctx context.Context) ([]jobs.Count, error)
	Overdue(ctx context.Context) (map[string]time.Duration, error)
}

// Layers says how uploads and the collection of garbage stand; *layer.Service is
// one.
type Layers interface {
	OpenUploads(ctx context.Context) (int64, error)
	CollectionStats(ctx context.Context) (collect.Stats, error)
}

// sources are what numbers are read from when somebody asks.
type sources struct {
	deliveries             Deliveries
	lostRecords, lostPulls Lost
	queue                  Queue
	layers                 Layers
	certificate            func() time.Time
	replication            Replication
	upstreams              Upstreams
	scans                  Scans
	databases              VulnerabilityDatabases
}

// Jobs attaches the queue.
func (o *Observer) Jobs(q Queue) { o.attach(func(s *sources) { s.queue = q }) }

// Layers attaches the layers.
func (o *Observer) Layers(l Layers) { o.attach(func(s *sources) { s.layers = l }) }

// Certificate attaches what says when the server's certificate ends; the zero time
// is that there is none.
func (o *Observer) Certificate(expires func() time.Time) {
	o.attach(func(s *sources) { s.certificate = expires })
}

func (o *Observer) attach(change func(*sources)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(&o.sources)
}

func (o *Observer) attached() (sources, []database, []freeStore) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sources, o.databases, o.stores
}

// set gives a value, with the labels in their order.
type set = func(metric string, value float64, labels ...string)

func gauge(metric, help string, labels ...string) obs.Metric {
	return obs.Metric{Name: metric, Kind: obs.Gauge, Help: help, Labels: labels}
}

func counter(metric, help string, labels ...string) obs.Metric {
	return obs.Metric{Name: metric, Kind: obs.Counter, Help: help, Labels: labels}
}

// addSources makes the metrics that are read when somebody asks.
func (o *Observer) addSources() {
	add := func(named string, hold time.Duration, read func(context.Context, set) error, metrics ...obs.Metric) {
		o.registry.Source(obs.Source{Name: named, Metrics: metrics, Read: read, Hold: hold, Clock: o.cfg.Clock, Failed: o.unread})
		o.m.failures.WithLabelValues(named)
	}
	add("jobs", hold, o.readJobs,
		gauge("berth_jobs", "Jobs of the whole deployment, by kind and state: waiting, running, or dead, which wait for an operator (berth jobs).", "kind", "state"),
		gauge("berth_jobs_overdue_seconds", "How long the job has been due that is due for the longest and waits all the same, by kind; 0 where none is.", "kind"))
	add("uploads", hold, o.readUploads,
		gauge("berth_uploads_open", "Uploads of the whole deployment that have been started and neither finished nor given up."))
	add("collection", hold, o.readCollection,
		gauge("berth_gc_reviews", "Layers of the whole deployment that are to be looked at: waiting for the end of their grace period, or due. Counting stops at 100,000.", "state"),
		gauge("berth_gc_overdue_seconds", "How long the layer has been due that is due for the longest; a run of the collector comes each 10 minutes."),
		gauge("berth_gc_objects", "Objects of the whole deployment that wait to be deleted. Counting stops at 100,000."),
		gauge("berth_gc_objects_bytes", "What those objects take, as far as it is known."),
		gauge("berth_gc_holds", "Backups under way that keep garbage from being deleted."),
		gauge("berth_gc_missing_blobs", "Layers whose bytes were not found where they should be: berth fsck tells which."),
		counter("berth_gc_freed_bytes_total", "Bytes that the whole deployment's collection has freed in its stores."))
	add("replication", hold, o.readReplication, replicationMetrics()...)
	add("upstreams", 0, o.readUpstreams, upstreamMetrics()...)
	add("scans", 0, o.readScans, scanMetrics()...)
	add("scanning", hold, o.readScanning, scanningMetrics()...)
	add("events", hold, o.readEvents, eventMetrics()...)
	add("databases", 0, o.readDatabases,
		gauge("berth_db_connections", "Connections that transactions run on, by state (in_use, idle); with SQLite, those of readers.", "db", "state"),
		gauge("berth_db_connections_max", "How many connections there may be.", "db"),
		counter("berth_db_waits_total", "Transactions that had to wait for a connection.", "db"),
		counter("berth_db_wait_seconds_total", "How long transactions waited for a connection, in sum.", "db"),
		counter("berth_db_group_commits_total", "Commits of SQLite's writer, each of which may hold many updates.", "db"),
		counter("berth_db_grouped_updates_total", "Updates in those commits.", "db"),
		gauge("berth_db_queued_updates", "Updates that wait for SQLite's writer.", "db"))
	add("stores", 0, o.readStores,
		gauge("berth_blobstore_free_bytes", "Room that the file system of a store has; none for object storage.", "store", "region"))
	add("certificate", 0, o.readCertificate,
		gauge("berth_certificate_expiry_seconds", "Time until the server's certificate ends, below 0 when it has; none without TLS."))
}

// unread notes numbers that could not be read.
func (o *Observer) unread(source string, err error) {
	o.m.failures.WithLabelValues(source).Inc()
	o.cfg.Log.Warn("numbers for the metrics could not be read", "source", source, "error", err)
}

func (o *Observer) readJobs(ctx context.Context, set set) error {
	s, _, _ := o.attached()
	if s.queue == nil {
		return nil
	}
	counts, err := s.queue.Counts(ctx)
	overdue, overdueErr := s.queue.Overdue(ctx)
	if err := errors.Join(err, overdueErr); err != nil {
		return err
	}
	for _, c := range counts {
		set("berth_jobs", float64(c.Waiting), c.Kind, "waiting")
		set("berth_jobs", float64(c.Running), c.Kind, "running")
		set("berth_jobs", float64(c.Dead), c.Kind, "dead")
		set("berth_jobs_overdue_seconds", overdue[c.Kind].Seconds(), c.Kind)
	}
	return nil
}

func (o *Observer) readUploads(ctx context.Context, set set) error {
	s, _, _ := o.attached()
	if s.layers == nil {
		return nil
	}
	n, err := s.layers.OpenUploads(ctx)
	if err == nil {
		set("berth_uploads_open", float64(n))
	}
	return err
}

func (o *Observer) readCollection(ctx context.Context, set set) error {
	s, _, _ := o.attached()
	if s.layers == nil {
		return nil
	}
	c, err := s.layers.CollectionStats(ctx)
	if err != nil {
		return err
	}
	var overdue time.Duration
	if !c.OldestDue.IsZero() {
		overdue = max(0, o.cfg.Clock.Now().Sub(c.OldestDue))
	}
	set("berth_gc_reviews", float64(c.Reviews-c.Due), "waiting")
	set("berth_gc_reviews", float64(c.Due), "due")
	set("berth_gc_overdue_seconds", overdue.Seconds())
	set("berth_gc_objects", float64(c.Garbage))
	set("berth_gc_objects_bytes", float64(c.GarbageBytes))
	set("berth_gc_holds", float64(c.Holds))
	set("berth_gc_missing_blobs", float64(c.Missing))
	set("berth_gc_freed_bytes_total", float64(c.Total.Freed))
	return nil
}

func (o *Observer) readDatabases(_ context.Context, set set) error {
	_, databases, _ := o.attached()
	for _, d := range databases {
		s := d.db.Stats()
		set("berth_db_connections", float64(s.InUse), d.name, "in_use")
		set("berth_db_connections", float64(s.Idle), d.name, "idle")
		set("berth_db_connections_max", float64(s.Max), d.name)
		set("berth_db_waits_total", float64(s.Waits), d.name)
		set("berth_db_wait_seconds_total", s.Waited.Seconds(), d.name)
		set("berth_db_group_commits_total", float64(s.Groups), d.name)
		set("berth_db_grouped_updates_total", float64(s.Grouped), d.name)
		set("berth_db_queued_updates", float64(s.Queued), d.name)
	}
	return nil
}

func (o *Observer) readStores(_ context.Context, set set) error {
	_, _, stores := o.attached()
	for _, s := range stores {
		free, err := s.free()
		if err != nil {
			return err
		}
		set("berth_blobstore_free_bytes", float64(free), s.place, s.region)
	}
	return nil
}

func (o *Observer) readCertificate(_ context.Context, set set) error {
	s, _, _ := o.attached()
	if s.certificate == nil {
		return nil
	}
	if expires := s.certificate(); !expires.IsZero() {
		set("berth_certificate_expiry_seconds", expires.Sub(o.cfg.Clock.Now()).Seconds())
	}
	return nil
}
