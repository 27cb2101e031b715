// Package oidcverify verifies web identity tokens: JSON web tokens that an
// OpenID Connect issuer has signed. It reads the issuer's discovery document and
// keys over HTTPS, keeps the keys, and holds signature, issuer, audience and
// times of a token against them.
//
// It does not own which issuers are trusted (domain/principal/provider), nor
// what a token is good for (domain/principal/session).
//
// # Keys
//
// The keys of an issuer are used for an hour, then read again. A token that
// names a key which is not among them has them read at once, but not more often
// than every five seconds. While the issuer is down its last keys serve for a
// day. The keys of a bounded number of issuers are kept.
//
// # Certificates
//
// An issuer's certificate has to be valid by the roots in Config. Where it is
// not, and the provider lists thumbprints, the chain is accepted if the last
// certificate that the server presents has one of them as its SHA-1, and the
// chain is valid for the host with that certificate as its root. This is how IAM
// uses thumbprints (IAM user guide, "Obtain the thumbprint for an OpenID Connect
// identity provider"): they add to the roots, and pin nothing.
//
// # Addresses
//
// Issuers and their keys are read by https only; on loopback hosts by http too,
// which is for tests and for issuers beside the registry. A redirect is followed
// on the same scheme and host, and nowhere else.
package oidcverify
