package oidcverify

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/berth-registry/berth/internal/infra/clock"
)

// What can be wrong with a token or its issuer. Verify wraps one of these, or
// returns an *ExpiredError.
var (
	// ErrMalformed: the text is no signed JSON web token with an algorithm and
	// claims that are acceptable.
	ErrMalformed = errors.New("not a signed JSON web token")
	// ErrIssuer: the token is another issuer's.
	ErrIssuer = errors.New("the token's issuer is not the provider")
	// ErrAudience: the token is for none of the provider's clients.
	ErrAudience = errors.New("the token is for none of the provider's client ids")
	// ErrNotYet: the token begins to hold in the future.
	ErrNotYet = errors.New("the token does not hold yet")
	// ErrSignature: none of the issuer's keys made the signature.
	ErrSignature = errors.New("the signature is not the issuer's")
	// ErrKey: the issuer answers, but not with a key that fits the token.
	ErrKey = errors.New("the issuer has no key for the token")
	// ErrCertificate: the issuer's certificate is not trusted.
	ErrCertificate = errors.New("the issuer's certificate is not trusted")
	// ErrUnreachable: the issuer does not answer.
	ErrUnreachable = errors.New("the issuer does not answer")
)

// ExpiredError says that a token is past its life.
type ExpiredError struct{ Now, Expires time.Time }

// Error is the text for the log.
func (e *ExpiredError) Error() string {
	return fmt.Sprintf("the token expired at %s and it is %s", e.Expires.Format(time.RFC3339), e.Now.Format(time.RFC3339))
}

// Bounds.
const (
	// Leeway is how far the clocks of the issuer and of this machine may differ.
	Leeway = time.Minute
	// MaxToken bounds tokens, in bytes. It is STS's own bound.
	MaxToken = 20_000

	minRSABits = 2048
	maxRSABits = 8192 // a longer key makes every signature expensive
)

// algorithms are those that STS takes: a public key verifies them, none needs a
// shared secret.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512}

// Config is what a Verifier stands on.
type Config struct {
	Clock clock.Clock
	// Roots are the certificates that issuers are trusted by; nil: the system's.
	Roots *x509.CertPool
	// Dial opens connections, so that an operator can keep issuers away from
	// internal addresses; nil: the usual way, through the proxy of the
	// environment if there is one.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	clk  clock.Clock
	keys *keySets
}

// New returns a verifier.
func New(c Config) *Verifier {
	f := fetcher{clk: c.Clock, roots: c.Roots, dial: c.Dial}
	return &Verifier{clk: c.Clock, keys: newKeySets(c.Clock, f.keys)}
}

// Issuer is a provider as far as tokens go.
type Issuer struct {
	// URL is the issuer, as tokens name it: "https://issuer.example.com/path".
	URL string
	// ClientIDs are the audiences that are accepted.
	ClientIDs []string
	// Thumbprints are SHA-1s of certificates in hexadecimal; see the package.
	Thumbprints []string
}

// UnverifiedIssuer reads which issuer a token names, so that the provider can be
// found. Nothing of the token has been verified. ErrMalformed when it is none.
func UnverifiedIssuer(token string) (string, error) {
	signed, err := parse(token)
	if err != nil {
		return "", err
	}
	claims, err := parseClaims(signed.UnsafePayloadWithoutVerification())
	return claims.Issuer, err
}

func parse(token string) (*jose.JSONWebSignature, error) {
	if len(token) > MaxToken {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxToken)
	}
	signed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return signed, nil
}

// Verify verifies a token of the issuer and returns what it claims.
//
// The audience is that of "azp" where the token has one, else one of "aud", as
// in STS.
func (v *Verifier) Verify(ctx context.Context, issuer Issuer, token string) (Claims, error) {
	signed, err := parse(token)
	if err != nil {
		return Claims{}, err
	}
	unverified, err := parseClaims(signed.UnsafePayloadWithoutVerification())
	if err != nil {
		return Claims{}, err
	}
	if unverified.Issuer != issuer.URL {
		return Claims{}, fmt.Errorf("%w: %q, not %q", ErrIssuer, unverified.Issuer, issuer.URL)
	}
	payload, err := v.verifySignature(ctx, issuer, signed)
	if err != nil {
		return Claims{}, err
	}
	claims, err := parseClaims(payload)
	if err != nil {
		return Claims{}, err
	}
	if !slices.ContainsFunc(claims.Clients(), func(c string) bool { return slices.Contains(issuer.ClientIDs, c) }) {
		return Claims{}, fmt.Errorf("%w: %q", ErrAudience, claims.Clients())
	}
	now := v.clk.Now()
	switch {
	case !now.Add(-Leeway).Before(claims.Expires):
		return Claims{}, &ExpiredError{Now: now, Expires: claims.Expires}
	case now.Add(Leeway).Before(claims.NotBefore):
		return Claims{}, fmt.Errorf("%w: not before %s", ErrNotYet, claims.NotBefore.Format(time.RFC3339))
	case now.Add(Leeway).Before(claims.IssuedAt):
		return Claims{}, fmt.Errorf("%w: issued at %s", ErrNotYet, claims.IssuedAt.Format(time.RFC3339))
	}
	return claims, nil
}

// verifySignature tries the issuer's keys that fit the token.
func (v *Verifier) verifySignature(ctx context.Context, issuer Issuer, signed *jose.JSONWebSignature) ([]byte, error) {
	if len(signed.Signatures) != 1 { // the compact form has no other
		return nil, ErrMalformed
	}
	header := signed.Signatures[0].Protected
	fit := func(k *jose.JSONWebKey) bool {
		return (header.KeyID == "" || k.KeyID == header.KeyID) && fits(k, jose.SignatureAlgorithm(header.Algorithm))
	}
	keys, err := v.keys.get(ctx, issuer, fit)
	if err != nil {
		return nil, err
	}
	for i := range keys {
		payload, err := signed.Verify(keys[i].Key)
		if err == nil {
			return payload, nil
		}
	}
	return nil, ErrSignature
}

// fits says whether a key may verify signatures of the algorithm. The type of
// the key has to be the algorithm's own, so that nothing can be taken for
// something else.
func fits(k *jose.JSONWebKey, algorithm jose.SignatureAlgorithm) bool {
	if k.Use != "" && k.Use != "sig" || k.Algorithm != "" && k.Algorithm != string(algorithm) {
		return false
	}
	curve := map[jose.SignatureAlgorithm]string{jose.ES256: "P-256", jose.ES384: "P-384", jose.ES512: "P-521"}[algorithm]
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return curve == "" && key.N.BitLen() >= minRSABits && key.N.BitLen() <= maxRSABits
	case *ecdsa.PublicKey:
		return key.Curve.Params().Name == curve
	}
	return false
}
