package sigv4

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// Key is an access key as the KeySource knows it.
type Key struct {
	Secret    string
	Principal principal.Principal
	// Expires is when a temporary key ends; zero: never.
	Expires time.Time
	Enabled bool
}

// KeySource finds access keys. An error is a fault of the source and is not the
// client's; that there is no such key is found=false.
type KeySource interface {
	// AccessKey finds the key that may be used together with the session token:
	// a temporary key with its own token, a permanent one without any ("").
	AccessKey(ctx context.Context, id, sessionToken string) (key Key, found bool, err error)
}

// DefaultMaxSkew is how far a request's date may be from ours.
const DefaultMaxSkew = 15 * time.Minute

// presignedLead is how far in the future a presigned request may begin.
const presignedLead = 5 * time.Minute

// unsignedPayload is announced in place of the body's hash by clients that do
// not sign the body.
const unsignedPayload = "UNSIGNED-PAYLOAD"

// maxKeyID bounds the access key ids that are looked up, in characters, as IAM
// bounds them.
const maxKeyID = 128

// Config is what a Verifier works with. Keys and Clock are required.
type Config struct {
	Keys  KeySource
	Clock clock.Clock
	// MaxSkew is how far a request's date may be from ours; zero stands for
	// DefaultMaxSkew.
	MaxSkew time.Duration
	// AllowUnsignedPayload accepts requests that leave their body out of the
	// signature by announcing UNSIGNED-PAYLOAD. The AWS APIs do not.
	AllowUnsignedPayload bool
	// Log receives, at debug level only, the canonical form of requests whose
	// signature did not match; nil: nothing is logged.
	Log *slog.Logger
}

// Verifier verifies signatures. It is safe for concurrent use.
type Verifier struct {
	cfg   Config
	cache keyCache
}

// New returns a Verifier.
func New(cfg Config) *Verifier {
	if cfg.MaxSkew == 0 {
		cfg.MaxSkew = DefaultMaxSkew
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Verifier{cfg: cfg}
}

// Result is what a verified signature says.
type Result struct {
	Principal   principal.Principal
	AccessKeyID string
	// Region and Service are those of the credential scope. They are signed,
	// but by the client's choice: see CheckScope.
	Region, Service string
	// Date is when the request was signed, in UTC.
	Date time.Time
	// Presigned says that the signature stood in the query.
	Presigned bool
}

// CheckScope refuses a signature that was made for another region or service
// than the ones that answer here. An empty region or service is not compared.
func (r Result) CheckScope(region name.Region, service string) error {
	var message strings.Builder
	if region != "" && r.Region != string(region) {
		message.WriteString("Credential should be scoped to a valid region, not '" + r.Region + "'. ")
	}
	if service != "" && r.Service != service {
		message.WriteString("Credential should be scoped to correct service: '" + service + "'. ")
	}
	if message.Len() == 0 {
		return nil
	}
	return &Error{Kind: InvalidSignature, Message: message.String()}
}

// Authenticate verifies the request's signature over it and its whole body. A
// refusal is an *Error; any other error means that the keys could not be looked
// up.
func (v *Verifier) Authenticate(ctx context.Context, r *http.Request, body []byte) (Result, error) {
	sum := sha256.Sum256(body)
	return v.AuthenticateHash(ctx, r, hex.EncodeToString(sum[:]))
}

// AuthenticateHash is Authenticate for a caller that has hashed the body
// itself: bodySHA256 is the SHA-256 of the bytes that were really received, in
// lower-case hexadecimal.
func (v *Verifier) AuthenticateHash(ctx context.Context, r *http.Request, bodySHA256 string) (Result, error) {
	path, rawQuery := rawTarget(r)
	query, ok := parseQuery(rawQuery)
	if !ok {
		if len(r.Header.Values("Authorization")) == 0 && !strings.Contains(rawQuery, paramSignature) {
			return Result{}, missingToken()
		}
		return Result{}, mismatch()
	}
	c, refusal := readClaim(r, query)
	if refusal != nil {
		return Result{}, refusal
	}
	now := v.cfg.Clock.Now().UTC()
	if refusal := v.checkTime(c, now); refusal != nil {
		return Result{}, refusal
	}
	key, refusal, err := v.findKey(ctx, c, now)
	if err != nil {
		return Result{}, err
	}
	if refusal != nil {
		return Result{}, refusal
	}
	payloadHash := bodySHA256
	switch {
	case c.contentHash == unsignedPayload && v.cfg.AllowUnsignedPayload:
		payloadHash = unsignedPayload
	case c.contentHash != "" && c.contentHash != bodySHA256:
		return Result{}, mismatch()
	}
	canonical := canonicalRequest(r, path, query, c.signedHeaders, payloadHash)
	if !v.verify(c, key.Secret, canonical) {
		v.logMismatch(ctx, c, canonical)
		return Result{}, mismatch()
	}
	return Result{
		Principal:   key.Principal,
		AccessKeyID: c.keyID,
		Region:      c.region,
		Service:     c.service,
		Date:        c.date,
		Presigned:   c.presigned,
	}, nil
}

// checkTime refuses what is too old or not yet valid.
func (v *Verifier) checkTime(c claim, now time.Time) *Error {
	past, future := v.cfg.MaxSkew, v.cfg.MaxSkew
	if c.presigned {
		future = min(presignedLead, v.cfg.MaxSkew)
		if c.expires > 0 {
			past = c.expires
		}
	}
	if limit := now.Add(-past); c.date.Before(limit.Truncate(time.Second)) {
		return refuse(InvalidSignature, "Signature expired: %s is now earlier than %s (%s - %s)",
			c.dateText, limit.Format(isoBasic), now.Format(isoBasic), span(past))
	}
	if limit := now.Add(future); c.date.After(limit) {
		return refuse(InvalidSignature, "Signature not yet current: %s is still later than %s (%s + %s)",
			c.dateText, limit.Format(isoBasic), now.Format(isoBasic), span(future))
	}
	return nil
}

// span writes a duration as AWS does, "15 min.".
func span(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%d min.", d/time.Minute)
	}
	return fmt.Sprintf("%d sec.", d/time.Second)
}

