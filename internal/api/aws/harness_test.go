package aws_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/api/aws/query"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/infra/clock"
)

const (
	account = name.AccountID("123456789012")
	target  = "Fake_V1."
)

// dockInput is an input as the generator writes it.
type dockInput struct {
	ShipName *string          `json:"shipName,omitzero"`
	Cargo    []byte           `json:"cargo,omitzero"`
	Secret   *string          `json:"secret,omitzero" aws:"sensitive"`
	Since    *shape.Timestamp `json:"since,omitzero"`
	Crew     []string         `json:"crew,omitzero"`
}

func (in *dockInput) Validate() error {
	var c shape.Check
	if in.ShipName == nil {
		c.Missing("shipName")
	} else {
		c.Length("shipName", *in.ShipName, 2, 200_000)
	}
	return c.JSON()
}

type dockOutput struct {
	Berth *int64           `json:"berth,omitzero"`
	Since *shape.Timestamp `json:"since,omitzero"`
	Crew  []string         `json:"crew,omitzero"`
}

type whoInput struct {
	Depth *int64 `json:"Depth,omitzero"`
}

func (*whoInput) Validate() error { return nil }

type whoOutput struct {
	Account *string `json:"Account,omitzero"`
	Arn     *string `json:"Arn,omitzero"`
}

// harness is a pipeline over a JSON service "dock" and a Query service "who",
// with everything around it under the test's control.
type harness struct {
	t       *testing.T
	auth    authFunc
	allow   func(authz.Request) error
	admit   func(*aws.Call) error
	dock    func(context.Context, *aws.Call, *dockInput) (*dockOutput, error)
	needs   func(*aws.Call, *dockInput) ([]authz.Need, error)
	asked   []authz.Request
	log     bytes.Buffer
	clock   *clock.Fake
	mu      sync.Mutex
	entries []audit.Entry
	hosts   name.Hosts
	regions func(name.Region) bool
	server  *httptest.Server
}

type authFunc func(r *http.Request, body []byte) (sigv4.Result, error)

func (f authFunc) Authenticate(_ context.Context, r *http.Request, body []byte) (sigv4.Result, error) {
	return f(r, body)
}

type allowFunc func(authz.Request) error

func (f allowFunc) Authorize(_ context.Context, r authz.Request) error { return f(r) }

type admitFunc func(*aws.Call) error

func (f admitFunc) Admit(_ context.Context, c *aws.Call) error { return f(c) }

func (h *harness) Record(_ context.Context, e audit.Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = append(h.entries, e)
}

func shipARN(ship string) name.ARN {
	return name.ARN{Partition: "aws", Service: "dock", Region: "eu-test-1", Account: account, Resource: "ship/" + ship}
}

func newHarness(t *testing.T) *harness {
	h := &harness{t: t, clock: clock.NewFake(time.Date(2026, 11, 21, 2, 4, 5, 0, time.UTC))}
	h.auth = func(r *http.Request, _ []byte) (sigv4.Result, error) {
		if r.Header.Get("Authorization") == "" {
			return sigv4.Result{}, &sigv4.Error{Kind: sigv4.MissingAuthenticationToken, Message: "Missing Authentication Token"}
		}
		service := "dock"
		if strings.Contains(r.Header.Get("Authorization"), "/who/") {
			service = "who"
		}
		return sigv4.Result{
			Principal: principal.Principal{Account: account, ARN: principal.RootARN(account), ID: string(account), AccessKeyID: "AKID"},
			Region:    "eu-test-1", Service: service,
		}, nil
	}
	h.allow = func(authz.Request) error { return nil }
	h.needs = func(_ *aws.Call, in *dockInput) ([]authz.Need, error) {
		return []authz.Need{{Action: "dock:DockShip", Resource: shipARN(*in.ShipName)}, {Action: "dock:Pay"}, {Action: "dock:Tag", Resource: shipARN(*in.ShipName)}}, nil
	}
	h.dock = func(context.Context, *aws.Call, *dockInput) (*dockOutput, error) {
		return &dockOutput{Berth: p(int64(7)), Crew: []string{}}, nil
	}
	return h
}

func p[T any](v T) *T { return &v }

