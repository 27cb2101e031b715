// Package identity holds the contract of users, roles, accounts and policies as
// a stranger sees it: the built binary, asked by the AWS SDK, the AWS CLI, crane
// and by requests made by hand. Two accounts share a server; what each may do
// with the other's things, what a policy change does to tokens that are out
// already, and a list of attempts to get more than was given (README.md).
//
// It holds tests only. What the operations of IAM and STS answer in detail is
// checked where they are built.
package identity
