package json11

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"sync"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
)

// ContentType is that of requests and answers of JSON 1.1, ContentType10 that of 1.0.
const (
	ContentType   = "application/x-amz-json-1.1"
	ContentType10 = "application/x-amz-json-1.0"
)

// Protocol is the AWS JSON protocol, 1.1 where nothing else is said. The versions
// differ in the content type alone.
type Protocol struct {
	// V10 says that it is JSON 1.0.
	V10 bool
}

var _ aws.Protocol = Protocol{}

// Decode reads a JSON object into the input, a pointer to a generated type.
// Members that the type does not have are skipped. Anything unreadable is an
// aws.Fault of the kind Malformed, with AWS's text where it has one.
func (Protocol) Decode(p aws.Payload, in any) error {
	return decode(p.Body, reflect.ValueOf(in).Elem())
}

// Encode writes an output. The generated tags leave out absent members and keep
// empty lists.
func (p Protocol) Encode(_, _ string, out any) (aws.Document, error) {
	memory := buffers.Get().(*[]byte)
	body, err := encode((*memory)[:0], out)
	if err != nil {
		return aws.Document{}, err
	}
	*memory = body
	return aws.Document{ContentType: p.contentType(), Body: body, Sent: func() {
		if cap(body) <= keptSize {
			buffers.Put(memory)
		}
	}}, nil
}

// buffers lends *[]byte, the memory of answers. Larger answers than keptSize, which hold
// several hundred structures, have theirs for themselves.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, firstSize)) }}

const keptSize = 256 << 10

func (p Protocol) contentType() string {
	if p.V10 {
		return ContentType10
	}
	return ContentType
}

// EncodeError writes an error with its name in __type, its message and the
// members that the error has besides.
func (p Protocol) EncodeError(e aws.WireError) aws.Document {
	members := map[string]any{}
	for member, value := range e.Detail {
		members[member] = value
	}
	members["__type"] = e.Name
	if e.Shape != "" {
		members["__type"] = e.Shape
	}
	if e.Message != "" {
		members["message"] = e.Message
	}
	body, err := marshal(members)
	if err != nil {
		// Only a detail can be what JSON has no form for.
		return p.EncodeError(aws.WireError{Name: e.Name, Shape: e.Shape, Message: e.Message})
	}
	return aws.Document{ContentType: p.contentType(), Body: body}
}

// marshal writes JSON without the escapes that are meant for HTML pages.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Fault names a failure of the protocol. That an unknown operation has the
// status 400, although AWS's pages say 404, was measured on AWS.
func (Protocol) Fault(k aws.FaultKind) (name string, status int) {
	switch k {
	case aws.UnknownOperation:
		return "UnknownOperationException", http.StatusBadRequest
	case aws.Malformed:
		return "SerializationException", http.StatusBadRequest
	case aws.TooLarge:
		return "RequestEntityTooLargeException", http.StatusRequestEntityTooLarge
	case aws.Aborted:
		return "RequestAbortedException", http.StatusBadRequest
	}
	return "InternalFailure", http.StatusInternalServerError
}

// AuthFault names a refused signature.
func (Protocol) AuthFault(k sigv4.Kind) (name string, status int) { return k.JSON() }
