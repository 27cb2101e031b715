package principal

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"
)

// sessionMark begins every session token and says which form it has.
const sessionMark = "BQ"

// sealedSession is what a session token holds.
type sealedSession struct {
	Principal Principal `json:"p"`
	Secret    string    `json:"s,omitempty"`
}

var errNoSession = errors.New("not a session token of this deployment")

// Credentials are temporary: they end at Expires.
type Credentials struct {
	AccessKeyID, Secret, SessionToken string
	Expires                           time.Time
}

// IssueSession makes temporary credentials for the principal, whose Session
// says when they end. Nothing is stored: the token carries all, sealed.
func (s *Service) IssueSession(p Principal) (Credentials, error) {
	if p.Session == nil {
		return Credentials{}, errors.New("principal: a session without a Session")
	}
	id, secret := NewAccessKeyPair(PrefixTemporaryKey, p.Account)
	p.AccessKeyID = id
	plain, err := json.Marshal(sealedSession{Principal: p, Secret: secret})
	if err != nil {
		return Credentials{}, err
	}
	token := sessionMark + base64.StdEncoding.EncodeToString(s.session.Seal(nil, nil, plain, []byte(sessionMark)))
	return Credentials{AccessKeyID: id, Secret: secret, SessionToken: token, Expires: p.Session.Expires}, nil
}

// openSession reads a session token. Whether the session has ended is for the
// caller to see.
func (s *Service) openSession(token string) (Principal, string, error) {
	if len(token) < len(sessionMark) || token[:len(sessionMark)] != sessionMark {
		return Principal{}, "", errNoSession
	}
	sealed, err := base64.StdEncoding.Strict().DecodeString(token[len(sessionMark):])
	if err != nil {
		return Principal{}, "", errNoSession
	}
	plain, err := s.session.Open(nil, nil, sealed, []byte(sessionMark))
	if err != nil {
		return Principal{}, "", errNoSession
	}
	var in sealedSession
	if err := json.Unmarshal(plain, &in); err != nil || in.Principal.Session == nil {
		return Principal{}, "", errNoSession
	}
	return in.Principal, in.Secret, nil
}
