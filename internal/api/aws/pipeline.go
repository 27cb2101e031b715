package aws

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// exchange is one request on its way through the pipeline. The steps fill it in
// from top to bottom; what a refused request did not reach stays empty.
type exchange struct {
	p     *Pipeline
	r     *http.Request
	call  Call
	route route
	body  []byte
	held  int64 // of bodyMemory
	form  url.Values
	in    any
	needs []authz.Need
	row   Operation
}

// ServeHTTP answers one call.
func (p *Pipeline) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{p: p, r: r}
	defer func() { p.bodies.done(x.held) }()
	x.call = Call{
		RequestID: newRequestID(),
		Host:      r.Host,
		Scheme:    "http",
		Origin:    p.origin(r),
		UserAgent: r.UserAgent(),
		At:        p.cfg.Clock.Now(),
	}
	if x.call.Origin.Secure {
		x.call.Scheme = "https"
	}
	out, doc, err := x.run(w)
	status := http.StatusOK
	var failed WireError
	if err != nil {
		failed = x.wireError(err)
		status, doc = failed.Status, x.route.encodeError(failed)
		x.queryError(w.Header(), err, failed)
	}
	// The record comes before the answer, so that nobody acts on an answer
	// that the trail does not have.
	x.record(out, failed)
	if refusal := (*errs.Error)(nil); errors.As(err, &refusal) {
		if encoded, ok := refusal.Detail[authz.MessageDetail].(string); ok {
			w.Header().Set(authorizationMessage, encoded)
		}
	}
	x.observe(w, status, failed.Name, out, err)
	write(w, x.call.RequestID, status, doc)
}

// authorizationMessage is the header that a refusal has its encoded message in;
// `aws sts decode-authorization-message` opens it.
const authorizationMessage = "X-Berth-Authorization-Message"

// origin is where a request came from: Config.Origin's answer, or what the
// connection says.
func (p *Pipeline) origin(r *http.Request) authz.Origin {
	if p.cfg.Origin != nil {
		return p.cfg.Origin(r)
	}
	return authz.Origin{SourceIP: sourceIP(r.RemoteAddr), Secure: r.TLS != nil}
}

// write is the only place that writes an answer.
func write(w http.ResponseWriter, requestID string, status int, doc Document) {
	h := w.Header()
	h.Set("x-amzn-RequestId", requestID)
	h.Set("Content-Type", doc.ContentType)
	h.Set("Content-Length", strconv.Itoa(len(doc.Body)))
	maps.Copy(h, doc.Header)
	w.WriteHeader(status)
	_, _ = w.Write(doc.Body) // a client that went away cannot be told so
	if doc.Sent != nil {
		doc.Sent()
	}
}

