// Package rpccbor is the Smithy RPC v2 CBOR protocol, which CloudWatch's clients of
// today speak: it reads inputs into the generated types, writes outputs and errors, and
// knows the protocol's own error names.
//
// It does not own the types (shapes_gen.go of each service), their limits (Validate),
// the names of the services' errors nor CBOR itself, which is smithy-go's; and it finds
// no operation (see package aws).
package rpccbor
