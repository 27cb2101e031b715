package aws_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/api/aws/query"
	"github.com/berth-registry/berth/internal/api/aws/rpccbor"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

type gaugeInput struct {
	Depth *int64 `json:"Depth,omitzero"`
}

// Validate refuses no depth at all.
func (in *gaugeInput) Validate() error {
	if in.Depth == nil {
		return errs.New(errs.Validation, "Depth is missing")
	}
	return nil
}

type gaugeOutput struct {
	Depth *int64 `json:"Depth,omitzero"`
}

// gauge is a service that speaks Query, JSON 1.0 and CBOR.
func gauge() aws.Service {
	return aws.Service{
		Name: "gauge", EventSource: "gauge.example.com", TargetPrefix: "Gauge_V1", Version: "2010-08-01", SigningNames: []string{"gauge"},
		Protocols: aws.Protocols{CBOR: rpccbor.Protocol{}, JSON10: json11.Protocol{V10: true}, Query: query.Protocol{Namespace: "https://gauge.example.com/doc/"}},
		Known:     []string{"ReadDepth", "SetDepth"},
		Operations: []aws.Operation{aws.Op("ReadDepth", false,
			func(*aws.Call, *gaugeInput) ([]authz.Need, error) {
				return []authz.Need{{Action: "gauge:ReadDepth"}}, nil
			},
			func(_ context.Context, _ *aws.Call, in *gaugeInput) (*gaugeOutput, error) {
				switch *in.Depth {
				case 1:
					return nil, errs.New(errs.InvalidParameter, "too shallow")
				case 2:
					return nil, errDisk
				}
				return &gaugeOutput{Depth: in.Depth}, nil
			})},
		Errors: aws.ErrorTable{
			errs.Internal: {Name: "InternalError", Status: 500}, errs.InvalidParameter: {Name: "InvalidValue", Status: 400},
			errs.Validation: {Name: "ValidationError", Status: 400}, errs.AccessDenied: {Name: "AccessDenied", Status: 403},
		}.Named,
		ErrorShapes: []shape.Error{{Name: "InvalidValue", Shape: "InvalidValueException", Status: 400}, {Name: "InternalError", Shape: "InternalFault", Status: 500}},
	}
}

// startGauge serves the harness's services and the gauge.
func startGauge(t *testing.T) *harness {
	h := newHarness(t)
	h.auth = func(r *http.Request, _ []byte) (sigv4.Result, error) {
		if r.Header.Get("Authorization") == "" {
			return sigv4.Result{}, &sigv4.Error{Kind: sigv4.UnrecognizedClient, Message: "who?"}
		}
		return sigv4.Result{Principal: principal.Principal{Account: account, ARN: principal.RootARN(account)}, Region: "eu-test-1", Service: "gauge"}, nil
	}
	cfg := h.config()
	cfg.Services = append(cfg.Services, gauge())
	pipeline, err := aws.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.server = httptest.NewServer(pipeline)
	t.Cleanup(h.server.Close)
	return h
}

func asCBOR(path string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del("X-Amz-Target")
		r.Header.Set("Content-Type", "application/cbor")
		r.Header.Set("Smithy-Protocol", "rpc-v2-cbor")
		r.URL.Path = path
	}
}

const gaugePath = "/service/Gauge_V1/operation/"

func cborText(v cbor.Value) string { return string(cbor.Encode(v)) }

