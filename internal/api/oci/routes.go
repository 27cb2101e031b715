package oci

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/api/oci/front"
	"github.com/berth-registry/berth/internal/api/oci/path"
	"github.com/berth-registry/berth/internal/api/oci/transfer"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// call is one request on its way through the pipeline, as far as it has got.
type call struct {
	r         *http.Request
	rc        http.ResponseController
	at        time.Time
	origin    authz.Origin
	requestID string
	registry  name.Registry
	base      string // scheme://host of the registry, without a slash at the end
	// meter counts what the caller is sent; nil: nobody does.
	meter  func(bytes int64)
	caller principal.Principal
	path.Target
	repo       name.Repository
	repository repository.Repository // set where the row asks for one
	body       *transfer.Body
	// source is the repository that a layer is to be mounted from, "" for none.
	source name.Repository
	// alsoAllowed says that the row's MayAlso needs are all granted.
	alsoAllowed bool
	// pulled is the manifest of a pull; see observation.Request.
	pulled image.Ref
	// cached says that a pull-through rule is for the repository, which then may be
	// missing yet.
	cached bool
	// params are the call's parameters by the ECR API's member names, for
	// the audit trail: no secrets, no layer bytes.
	params map[string]any
	// header is room for the header of the response.
	header http.Header
	needs  [2]authz.Need // and for what a row needs
}

// begin makes the call of a request.
func (a *API) begin(w http.ResponseWriter, r *http.Request) *call {
	c := a.calls.Get().(*call)
	c.r, c.rc, c.at, c.origin, c.requestID = r, *http.NewResponseController(w), a.c.Clock.Now(), a.c.Origin(r), uuid.NewString()
	c.Target, c.body = path.Split(r.URL.EscapedPath()), transfer.NewBody(r.Body, &c.rc, a.c.Stall)
	return c
}

// end keeps the memory of a call that is over for another one. One with a body may have left a reader
// behind, and one that went to an upstream is known to who fetches from there.
func (a *API) end(c *call) {
	if c.body != nil || c.cached {
		return
	}
	clear(c.params)
	clear(c.header)
	*c = call{params: c.params, header: c.header}
	a.calls.Put(c)
}

// query is the first value of a query parameter and whether there is one.
func (c *call) query(key string) (string, bool) {
	v, ok := c.r.URL.Query()[key]
	if !ok || len(v) == 0 {
		return "", false
	}
	return v[0], true
}

// hasBody says whether the client sends a body, of known length or not.
func (c *call) hasBody() bool { return c.r.ContentLength != 0 }

// response is what a row answers. Content-Length is set by the pipeline.
type response struct {
	status int
	header http.Header
	// body is the content, or content the content where it is streamed; size
	// is its length. A HEAD has neither and says the size all the same.
	body    []byte
	content io.ReadCloser
	size    int64
	// elsewhere is how many bytes another server will send, where the answer says so.
	elsewhere int64
	// event and elements go to the audit trail: another event name than the
	// row's, and what a writing call made.
	event    string
	elements map[string]any
}

// row is one route: an operation of the ECR API in the clothes of the OCI
// distribution API.
type row struct {
	Method string
	Kind   path.Kind
	// Name is the operation, as IAM and CloudTrail call it.
	Name string
	// Also are operations that the request is besides Name; nil for none. They
	// count for the request rates only.
	Also func(*call) []string
	// ReadOnly is for the audit trail.
	ReadOnly bool
	// Needs are the actions that the caller must be allowed.
	Needs func(*call) []authz.Need
	// MayAlso are actions without which the call works too, differently
	// (call.alsoAllowed); nil for none.
	MayAlso func(*call) []authz.Need
	// Creates says that a push can begin here: the repository is made, where a
	// template is for it.
	Creates bool
	// Imports says that the pull may go to an upstream registry.
	Imports bool
	// AnyRegistry rows act on the registry as a whole, not on a repository.
	AnyRegistry bool
	Do          func(*API, context.Context, *call) (response, error)
	actions     []string // Name alone
}

// onRepository needs the actions on the addressed repository.
func onRepository(actions ...string) func(*call) []authz.Need {
	return func(c *call) []authz.Need {
		needs, on := c.needs[:0], c.registry.RepositoryARN(c.repo)
		for _, action := range actions {
			needs = append(needs, authz.Need{Action: action, Resource: on})
		}
		return needs
	}
}

// onImage needs the action on the image that the path names.
func onImage(action string) func(*call) []authz.Need {
	return func(c *call) []authz.Need {
		needs := onRepository(action)(c)
		needs[0].Images = authz.ImagesOf(c.Reference, c.r.Method == http.MethodPut, c.r.URL.Query()["tag"])
		return needs
	}
}

