package manifest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// SignerSeedSize is the number of bytes that NewSigner needs: more than a P-256
// key has, so that the key is evenly distributed.
const SignerSeedSize = 48

// Signer signs the schema 1 manifests that Berth makes. Docker checks that the
// signature fits, and trusts any key. All nodes derive the same key from the
// same seed, and the signatures are deterministic, so that a translated
// manifest has the same bytes wherever it is asked for.
type Signer struct {
	key *ecdsa.PrivateKey
	jwk jsonWebKey
}

type jsonWebKey struct {
	Curve string `json:"crv"`
	ID    string `json:"kid"`
	Type  string `json:"kty"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// NewSigner makes the signer of a secret seed of at least SignerSeedSize bytes.
func NewSigner(seed []byte) (*Signer, error) {
	if len(seed) < SignerSeedSize {
		return nil, fmt.Errorf("the seed of the manifest signer has %d bytes; it needs %d", len(seed), SignerSeedSize)
	}
	// A scalar from 1 to N-1, by reduction of far more bits than it has.
	curve := elliptic.P256()
	scalar := new(big.Int).Sub(curve.Params().N, big.NewInt(1))
	scalar.Mod(new(big.Int).SetBytes(seed), scalar).Add(scalar, big.NewInt(1))
	key, err := ecdsa.ParseRawPrivateKey(curve, scalar.FillBytes(make([]byte, 32)))
	if err != nil {
		return nil, err
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	id, err := keyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, jwk: jsonWebKey{
		Curve: "P-256", ID: id, Type: "EC", X: toBase64(point[1:33]), Y: toBase64(point[33:]),
	}}, nil
}

// sign puts a signature made at the given time into the payload, which is an
// indented JSON object.
func (s *Signer) sign(payload []byte, at time.Time) ([]byte, error) {
	head := bytes.TrimRight(bytes.TrimSuffix(bytes.TrimSpace(payload), []byte("}")), " \n")
	if len(head) == 0 || len(head) == len(payload) {
		return nil, errors.New("the payload is not a JSON object")
	}
	protected, err := json.Marshal(struct {
		Length int    `json:"formatLength"`
		Tail   string `json:"formatTail"`
		Time   string `json:"time"`
	}{len(head), toBase64(payload[len(head):]), at.UTC().Format(time.RFC3339)})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(toBase64(protected) + "." + toBase64(payload)))
	der, err := s.key.Sign(nil, sum[:], crypto.SHA256) // no randomness: deterministic, RFC 6979
	if err != nil {
		return nil, err
	}
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &pair); err != nil {
		return nil, err
	}
	signature := append(pair.R.FillBytes(make([]byte, 32)), pair.S.FillBytes(make([]byte, 32))...)

	type header struct {
		JWK       jsonWebKey `json:"jwk"`
		Algorithm string     `json:"alg"`
	}
	type block struct {
		Header    header `json:"header"`
		Signature string `json:"signature"`
		Protected string `json:"protected"`
	}
	blocks, err := json.MarshalIndent([]block{{header{s.jwk, "ES256"}, toBase64(signature), toBase64(protected)}}, indent, indent)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.Write(head)
	out.WriteString(",\n" + indent + `"signatures": `)
	out.Write(blocks)
	out.WriteString("\n}")
	return out.Bytes(), nil
}