// TestProtocols: one service answers in each protocol that it speaks, and its errors are
// called as each protocol calls them.
func TestProtocols(t *testing.T) {
	h := startGauge(t)
	json10 := with("Content-Type", "application/x-amz-json-1.0")
	asQuery := func(r *http.Request) {
		form(r)
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/who/", "/gauge/", 1))
	}
	queryMode := with("X-Amzn-Query-Mode", "true")
	depth := func(n int) string { return cborText(cbor.Map{"Depth": cbor.Uint(n)}) }
	ours := "The request could not be completed because of a fault of the service. Try again; if it goes on, give the administrator the request id ID."
	errorOf := func(called, message string) string {
		return cborText(cbor.Map{"__type": cbor.String(called), "message": cbor.String(message)})
	}
	for _, tt := range []struct {
		name, target, body string
		edit               []func(*http.Request)
		status             int
		want, contentType  string
		queryError         string
	}{
		{"JSON 1.0", "Gauge_V1.ReadDepth", `{"Depth":7}`, edits(json10), 200, `{"Depth":7}`, "application/x-amz-json-1.0", ""},
		{"JSON 1.0, an error", "Gauge_V1.ReadDepth", `{"Depth":1}`, edits(json10), 400, `{"__type":"InvalidValueException","message":"too shallow"}`, "application/x-amz-json-1.0", ""},
		{"JSON 1.0 in query mode", "Gauge_V1.ReadDepth", `{"Depth":1}`, edits(json10, queryMode), 400, `{"__type":"InvalidValueException","message":"too shallow"}`, "application/x-amz-json-1.0", "InvalidValue;Sender"},
		{"JSON 1.0, not built", "Gauge_V1.SetDepth", `{}`, edits(json10), 400, `{"__type":"UnknownOperationException"}`, "application/x-amz-json-1.0", ""},
		{"JSON 1.0, another service", "Fake_V1.DockShip", `{}`, edits(json10), 404, "<UnknownOperationException/>\n", "text/xml", ""},
		{"JSON 1.1", "Gauge_V1.ReadDepth", `{"Depth":7}`, nil, 400, `{"__type":"UnknownOperationException"}`, "application/x-amz-json-1.1", ""},
		{"Query", "", "Action=ReadDepth&Version=2010-08-01&Depth=7", edits(asQuery), 200,
			`<ReadDepthResponse xmlns="https://gauge.example.com/doc/"><ReadDepthResult><Depth>7</Depth></ReadDepthResult><ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></ReadDepthResponse>`, "text/xml", ""},
		{"Query, an error", "", "Action=ReadDepth&Depth=1", edits(asQuery, queryMode), 400,
			`<ErrorResponse xmlns="https://gauge.example.com/doc/"><Error><Type>Sender</Type><Code>InvalidValue</Code><Message>too shallow</Message></Error><RequestId>ID</RequestId></ErrorResponse>`, "text/xml", ""},
		{"CBOR", "", depth(7), edits(asCBOR(gaugePath + "ReadDepth")), 200, depth(7), "application/cbor", ""},
		{"CBOR behind a prefix", "", depth(7), edits(asCBOR("/aws" + gaugePath + "ReadDepth")), 200, depth(7), "application/cbor", ""},
		{"CBOR, an error", "", depth(1), edits(asCBOR(gaugePath + "ReadDepth")), 400, errorOf("InvalidValueException", "too shallow"), "application/cbor", ""},
		{"CBOR in query mode", "", depth(1), edits(asCBOR(gaugePath+"ReadDepth"), queryMode), 400, errorOf("InvalidValueException", "too shallow"), "application/cbor", "InvalidValue;Sender"},
		{"CBOR, no body", "", "", edits(asCBOR(gaugePath+"ReadDepth"), queryMode), 400, errorOf("ValidationError", "Depth is missing"), "application/cbor", "ValidationError;Sender"},
		{"CBOR, no CBOR", "", "{}", edits(asCBOR(gaugePath+"ReadDepth"), queryMode), 400, errorOf("SerializationException", "The request body is not CBOR."), "application/cbor", "MalformedInput;Sender"},
		{"CBOR, our fault", "", depth(2), edits(asCBOR(gaugePath+"ReadDepth"), queryMode), 500, errorOf("InternalFault", ours), "application/cbor", "InternalError;Receiver"},
		{"CBOR, nobody", "", depth(7), edits(asCBOR(gaugePath+"ReadDepth"), queryMode, with("Authorization", "")), 400, errorOf("UnrecognizedClientException", "who?"), "application/cbor", "InvalidClientTokenId;Sender"},
		{"CBOR, not built", "", "", edits(asCBOR(gaugePath+"SetDepth"), queryMode), 404, cborText(cbor.Map{"__type": cbor.String("UnknownOperationException")}), "application/cbor", "InvalidAction;Sender"},
		{"CBOR, another service", "", "", edits(asCBOR("/service/Fake_V1/operation/DockShip")), 404, "<UnknownOperationException/>\n", "text/xml", ""},
		{"CBOR, no operation", "", "", edits(asCBOR("/service/Gauge_V1")), 404, "<UnknownOperationException/>\n", "text/xml", ""},
		{"CBOR, no service", "", "", edits(asCBOR("/operation/ReadDepth")), 404, "<UnknownOperationException/>\n", "text/xml", ""},
		{"CBOR by GET", "", "", edits(asCBOR(gaugePath+"ReadDepth"), func(r *http.Request) { r.Method = http.MethodGet }), 404, "<UnknownOperationException/>\n", "text/xml", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := h.call(tt.target, tt.body, tt.edit...)
			id := a.header.Get("x-amzn-RequestId")
			got := strings.ReplaceAll(a.body, id, "ID")
			if tt.contentType == "application/cbor" {
				var want, have cbor.Value
				var err error
				if have, err = cbor.Decode([]byte(a.body)); err != nil {
					t.Fatal(err)
				}
				if m, ok := have.(cbor.Map); ok {
					if text, ok := m["message"].(cbor.String); ok {
						m["message"] = cbor.String(strings.ReplaceAll(string(text), id, "ID"))
					}
				}
				if want, err = cbor.Decode([]byte(tt.want)); err != nil {
					t.Fatal(err)
				}
				got = tt.want
				if !reflect.DeepEqual(have, want) {
					t.Errorf("got %v, want %v", have, want)
				}
				if a.header.Get("Smithy-Protocol") != "rpc-v2-cbor" {
					t.Errorf("headers %v", a.header)
				}
			}
			if a.status != tt.status || got != tt.want || a.header.Get("Content-Type") != tt.contentType || a.header.Get("X-Amzn-Query-Error") != tt.queryError {
				t.Errorf("got  %d %s, %q, %q\nwant %d %s", a.status, got, a.header.Get("Content-Type"), a.header.Get("X-Amzn-Query-Error"), tt.status, tt.want)
			}
		})
	}
}

