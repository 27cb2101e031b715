// Package sigv4 verifies AWS Signature Version 4 on incoming requests: the
// Authorization header and the presigned query form. It owns the exact
// canonical form that is signed, the clock rules, and the texts with which AWS
// refuses a request whose signature it does not accept.
//
// It only verifies. It does not sign, does not read the body (the pipeline has
// it in memory already and hands it in), does not know which region and service
// answer at a host (the pipeline compares them with Result.CheckScope), and does
// not decide what the caller may do (domain/authz). Where keys come from is the
// KeySource's matter.
package sigv4
