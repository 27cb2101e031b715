// Package aws tests the AWS APIs from outside, as the AWS SDK for Go sees them:
// every operation that is built, the texts and types of its errors, paging, and
// limits. What the AWS CLI prints is tested in clients.
//
// It holds tests only.
package aws
