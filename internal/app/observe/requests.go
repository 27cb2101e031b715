package observe

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/api/oci/observation"
	"github.com/berth-registry/berth/internal/api/oci/path"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/infra/obs"
)

// awsKey is an operation of an AWS API, one that AWS's model has.
type awsKey struct{ service, operation string }

// unknown is the label of services and operations that AWS's models do not have.
const unknown = "unknown"

// awsCells are the handles of one operation.
type awsCells struct {
	seconds prometheus.Observer
	codes   *obs.Cells[string, prometheus.Counter]
}

func (o *Observer) newAWSCells(k awsKey) *awsCells {
	return &awsCells{
		seconds: o.m.awsSeconds.WithLabelValues(k.service, k.operation),
		codes: obs.NewCells(func(code string) prometheus.Counter {
			return o.m.awsRequests.WithLabelValues(k.service, k.operation, code)
		}),
	}
}

// routeCells are the handles of one kind of route.
type routeCells struct {
	seconds  prometheus.Observer
	statuses *obs.Cells[int, prometheus.Counter]
}

func (o *Observer) newRouteCells(route string) *routeCells {
	return &routeCells{
		seconds: o.m.registrySeconds.WithLabelValues(route),
		statuses: obs.NewCells(func(status int) prometheus.Counter {
			return o.m.registryRequests.WithLabelValues(route, statusLabel(status))
		}),
	}
}

func statusLabel(status int) string { return strconv.Itoa(status) }

// contentKind is what the bytes of a body are.
type contentKind int

const (
	contentOther contentKind = iota
	contentLayer
	contentManifest
	contentKinds
)

func content(k contentKind) string {
	switch k {
	case contentLayer:
		return "layer"
	case contentManifest:
		return "manifest"
	case contentOther, contentKinds:
	}
	return "other"
}

type contentCells struct {
	received, sent, cut prometheus.Counter
	firstByte           prometheus.Observer // nil where nothing is pulled
}

func (o *Observer) newContentCells(label string) contentCells {
	c := contentCells{received: o.m.received.WithLabelValues(label), sent: o.m.sent.WithLabelValues(label), cut: o.m.cut.WithLabelValues(label)}
	if label != content(contentOther) {
		c.firstByte = o.m.firstByte.WithLabelValues(label)
	}
	return c
}

// routeKey is a path and a method.
type routeKey struct {
	kind   path.Kind
	method string
}

// routeLabel is the label of a route of the registry.
func routeLabel(kind path.Kind, method string) string {
	switch (routeKey{kind, method}) {
	case routeKey{path.Manifest, http.MethodGet}:
		return "manifest_get"
	case routeKey{path.Manifest, http.MethodHead}:
		return "manifest_head"
	case routeKey{path.Manifest, http.MethodPut}:
		return "manifest_put"
	case routeKey{path.Manifest, http.MethodDelete}:
		return "manifest_delete"
	case routeKey{path.Blob, http.MethodGet}:
		return "blob_get"
	case routeKey{path.Blob, http.MethodHead}:
		return "blob_head"
	case routeKey{path.Blob, http.MethodDelete}:
		return "blob_delete"
	case routeKey{path.Uploads, http.MethodPost}:
		return "upload_start"
	case routeKey{path.Upload, http.MethodGet}, routeKey{path.Upload, http.MethodHead}:
		return "upload_status"
	case routeKey{path.Upload, http.MethodPatch}:
		return "upload_patch"
	case routeKey{path.Upload, http.MethodPut}:
		return "upload_finish"
	case routeKey{path.Upload, http.MethodDelete}:
		return "upload_cancel"
	case routeKey{path.Tags, http.MethodGet}, routeKey{path.Tags, http.MethodHead}:
		return "tags_list"
	case routeKey{path.Referrers, http.MethodGet}, routeKey{path.Referrers, http.MethodHead}:
		return "referrers_list"
	case routeKey{path.Catalog, http.MethodGet}, routeKey{path.Catalog, http.MethodHead}:
		return "catalog"
	case routeKey{path.Base, http.MethodGet}, routeKey{path.Base, http.MethodHead}:
		return "version"
	}
	return unknown
}

