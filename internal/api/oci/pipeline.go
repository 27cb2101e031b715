package oci

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/api/oci/front"
	"github.com/berth-registry/berth/internal/api/oci/observation"
	"github.com/berth-registry/berth/internal/api/oci/problem"
	"github.com/berth-registry/berth/internal/api/oci/token"
	"github.com/berth-registry/berth/internal/api/oci/trail"
	"github.com/berth-registry/berth/internal/api/oci/transfer"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// Repositories finds repositories.
type Repositories interface {
	// Get returns errs.RepositoryNotFound.
	Get(ctx context.Context, reg name.Registry, repo name.Repository) (repository.Repository, error)
	// List returns up to limit repositories after the given name, in byte order.
	List(ctx context.Context, reg name.Registry, after name.Repository, limit int) ([]repository.Repository, error)
}

// Registries says how a registry is set up; *registry.Service does, out of memory.
type Registries interface {
	Access(ctx context.Context, reg name.Registry) (registry.Access, error)
}

// Audit takes the record of a call.
type Audit interface {
	Record(ctx context.Context, e audit.Entry)
}

// Config is what an API stands on. Everything is needed but what says its
// default.
type Config struct {
	// Resolve says which registry a request addresses and under which base
	// URL (scheme://host[:port]) the client reached it. ok is false for a
	// host that is no registry of this deployment.
	Resolve func(*http.Request) (reg name.Registry, base string, ok bool)
	Tokens  token.Verifier
	// Front is the kind of registries that this is, in the place of Resolve, Tokens
	// and Throttle; nil: private ones.
	Front        front.Front
	Authorizer   authz.Authorizer
	Registries   Registries
	Repositories Repositories
	Layers       Layers
	Images       Images
	Audit        Audit
	Log          *slog.Logger
	Clock        clock.Clock
	// ManifestBytes bounds a manifest, in bytes.
	ManifestBytes int
	// Quirks asks for ECR's ways where they break the specification.
	Quirks bool
	// Mounting lets pushes mount layers from other repositories of a registry whose
	// account setting BLOB_MOUNTING is not set.
	Mounting bool
	// Templates makes repositories that a push does not find; nil: none are made.
	Templates Templates
	// Cache answers pulls out of upstream registries; nil: no pull goes there.
	Cache Cache
	// Gate refuses to hand out an image with errs.PullBlocked; nil: all are handed out.
	Gate Gate
	// Throttle admits a caller's request for an action in the addressed region, now
	// or after a wait, or refuses it with errs.Throttled; nil admits everything.
	Throttle func(ctx context.Context, caller name.AccountID, addressed name.Region, action string) error
	// Pulled is told of every manifest that a pull gets, by the id of the repository;
	// nil: nobody is.
	Pulled func(repository int64)
	// Draining says that the server is stopping; nil: never.
	Draining func() bool
	// Origin says where a request came from; nil takes the connection's word.
	Origin func(*http.Request) authz.Origin
	// Stall is how long a transfer may stand still; 0: transfer.DefaultStall.
	Stall time.Duration
	// Observe is told of every request before it is answered; nil: nobody is.
	Observe func(http.ResponseWriter, observation.Request)
}

// API serves /v2/.
type API struct {
	c       Config
	front   front.Front
	table   table
	buffers sync.Pool
	calls   sync.Pool // of *call
}

var _ http.Handler = (*API)(nil)

// New builds the API. It fails when the configuration has a hole or a route
// says no needs.
func New(c Config) (*API, error) {
	private := c.Front == nil
	for what, missing := range map[string]bool{
		"Resolve": private && c.Resolve == nil, "Tokens": private && c.Tokens == nil, "Authorizer": c.Authorizer == nil, "Repositories": c.Repositories == nil, "Registries": c.Registries == nil,
		"Layers": c.Layers == nil, "Images": c.Images == nil, "Audit": c.Audit == nil, "Log": c.Log == nil, "Clock": c.Clock == nil,
		"ManifestBytes": c.ManifestBytes <= 0,
	} {
		if missing {
			return nil, fmt.Errorf("oci.Config.%s is not set", what)
		}
	}
	if c.Stall <= 0 {
		c.Stall = transfer.DefaultStall
	}
	if c.Draining == nil {
		c.Draining = func() bool { return false }
	}
	if c.Origin == nil {
		c.Origin = front.Connection
	}
	if private {
		c.Front = front.Private{Resolve: c.Resolve, Tokens: c.Tokens, Throttle: c.Throttle}
	}
	t, err := newTable(served(c.Front, rows()), openRows())
	if err != nil {
		return nil, err
	}
	a := &API{c: c, front: c.Front, table: t}
	a.buffers.New = func() any {
		b := make([]byte, transfer.BufferSize)
		return &b
	}
	a.calls.New = func() any { return &call{params: map[string]any{}, header: http.Header{}} }
	return a, nil
}

// What all answers have; nobody writes to it.
var distribution, noSniff = []string{"registry/2.0"}, []string{"nosniff"}

