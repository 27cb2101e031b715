// Package token is how a client of the registry says who it is: the password of
// an authorization token behind the user name AWS, and the answer to one who does
// not say it.
//
// It does not own tokens (domain/principal), nor what their holders may do
// (domain/authz).
package token

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/berth-registry/berth/internal/api/oci/problem"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// Verifier verifies the password part of authorization tokens.
type Verifier interface {
	// Verify names the principal that fetched the token. It returns
	// errs.TokenExpired for a token past its life and errs.AccessDenied for
	// what is no token for this region or names nobody any more.
	Verify(ctx context.Context, password string, region name.Region) (principal.Principal, error)
	// VerifyToken is the same for a whole token: base64 of "AWS:" and the password.
	VerifyToken(ctx context.Context, token string, region name.Region) (principal.Principal, error)
}

// MessageHeader is the header that a refusal has its encoded message in;
// `aws sts decode-authorization-message` opens it.
const MessageHeader = "X-Berth-Authorization-Message"

// EncodedMessage is the encoded message of a refused permission, "" for none.
func EncodedMessage(err error) string {
	var refusal *errs.Error
	if !errors.As(err, &refusal) {
		return ""
	}
	encoded, _ := refusal.Detail[authz.MessageDetail].(string) // "" where there is none
	return encoded
}

// scheme is what stands in front of the token, in whatever case.
const scheme = "Basic "

// unauthorized refuses a request without a token that holds. Its answer is
// Challenge's, not the envelope of the other errors.
func unauthorized() error {
	return &problem.Problem{Status: http.StatusUnauthorized, Code: "UNAUTHORIZED", Message: "Not Authorized"}
}

// Authenticate reads `Authorization: Basic base64(AWS:password)`. What is behind the scheme is taken
// as it is, so that a token that was seen before need not be decoded.
func Authenticate(ctx context.Context, tokens Verifier, r *http.Request, region name.Region) (principal.Principal, error) {
	sent := r.Header.Get("Authorization")
	if len(sent) < len(scheme) || !strings.EqualFold(sent[:len(scheme)], scheme) {
		return principal.Principal{}, unauthorized()
	}
	p, err := tokens.VerifyToken(ctx, sent[len(scheme):], region)
	if errs.Is(err, errs.AccessDenied) {
		return principal.Principal{}, unauthorized()
	}
	return p, err
}

// Challenge writes the 401 word for word as ECR does: docker keys the
// credentials it asks for by the realm's host.
func Challenge(w http.ResponseWriter, base string) {
	h := w.Header()
	h.Set("Www-Authenticate", `Basic realm="`+base+`/",service="ecr.amazonaws.com"`)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", "15")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte("Not Authorized\n")) // a client that has gone needs no answer
}
