// Package aws is the one pipeline of all AWS APIs that Berth speaks. For every
// request, in this order: request id, service and operation, body, signature,
// decoding, limits of the service model, throttle, authorization, the operation
// itself, answer, audit record. What stands in it stands nowhere else, so that
// an operation cannot forget it.
//
// It owns what an operation is (Operation, Call, Service), how several services
// share one listener, and the compatibility page. It does not own the bytes of
// the protocols (json11, query, rpccbor), the signature (sigv4), the generated shapes
// (each service's shapes_gen.go, on top of shape), the operations and their
// error names (internal/api/ecr and its siblings), nor who may do what
// (internal/domain/authz).
package aws