// run takes the request through all steps up to the encoded answer. A panic
// becomes an error, which is logged with its stack.
func (x *exchange) run(w http.ResponseWriter) (out any, doc Document, err error) {
	defer func() {
		if v := recover(); v != nil {
			if v == http.ErrAbortHandler {
				panic(v)
			}
			out, err = nil, fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	if out, err = x.perform(w); err != nil {
		return nil, Document{}, err
	}
	doc, err = x.route.protocol.Encode(x.call.Operation, x.call.RequestID, out)
	return out, doc, err
}

// perform is run up to the operation's output.
func (x *exchange) perform(w http.ResponseWriter) (any, error) {
	x.route = x.p.routeByHeader(x.r)
	if x.route.service == nil && !x.route.query {
		return nil, &Fault{Kind: UnknownOperation}
	}
	if err := x.readBody(w); err != nil {
		return nil, err
	}
	if x.route.query {
		if err := x.p.routeByForm(x); err != nil {
			return nil, err
		}
	}
	if !x.atItsHost() {
		return nil, x.route.unknown()
	}
	x.call.Service, x.call.Operation = x.route.service.Name, x.route.operation
	var built bool
	x.row, built = x.route.service.rows[x.route.operation]
	open := built && x.row.Needs == nil
	if !open {
		if err := x.authenticate(); err != nil {
			return nil, err
		}
	}
	if !built { // strangers are not told what is
		return nil, x.route.unknown()
	}
	if err := x.decode(); err != nil {
		return nil, err
	}
	ctx := x.r.Context()
	if x.p.cfg.Throttle != nil {
		if err := x.p.cfg.Throttle.Admit(ctx, &x.call); err != nil {
			return nil, err
		}
	}
	if x.row.Prepare != nil {
		if err := x.row.Prepare(ctx, &x.call, x.in); err != nil {
			return nil, err
		}
	}
	if !open {
		if err := x.authorize(ctx); err != nil {
			return nil, err
		}
	}
	return x.row.Do(ctx, &x.call, x.in)
}

// atItsHost says whether the host is the service's, or one that names no service.
func (x *exchange) atItsHost() bool {
	kind := x.p.cfg.Hosts.Parse(x.r.Host).Kind
	return kind == name.HostAny || x.route.service.Host == name.HostAny || kind == x.route.service.Host
}

// readBody reads the whole body, which the signature covers, within the limit
// of the operation. A request without a trace of a signature is not worth the
// large limits.
func (x *exchange) readBody(w http.ResponseWriter) error {
	limit := int64(DefaultBodyLimit)
	if s := x.route.service; s != nil && signed(x.r) {
		if own, ok := s.BodyLimits[x.route.operation]; ok {
			limit = own
		}
	}
	tooLarge := NewFault(TooLarge, "The request body must not be longer than %d bytes.", limit)
	if x.r.ContentLength > limit {
		return tooLarge
	}
	body := http.MaxBytesReader(w, x.r.Body, limit)
	var err error
	x.body, x.held, err = x.p.bodies.read(x.r.Context(), body)
	var over *http.MaxBytesError
	var refusal *errs.Error
	switch {
	case errors.As(err, &over):
		return tooLarge
	case errors.As(err, &refusal):
		return err
	case err != nil:
		return &Fault{Kind: Aborted, Message: "The request body ended early.", Cause: err}
	}
	return nil
}

// signed says whether the request carries anything that could be a signature.
func signed(r *http.Request) bool {
	return r.Header.Get("Authorization") != "" || strings.Contains(r.URL.RawQuery, "X-Amz-Signature=")
}

// authenticate finds the caller and holds the scope of the signature against
// the service and the host.
func (x *exchange) authenticate() error {
	s := x.route.service
	result, err := x.p.cfg.Authenticator.Authenticate(x.r.Context(), x.r, x.body)
	if err != nil {
		return err
	}
	wanted := s.SigningNames[0]
	if slices.Contains(s.SigningNames, result.Service) {
		wanted = result.Service
	}
	var region name.Region
	if !s.Global {
		region = x.p.cfg.Hosts.Parse(x.r.Host).Region
	}
	if err := result.CheckScope(region, wanted); err != nil {
		return err
	}
	signedFor, err := name.ParseRegion(result.Region)
	if err != nil || !s.Global && s.Regions == nil && x.p.cfg.Regions != nil && !x.p.cfg.Regions(signedFor) {
		return &sigv4.Error{Kind: sigv4.InvalidSignature, Message: "Credential should be scoped to a valid region. "}
	}
	x.call.Principal = result.Principal
	if p := x.p.cfg.Used; p != nil {
		p(result.AccessKeyID, result.Region, s.Name)
	}
	x.call.Region = signedFor
	x.call.Registry = name.Registry{Account: result.Principal.Account, Region: signedFor}
	if s.Regions != nil { // whoever is refused stands in the audit record
		return s.Regions(signedFor)
	}
	return nil
}

// decode reads the input and holds it against the service model.
func (x *exchange) decode() error {
	in := x.row.New()
	if err := x.route.protocol.Decode(Payload{Body: x.body, Form: x.form}, in); err != nil {
		return err
	}
	x.in = in
	// The input has what it needs of the body; an upload's is large.
	x.body = nil
	return in.(validator).Validate()
}

// authorize asks for everything that the row needs.
func (x *exchange) authorize(ctx context.Context) error {
	needs, err := x.row.Needs(&x.call, x.in)
	if err != nil {
		return err
	}
	x.needs = needs
	if len(needs) == 0 {
		return fmt.Errorf("%s asks for no permission", x.row.Name)
	}
	return x.p.cfg.Authorizer.Authorize(ctx, authz.Request{
		Principal: x.call.Principal,
		Needs:     needs,
		Region:    x.call.Region,
		Origin:    x.call.Origin,
		UserAgent: x.call.UserAgent,
	})
}

// newRequestID returns a random UUID, the form of AWS's request ids.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand does not fail
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// sourceIP is the address of the peer; the zero address where it has none.
func sourceIP(remote string) netip.Addr {
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return ap.Addr().Unmap()
	}
	a, _ := netip.ParseAddr(remote)
	return a.Unmap()
}
