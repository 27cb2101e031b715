package oidcverify

import (
	"fmt"
	"strconv"
	"time"

	// It tells names apart by their case and refuses names that stand twice, so
	// that a token says the same to every reader.
	"github.com/go-jose/go-jose/v4/json"
)

// Claims are what a token says.
type Claims struct {
	Issuer, Subject string
	// Audience is "aud", AuthorizedParty "azp".
	Audience        []string
	AuthorizedParty string
	// Expires is always set; NotBefore and IssuedAt are zero where the token does
	// not say.
	Expires, NotBefore, IssuedAt time.Time

	all map[string]json.RawMessage
}

// Clients are whom the token is for: the authorized party where there is one,
// else the audience.
func (c Claims) Clients() []string {
	if c.AuthorizedParty != "" {
		return []string{c.AuthorizedParty}
	}
	return c.Audience
}

// Texts are all claims, by their exact names, that are a text, a number, a truth
// value or a list of texts.
func (c Claims) Texts() map[string][]string {
	texts := map[string][]string{}
	for name, raw := range c.all {
		if values, ok := textsOf(raw); ok {
			texts[name] = values
		}
	}
	return texts
}

func textsOf(raw json.RawMessage) ([]string, bool) {
	switch raw[0] {
	case '"', '[':
		return stringOrList(raw)
	case '{', 'n': // an object, null
		return nil, false
	}
	return []string{string(raw)}, true
}

func stringOrList(raw json.RawMessage) ([]string, bool) {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, true
	}
	var list []any
	if json.Unmarshal(raw, &list) != nil {
		return nil, false
	}
	texts := make([]string, len(list))
	for i, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil, false
		}
		texts[i] = text
	}
	return texts, true
}

// Decode reads one claim into a value and says whether the token has it.
// ErrMalformed when it is of another form.
func (c Claims) Decode(name string, into any) (bool, error) {
	raw, ok := c.all[name]
	if !ok {
		return false, nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return true, fmt.Errorf("%w: the claim %s: %w", ErrMalformed, name, err)
	}
	return true, nil
}

// parseClaims reads a payload. It needs an issuer, a subject, an audience and an
// end, as STS does.
func parseClaims(payload []byte) (Claims, error) {
	var c Claims
	if err := json.Unmarshal(payload, &c.all); err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	for _, claim := range []struct {
		name string
		into *string
	}{{"iss", &c.Issuer}, {"sub", &c.Subject}, {"azp", &c.AuthorizedParty}} {
		if _, err := c.Decode(claim.name, claim.into); err != nil {
			return Claims{}, err
		}
	}
	if raw, ok := c.all["aud"]; ok {
		if c.Audience, ok = stringOrList(raw); !ok {
			return Claims{}, fmt.Errorf("%w: the claim aud is neither a text nor a list of texts", ErrMalformed)
		}
	}
	for _, claim := range []struct {
		name string
		into *time.Time
	}{{"exp", &c.Expires}, {"nbf", &c.NotBefore}, {"iat", &c.IssuedAt}} {
		if err := c.time(claim.name, claim.into); err != nil {
			return Claims{}, err
		}
	}
	missing := ""
	switch {
	case c.Issuer == "":
		missing = "iss"
	case c.Subject == "":
		missing = "sub"
	case len(c.Audience) == 0:
		missing = "aud"
	case c.Expires.IsZero():
		missing = "exp"
	default:
		return c, nil
	}
	return Claims{}, fmt.Errorf("%w: the claim %s is missing", ErrMalformed, missing)
}

// Times before 1970 and after the year 9999 are nobody's, and would overflow.
const maxSeconds = 253402300799

// time reads seconds since 1970, which STS wants whole.
func (c *Claims) time(name string, into *time.Time) error {
	raw, ok := c.all[name]
	if !ok {
		return nil
	}
	seconds, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || seconds < 0 || seconds > maxSeconds {
		return fmt.Errorf("%w: the claim %s is no whole number of seconds", ErrMalformed, name)
	}
	*into = time.Unix(seconds, 0).UTC()
	return nil
}
