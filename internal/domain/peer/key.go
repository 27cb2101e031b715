package peer

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// keyPrefix says what a key's text is, and of which version.
const keyPrefix = "berth-peer-1:"

// PublicKey is an Ed25519 public key: who a deployment is.
type PublicKey [ed25519.PublicKeySize]byte

// Fingerprint names a public key in requests, rows and lists: the first 16 bytes of
// its SHA-256, in hex.
type Fingerprint string

// fingerprintBytes are enough that nobody finds another key with the same
// fingerprint as a given one.
const fingerprintBytes = 16

// String is the key as operators exchange it: berth-peer-1:<base64url>.
func (k PublicKey) String() string {
	return keyPrefix + base64.RawURLEncoding.EncodeToString(k[:])
}

// Fingerprint names the key.
func (k PublicKey) Fingerprint() Fingerprint {
	sum := sha256.Sum256(k[:])
	return Fingerprint(hex.EncodeToString(sum[:fingerprintBytes]))
}

// Verify says whether the signature of the message was made with this key.
func (k PublicKey) Verify(message, signature []byte) bool {
	return len(signature) == ed25519.SignatureSize && ed25519.Verify(k[:], message, signature)
}

// ParseKey reads what String writes, and nothing else. errs.InvalidInput says what
// is wrong with it.
func ParseKey(text string) (k PublicKey, err error) {
	rest, ok := strings.CutPrefix(text, keyPrefix)
	if !ok {
		return k, errs.New(errs.InvalidInput, "%q is no key of a deployment: it begins with %s. Run berth peer key on the other side, and copy what it prints.", cut(text, 80), keyPrefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(raw) != len(k) {
		return k, errs.New(errs.InvalidInput, "The key %q is not whole: %s is followed by 43 letters and digits. Run berth peer key on the other side, and copy all of what it prints.", cut(text, 80), keyPrefix)
	}
	copy(k[:], raw)
	return k, nil
}

// Signer is one of this deployment's own keys, with which it signs.
type Signer struct {
	// Generation counts the deployment's keys from 1.
	Generation int64
	Key        PublicKey
	private    ed25519.PrivateKey
}

// Sign signs a message. What is signed begins with words that say what it is, so
// that no signature can stand for something else.
func (s Signer) Sign(message []byte) []byte { return ed25519.Sign(s.private, message) }

// cut shortens what somebody else wrote to n bytes.
func cut(text string, n int) string {
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "?")
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "..."
}
