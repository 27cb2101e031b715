// Package observe watches the program: it counts what the edges, the databases,
// the blob stores and the jobs do, writes the request log, makes the spans, and
// serves the numbers on the listener for administrators.
//
// It owns the names of all metrics (docs/operations.md lists them) and decides
// nothing. What it hangs on tells it through a function each; the means stand in
// infra/obs.
//
// No label holds what a client can choose: repositories, accounts and principals
// are in the request log only, but for what RepositoryPulls adds where operators ask
// for it.
package observe

import (
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/usage"
	"github.com/berth-registry/berth/internal/infra/blobstore/measured"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/obs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Config is what an Observer stands on. Clock and Log are needed.
type Config struct {
	Version string
	Clock   clock.Clock
	Log     *slog.Logger
	// Requests says which requests are logged; "" is obs.LogErrors.
	Requests obs.LogMode
	// Tracing makes the spans; nil for none.
	Tracing *obs.Tracing
	// TrustsTrace says whether a request's traceparent header is believed; nil
	// believes nobody's.
	TrustsTrace func(*http.Request) bool
	// Origin says where a request came from, for the log; nil leaves it out.
	Origin func(*http.Request) authz.Origin
}

// Observer is what everything is reported to. Its methods that attach something
// are called before the program serves.
type Observer struct {
	cfg      Config
	registry *obs.Registry
	requests *obs.RequestLog
	m        metrics

	aws       *obs.Cells[awsKey, *awsCells]
	routes    *obs.Cells[string, *routeCells]
	downloads *obs.Cells[int, prometheus.Counter]
	others    *obs.Cells[int, prometheus.Counter]
	contents  [contentKinds]contentCells
	usage     map[string]prometheus.Counter
	meter     Meter // nil: usage is not counted
	recorders sync.Pool

	mu        sync.Mutex // guards what is attached
	databases []database
	stores    []freeStore
	sources   sources
}

// database is an attached database.
type database struct {
	name string
	db   *sqldb.DB
}

// freeStore is an attached store that knows how much room it has.
type freeStore struct {
	place, region string
	free          func() (uint64, error)
}

// hold is how long numbers out of the database are given again; Prometheus asks
// each 15 seconds as a rule, and several of them may.
const hold = 15 * time.Second

// New makes an observer with all its metrics.
func New(c Config) (*Observer, error) {
	if c.Requests == "" {
		c.Requests = obs.LogErrors
	}
	o := &Observer{cfg: c, registry: obs.NewRegistry(), requests: obs.NewRequestLog(c.Log, c.Requests)}
	o.m = newMetrics(o.registry)
	o.m.build.WithLabelValues(c.Version, runtime.Version()).Set(1)
	o.aws = obs.NewCells(o.newAWSCells)
	o.routes = obs.NewCells(o.newRouteCells)
	o.downloads = obs.NewCells(func(status int) prometheus.Counter { return o.m.downloadRequests.WithLabelValues(statusLabel(status)) })
	o.others = obs.NewCells(func(status int) prometheus.Counter { return o.m.otherRequests.WithLabelValues(statusLabel(status)) })
	for kind := range o.contents {
		o.contents[kind] = o.newContentCells(content(contentKind(kind)))
	}
	o.usage = map[string]prometheus.Counter{}
	for _, action := range usage.Operations() {
		o.usage[action] = o.m.usage.WithLabelValues("ECR", action, "API", "None")
	}
	o.recorders.New = func() any { return &recorder{} }
	o.addSources()
	return o, o.registry.Err()
}

// Metrics describes all metrics, but for those of the process and the Go runtime.
func (o *Observer) Metrics() []obs.Metric { return o.registry.Metrics() }

// metrics are the metrics that are counted as things happen. The others are read
// when somebody asks, see addSources.
type metrics struct {
	build                                              *prometheus.GaugeVec
	inFlight                                           prometheus.Gauge
	awsRequests, registryRequests                      *prometheus.CounterVec
	awsSeconds, registrySeconds                        *prometheus.HistogramVec
	downloadRequests, otherRequests, layerDownloads    *prometheus.CounterVec
	firstByte                                          *prometheus.HistogramVec
	received, sent, cut                                *prometheus.CounterVec
	authentication, denials, refusals, usage           *prometheus.CounterVec
	jobRuns                                            *prometheus.CounterVec
	jobSeconds                                         *prometheus.HistogramVec
	transactions, retries                              *prometheus.CounterVec
	transactionSeconds                                 *prometheus.HistogramVec
	storeOperations, storeRead, storeWritten, failures *prometheus.CounterVec
	storeSeconds                                       *prometheus.HistogramVec
}

func newMetrics(r *obs.Registry) metrics {
	return metrics{
		build:    r.Gauge("berth_build_info", "Always 1; which program runs.", "version", "go_version"),
		inFlight: r.Gauge("berth_http_requests_in_flight", "Requests that have begun and are not answered whole yet.").WithLabelValues(),

		awsRequests: r.Counter("berth_aws_requests_total",
			"Requests to the AWS APIs by what became of them: code is the error's name in AWS's words, ok for none. Operations that AWS's model does not have are unknown.", "service", "operation", "code"),
		awsSeconds: r.Histogram("berth_aws_request_duration_seconds", "Time from the request's header to the end of the answer.", requestBounds(), "service", "operation"),
		registryRequests: r.Counter("berth_registry_requests_total",
			"Requests under /v2/ by kind of route (manifest_get, blob_get, upload_patch, ...) and HTTP status.", "route", "status"),
		registrySeconds: r.Histogram("berth_registry_request_duration_seconds",
			"Time from the request's header to the end of the answer, the client's own sending and reading included: large layers take long.", requestBounds(), "route"),
		downloadRequests: r.Counter("berth_download_requests_total", "Requests to the addresses that GetDownloadUrlForLayer gives, by HTTP status.", "status"),
		otherRequests:    r.Counter("berth_other_requests_total", "Requests to none of the APIs, such as health checks, by HTTP status.", "status"),
		layerDownloads: r.Counter("berth_layer_downloads_total",
			"Layers given out: source is registry for /v2/ and address for GetDownloadUrlForLayer's addresses, how is stream for bytes that passed through here and redirect for an address of the object storage.", "source", "how"),
		firstByte: r.Histogram("berth_first_byte_seconds", "Time from the request's header of a pull to the first byte of its answer, by content (layer or manifest).", requestBounds(), "content"),
		received:  r.Counter("berth_received_bytes_total", "Bytes of request bodies, by content: layer, manifest, or other.", "content"),
		sent:      r.Counter("berth_sent_bytes_total", "Bytes of answers' bodies, by content: layer, manifest, or other.", "content"),
		cut:       r.Counter("berth_answers_cut_total", "Answers of which fewer bytes were sent than announced: the client went away or stood still, or the content could not be read.", "content"),

		authentication: r.Counter("berth_authentication_failures_total",
			"Requests whose caller was not recognized, by API (aws, registry, download) and kind. Registry clients ask once without a token before each session: missing is normal there.", "api", "kind"),
		denials:  r.Counter("berth_denials_total", "Requests of known callers that no policy allows, by API and operation.", "api", "operation"),
		refusals: r.Counter("berth_quota_refusals_total", "Requests refused by a quota: kind is rate for too many at once (ThrottlingException, 429), limit for a number that is used up, storage for a medium without room.", "kind", "operation"),
		usage: r.Counter("berth_usage_call_count",
			"CallCount of the CloudWatch namespace AWS/Usage: calls of authenticated callers by API action, those made by registry clients included.", "service", "resource", "type", "class"),

		jobRuns: r.Counter("berth_job_runs_total", "Runs of jobs on this node, by kind and result (ok, failed).", "kind", "result"),
		jobSeconds: r.Histogram("berth_job_duration_seconds", "Time that one run of a job took, by kind.",
			[]float64{.01, .05, .25, 1, 5, 15, 60, 300, 900, 1800}, "kind"),

		transactions: r.Counter("berth_db_transactions_total",
			"Transactions by database (durable, volatile), kind (view, update) and result: ok, rolled_back where the program itself gave up, a refusal as a rule, canceled by the caller, failed where the database could not.", "db", "kind", "result"),
		retries: r.Counter("berth_db_retries_total", "Times that a transaction was run again, after a conflict with another one.", "db", "kind"),
		transactionSeconds: r.Histogram("berth_db_transaction_duration_seconds", "Time that a transaction took, the wait for a connection and all retries included.",
			[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}, "db", "kind"),

		storeOperations: r.Counter("berth_blobstore_operations_total",
			"Operations of blob stores by store (main, archive), region, operation and result: ok, not_found, full, corrupt, canceled, error. A read is one reading from its beginning to its end.", "store", "region", "operation", "result"),
		storeSeconds: r.Histogram("berth_blobstore_operation_duration_seconds",
			"Time that operations of blob stores took. first_byte is from the opening to the first bytes; read includes the client's reading.",
			[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60}, "store", "region", "operation"),
		storeRead:    r.Counter("berth_blobstore_read_bytes_total", "Bytes read from blob stores, as they are stored.", "store", "region"),
		storeWritten: r.Counter("berth_blobstore_written_bytes_total", "Bytes written to blob stores, as they are stored.", "store", "region"),
		failures:     r.Counter("berth_scrape_errors_total", "Times that numbers could not be read for this page; they are missing then.", "source"),
	}
}

// requestBounds are the upper bounds of the histograms of requests, in seconds.
func requestBounds() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300}
}

// traced says whether an operation of a blob store gets a span: not the ones of
// which one transfer has hundreds.
func traced(op measured.Op) bool { return op != measured.Write && op != measured.FirstByte }