// TestProtocolsRefused: a service whose protocols could not be told apart is none.
func TestProtocolsRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*aws.Service)
		want  string
	}{
		{"none", func(s *aws.Service) { s.Protocols = aws.Protocols{} }, "needs a Protocol or Protocols"},
		{"one too many", func(s *aws.Service) { s.Protocol = json11.Protocol{} }, "and not both"},
		{"no target", func(s *aws.Service) { s.TargetPrefix = "" }, "needs a TargetPrefix"},
		{"no version", func(s *aws.Service) { s.Version = "" }, "needs a Version"},
		{"a version for nothing", func(s *aws.Service) { s.Protocols.Query = nil }, "needs a Version for Query, and for Query only"},
		{"a target for nothing", func(s *aws.Service) { s.Protocols.CBOR, s.Protocols.JSON10 = nil, nil }, "needs a TargetPrefix"},
	} {
		cfg := newHarness(t).config()
		s := gauge()
		tt.spoil(&s)
		cfg.Services = append(cfg.Services, s)
		if _, err := aws.New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestObservedInput: whoever counts calls is told what was asked and what was answered.
func TestObservedInput(t *testing.T) {
	h := newHarness(t)
	var seen []aws.Observation
	cfg := h.config()
	cfg.Hosts = name.Hosts{}
	cfg.Observe = func(_ http.ResponseWriter, o aws.Observation) { seen = append(seen, o) }
	pipeline, err := aws.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.server = httptest.NewServer(pipeline)
	t.Cleanup(h.server.Close)
	h.call("Fake_V1.DockShip", `{"shipName":"Vasa"}`)
	h.call("Fake_V1.DockShip", `{"shipName":"Vasa"`)
	if len(seen) != 2 {
		t.Fatalf("%d observations", len(seen))
	}
	in, ok := seen[0].In.(*dockInput)
	if out, isOutput := seen[0].Out.(*dockOutput); !ok || *in.ShipName != "Vasa" || !isOutput || *out.Berth != 7 {
		t.Errorf("observed %+v", seen[0])
	}
	if seen[1].In != nil || seen[1].Out != nil {
		t.Errorf("of a broken request: %+v", seen[1])
	}
}
