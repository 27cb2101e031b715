package aws_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestCall(t *testing.T) {
	h := newHarness(t).start()
	var got aws.Call
	h.dock = func(_ context.Context, c *aws.Call, in *dockInput) (*dockOutput, error) {
		got = *c
		return &dockOutput{Berth: p(int64(len(in.Cargo))), Crew: []string{}}, nil
	}
	a := h.call(target+"DockShip", `{"shipName":"Vasa","cargo":"aGk=","unknown":[1]}`)
	if a.status != 200 || a.body != `{"berth":2,"crew":[]}` {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	if id := a.header.Get("x-amzn-RequestId"); !uuid.MatchString(id) || id != got.RequestID {
		t.Errorf("the answer's request id is %q, the call's %q", id, got.RequestID)
	}
	if a.header.Get("Content-Type") != "application/x-amz-json-1.1" || a.header.Get("Content-Length") != strconv.Itoa(len(a.body)) {
		t.Errorf("headers %v", a.header)
	}
	if _, sent := a.header["X-Amzn-Errortype"]; sent {
		t.Error("AWS sends no x-amzn-ErrorType in this protocol")
	}
	u, _ := url.Parse(h.server.URL)
	want := aws.Call{
		Principal: got.Principal, Region: "eu-test-1", Registry: name.Registry{Account: account, Region: "eu-test-1"},
		Service: "dock", Operation: "DockShip", RequestID: got.RequestID, Host: u.Host, Scheme: "http",
		Origin: got.Origin, UserAgent: "tests/1.0", At: h.clock.Now(),
	}
	if got != want || got.Principal.Account != account || got.Origin.SourceIP.String() != "127.0.0.1" {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if r := h.asked[0]; len(r.Needs) != 3 || r.Needs[0].Action != "dock:DockShip" || r.Principal != got.Principal || r.Region != "eu-test-1" ||
		r.Origin != got.Origin || r.UserAgent != "tests/1.0" || r.Origin.Secure {
		t.Errorf("asked %+v", r)
	}
	if other := h.call(target+"DockShip", `{"shipName":"Vasa"}`); other.header.Get("x-amzn-RequestId") == a.header.Get("x-amzn-RequestId") {
		t.Error("two calls have the same request id")
	}
}

// Every refusal, in the order of the steps: what is sent, and that no later
// step was reached.
func TestRefusals(t *testing.T) {
	const good = `{"shipName":"Vasa"}`
	for _, tt := range []struct {
		name      string
		operation string
		body      string
		edit      func(*http.Request)
		prepare   func(*harness)
		status    int
		want      string // the whole body
	}{
		{name: "a browser", edit: func(r *http.Request) { r.Method = http.MethodGet; r.Header = http.Header{} }, status: 404, want: "<UnknownOperationException/>\n"},
		{name: "another method", operation: target + "DockShip", body: good, edit: func(r *http.Request) { r.Method = http.MethodPut }, status: 404, want: "<UnknownOperationException/>\n"},
		{name: "no content type", operation: target + "DockShip", body: good, edit: with("Content-Type", ""), status: 404, want: "<UnknownOperationException/>\n"},
		{name: "another content type", operation: target + "DockShip", body: good, edit: with("Content-Type", "application/json"), status: 404, want: "<UnknownOperationException/>\n"},
		{name: "a broken content type", operation: target + "DockShip", body: good, edit: with("Content-Type", ";;"), status: 404, want: "<UnknownOperationException/>\n"},
		{name: "no target", body: good, edit: with("X-Amz-Target", ""), status: 400, want: `{"__type":"UnknownOperationException"}`},
		{name: "a target of another service", operation: "Other_V1.DockShip", body: good, status: 400, want: `{"__type":"UnknownOperationException"}`},
		{name: "a target without a service", operation: "DockShip", body: good, status: 400, want: `{"__type":"UnknownOperationException"}`},

		{name: "a large body without a signature", operation: target + "DockShip", body: good + strings.Repeat(" ", 1<<20), edit: with("Authorization", ""),
			status: 413, want: `{"__type":"RequestEntityTooLargeException","message":"The request body must not be longer than 1048576 bytes."}`},
		{name: "a large body", operation: target + "ListShips", body: good + strings.Repeat(" ", 1<<20),
			status: 413, want: `{"__type":"RequestEntityTooLargeException","message":"The request body must not be longer than 1048576 bytes."}`},
		{name: "a very large body", operation: target + "DockShip", body: good + strings.Repeat(" ", 4<<20),
			status: 413, want: `{"__type":"RequestEntityTooLargeException","message":"The request body must not be longer than 4194304 bytes."}`},
		{name: "a large body of unknown length", operation: target + "ListShips", body: good + strings.Repeat(" ", 1<<20), edit: func(r *http.Request) { r.ContentLength = -1 },
			status: 413, want: `{"__type":"RequestEntityTooLargeException","message":"The request body must not be longer than 1048576 bytes."}`},

		{name: "no signature", operation: target + "DockShip", body: good, edit: with("Authorization", ""),
			status: 400, want: `{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`},
		{name: "a wrong signature", operation: target + "DockShip", body: good, prepare: refuseAuth(sigv4.InvalidSignature, "no match"),
			status: 400, want: `{"__type":"InvalidSignatureException","message":"no match"}`},
		{name: "an unknown key", operation: target + "DockShip", body: good, prepare: refuseAuth(sigv4.UnrecognizedClient, "invalid token"),
			status: 400, want: `{"__type":"UnrecognizedClientException","message":"invalid token"}`},
		{name: "an expired session", operation: target + "DockShip", body: good, prepare: refuseAuth(sigv4.ExpiredToken, "expired"),
			status: 400, want: `{"__type":"ExpiredTokenException","message":"expired"}`},
		{name: "half a signature", operation: target + "DockShip", body: good, prepare: refuseAuth(sigv4.IncompleteSignature, "half"),
			status: 400, want: `{"__type":"IncompleteSignatureException","message":"half"}`},
		{name: "signed for another service", operation: target + "DockShip", body: good, prepare: signedFor("eu-test-1", "who"),
			status: 400, want: `{"__type":"InvalidSignatureException","message":"Credential should be scoped to correct service: 'dock'. "}`},
		{name: "signed for no region", operation: target + "DockShip", body: good, prepare: signedFor("EU!", "dock"),
			status: 400, want: `{"__type":"InvalidSignatureException","message":"Credential should be scoped to a valid region. "}`},
		{name: "signed for a region that is not served", operation: target + "DockShip", body: good,
			prepare: func(h *harness) { h.regions = func(r name.Region) bool { return r == "eu-test-2" } },
			status:  400, want: `{"__type":"InvalidSignatureException","message":"Credential should be scoped to a valid region. "}`},
		{name: "signed for another region than the host's", operation: target + "DockShip", body: good,
			prepare: func(h *harness) { h.hosts = name.Hosts{Domain: "example.com"} },
			edit:    func(r *http.Request) { r.Host = "api.ecr.eu-test-2.example.com" },
			status:  400, want: `{"__type":"InvalidSignatureException","message":"Credential should be scoped to a valid region, not 'eu-test-1'. "}`},

		{name: "at the host of another service", operation: target + "DockShip", body: good,
			prepare: func(h *harness) { h.hosts = name.Hosts{Domain: "example.com"} },
			edit:    func(r *http.Request) { r.Host = "sts.eu-test-1.example.com" },
			status:  400, want: `{"__type":"UnknownOperationException"}`},

		{name: "an unknown operation without a signature", operation: target + "FlyShip", body: good, edit: with("Authorization", ""),
			status: 400, want: `{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`},
		{name: "an unknown operation", operation: target + "FlyShip", body: good, status: 400, want: `{"__type":"UnknownOperationException"}`},
		{name: "an operation that is not built", operation: target + "SinkShip", body: good, status: 400, want: `{"__type":"UnknownOperationException"}`},
		{name: "an operation in other letters", operation: target + "dockShip", body: good, status: 400, want: `{"__type":"UnknownOperationException"}`},
		{name: "a broken body", operation: target + "DockShip", body: `{"shipName"`, status: 400, want: `{"__type":"SerializationException"}`},
		{name: "an empty body", operation: target + "DockShip", body: ``, status: 400, want: `{"__type":"SerializationException"}`},
		{name: "a value of another type", operation: target + "DockShip", body: `{"shipName":7}`,
			status: 400, want: `{"__type":"SerializationException","message":"NUMBER_VALUE can not be converted to a String"}`},
		{name: "a value outside of the model's limits", operation: target + "DockShip", body: `{}`,
			status: 400, want: `{"__type":"InvalidParameterException","message":"Invalid parameter at 'shipName' failed to satisfy constraint: 'Member must not be null'"}`},
		{name: "too many calls", operation: target + "DockShip", body: good,
			prepare: func(h *harness) {
				h.admit = func(c *aws.Call) error {
					if c.Operation != "DockShip" || c.Principal.Account != account {
						return fmt.Errorf("asked for %+v", c)
					}
					return errs.New(errs.Throttled, "Rate exceeded")
				}
			},
			status: 400, want: `{"__type":"ThrottlingException","message":"Rate exceeded"}`},
		{name: "needs that cannot be told", operation: target + "DockShip", body: good,
			prepare: func(h *harness) {
				h.needs = func(*aws.Call, *dockInput) ([]authz.Need, error) {
					return nil, errs.Parameter("resourceArn", "Invalid ARN")
				}
			},
			status: 400, want: `{"__type":"InvalidParameterException","message":"Invalid parameter at 'resourceArn' failed to satisfy constraint: 'Invalid ARN'"}`},
		{name: "not allowed", operation: target + "DockShip", body: good,
			prepare: func(h *harness) {
				h.allow = func(authz.Request) error { return errs.New(errs.AccessDenied, "User: x is not authorized") }
			},
			status: 400, want: `{"__type":"AccessDeniedException","message":"User: x is not authorized"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // the server lingers after a body that it did not read
			h := newHarness(t)
			h.dock = func(context.Context, *aws.Call, *dockInput) (*dockOutput, error) {
				t.Error("the operation was carried out")
				return &dockOutput{}, nil
			}
			if tt.prepare != nil {
				tt.prepare(h)
			}
			h.start()
			edit := tt.edit
			if edit == nil {
				edit = func(*http.Request) {}
			}
			a := h.call(tt.operation, tt.body, edit)
			if a.status != tt.status || a.body != tt.want {
				t.Errorf("got  %d %s\nwant %d %s", a.status, a.body, tt.status, tt.want)
			}
			if !uuid.MatchString(a.header.Get("x-amzn-RequestId")) {
				t.Errorf("the request id is %q", a.header.Get("x-amzn-RequestId"))
			}
		})
	}
}

func refuseAuth(kind sigv4.Kind, message string) func(*harness) {
	return func(h *harness) {
		h.auth = func(*http.Request, []byte) (sigv4.Result, error) {
			return sigv4.Result{}, &sigv4.Error{Kind: kind, Message: message}
		}
	}
}

func signedFor(region, service string) func(*harness) {
	return func(h *harness) {
		inner := h.auth
		h.auth = func(r *http.Request, body []byte) (sigv4.Result, error) {
			result, err := inner(r, body)
			result.Region, result.Service = region, service
			return result, err
		}
	}
}

// What goes wrong on our side is told to the log and not to the client.
func TestFaultsOfOurs(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(*harness)
		logged  string
	}{
		{"an unknown error", failWith(errDisk), "disk on fire"},
		{"an internal error with a text", failWith(errs.Wrap(errDisk, errs.Internal, "secret text")), "secret text: disk on fire"},
		{"a panic", func(h *harness) {
			h.dock = func(context.Context, *aws.Call, *dockInput) (*dockOutput, error) { panic("at /srv/secret") }
		}, "pipeline_test.go"},
		{"no output", func(h *harness) {
			h.dock = func(context.Context, *aws.Call, *dockInput) (*dockOutput, error) { return nil, nil }
		}, "neither an output nor an error"},
		{"no needs", func(h *harness) {
			h.needs = func(*aws.Call, *dockInput) ([]authz.Need, error) { return []authz.Need{}, nil }
		}, "asks for no permission"},
		{"the keys cannot be looked up", func(h *harness) {
			h.auth = func(*http.Request, []byte) (sigv4.Result, error) { return sigv4.Result{}, errDisk }
		}, "disk on fire"},
		{"the authorizer fails", func(h *harness) { h.allow = func(authz.Request) error { return errDisk } }, "disk on fire"},
		{"the throttle fails", func(h *harness) { h.admit = func(*aws.Call) error { return errDisk } }, "disk on fire"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t)
			tt.prepare(h)
			h.start()
			a := h.call(target+"DockShip", `{"shipName":"Vasa"}`)
			id := a.header.Get("x-amzn-RequestId")
			sent := wireError(t, a)
			if a.status != 500 || sent["__type"] != "ServerException" || !strings.Contains(sent["message"].(string), id) || strings.Contains(a.body, "secret") {
				t.Errorf("got %d %s", a.status, a.body)
			}
			if log := h.log.String(); !strings.Contains(log, tt.logged) || !strings.Contains(log, id) || !strings.Contains(log, `"level":"ERROR"`) {
				t.Errorf("logged %s", log)
			}
			if e := h.entry(); e.ErrorCode != "ServerException" || e.RequestID != id || strings.Contains(e.ErrorMessage, "secret") {
				t.Errorf("recorded %+v", e)
			}
		})
	}
}

func failWith(err error) func(*harness) {
	return func(h *harness) {
		h.dock = func(context.Context, *aws.Call, *dockInput) (*dockOutput, error) { return nil, err }
	}
}

func TestErrorDetails(t *testing.T) {
	h := newHarness(t).start()
	failWith(errs.New(errs.LayerPartInvalid, "wrong part").With("uploadId", "u-1").With("lastValidByteReceived", int64(41)).With("path", "/srv/secret"))(h)
	a := h.call(target+"DockShip", `{"shipName":"Vasa"}`)
	if want := `{"__type":"InvalidLayerPartException","lastValidByteReceived":41,"message":"wrong part","uploadId":"u-1"}`; a.status != 400 || a.body != want {
		t.Errorf("got %d %s, want %s", a.status, a.body, want)
	}
	failWith(fmt.Errorf("while docking: %w", errs.New(errs.Unavailable, "draining")))(h)
	if a := h.call(target+"DockShip", `{"shipName":"Vasa"}`); a.status != 503 || a.body != `{"__type":"ServiceUnavailable","message":"draining"}` {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

// The signature covers the body, so the Authenticator has to get all of it.
func TestAuthenticatorSeesTheBody(t *testing.T) {
	h := newHarness(t)
	inner, body := h.auth, ""
	h.auth = func(r *http.Request, b []byte) (sigv4.Result, error) {
		body = string(b)
		return inner(r, b)
	}
	h.start()
	sent := `{"shipName":"` + strings.Repeat("x", 150_000) + `"}`
	for _, length := range []int64{int64(len(sent)), -1} {
		body = ""
		a := h.call(target+"DockShip", sent, func(r *http.Request) { r.ContentLength = length })
		if a.status != 200 || body != sent {
			t.Errorf("length %d: got %d, the authenticator saw %d bytes of %d", length, a.status, len(body), len(sent))
		}
	}
}

func TestBodyThatEndsEarly(t *testing.T) {
	h := newHarness(t).start()
	conn := dial(t, h.server.URL)
	conn.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: Fake_V1.DockShip\r\n" +
		"Authorization: a\r\nContent-Length: 100\r\n\r\n{\"shipName\":")
	conn.closeWrite()
	if got := conn.readAll(); !strings.Contains(got, "400 Bad Request") || !strings.Contains(got, `"__type":"RequestAbortedException"`) {
		t.Errorf("got %s", got)
	}
}

func TestClientThatWentAway(t *testing.T) {
	h := newHarness(t)
	started := make(chan struct{})
	h.dock = func(ctx context.Context, _ *aws.Call, _ *dockInput) (*dockOutput, error) {
		close(started)
		<-ctx.Done()
		return nil, fmt.Errorf("reading: %w", ctx.Err())
	}
	h.start()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, _ := http.NewRequestWithContext(ctx, http.MethodPost, h.server.URL, strings.NewReader(`{"shipName":"Vasa"}`))
		r.Header.Set("X-Amz-Target", target+"DockShip")
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("Authorization", "a")
		if resp, err := http.DefaultClient.Do(r); err == nil {
			_ = resp.Body.Close()
			t.Error("the call was answered")
		}
	}()
	<-started
	cancel()
	<-done
	h.server.Close() // waits for the call to end
	if e := h.entry(); e.ErrorCode != "RequestAbortedException" {
		t.Errorf("recorded %+v", e)
	}
	if strings.Contains(h.log.String(), "ERROR") {
		t.Errorf("logged %s", h.log.String())
	}
}
