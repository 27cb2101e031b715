package oci

import (
	"context"
	"errors"
	"net/http"

	"github.com/berth-registry/berth/internal/api/oci/problem"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// Tokens verifies the password part of authorization tokens.
type Tokens interface {
	// Verify names the principal that fetched the token. It returns
	// errs.TokenExpired for a token past its life and errs.AccessDenied for
	// what is no token for this region or names nobody any more.
	Verify(ctx context.Context, password string, region name.Region) (principal.Principal, error)
}

// authorizationMessage is the header that a refusal has its encoded message in;
// `aws sts decode-authorization-message` opens it.
const authorizationMessage = "X-Berth-Authorization-Message"

// encodedMessage is the encoded message of a refused permission, "" for none.
func encodedMessage(err error) string {
	var refusal *errs.Error
	if !errors.As(err, &refusal) {
		return ""
	}
	encoded, _ := refusal.Detail[authz.MessageDetail].(string) // "" where there is none
	return encoded
}

// tokenUser is the user name that goes with every token.
const tokenUser = "AWS"

// unauthorized refuses a request without a token that holds. Its answer is
// challenge's, not the envelope of the other errors.
func unauthorized() error {
	return &problem.Problem{Status: http.StatusUnauthorized, Code: "UNAUTHORIZED", Message: "Not Authorized"}
}

// authenticate reads `Authorization: Basic base64(AWS:password)`.
func (a *API) authenticate(ctx context.Context, r *http.Request, region name.Region) (principal.Principal, error) {
	user, password, ok := r.BasicAuth()
	if !ok || user != tokenUser {
		return principal.Principal{}, unauthorized()
	}
	p, err := a.c.Tokens.Verify(ctx, password, region)
	if errs.Is(err, errs.AccessDenied) {
		return principal.Principal{}, unauthorized()
	}
	return p, err
}

// challenge writes the 401 word for word as ECR does: docker keys the
// credentials it asks for by the realm's host.
func challenge(w http.ResponseWriter, base string) {
	h := w.Header()
	h.Set("Www-Authenticate", `Basic realm="`+base+`/",service="ecr.amazonaws.com"`)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", "15")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte("Not Authorized\n")) // a client that has gone needs no answer
}
