// Package json11 is the AWS JSON protocol, 1.1 as ECR and ECR Public speak it, and 1.0:
// it reads inputs into the generated types, writes outputs and errors, and knows
// the protocol's own error names.
//
// It does not own the types (shapes_gen.go of each service), their limits
// (Validate) nor the names of the services' errors; and it sees no request, only
// bodies (see package aws).
package json11