// findKey looks up the access key and checks that it may be used with the token
// that came along.
func (v *Verifier) findKey(ctx context.Context, c claim, now time.Time) (Key, *Error, error) {
	if c.keyID == "" || len(c.keyID) > maxKeyID {
		return Key{}, unrecognized(), nil
	}
	key, found, err := v.cfg.Keys.AccessKey(ctx, c.keyID, c.token)
	if err != nil {
		return Key{}, nil, fmt.Errorf("looking up access key %s: %w", c.keyID, err)
	}
	if !found || !key.Enabled {
		return Key{}, unrecognized(), nil
	}
	if !key.Expires.IsZero() && !now.Before(key.Expires) {
		return Key{}, expiredToken(), nil
	}
	return key, nil, nil
}

// verify computes the signature and compares it in constant time.
func (v *Verifier) verify(c claim, secret string, canonical []byte) bool {
	s := scope{keyID: c.keyID, day: c.day, region: c.region, service: c.service}
	key, cached := v.cache.get(s, secret)
	want := hex.EncodeToString(mac(key, stringToSign(c, canonical)))
	if subtle.ConstantTimeCompare([]byte(want), []byte(c.signature)) == 0 {
		return false
	}
	if !cached {
		v.cache.put(s, secret, key)
	}
	return true
}

func stringToSign(c claim, canonical []byte) string {
	sum := sha256.Sum256(canonical)
	b := make([]byte, 0, 192)
	b = append(b, algorithm+"\n"...)
	b = append(b, c.dateText...)
	b = append(b, '\n')
	for _, part := range []string{c.day, c.region, c.service} {
		b = append(b, part...)
		b = append(b, '/')
	}
	b = append(b, terminator+"\n"...)
	return string(hex.AppendEncode(b, sum[:]))
}

// logMismatch tells the administrator what was signed, so that it can be
// compared with what the client prints. A session token in it is a secret and
// is left out.
func (v *Verifier) logMismatch(ctx context.Context, c claim, canonical []byte) {
	if !v.cfg.Log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	text := string(canonical)
	if c.token != "" {
		for _, form := range slices.Compact([]string{c.token, escape(c.token)}) {
			text = strings.ReplaceAll(text, form, "(session token)")
		}
	}
	v.cfg.Log.DebugContext(ctx, "signature does not match", "access_key", c.keyID, "region", c.region,
		"service", c.service, "canonical_request", text)
}
