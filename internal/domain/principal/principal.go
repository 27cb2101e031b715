// Package principal owns who can call: accounts, their root users and access
// keys, with the secrets sealed at rest.
//
// It does not decide what a principal may do (domain/authz), nor verify a
// signature (api/aws/sigv4).
package principal

import (
	"github.com/berth-registry/berth/internal/domain/name"
)

// Principal is an authenticated caller.
type Principal struct {
	Account name.AccountID
	// ARN names the caller: arn:aws:iam::<account>:root for the root user.
	ARN string
	// ID is IAM's unique id; the account id for the root user.
	ID string
	// AccessKeyID is the key that the call, or the call that fetched the
	// token, was signed with.
	AccessKeyID string
}

// IsRoot says whether the principal is its account's root user.
func (p Principal) IsRoot() bool {
	return p.ARN == RootARN(p.Account)
}

// RootARN is the ARN of an account's root user.
func RootARN(account name.AccountID) string {
	return "arn:aws:iam::" + string(account) + ":root"
}