func (h *harness) services() []aws.Service {
	dockErrors := aws.ErrorTable{}
	for code := errs.Internal; code <= errs.Unavailable; code++ {
		dockErrors[code] = aws.NamedError{Name: "OtherException", Status: 400}
	}
	dockErrors[errs.Internal] = aws.NamedError{Name: "ServerException", Status: 500}
	dockErrors[errs.InvalidParameter] = aws.NamedError{Name: "InvalidParameterException", Status: 400}
	dockErrors[errs.AccessDenied] = aws.NamedError{Name: "AccessDeniedException", Status: 400}
	dockErrors[errs.LayerPartInvalid] = aws.NamedError{Name: "InvalidLayerPartException", Status: 400}
	dockErrors[errs.Throttled] = aws.NamedError{Name: "ThrottlingException", Status: 400}
	dockErrors[errs.Unavailable] = aws.NamedError{Name: "ServiceUnavailable", Status: 503}
	whoErrors := aws.ErrorTable{errs.Internal: {Name: "InternalFailure", Status: 500}, errs.AccessDenied: {Name: "AccessDenied", Status: 403}}
	dock := func(ctx context.Context, c *aws.Call, in *dockInput) (*dockOutput, error) { return h.dock(ctx, c, in) }
	needs := func(c *aws.Call, in *dockInput) ([]authz.Need, error) { return h.needs(c, in) }
	return []aws.Service{
		{
			Name: "dock", EventSource: "dock.example.com", TargetPrefix: "Fake_V1", Protocol: json11.Protocol{},
			SigningNames: []string{"dock", "dock-fips"}, Host: name.HostECR, Known: []string{"DockShip", "ListShips", "SinkShip"},
			Operations: []aws.Operation{aws.Op("DockShip", true, needs, dock), aws.Op("ListShips", false, needs, dock)},
			Errors:     dockErrors.Named, BodyLimits: map[string]int64{"DockShip": 4 << 20},
			Notes: map[string]string{"DockShip": "with a note"},
			ErrorShapes: []shape.Error{
				{Name: "InvalidLayerPartException", Status: 400, Members: []string{"uploadId", "lastValidByteReceived"}},
				{Name: "InvalidParameterException", Status: 400},
				{Name: "ServerException", Status: 500},
			},
		},
		{
			Name: "who", EventSource: "who.example.com", Version: "2011-06-15", Protocol: query.Protocol{Namespace: "https://who.example.com/doc/"},
			SigningNames: []string{"who"}, Global: true, Known: []string{"GetCallerIdentity", "AssumeRole"}, Errors: whoErrors.Named,
			Operations: []aws.Operation{aws.Op("GetCallerIdentity", false,
				func(*aws.Call, *whoInput) ([]authz.Need, error) {
					return []authz.Need{{Action: "who:GetCallerIdentity"}}, nil
				},
				func(_ context.Context, c *aws.Call, _ *whoInput) (*whoOutput, error) {
					return &whoOutput{Account: p(string(c.Principal.Account)), Arn: &c.Principal.ARN}, nil
				})},
		},
	}
}

func (h *harness) config() aws.Config {
	cfg := aws.Config{
		Services: h.services(), Authenticator: authFunc(func(r *http.Request, b []byte) (sigv4.Result, error) { return h.auth(r, b) }),
		Authorizer: allowFunc(func(r authz.Request) error { h.asked = append(h.asked, r); return h.allow(r) }),
		Audit:      h, Clock: h.clock, Log: slog.New(slog.NewJSONHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Hosts: h.hosts, Regions: h.regions,
	}
	if h.admit != nil {
		cfg.Throttle = admitFunc(h.admit)
	}
	return cfg
}

// start serves the pipeline.
func (h *harness) start() *harness {
	pipeline, err := aws.New(h.config())
	if err != nil {
		h.t.Fatal(err)
	}
	h.server = httptest.NewServer(pipeline)
	h.t.Cleanup(h.server.Close)
	return h
}

// answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   string
}

// call sends a request: by default a signed JSON call. edit changes it.
func (h *harness) call(operation, body string, edit ...func(*http.Request)) answer {
	h.t.Helper()
	r, err := http.NewRequest(http.MethodPost, h.server.URL+"/", strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", operation)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKID/20261121/eu-test-1/dock/aws4_request, SignedHeaders=host, Signature=00")
	r.Header.Set("User-Agent", "tests/1.0")
	for _, e := range edit {
		e(r)
	}
	return h.send(r)
}

func (h *harness) send(r *http.Request) answer {
	h.t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: string(got)}
}

// form turns a call into a Query call signed for the service "who".
func form(r *http.Request) {
	r.Header.Del("X-Amz-Target")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/dock/", "/who/", 1))
}

func with(key, value string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del(key)
		if value != "" {
			r.Header.Set(key, value)
		}
	}
}

// entry returns the only audit record.
func (h *harness) entry() audit.Entry {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.entries) != 1 {
		h.t.Fatalf("%d audit records: %+v", len(h.entries), h.entries)
	}
	return h.entries[0]
}

// wireError reads a JSON error.
func wireError(t *testing.T, a answer) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(a.body), &out); err != nil {
		t.Fatalf("%q: %v", a.body, err)
	}
	return out
}

var errDisk = errors.New("disk on fire at /srv/secret")