// rows is the whole API, but for the version check. What a row needs is by the
// ECR user guide's table of docker steps and permissions.
func rows() []row {
	return []row{
		{Method: http.MethodGet, Kind: path.Catalog, Name: "DescribeRepositories", ReadOnly: true, AnyRegistry: true, Needs: catalogNeeds, Do: (*API).catalog},

		{Method: http.MethodGet, Kind: path.Tags, Name: "ListImages", ReadOnly: true, Needs: onRepository("ecr:ListImages"), Do: (*API).listTags},
		{Method: http.MethodGet, Kind: path.Referrers, Name: "ListImageReferrers", ReadOnly: true, Imports: true, Needs: onRepository("ecr:BatchGetImage"), Do: (*API).listReferrers},

		{Method: http.MethodGet, Kind: path.Manifest, Name: "BatchGetImage", ReadOnly: true, Needs: onRepository("ecr:BatchGetImage"), Imports: true, Do: (*API).getManifest},
		{Method: http.MethodHead, Kind: path.Manifest, Name: "BatchGetImage", ReadOnly: true, Needs: onRepository("ecr:BatchGetImage"), Imports: true, Do: (*API).headManifest},
		{Method: http.MethodPut, Kind: path.Manifest, Name: "PutImage", Creates: true, Needs: onImage("ecr:PutImage"), Do: (*API).putManifest},
		{Method: http.MethodDelete, Kind: path.Manifest, Name: "BatchDeleteImage", Needs: onImage("ecr:BatchDeleteImage"), Do: (*API).deleteManifest},

		{Method: http.MethodGet, Kind: path.Blob, Name: "GetDownloadUrlForLayer", ReadOnly: true, Needs: onRepository("ecr:GetDownloadUrlForLayer"), Do: (*API).getBlob},
		{Method: http.MethodHead, Kind: path.Blob, Name: "BatchCheckLayerAvailability", ReadOnly: true, Needs: onRepository("ecr:BatchCheckLayerAvailability"), Do: (*API).headBlob},
		{Method: http.MethodDelete, Kind: path.Blob, Name: "BatchDeleteImage", Needs: onRepository("ecr:BatchDeleteImage"), Do: (*API).deleteBlob},

		{Method: http.MethodPost, Kind: path.Uploads, Name: "InitiateLayerUpload", Creates: true, Also: startAlso, Needs: startNeeds, MayAlso: mountNeeds, Do: (*API).startUpload},
		{Method: http.MethodGet, Kind: path.Upload, Name: "UploadLayerPart", ReadOnly: true, Needs: onRepository("ecr:UploadLayerPart"), Do: (*API).uploadStatus},
		{Method: http.MethodPatch, Kind: path.Upload, Name: "UploadLayerPart", Needs: onRepository("ecr:UploadLayerPart"), Do: (*API).patchUpload},
		{Method: http.MethodPut, Kind: path.Upload, Name: "CompleteLayerUpload", Also: finishAlso, Needs: finishNeeds, Do: (*API).finishUpload},
		{Method: http.MethodDelete, Kind: path.Upload, Name: "InitiateLayerUpload", Needs: onRepository("ecr:InitiateLayerUpload"), Do: (*API).cancelUpload},
	}
}

// served are the rows that the registries of the front have.
func served(f front.Front, all []row) []row {
	return slices.DeleteFunc(all, func(r row) bool { return !f.Serves(r.Kind) })
}

// openRows need a valid token and nothing else.
func openRows() []row {
	return []row{{Method: http.MethodGet, Kind: path.Base, Do: (*API).version}}
}

// version answers the version check, which is how clients try a token.
func (a *API) version(context.Context, *call) (response, error) {
	return jsonResponse("application/json", struct{}{})
}

type routeKey struct {
	kind   path.Kind
	method string
}

// table finds the row of a request.
type table struct {
	rows  map[routeKey]row
	allow map[path.Kind]string
}

// newTable builds the table. It refuses a row without Needs that is not among
// the open ones, and a second row for the same method and kind.
func newTable(rows, open []row) (table, error) {
	t := table{rows: map[routeKey]row{}, allow: map[path.Kind]string{}}
	methods := map[path.Kind][]string{}
	for _, r := range rows {
		if r.Needs == nil || r.Name == "" {
			return table{}, fmt.Errorf("the route %s for %q says no needs, or no name", r.Method, r.Name)
		}
	}
	for _, r := range slices.Concat(rows, open) {
		key := routeKey{r.Kind, r.Method}
		if _, twice := t.rows[key]; twice || r.Do == nil {
			return table{}, fmt.Errorf("the route %s for %q stands twice, or does nothing", r.Method, r.Name)
		}
		r.actions = []string{r.Name}
		t.rows[key] = r
		methods[r.Kind] = append(methods[r.Kind], r.Method)
	}
	for k, all := range methods {
		if slices.Contains(all, http.MethodGet) && !slices.Contains(all, http.MethodHead) {
			all = append(all, http.MethodHead) // see find
		}
		slices.Sort(all)
		t.allow[k] = strings.Join(all, ", ")
	}
	return t, nil
}

// find returns the row of a request, a GET row for a HEAD that has none of its
// own: net/http leaves out the body.
func (t table) find(k path.Kind, method string) (row, bool) {
	r, ok := t.rows[routeKey{k, method}]
	if !ok && method == http.MethodHead {
		r, ok = t.rows[routeKey{k, http.MethodGet}]
	}
	return r, ok
}
