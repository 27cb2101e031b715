package problem

import (
	"net/http"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Invalid refuses a parameter of the request: by the specification's own code
// with 400, or as ECR does, for which every invalid parameter is an unsupported
// operation.
func Invalid(quirks bool, code, parameter, constraint string) *Problem {
	p := &Problem{Status: http.StatusBadRequest, Code: code, Message: errs.Parameter(parameter, constraint).Message}
	if quirks {
		p.Status, p.Code = http.StatusMethodNotAllowed, Unsupported
	}
	return p
}

// Digest reads the digest that a parameter of the request is, and refuses what is none
// or cannot be verified.
func Digest(quirks bool, parameter, text string) (name.Digest, error) {
	d, err := name.ParseDigest(text)
	if err != nil {
		return "", Invalid(quirks, DigestInvalid, parameter, "must satisfy regular expression '"+name.DigestPattern+"'")
	}
	if !d.Verifiable() {
		return "", Invalid(quirks, DigestInvalid, parameter, "the digest algorithm has to be sha256 or sha512")
	}
	return d, nil
}
