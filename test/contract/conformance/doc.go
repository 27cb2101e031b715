// Package conformance runs the conformance suites of the OCI distribution specification,
// the one of 2023 and the one that took its place in 2025, against the private and the
// public registry of a running server.
//
// It holds tests only. What Berth promises beyond the specification is in
// test/contract/oci.
package conformance