// ServeHTTP is the pipeline. Every request under /v2/ passes it from top to
// bottom; rows see only what came through.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := a.begin(w, r)
	a.serve(r.Context(), w, c)
	a.end(c)
}

func (a *API) serve(ctx context.Context, w http.ResponseWriter, c *call) {
	h := w.Header()
	h["Docker-Distribution-Api-Version"], h["X-Content-Type-Options"] = distribution, noSniff
	h["X-Amzn-Requestid"] = []string{c.requestID}

	the, resp, err := a.answer(ctx, c)
	answer := transfer.Answer{Status: resp.status, Header: resp.header, Body: resp.body, Size: resp.size}
	if err == nil && resp.content != nil {
		defer func() { _ = resp.content.Close() }() // it was only read
		answer.Content = resp.content
		if err = answer.Prepare(); errors.Is(err, errors.ErrUnsupported) {
			buffer := a.buffers.Get().(*[]byte)
			defer a.buffers.Put(buffer)
			err = answer.Begin(*buffer)
		}
	}
	// The record comes before the answer, so that nobody acts on an answer
	// that the trail does not have.
	if err != nil {
		p := a.explain(c, err)
		if encoded := token.EncodedMessage(err); encoded != "" {
			h.Set(token.MessageHeader, encoded)
		}
		a.record(ctx, c, the, resp, &p)
		a.observe(w, c, the, 0, p.Status, p.Code, err)
		a.refuse(w, c, resp, p)
		return
	}
	a.record(ctx, c, the, resp, nil)
	a.observe(w, c, the, resp.elsewhere, resp.status, "", nil)
	if !c.body.End(c.hasBody() && resp.content == nil) {
		h.Set("Connection", "close")
	}
	err = answer.Write(w, &c.rc, c.r.Method, a.c.Stall)
	if n := answer.Sent + resp.elsewhere; n > 0 && c.meter != nil {
		c.meter(n)
	}
	if err != nil {
		a.brokeOff(c, err)
	}
}

