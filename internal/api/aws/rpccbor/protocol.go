package rpccbor

import (
	"fmt"
	"net/http"
	"reflect"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
)

// ContentType is that of requests and answers.
const ContentType = "application/cbor"

// Protocol is the RPC v2 CBOR protocol.
type Protocol struct{}

var _ aws.Protocol = Protocol{}

// Decode reads a CBOR map into the input, a pointer to a generated type. An empty body
// is an empty map. Members that the type does not have are skipped. Anything unreadable
// is an aws.Fault of the kind Malformed.
func (Protocol) Decode(p aws.Payload, in any) error {
	if len(p.Body) == 0 {
		return nil
	}
	read, err := cbor.Decode(p.Body)
	if err != nil {
		return &aws.Fault{Kind: aws.Malformed, Message: "The request body is not CBOR.", Cause: err}
	}
	members, ok := read.(cbor.Map)
	if !ok {
		return aws.NewFault(aws.Malformed, "The request body has to be a CBOR map.")
	}
	return structInto(members, "", reflect.ValueOf(in).Elem())
}

// Encode writes an output. Absent members are left out, empty lists are kept.
func (Protocol) Encode(_, _ string, out any) (aws.Document, error) {
	v, err := valueOf(reflect.Indirect(reflect.ValueOf(out)))
	if err != nil {
		return aws.Document{}, err
	}
	return document(v), nil
}

// EncodeError writes an error with its name in __type, its message and the members of
// text that the error has besides.
func (Protocol) EncodeError(e aws.WireError) aws.Document {
	members := cbor.Map{}
	for member, value := range e.Detail {
		if v, err := valueOf(reflect.ValueOf(value)); err == nil { // what CBOR has no form for is left out
			members[member] = v
		}
	}
	members["__type"] = cbor.String(e.Name)
	if e.Shape != "" {
		members["__type"] = cbor.String(e.Shape)
	}
	if e.Message != "" {
		members["message"] = cbor.String(e.Message)
	}
	return document(members)
}

func document(v cbor.Value) aws.Document {
	return aws.Document{ContentType: ContentType, Body: cbor.Encode(v), Header: http.Header{"Smithy-Protocol": {"rpc-v2-cbor"}}}
}

// Fault names a failure of the protocol.
func (Protocol) Fault(k aws.FaultKind) (name string, status int) {
	switch k {
	case aws.UnknownOperation:
		return "UnknownOperationException", http.StatusNotFound
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

func wrong(path, wanted string) error {
	return aws.NewFault(aws.Malformed, "The member %s has to be %s.", path, wanted)
}

func unwritable(v reflect.Value) error { return fmt.Errorf("CBOR has no form for %s", v.Type()) }
