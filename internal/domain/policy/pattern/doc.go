// Package pattern owns how IAM compares texts: the wildcards * and ?, the
// segments of ARNs, the policy variables inside patterns.
//
// It does not know where a pattern stands in a policy, nor which operators there
// are (policy/condition).
package pattern
