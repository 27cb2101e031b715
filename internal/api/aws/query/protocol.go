package query

import (
	"net/http"
	"reflect"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
)

// ContentType is that of answers.
const ContentType = "text/xml"

// Protocol is the AWS Query protocol of one service.
type Protocol struct {
	// Namespace is the XML namespace of the answers:
	// "https://sts.amazonaws.com/doc/2011-06-15/".
	Namespace string
}

var _ aws.Protocol = Protocol{}

// Decode reads the form's parameters into the input, a pointer to a generated
// type. Parameters that the type does not have are skipped. A value of the wrong
// form is an aws.Fault of the kind Malformed.
func (Protocol) Decode(p aws.Payload, in any) error {
	return decode(p.Form, reflect.ValueOf(in).Elem())
}

// Encode writes an output as XML with its request id.
func (p Protocol) Encode(operation, requestID string, out any) (aws.Document, error) {
	w := &writer{}
	w.open(operation+"Response", p.Namespace)
	if v := reflect.Indirect(reflect.ValueOf(out)); v.NumField() > 0 {
		w.open(operation+"Result", "")
		w.members(v)
		w.end(operation + "Result")
	}
	w.open("ResponseMetadata", "")
	w.text("RequestId", requestID)
	w.end("ResponseMetadata")
	w.end(operation + "Response")
	return aws.Document{ContentType: ContentType, Body: w.b.Bytes()}, nil
}

// EncodeError writes an error as XML. The protocol has no room for details.
func (p Protocol) EncodeError(e aws.WireError) aws.Document {
	fault := "Sender"
	if e.Status >= http.StatusInternalServerError {
		fault = "Receiver"
	}
	w := &writer{}
	w.open("ErrorResponse", p.Namespace)
	w.open("Error", "")
	w.text("Type", fault)
	w.text("Code", e.Name)
	w.text("Message", e.Message)
	w.end("Error")
	w.text("RequestId", e.RequestID)
	w.end("ErrorResponse")
	return aws.Document{ContentType: ContentType, Body: w.b.Bytes()}
}

// Fault names a failure of the protocol.
func (Protocol) Fault(k aws.FaultKind) (name string, status int) {
	switch k {
	case aws.UnknownOperation:
		return "InvalidAction", http.StatusBadRequest
	case aws.Malformed:
		return "MalformedInput", http.StatusBadRequest
	case aws.TooLarge:
		return "RequestEntityTooLarge", http.StatusRequestEntityTooLarge
	case aws.Aborted:
		return "RequestAborted", http.StatusBadRequest
	}
	return "InternalFailure", http.StatusInternalServerError
}

// AuthFault names a refused signature.
func (Protocol) AuthFault(k sigv4.Kind) (name string, status int) { return k.Query() }
