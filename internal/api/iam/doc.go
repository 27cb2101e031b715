// Package iam is the edge of the IAM API. It knows the names of all operations
// and errors, for the compatibility page; no operation is built yet.
//
// It does not own the protocol (internal/api/aws/query) nor the principals and
// policies (internal/domain/principal, internal/domain/authz).
package iam