// answer takes the request through everything up to its row's answer. A panic
// becomes an error, which is logged with its stack.
func (a *API) answer(ctx context.Context, c *call) (the row, resp response, err error) {
	defer func() {
		if v := recover(); v != nil {
			resp, err = response{}, fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	if a.c.Draining() {
		return row{}, response{}, errs.New(errs.Unavailable, "The registry is stopping. Try again.")
	}
	var ok bool
	if c.registry, c.base, ok = a.front.Reach(c.r); !ok {
		return row{}, response{}, &problem.Problem{Status: http.StatusNotFound, Code: problem.NameUnknown, Message: "This host is no registry"}
	}
	if c.caller, err = a.front.Authenticate(ctx, c.r, c.registry); err != nil {
		return row{}, response{}, err
	}
	c.meter = a.front.Meter(c.caller, c.origin)
	the, ok = a.table.find(c.Kind, c.r.Method)
	switch {
	case !ok:
		return row{}, response{}, problem.NoRoute(a.table.allow[c.Kind])
	case the.Needs == nil: // an open row
		resp, err = the.Do(a, ctx, c)
		return the, resp, err
	}
	if !the.AnyRegistry {
		if err := a.locate(ctx, c); err != nil {
			return the, response{}, err
		}
	}
	c.params["registryId"] = c.registry.Account
	if err := a.throttle(ctx, c, the); err != nil {
		return the, response{}, err
	}
	if err := a.authorize(ctx, c, the.Needs(c)); err != nil {
		return the, response{}, err
	}
	if !the.AnyRegistry {
		c.repository, err = a.c.Repositories.Get(ctx, c.registry, c.repo)
		if the.Creates && errs.Is(err, errs.RepositoryNotFound) {
			err = a.createOnPush(ctx, c, err)
		}
		if the.Imports {
			err = a.cover(ctx, c, err)
		}
		if err != nil {
			return the, response{}, err
		}
	}
	if the.MayAlso != nil {
		if err := a.findSource(ctx, c); err != nil {
			return the, response{}, err
		}
		if needs := the.MayAlso(c); len(needs) > 0 {
			switch err := a.authorize(ctx, c, needs); {
			case err == nil:
				c.alsoAllowed = true
			case !errs.Is(err, errs.AccessDenied):
				return the, response{}, err
			}
		}
	}
	resp, err = the.Do(a, ctx, c)
	return the, resp, err
}

// locate finds the registry and the repository that the path names.
func (a *API) locate(ctx context.Context, c *call) error {
	reg, called, err := a.front.Locate(ctx, c.registry, c.Name)
	if err != nil {
		return err
	}
	c.registry = reg
	if c.repo, err = name.ParseRepository(called); err != nil {
		return problem.InvalidRepository(a.c.Quirks)
	}
	c.params["repositoryName"] = c.repo
	return nil
}

// throttle has the request admitted as its row's operation, and as those that it
// does besides. A token taken for the first is not given back when the second is
// refused: the client asks for both again.
func (a *API) throttle(ctx context.Context, c *call, the row) error {
	ask := front.Ask{Caller: c.caller, Origin: c.origin, Registry: c.registry, Method: c.r.Method, Action: the.Name}
	if err := a.front.Admit(ctx, ask); err != nil || the.Also == nil {
		return err
	}
	for _, ask.Action = range the.Also(c) {
		if err := a.front.Admit(ctx, ask); err != nil {
			return err
		}
	}
	return nil
}

func (a *API) authorize(ctx context.Context, c *call, needs []authz.Need) error {
	if len(needs) == 0 {
		return errors.New("a route answered no needs for a request")
	}
	needs, err := a.front.Needs(c.caller, needs)
	if err != nil || len(needs) == 0 {
		return err
	}
	return a.c.Authorizer.Authorize(ctx, authz.Request{
		Principal: c.caller, Needs: needs, Region: a.front.Service(c.registry).Region,
		Origin: c.origin, UserAgent: c.r.UserAgent(),
	})
}

// explain turns the error of a call into what its client is told, and logs
// what the client is not told.
func (a *API) explain(c *call, err error) problem.Problem {
	// What broke the request's body explains whatever the domain says of it.
	if broken := c.body.Broken(); broken != nil {
		err = problem.OfBody(transfer.Stalled(broken), a.c.Stall)
	}
	var p problem.Problem
	switch {
	case c.r.Context().Err() != nil && errors.Is(err, context.Canceled):
		p = problem.Problem{Status: statusClientGone, Code: problem.Unknown, Message: "The client went away"}
	default:
		p = problem.Of(err, c.Kind, a.c.Quirks, c.requestID)
	}
	level, text := slog.LevelDebug, "request refused"
	if p.Status >= http.StatusInternalServerError && p.Status != http.StatusServiceUnavailable {
		level, text = slog.LevelError, "request failed"
	}
	a.c.Log.Log(c.r.Context(), level, text, "requestId", c.requestID, "method", c.r.Method, "path", c.r.URL.Path,
		"principal", c.caller.ARN, "status", p.Status, "error", err)
	return p
}

// statusClientGone stands in logs for an answer that nobody reads.
const statusClientGone = 499

// refuse writes the answer of a call that failed.
func (a *API) refuse(w http.ResponseWriter, c *call, resp response, p problem.Problem) {
	// A client that waits for "100 Continue" has not sent its body, and one
	// without a token is not worth reading.
	if c.caller.ARN != "" && c.hasBody() && c.r.Header.Get("Expect") == "" {
		c.body.Drain()
	}
	if !c.body.End(c.hasBody()) {
		w.Header().Set("Connection", "close")
	}
	if p.Status == http.StatusUnauthorized {
		a.front.Challenge(w, c.base)
		return
	}
	if resp.content == nil { // else the headers speak of content that does not come
		maps.Copy(w.Header(), resp.header)
	}
	problem.Write(w, p)
}

// brokeOff logs an answer that was not sent whole.
func (a *API) brokeOff(c *call, err error) {
	level := slog.LevelInfo
	var failure *transfer.ContentError
	if errors.As(err, &failure) && c.r.Context().Err() == nil {
		level = slog.LevelError // the content failed, not the client
	}
	a.c.Log.Log(c.r.Context(), level, "transfer broke off", "requestId", c.requestID, "path", c.r.URL.Path, "principal", c.caller.ARN, "error", err)
}

// record writes the audit entry of a call that stood for an operation. Calls
// without a token that holds are not recorded, as CloudTrail does not: anybody
// could fill the trail with them.
func (a *API) record(ctx context.Context, c *call, the row, resp response, p *problem.Problem) {
	if the.Name == "" || c.caller.ARN == "" {
		return
	}
	e := a.entry(c, the.Name)
	e.ReadOnly = the.ReadOnly
	if resp.event != "" {
		e.EventName = resp.event
	}
	if p != nil {
		e.ErrorCode, e.ErrorMessage = p.Code, p.Message
	}
	trail.Fill(a.c.Log, &e, c.params, resp.elements)
	a.c.Audit.Record(context.WithoutCancel(ctx), e) // kept also when the client has gone
}

// entry is an audit entry with what follows from the call alone.
func (a *API) entry(c *call, event string) audit.Entry {
	return trail.Call{
		At: c.at, ID: c.requestID, Service: a.front.Service(c.registry), Registry: c.registry, Repository: c.repo,
		Caller: c.caller, Origin: c.origin, UserAgent: c.r.UserAgent(),
	}.Entry(event)
}

// jsonResponse is a 200 with a JSON document.
func jsonResponse(contentType string, v any) (response, error) {
	body, err := transfer.JSON(v)
	if err != nil {
		return response{}, err
	}
	return response{status: http.StatusOK, header: http.Header{"Content-Type": {contentType}}, body: body, size: int64(len(body))}, nil
}
