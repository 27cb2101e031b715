// Package lifecycle looks at the rest of an image's life from outside, against a
// real server: lifecycle policies and their previews with the waiters and
// paginators of the AWS SDK, an expiry that is killed and goes on, the archive
// with real clients, and what the trail and the outbox hold afterwards.
//
// What a policy selects is domain/lifecycle/selection's corpus; the API's errors
// are the suite's in test/contract/aws.
package lifecycle
