package aws

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"

	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/domain/errs"
)

// wireError is the one place where an error becomes what a client sees. What is
// not known to be meant for the client is logged and not sent.
func (x *exchange) wireError(err error) WireError {
	e := WireError{RequestID: x.call.RequestID}
	var fault *Fault
	var refusal *sigv4.Error
	var failure *errs.Error
	switch {
	case x.r.Context().Err() != nil && errors.Is(err, context.Canceled):
		fault = &Fault{Kind: Aborted, Message: "The client went away.", Cause: err}
		e.Name, e.Status = x.fault(fault.Kind)
	case errors.As(err, &fault):
		e.Name, e.Status = x.fault(fault.Kind)
		e.Message = fault.Message
	case errors.As(err, &refusal) && x.route.protocol != nil:
		e.Name, e.Status = x.route.protocol.AuthFault(refusal.Kind)
		e.Message = refusal.Message
	case errors.As(err, &failure) && failure.Code != errs.Internal && x.route.service != nil:
		e.Name, e.Status = x.route.service.Errors(failure.Code)
		e.Message = failure.Message
		e.Detail = x.route.service.detail(e.Name, failure.Detail)
	default:
		e.Name, e.Status = "InternalFailure", http.StatusInternalServerError
		if x.route.service != nil {
			e.Name, e.Status = x.route.service.Errors(errs.Internal)
		}
		e.Message = "The request could not be completed because of a fault of the service. " +
			"Try again; if it goes on, give the administrator the request id " + x.call.RequestID + "."
	}
	if s := x.route.service; s != nil {
		e.Shape = s.shapes[e.Name]
		if e.Shape != "" && slices.Contains(s.details[e.Name], "Message") { // which is "message" in most models
			if e.Detail == nil {
				e.Detail = map[string]any{}
			}
			e.Detail["Message"] = e.Message
		}
	}
	x.log(err, e)
	return e
}

// queryError gives a client of a service that was one of the Query protocol the code
// that its programs know, where it asks for that.
func (x *exchange) queryError(h http.Header, err error, e WireError) {
	s := x.route.service
	if s == nil || s.spoken.Query == nil || x.route.query || x.r.Header.Get("X-Amzn-Query-Mode") != "true" {
		return
	}
	code, party := e.Name, "Sender"
	var fault *Fault
	var refusal *sigv4.Error
	switch {
	case errors.As(err, &fault):
		code, _ = s.spoken.Query.Fault(fault.Kind)
	case errors.As(err, &refusal):
		code, _ = s.spoken.Query.AuthFault(refusal.Kind)
	}
	if e.Status >= http.StatusInternalServerError {
		party = "Receiver"
	}
	h.Set("X-Amzn-Query-Error", code+";"+party)
}

// fault names a fault in the words of the route's protocol.
func (x *exchange) fault(kind FaultKind) (named string, status int) {
	if x.route.protocol == nil {
		return "UnknownOperationException", http.StatusNotFound
	}
	return x.route.protocol.Fault(kind)
}

// detail keeps the members that the error has in the service model; all of
// them where the service gives no model of its errors.
func (s *service) detail(errorName string, given map[string]any) map[string]any {
	if len(s.ErrorShapes) == 0 {
		return given
	}
	out := map[string]any{}
	for member, value := range given {
		if slices.Contains(s.details[errorName], member) {
			out[member] = value
		}
	}
	return out
}

// log writes a fault of ours at error level and what the caller did wrong at
// debug level, where it can be asked for.
func (x *exchange) log(err error, e WireError) {
	level, text := slog.LevelDebug, "request refused"
	if e.Status >= http.StatusInternalServerError {
		level, text = slog.LevelError, "request failed"
	}
	x.p.cfg.Log.Log(x.r.Context(), level, text,
		"requestId", x.call.RequestID, "service", x.call.Service, "operation", operationLabel(x.route.operation),
		"principal", x.call.Principal.ARN, "sourceIp", x.call.Origin.SourceIP.String(), "answer", e.Name, "error", err)
}

// maxLabel bounds an operation's name that came from outside, in bytes.
const maxLabel = 128

// operationLabel is an operation's name as logs and audit records may hold it:
// the client can have sent anything in its place.
func operationLabel(s string) string {
	if len(s) > maxLabel {
		return "Unknown"
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') {
			return "Unknown"
		}
	}
	return s
}
