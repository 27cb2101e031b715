package aws

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/domain/audit"
)

// Protocols are the protocols that one service speaks; nil for those that it does
// not. A service that speaks Query and another one is what AWS calls compatible with
// Query: its errors have a name of the model in the other protocols, and the code of
// Query in a header for clients that ask for that.
type Protocols struct {
	// JSON10 and JSON11 are called by X-Amz-Target and the content type
	// application/x-amz-json-1.0 or -1.1.
	JSON10, JSON11 Protocol
	// Query is called by a form.
	Query Protocol
	// CBOR is Smithy's RPC v2 CBOR, called by the header Smithy-Protocol and the
	// path /service/<TargetPrefix>/operation/<operation>.
	CBOR Protocol
}

// targeted says whether one of the protocols needs a TargetPrefix.
func (p Protocols) targeted() bool { return p.JSON10 != nil || p.JSON11 != nil || p.CBOR != nil }

// Protocol is how a service's bytes look: json11.Protocol, query.Protocol or
// rpccbor.Protocol.
type Protocol interface {
	// Decode reads the input of an operation. A payload that cannot be read is
	// a *Fault of the kind Malformed.
	Decode(p Payload, in any) error
	// Encode writes the answer of an operation.
	Encode(operation, requestID string, out any) (Document, error)
	// EncodeError writes an error.
	EncodeError(e WireError) Document
	// Fault names a failure of the protocol itself.
	Fault(k FaultKind) (name string, status int)
	// AuthFault names a refused signature.
	AuthFault(k sigv4.Kind) (name string, status int)
}

// Payload is what an input is read from: the body, and for the Query protocol
// the parameters of the form or of the query string.
type Payload struct {
	Body []byte
	Form url.Values
}

// Document is an encoded answer.
type Document struct {
	ContentType string
	Body        []byte
	// Header are further headers of the answer; nil for none.
	Header http.Header
	// Sent, if it is not nil, is called when nobody needs Body any more.
	Sent func()
}

// WireError is an error with everything that a client may see.
type WireError struct {
	Name string
	// Shape is the error's name in the service model where that is another one: in
	// the protocols of a service that is compatible with Query, other than Query.
	Shape     string
	Status    int
	Message   string // "": the error has none
	Detail    map[string]any
	RequestID string
}

// FaultKind is a way in which a request fails before any operation is reached.
// Refused signatures have kinds of their own, in sigv4.
type FaultKind int

// The kinds of faults.
const (
	// UnknownOperation is an operation that the service does not have, or that
	// is not built.
	UnknownOperation FaultKind = iota + 1
	// Malformed is a payload that cannot be read as the operation's input.
	Malformed
	// TooLarge is a body over its limit.
	TooLarge
	// Aborted is a body that ended early, or a client that went away.
	Aborted
)

// Fault is a failure of the protocol itself. Its message, which may be empty,
// is sent; its cause is not.
type Fault struct {
	Kind    FaultKind
	Message string
	Cause   error
}

// NewFault makes a fault with a formatted message.
func NewFault(kind FaultKind, format string, args ...any) *Fault {
	return &Fault{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Error is the text for the log.
func (f *Fault) Error() string {
	text := map[FaultKind]string{
		UnknownOperation: "unknown operation", Malformed: "malformed request",
		TooLarge: "request body over its limit", Aborted: "request ended early",
	}[f.Kind]
	if f.Message != "" {
		text += ": " + f.Message
	}
	if f.Cause != nil {
		text += ": " + f.Cause.Error()
	}
	return text
}

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Cause }

// Authenticator tells who signed a request. A refusal is a *sigv4.Error; any
// other error is a fault of ours. *sigv4.Verifier is one.
type Authenticator interface {
	Authenticate(ctx context.Context, r *http.Request, body []byte) (sigv4.Result, error)
}

var _ Authenticator = (*sigv4.Verifier)(nil)

// Throttle holds callers to the request rates. A refusal is an errs.Throttled.
type Throttle interface {
	Admit(ctx context.Context, c *Call) error
}

// Auditor keeps the record of a call. *audit.Trail is one.
type Auditor interface {
	Record(ctx context.Context, e audit.Entry)
}

var _ Auditor = (*audit.Trail)(nil)
