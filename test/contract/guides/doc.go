// Package guides sets every policy that Amazon's user guides of ECR and ECR
// Public print, as printed, and then does what the policy allows and what it
// refuses: through the AWS API, and as a registry client through crane and the
// harness's own.
//
// The policies are in testdata, word for word; README.md says of each where it
// is from, what had to be corrected and what is shown.
//
// It holds tests only.
package guides
