package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// secretPrefix begins the secrets of Standard Webhooks.
const secretPrefix = "whsec_"

// The length of secrets in bytes, by the specification of Standard Webhooks.
const (
	minSecret = 24
	maxSecret = 64
	newSecret = 32
)

// Secret signs messages.
type Secret struct {
	// Value is "whsec_" and 24 to 64 bytes in base64.
	Value string
	// Until is when it signs no more, zero for never.
	Until time.Time
}

// NewSecret makes a random secret.
func NewSecret() string {
	b := make([]byte, newSecret)
	_, _ = rand.Read(b) // crypto/rand does not fail
	return secretPrefix + base64.StdEncoding.EncodeToString(b)
}

// CheckSecret says what is wrong with the form of a secret.
func CheckSecret(value string) error {
	_, err := decode(value)
	return err
}

func decode(value string) ([]byte, error) {
	text, ok := strings.CutPrefix(value, secretPrefix)
	b, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(b) < minSecret || len(b) > maxSecret {
		return nil, fmt.Errorf("a signing secret is %q and %d to %d bytes in base64; leave it out to have one made", secretPrefix, minSecret, maxSecret)
	}
	return b, nil
}

// key is a secret, ready to sign.
type key struct {
	bytes []byte
	until time.Time
}

func keys(secrets []Secret) ([]key, error) {
	var all []key
	for _, s := range secrets {
		b, err := decode(s.Value)
		if err != nil {
			return nil, err
		}
		all = append(all, key{b, s.Until})
	}
	if len(all) == 0 {
		return nil, errors.New("a webhook needs a signing secret")
	}
	return all, nil
}

// sign is the header webhook-signature: a signature by each secret that holds now.
func sign(all []key, id string, now time.Time, body []byte) (string, error) {
	var signatures []string
	for _, k := range all {
		if !k.until.IsZero() && !now.Before(k.until) {
			continue
		}
		h := hmac.New(sha256.New, k.bytes)
		h.Write([]byte(id + "." + strconv.FormatInt(now.Unix(), 10) + "."))
		h.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	if len(signatures) == 0 {
		return "", errors.New("no signing secret of the webhook holds any more; rotate it")
	}
	return strings.Join(signatures, " "), nil
}
