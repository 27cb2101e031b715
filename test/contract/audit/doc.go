// Package audit holds the contract of the audit trail as an auditor sees it: the built
// binary, used by docker and the AWS CLI, and asked afterwards who did what; trails whose
// files are read back, altered and checked with berth audit verify; and what is left of
// the trail after kill -9 (README.md).
//
// It holds tests only. What each operation of CloudTrail answers in detail is checked
// where it is built.
package audit