// contentOf is what the bodies at a path are.
func contentOf(kind path.Kind) contentKind {
	switch kind {
	case path.Manifest:
		return contentManifest
	case path.Blob, path.Uploads, path.Upload:
		return contentLayer
	case path.None, path.Base, path.Catalog, path.Tags, path.Referrers:
	}
	return contentOther
}

// api is which part of the program answered a request.
type api int

const (
	apiOther api = iota
	apiAWS
	apiRegistry
	apiDownload
)

func (a api) String() string {
	switch a {
	case apiAWS:
		return "aws"
	case apiRegistry:
		return "registry"
	case apiDownload:
		return "download"
	case apiOther:
	}
	return "other"
}

// AWS is aws.Config.Observe.
func (o *Observer) AWS(w http.ResponseWriter, a aws.Observation) {
	if rec := recorderOf(w); rec != nil {
		rec.api, rec.aws = apiAWS, a
	}
}

// Registry is oci.Config.Observe.
func (o *Observer) Registry(w http.ResponseWriter, r observation.Request) {
	if rec := recorderOf(w); rec != nil {
		rec.api, rec.registry = apiRegistry, r
	}
}

// Download says that a request is for an address of GetDownloadUrlForLayer.
func (o *Observer) Download(w http.ResponseWriter) {
	if rec := recorderOf(w); rec != nil {
		rec.api = apiDownload
	}
}

// count counts a request that is over.
func (o *Observer) count(rec *recorder, took time.Duration) {
	c := contentOther
	switch rec.api {
	case apiAWS:
		o.countAWS(&rec.aws, took)
	case apiRegistry:
		c = o.countRegistry(rec, took)
	case apiDownload:
		c = contentLayer
		o.downloads.Of(rec.status).Inc()
		o.countLayer(rec, "address")
		if rec.status == http.StatusForbidden {
			o.m.authentication.WithLabelValues(rec.api.String(), "invalid").Inc()
		}
	case apiOther:
		o.others.Of(rec.status).Inc()
	}
	cells := &o.contents[c]
	if n := rec.received(); n > 0 {
		cells.received.Add(float64(n))
	}
	if rec.sent > 0 {
		sent := cells.sent
		if rec.status >= http.StatusBadRequest { // an error's document
			sent = o.contents[contentOther].sent
		}
		sent.Add(float64(rec.sent))
	}
	if rec.isCut() {
		cells.cut.Inc()
	}
	if cells.firstByte != nil && rec.r.Method == http.MethodGet && !rec.first.IsZero() && rec.status < http.StatusMultipleChoices {
		cells.firstByte.Observe(rec.first.Sub(rec.begun).Seconds())
	}
}

func (o *Observer) countAWS(a *aws.Observation, took time.Duration) {
	k := awsLabels(a)
	cells := o.aws.Of(k)
	code := a.Code
	if code == "" {
		code = "ok"
	}
	cells.codes.Of(code).Inc()
	cells.seconds.Observe(took.Seconds())
	if a.Known && a.Call.Service == "ecr" && a.Call.Principal.ARN != "" {
		if used, ok := o.usage[a.Call.Operation]; ok {
			used.Inc()
		}
	}
	if a.Err == nil {
		return
	}
	if refusal, ok := errors.AsType[*sigv4.Error](a.Err); ok {
		o.m.authentication.WithLabelValues("aws", signatureKind(refusal.Kind)).Inc()
	}
	o.countRefusal("aws", k.operation, a.Err)
}

// awsLabels are the labels of an operation, out of what a client can have sent.
func awsLabels(a *aws.Observation) awsKey {
	k := awsKey{a.Call.Service, a.Call.Operation}
	if k.service == "" {
		k.service = unknown
	}
	if !a.Known {
		k.operation = unknown
	}
	return k
}

