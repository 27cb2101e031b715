package aws_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal"
)

var root = principal.Principal{Account: account, ARN: principal.RootARN(account), ID: string(account), AccessKeyID: "AKID"}

func TestRecordOfAChange(t *testing.T) {
	h := newHarness(t).start()
	since := shape.At(time.Date(2018, 7, 11, 22, 17, 44, 0, time.UTC))
	h.dock = func(context.Context, *aws.Call, *dockInput) (*dockOutput, error) {
		return &dockOutput{Berth: p(int64(7)), Since: since, Crew: []string{}}, nil
	}
	a := h.call(target+"DockShip", `{"shipName":"Vasa","cargo":"aGk=","secret":"hunter2","since":1531347464,"crew":["a","<b>"]}`)
	want := audit.Entry{
		Time: h.clock.Now(), EventSource: "dock.example.com", EventName: "DockShip", Region: "eu-test-1", Principal: root.AuditIdentity(), Account: account,
		SourceIP: "127.0.0.1", UserAgent: "tests/1.0", RequestID: a.header.Get("x-amzn-RequestId"),
		RequestParameters: []byte(`{"shipName":"Vasa","secret":"HIDDEN_DUE_TO_SECURITY_REASONS","since":"Jul 11, 2018 10:17:44 PM","crew":["a","\u003cb\u003e"]}`),
		ResponseElements:  []byte(`{"berth":7,"since":"Jul 11, 2018 10:17:44 PM","crew":[]}`),
		Resources:         []string{"arn:aws:dock:eu-test-1:123456789012:ship/Vasa"},
	}
	if got := h.entry(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestRecordOfARead(t *testing.T) {
	h := newHarness(t).start()
	h.call(target+"ListShips", `{"shipName":"Vasa"}`)
	if e := h.entry(); !e.ReadOnly || e.ResponseElements != nil || string(e.RequestParameters) != `{"shipName":"Vasa"}` || len(e.Resources) != 1 {
		t.Errorf("got %+v", e)
	}
}

func TestRecordOfAQueryCall(t *testing.T) {
	h := newHarness(t).start()
	h.call("", "Action=GetCallerIdentity", form)
	if e := h.entry(); e.EventSource != "who.example.com" || e.EventName != "GetCallerIdentity" || e.RequestParameters != nil || e.Resources != nil || e.Account != account {
		t.Errorf("got %+v", e)
	}
}

// The trail is that of the registry which the call is about.
func TestRecordOfAnotherAccountsResource(t *testing.T) {
	h := newHarness(t).start()
	h.needs = func(*aws.Call, *dockInput) ([]authz.Need, error) {
		other := shipARN("Vasa")
		other.Account = "210987654321"
		return []authz.Need{{Action: "dock:DockShip", Resource: other}}, nil
	}
	h.call(target+"DockShip", `{"shipName":"Vasa"}`)
	if e := h.entry(); e.Account != "210987654321" || e.Principal.Account != account {
		t.Errorf("got %+v", e)
	}
}

// Refused calls are recorded as well, with what was known by then.
func TestRecordOfRefusals(t *testing.T) {
	const good = `{"shipName":"Vasa"}`
	for _, tt := range []struct {
		name, operation, body string
		prepare               func(*harness)
		edit                  func(*http.Request)
		want                  audit.Entry
	}{
		{"no signature", target + "DockShip", good, refuseAuth(sigv4.MissingAuthenticationToken, "Missing Authentication Token"), nil,
			audit.Entry{EventName: "DockShip", ErrorCode: "MissingAuthenticationTokenException", ErrorMessage: "Missing Authentication Token"}},
		{"too large", target + "ListShips", strings.Repeat(" ", 1<<20+1), nil, nil,
			audit.Entry{EventName: "ListShips", ErrorCode: "RequestEntityTooLargeException", ErrorMessage: "The request body must not be longer than 1048576 bytes.", ReadOnly: true}},
		{"unknown operation", target + "FlyShip", good, nil, nil,
			audit.Entry{EventName: "FlyShip", ErrorCode: "UnknownOperationException", Principal: root.AuditIdentity(), Account: account, Region: "eu-test-1", ReadOnly: true}},
		{"an operation that is no name", target + "Fly\"Ship", good, nil, nil,
			audit.Entry{EventName: "Unknown", ErrorCode: "UnknownOperationException", Principal: root.AuditIdentity(), Account: account, Region: "eu-test-1", ReadOnly: true}},
		{"an operation with a long name", target + strings.Repeat("x", 129), good, nil, nil,
			audit.Entry{EventName: "Unknown", ErrorCode: "UnknownOperationException", Principal: root.AuditIdentity(), Account: account, Region: "eu-test-1", ReadOnly: true}},
		{"broken body", target + "DockShip", `{`, nil, nil,
			audit.Entry{EventName: "DockShip", ErrorCode: "SerializationException", Principal: root.AuditIdentity(), Account: account, Region: "eu-test-1"}},
		{"invalid", target + "DockShip", `{"crew":["a"]}`, nil, nil,
			audit.Entry{EventName: "DockShip", ErrorCode: "InvalidParameterException", Principal: root.AuditIdentity(), Account: account, Region: "eu-test-1",
				ErrorMessage:      "Invalid parameter at 'shipName' failed to satisfy constraint: 'Member must not be null'",
				RequestParameters: []byte(`{"crew":["a"]}`)}},
		{"not allowed", target + "DockShip", good, func(h *harness) {
			h.allow = func(authz.Request) error { return errs.New(errs.AccessDenied, "no") }
		}, nil,
			audit.Entry{EventName: "DockShip", ErrorCode: "AccessDeniedException", ErrorMessage: "no", Principal: root.AuditIdentity(), Account: account, Region: "eu-test-1",
				RequestParameters: []byte(good), Resources: []string{"arn:aws:dock:eu-test-1:123456789012:ship/Vasa"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t)
			if tt.prepare != nil {
				tt.prepare(h)
			}
			h.start()
			a := h.call(tt.operation, tt.body)
			want := tt.want
			want.Time, want.EventSource, want.SourceIP, want.UserAgent = h.clock.Now(), "dock.example.com", "127.0.0.1", "tests/1.0"
			want.RequestID = a.header.Get("x-amzn-RequestId")
			if got := h.entry(); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// A request for none of the services belongs to no trail.
func TestNoRecord(t *testing.T) {
	h := newHarness(t).start()
	h.call("Other_V1.DockShip", `{}`)
	h.call(target+"DockShip", `{}`, with("Content-Type", "text/html"))
	if len(h.entries) != 0 {
		t.Errorf("recorded %+v", h.entries)
	}
}

func TestRecordIsBounded(t *testing.T) {
	h := newHarness(t).start()
	h.dock = func(_ context.Context, _ *aws.Call, in *dockInput) (*dockOutput, error) {
		return &dockOutput{Crew: []string{*in.ShipName}}, nil
	}
	if a := h.call(target+"DockShip", `{"shipName":"`+strings.Repeat("x", 100_000)+`"}`); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	e := h.entry()
	if string(e.RequestParameters) != `{"omitted":true,"originalSize":100015,"reason":"too large"}` ||
		string(e.ResponseElements) != `{"omitted":true,"originalSize":100013,"reason":"too large"}` {
		t.Errorf("got %s and %s", e.RequestParameters, e.ResponseElements)
	}
}

func TestRecordedTextsAreBounded(t *testing.T) {
	h := newHarness(t).start()
	failWith(errs.New(errs.InvalidParameter, "%s", strings.Repeat("é", 1023)+"xé"))(h)
	long := strings.Repeat("a", 5000)
	h.call(target+"DockShip", `{"shipName":"Vasa"}`, with("User-Agent", long))
	if e := h.entry(); e.UserAgent != long[:1024] || e.ErrorMessage != strings.Repeat("é", 512) {
		t.Errorf("recorded %d and %d bytes", len(e.UserAgent), len(e.ErrorMessage))
	}
	h.entries = nil
	failWith(errs.New(errs.InvalidParameter, "%s", "x"+strings.Repeat("é", 1023)))(h)
	h.call(target+"DockShip", `{"shipName":"Vasa"}`)
	if e := h.entry(); e.ErrorMessage != "x"+strings.Repeat("é", 511) {
		t.Errorf("a character was cut in half: %q", e.ErrorMessage[len(e.ErrorMessage)-3:])
	}
}

// The record is made before the answer leaves.
func TestRecordComesFirst(t *testing.T) {
	h := newHarness(t)
	pipeline, err := aws.New(h.config())
	if err != nil {
		t.Fatal(err)
	}
	w := &orderedWriter{recorded: func() int { return len(h.entries) }}
	r, _ := http.NewRequest(http.MethodPost, "/", strings.NewReader(`{"shipName":"Vasa"}`))
	r.Header.Set("X-Amz-Target", target+"DockShip")
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("Authorization", "a")
	pipeline.ServeHTTP(w, r)
	if w.status != 200 || w.before != 1 {
		t.Errorf("status %d, %d records before the answer", w.status, w.before)
	}
	if e := h.entries[0]; e.SourceIP != "" {
		t.Errorf("a request without an address has %q", e.SourceIP)
	}
}

type orderedWriter struct {
	header   http.Header
	recorded func() int
	status   int
	before   int
}

func (w *orderedWriter) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

func (w *orderedWriter) WriteHeader(status int) { w.status, w.before = status, w.recorded() }

func (w *orderedWriter) Write(b []byte) (int, error) { return len(b), nil }

// A record says how the client was connected.
func TestRecordOfAConnection(t *testing.T) {
	h := newHarness(t)
	pipeline, err := aws.New(h.config())
	if err != nil {
		t.Fatal(err)
	}
	r, _ := http.NewRequest(http.MethodPost, "https://dock.example.com/", strings.NewReader(`{"shipName":"Vasa"}`))
	r.Header.Set("X-Amz-Target", target+"DockShip")
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("Authorization", "a")
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	pipeline.ServeHTTP(&orderedWriter{recorded: func() int { return 0 }}, r)
	want := audit.TLS{Version: "TLSv1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", Host: "dock.example.com"}
	if len(h.entries) != 1 || h.entries[0].TLS == nil || *h.entries[0].TLS != want {
		t.Errorf("recorded %+v", h.entries)
	}
}
