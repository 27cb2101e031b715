package principal

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/revcache"
)

// TokenLife is how long an authorization token holds (ECR user guide, "private
// registry authentication"), where an account has no shorter time.
const TokenLife = 12 * time.Hour

// MinTokenLife is the shortest time that an account can have.
const MinTokenLife = 5 * time.Minute

// tokenClaims is what an authorization token says, sealed.
type tokenClaims struct {
	AccessKeyID string `json:"k"`
	Region      string `json:"r"`
	Expires     int64  `json:"e"` // Unix seconds
	// Session is the principal itself where the key was a temporary one, which
	// is stored nowhere.
	Session *Principal `json:"s,omitempty"`
}

// tokenEnvelope has the members that AWS's own passwords have. Clients treat
// the whole as opaque.
type tokenEnvelope struct {
	Payload    string `json:"payload"`
	DataKey    string `json:"datakey"`
	Version    string `json:"version"`
	Type       string `json:"type"`
	Expiration int64  `json:"expiration"`
}

// tokenDataKey names the key that seals the payload: it is derived from the
// keyring, so that no key travels with the token.
const tokenDataKey = "berth-keyring"

// IssueToken makes the password part of an authorization token: it names the
// principal and is bound to the region. It grants nothing by itself. It ends
// with the TokenLife of the principal's account, and with the session of a
// principal that has one (docs/decisions/0006-identity.md).
func (s *Service) IssueToken(ctx context.Context, p Principal, region name.Region) (password string, expires time.Time, err error) {
	who, err := s.Identity(ctx, p)
	if err != nil {
		return "", time.Time{}, err
	}
	life := TokenLife
	if who.TokenLife > 0 {
		life = who.TokenLife
	}
	expires = s.clk.Now().Add(life).Truncate(time.Millisecond)
	c := tokenClaims{AccessKeyID: p.AccessKeyID, Region: string(region)}
	if p.Session != nil {
		c.Session = &p
		if p.Session.Expires.Before(expires) {
			expires = p.Session.Expires.Truncate(time.Millisecond)
		}
	}
	c.Expires = expires.Unix()
	claims, err := json.Marshal(c)
	if err != nil {
		return "", time.Time{}, err
	}
	e := tokenEnvelope{DataKey: tokenDataKey, Version: "2", Type: "DATA_KEY", Expiration: expires.Unix()}
	e.Payload = base64.StdEncoding.EncodeToString(s.token.Seal(nil, nil, claims, tokenContext(e)))
	password, err = e.encode()
	return password, expires, err
}

func (e tokenEnvelope) encode() (string, error) {
	text, err := json.Marshal(e)
	return base64.StdEncoding.EncodeToString(text), err
}

// tokenContext binds the readable members to the sealed ones.
func tokenContext(e tokenEnvelope) []byte {
	return []byte(e.Version + "|" + e.Type + "|" + strconv.FormatInt(e.Expiration, 10))
}

// open reads what a password says, whoever it names and whenever it ends.
func (s *Service) open(password string) (c tokenClaims, ok bool) {
	text, err := base64.StdEncoding.DecodeString(password)
	if err != nil {
		return c, false
	}
	var e tokenEnvelope
	if err := json.Unmarshal(text, &e); err != nil {
		return c, false
	}
	// Only the spelling that IssueToken writes is a token: base64 and JSON have
	// others for the same content.
	if again, err := e.encode(); err != nil || again != password || e.DataKey != tokenDataKey {
		return c, false
	}
	sealed, err := base64.StdEncoding.Strict().DecodeString(e.Payload)
	if err != nil {
		return c, false
	}
	plain, err := s.token.Open(nil, nil, sealed, tokenContext(e))
	if err != nil {
		return c, false
	}
	return c, json.Unmarshal(plain, &c) == nil
}

// tokenUser is the user name in front of a password in a whole authorization token.
const tokenUser = "AWS"

// passwordOf reads the password out of a whole authorization token.
func passwordOf(token string) (password string, ok bool) {
	text, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return "", false
	}
	user, password, ok := strings.Cut(string(text), ":")
	return password, ok && user == tokenUser
}

// tokenKey is what an opened token is known by. The digests of whole tokens and those of
// passwords are kept apart, as one may be written like the other.
type tokenKey struct {
	digest [sha256.Size]byte
	whole  bool
}

// shortToken is the length, in bytes, up to which the digest of a text needs no memory: the tokens of
// permanent keys are shorter.
const shortToken = 1 << 10

// Verify reads the password of an authorization token for a registry of the
// region. It returns errs.TokenExpired for a token past its life and
// errs.AccessDenied for everything else that is not a token of ours for this
// region and a principal that still exists.
func (s *Service) Verify(ctx context.Context, password string, region name.Region) (Principal, error) {
	return s.verify(ctx, password, false, region)
}

// VerifyToken is Verify for a whole authorization token, as GetAuthorizationToken gives it and
// as clients send it: "AWS:" and the password, in base64.
func (s *Service) VerifyToken(ctx context.Context, token string, region name.Region) (Principal, error) {
	return s.verify(ctx, token, true, region)
}

// verify is VerifyToken, or Verify where text is not the whole token.
func (s *Service) verify(ctx context.Context, text string, whole bool, region name.Region) (Principal, error) {
	var space [shortToken]byte
	key := tokenKey{sha256.Sum256(append(space[:0], text...)), whole}
	c, err := s.tokens.Get(ctx, key, revcache.Source[tokenClaims]{
		Revision: func(context.Context) (int64, error) { return 0, nil }, // what a token says does not change
		Load: func(context.Context) (tokenClaims, int64, error) {
			password, ok := text, true
			if whole {
				password, ok = passwordOf(text)
			}
			if !ok {
				return tokenClaims{}, 0, notAuthorized()
			}
			c, ok := s.open(password)
			if !ok {
				return tokenClaims{}, 0, notAuthorized()
			}
			return c, 0, nil
		},
	})
	if err != nil {
		return Principal{}, err
	}
	if c.Region != string(region) {
		return Principal{}, notAuthorized()
	}
	if s.clk.Now().Unix() >= c.Expires {
		return Principal{}, errs.New(errs.TokenExpired, "Your authorization token has expired. Reauthenticate and try again.")
	}
	if c.Session != nil {
		who, err := s.Identity(ctx, *c.Session)
		if err != nil {
			return Principal{}, err
		}
		if !who.Found {
			return Principal{}, notAuthorized()
		}
		return *c.Session, nil
	}
	k, found, err := s.AccessKey(ctx, c.AccessKeyID)
	if err != nil {
		return Principal{}, err
	}
	if !found || !k.Enabled {
		return Principal{}, notAuthorized()
	}
	return k.Principal, nil
}

func notAuthorized() error { return errs.New(errs.AccessDenied, "Not Authorized") }
