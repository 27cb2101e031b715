// Package oci is the contract of a registry's data plane, run from outside
// against an endpoint: what the OCI distribution specification 1.1 asks for,
// what the answers to bad input are (README.md has them as a table), and that
// a registry stays whole when clients are slow, wrong or gone.
//
// It knows nothing of how Berth is built; Run takes any endpoint. It is
// test-support code, which is why it imports testing outside a _test file.
package oci
