// Package policy owns the IAM policy language: it parses and validates policies
// strictly, compiles them once, decides with them what a caller may do, and
// explains the decision. Everything here is a pure function of its arguments.
//
// It does not own where policies are stored and which of them bind a caller
// (domain/authz), the values of condition keys, the lengths that services admit,
// nor which actions exist. How texts are compared is policy/pattern's, the
// operators are policy/condition's, the strict JSON is policy/jsontree's.
package policy