func signatureKind(k sigv4.Kind) string {
	switch k {
	case sigv4.MissingAuthenticationToken:
		return "missing"
	case sigv4.IncompleteSignature:
		return "incomplete"
	case sigv4.InvalidSignature:
		return "invalid"
	case sigv4.UnrecognizedClient:
		return unknown
	case sigv4.ExpiredToken:
		return "expired"
	}
	return "invalid"
}

// countRefusal counts what policies and quotas refuse.
func (o *Observer) countRefusal(api, operation string, err error) {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok {
		return
	}
	switch {
	case e.Code == errs.AccessDenied:
		o.m.denials.WithLabelValues(api, operation).Inc()
	case e.Code == errs.Throttled:
		o.m.refusals.WithLabelValues("rate", operation).Inc()
	case e.Code == errs.LimitExceeded:
		o.m.refusals.WithLabelValues("limit", operation).Inc()
	case e.Code == errs.StorageFull:
		o.m.refusals.WithLabelValues("storage", operation).Inc()
	case e.Code == errs.TokenExpired:
		o.m.authentication.WithLabelValues(api, "expired").Inc()
	}
}

func (o *Observer) countRegistry(rec *recorder, took time.Duration) contentKind {
	a := &rec.registry
	c, cells := contentOf(a.Kind), o.routes.Of(routeLabel(a.Kind, rec.r.Method))
	cells.statuses.Of(rec.status).Inc()
	cells.seconds.Observe(took.Seconds())
	if a.Kind == path.Blob {
		o.countLayer(rec, "registry")
	}
	if a.Caller != "" {
		for _, action := range a.Actions {
			if used, ok := o.usage[action]; ok {
				used.Inc()
			}
		}
	}
	if a.Err == nil {
		return c
	}
	if a.Status == http.StatusUnauthorized {
		kind := "invalid"
		if rec.r.Header.Get("Authorization") == "" {
			kind = "missing"
		}
		o.m.authentication.WithLabelValues("registry", kind).Inc()
	}
	operation := unknown
	if len(a.Actions) > 0 {
		operation = a.Actions[0]
	}
	o.countRefusal("registry", operation, a.Err)
	return c
}

// countLayer counts a layer that was given out.
func (o *Observer) countLayer(rec *recorder, source string) {
	if rec.r.Method != http.MethodGet {
		return
	}
	switch rec.status {
	case http.StatusOK, http.StatusPartialContent:
		o.m.layerDownloads.WithLabelValues(source, "stream").Inc()
	case http.StatusTemporaryRedirect, http.StatusFound, http.StatusSeeOther, http.StatusPermanentRedirect:
		o.m.layerDownloads.WithLabelValues(source, "redirect").Inc()
	}
}

// entry is a request as the log has it.
func (o *Observer) entry(rec *recorder, took time.Duration) obs.Entry {
	e := obs.Entry{API: rec.api.String(), Status: rec.status, Received: rec.received(), Sent: rec.sent, Took: took}
	switch rec.api {
	case apiAWS:
		a := &rec.aws
		k := awsLabels(a)
		e.RequestID, e.Operation, e.Code = a.Call.RequestID, k.service+":"+k.operation, a.Code
		e.Account, e.Principal = string(a.Call.Registry.Account), a.Call.Principal.ARN
		for _, need := range a.Needs {
			if repo, ok := strings.CutPrefix(need.Resource.Resource, "repository/"); ok {
				e.Repository, e.Account = repo, string(need.Resource.Account)
				break
			}
		}
	case apiRegistry:
		a := &rec.registry
		e.Operation = routeLabel(a.Kind, rec.r.Method)
		e.RequestID, e.Code, e.Account, e.Principal, e.Repository = a.ID, a.Code, string(a.Registry.Account), a.Caller, string(a.Repository)
	case apiDownload:
		e.Operation = "layer"
	case apiOther:
		e.Operation = unknown
	}
	if o.cfg.Origin != nil {
		e.Client = o.cfg.Origin(rec.r).SourceIP
	}
	if rec.span != nil {
		e.TraceID = rec.span.SpanContext().TraceID().String()
	}
	return e
}
