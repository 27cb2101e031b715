package aws_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

const identity = `<GetCallerIdentityResponse xmlns="https://who.example.com/doc/"><GetCallerIdentityResult>` +
	`<Account>123456789012</Account><Arn>arn:aws:iam::123456789012:root</Arn></GetCallerIdentityResult>` +
	`<ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></GetCallerIdentityResponse>`

func queryError(kind, code, message string) string {
	return `<ErrorResponse xmlns="https://who.example.com/doc/"><Error><Type>` + kind + `</Type><Code>` + code + `</Code><Message>` + message +
		`</Message></Error><RequestId>ID</RequestId></ErrorResponse>`
}

// Query calls, found by form, query string, credential scope or action.
func TestQueryCalls(t *testing.T) {
	// An Authorization whose scope names no service of the pipeline.
	strange := with("Authorization", "AWS4-HMAC-SHA256 Credential=AKID/20261121/eu-test-1/who/aws4_request/extra, who")
	for _, tt := range []struct {
		name    string
		body    string
		edit    []func(*http.Request)
		prepare func(*harness)
		status  int
		want    string
	}{
		{name: "form", body: "Action=GetCallerIdentity&Version=2011-06-15", status: 200, want: identity},
		{name: "the action in the query string of a POST", body: "Version=2011-06-15", edit: edits(rawQuery("Action=GetCallerIdentity")), status: 200, want: identity},
		{name: "the form before the query string", body: "Action=GetCallerIdentity&Version=2011-06-15", edit: edits(rawQuery("Action=Nothing")), status: 200, want: identity},
		{name: "GET", edit: edits(get, rawQuery("Action=GetCallerIdentity&Version=2011-06-15")), status: 200, want: identity},
		{name: "no version", body: "Action=GetCallerIdentity", status: 200, want: identity},
		{name: "found by action and version", body: "Action=GetCallerIdentity&Version=2011-06-15", edit: edits(strange), status: 200, want: identity},
		{name: "found by a presigned scope",
			edit:   edits(get, with("Authorization", "a/who/b"), rawQuery("Action=Nope&Version=2011-06-15&X-Amz-Credential=AKID%2F20261121%2Feu-test-1%2Fwho%2Faws4_request&X-Amz-Signature=0")),
			status: 400, want: queryError("Sender", "InvalidAction", "Could not find operation Nope for version 2011-06-15")},
		{name: "a known action that is not built", body: "Action=AssumeRole&Version=2011-06-15",
			status: 400, want: queryError("Sender", "InvalidAction", "Could not find operation AssumeRole for version 2011-06-15")},
		{name: "an unknown action", body: "Action=Nope&Version=2011-06-15",
			status: 400, want: queryError("Sender", "InvalidAction", "Could not find operation Nope for version 2011-06-15")},
		{name: "an unknown action of no service", body: "Action=Nope&Version=2011-06-15", edit: edits(strange),
			status: 400, want: queryError("Sender", "InvalidAction", "Could not find operation Nope for version 2011-06-15")},
		{name: "a known action of another version", body: "Action=GetCallerIdentity&Version=2010-05-08", edit: edits(strange),
			status: 400, want: queryError("Sender", "InvalidAction", "Could not find operation GetCallerIdentity for version 2010-05-08")},
		{name: "no action", body: "Version=2011-06-15",
			status: 400, want: queryError("Sender", "InvalidAction", "Could not find operation  for version 2011-06-15")},
		{name: "an action that is markup", body: "Action=%3Cb%3E",
			status: 400, want: queryError("Sender", "InvalidAction", "Could not find operation &lt;b&gt; for version 2011-06-15")},
		{name: "a broken form", body: "Action=%zz",
			status: 400, want: queryError("Sender", "MalformedInput", "The parameters of the request cannot be read.")},
		{name: "a value of another type", body: "Action=GetCallerIdentity&Depth=deep",
			status: 400, want: queryError("Sender", "MalformedInput", "The parameter Depth has to be an integer.")},
		{name: "a large body", body: "Action=GetCallerIdentity&X=" + strings.Repeat("x", 1<<20),
			status: 413, want: queryError("Sender", "RequestEntityTooLarge", "The request body must not be longer than 1048576 bytes.")},
		{name: "no signature", body: "Action=GetCallerIdentity", edit: edits(with("Authorization", "")),
			status: 403, want: queryError("Sender", "MissingAuthenticationToken", "Missing Authentication Token")},
		{name: "a wrong signature", body: "Action=GetCallerIdentity", prepare: refuseAuth(sigv4.InvalidSignature, "no match"),
			status: 403, want: queryError("Sender", "SignatureDoesNotMatch", "no match")},
		{name: "an unknown key", body: "Action=GetCallerIdentity", prepare: refuseAuth(sigv4.UnrecognizedClient, "invalid"),
			status: 403, want: queryError("Sender", "InvalidClientTokenId", "invalid")},
		{name: "not allowed", body: "Action=GetCallerIdentity",
			prepare: func(h *harness) { h.allow = func(authz.Request) error { return errs.New(errs.AccessDenied, "no") } },
			status:  403, want: queryError("Sender", "AccessDenied", "no")},
		{name: "a global service takes any region", body: "Action=GetCallerIdentity",
			prepare: func(h *harness) {
				h.hosts = name.Hosts{Domain: "example.com"}
				h.regions = func(name.Region) bool { return false }
			},
			edit: edits(func(r *http.Request) { r.Host = "sts.eu-test-2.example.com" }), status: 200, want: identity},
		{name: "another content type", body: "Action=GetCallerIdentity", edit: edits(with("Content-Type", "text/plain")),
			status: 404, want: "<UnknownOperationException/>\n"},
		{name: "GET without an action", edit: edits(get, rawQuery("Version=2011-06-15")), status: 404, want: "<UnknownOperationException/>\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t)
			if tt.prepare != nil {
				tt.prepare(h)
			}
			h.start()
			a := h.call("", tt.body, append(edits(form), tt.edit...)...)
			id := a.header.Get("x-amzn-RequestId")
			if got := strings.ReplaceAll(a.body, id, "ID"); a.status != tt.status || got != tt.want || !uuid.MatchString(id) {
				t.Errorf("got  %d %s\nwant %d %s", a.status, got, tt.status, tt.want)
			}
			if got := a.header.Get("Content-Type"); got != "text/xml" {
				t.Errorf("content type %q", got)
			}
		})
	}
}

func edits(e ...func(*http.Request)) []func(*http.Request) { return e }

func get(r *http.Request) {
	r.Method = http.MethodGet
	r.Body, r.ContentLength = http.NoBody, 0
	r.Header.Del("Content-Type")
}

func rawQuery(q string) func(*http.Request) {
	return func(r *http.Request) { r.URL.RawQuery = q }
}

// A service of the Query protocol is not reached by a JSON target, nor the
// other way round.
func TestProtocolsDoNotMix(t *testing.T) {
	h := newHarness(t).start()
	if a := h.call("2011-06-15.GetCallerIdentity", `{}`); a.status != 400 || a.body != `{"__type":"UnknownOperationException"}` {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if a := h.call("", "Action=DockShip&shipName=Vasa", form); a.status != 400 || !strings.Contains(a.body, "InvalidAction") {
		t.Errorf("got %d %s", a.status, a.body)
	}
}
