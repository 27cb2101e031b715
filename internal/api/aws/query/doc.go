// Package query is the AWS Query protocol, which STS and IAM speak: parameters
// of a form in, XML out. It reads inputs into the generated types, writes outputs
// and errors, and knows the protocol's own error names.
//
// It does not own the types (shapes_gen.go of each service), their limits
// (Validate) nor the names of the services' errors; and it finds no operation
// (see package aws).
package query
