// Package usage shows from outside how a deployment tells what it is used for: CloudWatch's
// read calls in the three protocols that clients speak, Prometheus, the quotas that Service
// Quotas lists and what becomes of a request for more, and berth usage; after real pulls and
// pushes, through SIGTERM and SIGKILL, and with two nodes.
//
// README.md says which test shows what. It holds tests only.
package usage
