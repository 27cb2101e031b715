package sigv4

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
)

// Kind is the class of a refusal. Each wire has its own name for it.
type Kind int

// The kinds of refusal.
const (
	// MissingAuthenticationToken is a request that carries no signature.
	MissingAuthenticationToken Kind = iota + 1
	// IncompleteSignature is a signature that cannot be read or lacks a part.
	IncompleteSignature
	// InvalidSignature is a signature that was read and is not the right one,
	// or not for this time, region or service.
	InvalidSignature
	// UnrecognizedClient is an access key or a session token that nobody has.
	UnrecognizedClient
	// ExpiredToken is a session that has ended.
	ExpiredToken
)

// JSON is the error type and the HTTP status of the kind in AWS's JSON 1.1
// protocol, as the ECR API sends them.
func (k Kind) JSON() (name string, status int) {
	switch k {
	case MissingAuthenticationToken:
		return "MissingAuthenticationTokenException", http.StatusBadRequest
	case IncompleteSignature:
		return "IncompleteSignatureException", http.StatusBadRequest
	case InvalidSignature:
		return "InvalidSignatureException", http.StatusBadRequest
	case UnrecognizedClient:
		return "UnrecognizedClientException", http.StatusBadRequest
	case ExpiredToken:
		return "ExpiredTokenException", http.StatusBadRequest
	}
	return "InternalFailure", http.StatusInternalServerError
}

// Query is the error code and the HTTP status of the kind in AWS's Query
// protocol, as IAM and STS send them.
func (k Kind) Query() (name string, status int) {
	switch k {
	case MissingAuthenticationToken:
		return "MissingAuthenticationToken", http.StatusForbidden
	case IncompleteSignature:
		return "IncompleteSignature", http.StatusBadRequest
	case InvalidSignature:
		return "SignatureDoesNotMatch", http.StatusForbidden
	case UnrecognizedClient:
		return "InvalidClientTokenId", http.StatusForbidden
	case ExpiredToken:
		return "ExpiredToken", http.StatusForbidden
	}
	return "InternalFailure", http.StatusInternalServerError
}

// Error is a refusal. Message is AWS's own text and is meant for the client; it
// never holds the signature that would have been right.
type Error struct {
	Kind    Kind
	Message string
}

// Error returns the message, with the kind's name in front.
func (e *Error) Error() string {
	name, _ := e.Kind.JSON()
	return name + ": " + e.Message
}

func refuse(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func missingToken() *Error {
	return refuse(MissingAuthenticationToken, "Missing Authentication Token")
}

func mismatch() *Error {
	return refuse(InvalidSignature, "The request signature we calculated does not match the signature you provided. "+
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
}

func unrecognized() *Error {
	return refuse(UnrecognizedClient, "The security token included in the request is invalid.")
}

func expiredToken() *Error {
	return refuse(ExpiredToken, "The security token included in the request is expired")
}

// hashed stands for an Authorization header in a message, as AWS does it: who
// sent the header can compare, and credentials of another scheme that ended up
// there do not come back in clear or land in a log.
func hashed(header string) string {
	sum := sha256.Sum256([]byte(header))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func badPair(header string) *Error {
	return refuse(IncompleteSignature,
		"Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '%s'.",
		hashed(header))
}

// incompleteHeader names every part that is missing, in one message.
func incompleteHeader(header string, credential, signature, signedHeaders, date bool) *Error {
	var b strings.Builder
	if !credential {
		b.WriteString("Authorization header requires 'Credential' parameter. ")
	}
	if !signature {
		b.WriteString("Authorization header requires 'Signature' parameter. ")
	}
	if !signedHeaders {
		b.WriteString("Authorization header requires 'SignedHeaders' parameter. ")
	}
	if !date {
		b.WriteString("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
	}
	b.WriteString("(Hashed with SHA-256 and encoded with Base64) Authorization=")
	b.WriteString(hashed(header))
	return &Error{Kind: IncompleteSignature, Message: b.String()}
}

func incompleteQuery(missing []string) *Error {
	var b strings.Builder
	for _, name := range missing {
		b.WriteString("AWS query-string parameters must include '" + name + "'. ")
	}
	b.WriteString("Re-examine the query-string parameters.")
	return &Error{Kind: IncompleteSignature, Message: b.String()}
}

func badDate(value string) *Error {
	return refuse(IncompleteSignature,
		"Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", value)
}

func unsignedHeader(names string) *Error {
	return refuse(InvalidSignature, "%s must be a 'SignedHeader' in the AWS Authorization.", names)
}
