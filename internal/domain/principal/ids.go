package principal

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"strconv"

	"github.com/berth-registry/berth/internal/domain/name"
)

// Prefixes of IAM's unique ids (IAM user guide, "IAM identifiers").
const (
	PrefixUser         = "AIDA"
	PrefixGroup        = "AGPA"
	PrefixRole         = "AROA"
	PrefixPolicy       = "ANPA"
	PrefixAccessKey    = "AKIA"
	PrefixTemporaryKey = "ASIA"
)

// idEncoding is the alphabet of the ids: capital letters and 2 to 7.
var idEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewID makes a random unique id with the prefix, 21 characters long as IAM's.
func NewID(prefix string) string {
	var raw [11]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the program instead
	return prefix + idEncoding.EncodeToString(raw[:])[:17]
}

// NewAccessKeyPair makes an access key id in AWS's form and a secret of 40
// characters. The id says which account it belongs to, as AWS's do, so that
// GetAccessKeyInfo needs no look-up; the rest is random.
func NewAccessKeyPair(prefix string, account name.AccountID) (id, secret string) {
	raw := make([]byte, 10+30)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	if n, err := strconv.ParseUint(string(account), 10, 64); err == nil {
		// 40 bits of account after the first bit, which AWS's ids have set.
		var head [8]byte
		binary.BigEndian.PutUint64(head[:], 1<<63|n<<23|uint64(raw[5]&0x7f)<<16)
		copy(raw[:6], head[:6])
	}
	return prefix + idEncoding.EncodeToString(raw[:10]), base64.StdEncoding.EncodeToString(raw[10:])
}

// AccountOfKey reads the account out of an access key id that NewAccessKeyPair
// made. Whether there is such a key it cannot say.
func AccountOfKey(id string) (name.AccountID, bool) {
	if len(id) != 20 {
		return "", false
	}
	raw, err := idEncoding.DecodeString(id[4:])
	if err != nil {
		return "", false
	}
	var head [8]byte
	copy(head[:], raw[:6])
	n := binary.BigEndian.Uint64(head[:]) &^ (1 << 63) >> 23
	text := strconv.FormatUint(n, 10)
	if len(text) > 12 {
		return "", false
	}
	for len(text) < 12 {
		text = "0" + text
	}
	return name.AccountID(text), true
}
