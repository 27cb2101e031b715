package public

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/api/oci/path"
	"github.com/berth-registry/berth/internal/api/oci/problem"
	"github.com/berth-registry/berth/internal/api/oci/token"
	"github.com/berth-registry/berth/internal/api/oci/transfer"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// TokenPath is where clients fetch tokens, below the base URL.
const TokenPath = "/token/"

// AnonymousLife is how long an anonymous token holds: as long as one of a principal.
const AnonymousLife = principal.TokenLife

const (
	// notAuthorized is what ECR Public says to who has no token and to who may not.
	notAuthorized = "Not Authorized"
	// invalid is for a token that is none.
	invalid = "Your Authorization Token is invalid."
	// anonymousPrefix begins anonymous tokens; no base64 text has its hyphen.
	anonymousPrefix = "berth-anonymous."
)

// Challenge implements front.Front, word for word as ECR Public does.
func (f *Front) Challenge(w http.ResponseWriter, base string) {
	w.Header().Set("Www-Authenticate", `Bearer realm="`+base+TokenPath+`",service="`+hostOf(base)+`",scope="aws"`)
	write(w, &problem.Problem{Status: http.StatusUnauthorized, Code: problem.Denied, Message: notAuthorized})
}

// write writes an error with the Content-Type that ECR Public has.
func write(w http.ResponseWriter, p *problem.Problem) {
	problem.Write(typed{w}, *p)
}

// typed names the character set of a JSON answer.
type typed struct{ http.ResponseWriter }

// WriteHeader writes the header.
func (t typed) WriteHeader(status int) {
	t.Header().Set("Content-Type", "application/json; charset=utf-8")
	t.ResponseWriter.WriteHeader(status)
}

// Authenticate implements front.Front: a bearer token of ServeToken's, the API's token as
// a bearer, or, as a client that knows its password may send it, `Basic AWS:password`. A
// bearer that does not hold is a 400 without a challenge, as ECR Public answers it.
func (f *Front) Authenticate(ctx context.Context, r *http.Request, _ name.Registry) (principal.Principal, error) {
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "bearer") {
		return f.bearer(ctx, strings.TrimSpace(value))
	}
	p, err := token.Authenticate(ctx, f.c.Tokens, r, name.Public)
	return p, explained(err)
}

// explained gives an expired token the answer that it has here.
func explained(err error) error {
	if errs.Is(err, errs.TokenExpired) {
		return expired(http.StatusBadRequest)
	}
	return err
}

// expired is the answer to a token past its life (ECR Public user guide,
// "Authentication issues"). Where tokens are fetched it is a 401: that has every client
// show the text, some of which say no more of another status than its number.
func expired(status int) error {
	return &problem.Problem{Status: status, Code: problem.Denied, Message: "Your authorization token has expired. Reauthenticate and try again."}
}

func (f *Front) bearer(ctx context.Context, value string) (principal.Principal, error) {
	refused := &problem.Problem{Status: http.StatusBadRequest, Code: problem.Denied, Message: invalid}
	if signed, ok := strings.CutPrefix(value, anonymousPrefix); ok {
		until, _, _ := strings.Cut(signed, ".")
		seconds, err := strconv.ParseInt(until, 10, 64)
		switch {
		case err != nil || !hmac.Equal([]byte(value), []byte(f.anonymousToken(seconds))):
			return principal.Principal{}, refused
		case f.c.Clock.Now().Unix() >= seconds:
			return principal.Principal{}, expired(http.StatusBadRequest)
		}
		return principal.Principal{}, nil
	}
	text, err := base64.StdEncoding.Strict().DecodeString(value)
	if err != nil {
		return principal.Principal{}, refused
	}
	user, password, _ := strings.Cut(string(text), ":")
	if user != userName {
		return principal.Principal{}, refused
	}
	p, err := f.c.Tokens.Verify(ctx, password, name.Public)
	if errs.Is(err, errs.AccessDenied) {
		return principal.Principal{}, refused
	}
	return p, explained(err)
}

// userName is the user name that goes with every password.
const userName = "AWS"

// anonymousToken is the token of a client without a name, which holds until a time in
// Unix seconds.
func (f *Front) anonymousToken(until int64) string {
	text := anonymousPrefix + strconv.FormatInt(until, 10)
	mac := hmac.New(sha256.New, f.c.Key)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// ServeToken answers TokenPath: an anonymous token for a request without credentials, and
// for one with `Basic AWS:password` a token of the principal that fetched the password,
// which lives as long as the password. What scope and service are asked for does not
// matter. Clients that try OAuth 2 first, which is a POST, go on to this at the 405.
func (f *Front) ServeToken(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	id := uuid.NewString()
	h.Set("X-Amzn-Requestid", id)
	text, err := f.issue(r)
	if err != nil {
		p := problem.Of(err, path.None, false, id)
		write(w, &p)
		return
	}
	body, err := transfer.JSON(map[string]string{"token": text})
	if err != nil {
		p := problem.Of(err, path.None, false, id)
		write(w, &p)
		return
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // a client that has gone needs no answer
}

func (f *Front) issue(r *http.Request) (string, error) {
	if _, ok := f.c.Base(r); !ok || r.URL.Path != TokenPath && r.URL.Path != strings.TrimSuffix(TokenPath, "/") {
		return "", &problem.Problem{Status: http.StatusNotFound, Code: problem.Unsupported, Message: "There is no such path in this API"}
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return "", &problem.Problem{Status: http.StatusMethodNotAllowed, Code: problem.Unsupported, Message: "Tokens are fetched with GET", Allow: "GET, HEAD"}
	}
	if r.Header.Get("Authorization") == "" {
		return f.anonymousToken(f.c.Clock.Now().Add(AnonymousLife).Truncate(time.Second).Unix()), nil
	}
	if _, err := token.Authenticate(r.Context(), f.c.Tokens, r, name.Public); err != nil {
		if p, ok := err.(*problem.Problem); ok && p.Status == http.StatusUnauthorized {
			return "", &problem.Problem{Status: http.StatusUnauthorized, Code: problem.Denied, Message: notAuthorized}
		}
		if errs.Is(err, errs.TokenExpired) {
			return "", expired(http.StatusUnauthorized)
		}
		return "", err
	}
	_, password, _ := r.BasicAuth() // token.Authenticate has read it
	return base64.StdEncoding.EncodeToString([]byte(userName + ":" + password)), nil
}
