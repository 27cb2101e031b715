package aws

import (
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// The content types of requests.
const (
	jsonType   = "application/x-amz-json-1.1"
	json10Type = "application/x-amz-json-1.0"
	formType   = "application/x-www-form-urlencoded"
)

// cborProtocol is the value of Smithy-Protocol in a CBOR call.
const cborProtocol = "rpc-v2-cbor"

// route is where a request goes: to an operation of a service, in a protocol.
type route struct {
	service   *service // nil: none was found, or not yet
	operation string   // as the client sent it
	// protocol words the errors; nil for what is no call of an AWS API.
	protocol Protocol
	// query says that the form has to be read to find the operation.
	query bool
	// version is what a Query request asked for.
	version string
}

// routeByHeader finds the route of a JSON or CBOR call. One of the Query protocol is
// only recognized: its operation stands in a form, see routeByForm.
//
// Which answer an unroutable request gets was measured on AWS: a JSON call with
// an unknown or no target has an UnknownOperationException of status 400, what
// is no JSON call by method or content type a bare XML document and 404.
func (p *Pipeline) routeByHeader(r *http.Request) route {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	target := r.Header.Get("X-Amz-Target")
	switch {
	case r.Method == http.MethodPost && kind == jsonType:
		prefix, operation, _ := cutLast(target, ".")
		out := route{operation: operation}
		for _, s := range p.services {
			if s.spoken.JSON11 == nil {
				continue
			}
			// CloudTrail's prefix is a qualified name, of which some SDKs send the end alone.
			if s.TargetPrefix == prefix || prefix != "" && strings.HasSuffix(s.TargetPrefix, "."+prefix) {
				return route{service: s, operation: operation, protocol: s.spoken.JSON11}
			}
			if out.protocol == nil {
				out.protocol = s.spoken.JSON11
			}
		}
		return out
	case r.Method == http.MethodPost && r.Header.Get("Smithy-Protocol") == cborProtocol:
		return p.routeByPath(r.URL.Path)
	case r.Method == http.MethodPost && kind == json10Type:
		prefix, operation, _ := cutLast(target, ".")
		for _, s := range p.services {
			if s.spoken.JSON10 != nil && s.TargetPrefix == prefix {
				return route{service: s, operation: operation, protocol: s.spoken.JSON10}
			}
		}
		return route{}
	case target != "":
		return route{}
	case r.Method == http.MethodPost && kind == formType, r.Method == http.MethodGet && strings.Contains(r.URL.RawQuery, "Action="):
		for _, s := range p.services {
			if s.Version != "" {
				return route{query: true, protocol: s.spoken.Query}
			}
		}
	}
	return route{}
}

// routeByPath finds the route of a CBOR call: /service/<service>/operation/<operation>,
// with anything in front of it (Smithy RPC v2 CBOR protocol, "Requests").
func (p *Pipeline) routeByPath(path string) route {
	before, operation, _ := cutLast(path, "/operation/")
	_, called, found := cutLast(before, "/service/")
	for _, s := range p.services {
		if found && s.spoken.CBOR != nil && s.TargetPrefix == called {
			return route{service: s, operation: operation, protocol: s.spoken.CBOR}
		}
	}
	return route{}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

// routeByForm finds the route of a Query call by the service that the request
// is signed for, and where that says nothing by its action and version.
func (p *Pipeline) routeByForm(x *exchange) error {
	form, err := url.ParseQuery(x.r.URL.RawQuery)
	if err == nil && x.r.Method == http.MethodPost {
		var posted url.Values
		posted, err = url.ParseQuery(string(x.body))
		for key, values := range posted {
			form[key] = values
		}
	}
	if err != nil {
		return NewFault(Malformed, "The parameters of the request cannot be read.")
	}
	x.form = form
	x.route.operation, x.route.version = form.Get("Action"), form.Get("Version")
	scope := scopeService(x.r, form)
	var byAction *service
	for _, s := range p.services {
		if s.Version == "" {
			continue
		}
		for _, signing := range s.SigningNames {
			if signing == scope {
				x.route.service, x.route.protocol = s, s.spoken.Query
				return nil
			}
		}
		if byAction == nil && s.known[x.route.operation] && (x.route.version == "" || x.route.version == s.Version) {
			byAction = s
		}
	}
	if byAction == nil {
		return x.route.unknown()
	}
	x.route.service, x.route.protocol = byAction, byAction.spoken.Query
	return nil
}

// scopeService reads the service out of a credential scope, without judging
// the signature: key/day/region/service/aws4_request.
func scopeService(r *http.Request, form url.Values) string {
	credential := form.Get("X-Amz-Credential")
	if _, after, ok := strings.Cut(r.Header.Get("Authorization"), "Credential="); ok {
		credential, _, _ = strings.Cut(after, ",")
	}
	parts := strings.Split(strings.TrimSpace(credential), "/")
	if len(parts) < 5 {
		return ""
	}
	return parts[len(parts)-2]
}

// unknown is the failure of a route without an operation.
func (rt route) unknown() error {
	if !rt.query {
		return &Fault{Kind: UnknownOperation}
	}
	version := rt.version
	if version == "" && rt.service != nil {
		version = rt.service.Version
	}
	return NewFault(UnknownOperation, "Could not find operation %s for version %s", rt.operation, version)
}

// encodeError writes an error in the words of the route's protocol.
func (rt route) encodeError(e WireError) Document {
	if rt.protocol == nil {
		return Document{ContentType: "text/xml", Body: []byte("<" + e.Name + "/>\n")}
	}
	return rt.protocol.EncodeError(e)
}
