// Package aws is the contract of the AWS APIs, run from outside against an
// endpoint: what ECR's API and STS's GetCallerIdentity answer to signed requests,
// member by member and message by message, and what they refuse (README.md has
// the bad input as a table).
//
// The suite, Run, knows nothing of how Berth is built; it takes any endpoint.
// TestBinary runs it against the built program as well, and adds what needs a
// process: keys made and rotated, pulls recorded, both ways in, fsck. It is
// test-support code, which is why it imports testing outside a _test file. What
// the AWS CLI prints is tested in clients, the data plane in oci.
package aws
