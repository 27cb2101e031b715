package manifest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
)

// The signature format of docker schema 1 is docker's own "pretty" JSON web
// signature: the payload stays readable, and the signatures stand in it as its
// last member. Each signature's protected header says how many bytes of the
// body, and which bytes after them, were the payload.
//
// docker/libtrust reads the same format. It is not used for bytes that come
// from outside, because it panics on a negative formatLength and on a long RSA
// exponent; the tests hold the two in agreement.

// Bounds on what is verified, so that a manifest cannot ask for much work.
const (
	maxSignatures = 16
	minRSABits    = 1024
	maxRSABits    = 8192
)

// signedPayload is the part of a signed manifest that the signatures cover.
type signedPayload struct {
	payload []byte
	top     object
}

// openSigned verifies every signature of the body and returns what they sign.
func (p parser) openSigned(body []byte) (signedPayload, error) {
	raws, err := p.top.list("signatures")
	if err != nil {
		return signedPayload{}, err
	}
	if len(raws) == 0 || len(raws) > maxSignatures {
		return signedPayload{}, invalid("the manifest has %d signatures; between 1 and %d are accepted", len(raws), maxSignatures)
	}
	var payload []byte
	for i, raw := range raws {
		at := fmt.Sprintf("signatures[%d]", i)
		s, err := readSignature(at, raw)
		if err != nil {
			return signedPayload{}, err
		}
		signed, err := s.payload(at, body)
		if err != nil {
			return signedPayload{}, err
		}
		if i > 0 && !bytes.Equal(signed, payload) {
			return signedPayload{}, invalid("the signatures are of different manifests")
		}
		payload = signed
		if err := s.verify(payload); err != nil {
			return signedPayload{}, invalid("%s does not verify: %s", at, err)
		}
	}
	if err := checkDocument(payload); err != nil {
		return signedPayload{}, err
	}
	top, err := readObject("the manifest", payload)
	if err != nil {
		return signedPayload{}, err
	}
	// With this the body says nothing beyond the payload: the payload is a
	// beginning of the body with its closing brace, and the body goes on with
	// one member only.
	if len(p.top.members) != len(top.members)+1 || top.has("signatures") {
		return signedPayload{}, invalid("the manifest has members that are not signed")
	}
	return signedPayload{payload: payload, top: top}, nil
}

// jwsSignature is one signature as it stands in the body.
type jwsSignature struct {
	key       crypto.PublicKey
	algorithm string
	protected string // as signed, not decoded
	signature []byte
}

func readSignature(at string, raw json.RawMessage) (jwsSignature, error) {
	var s jwsSignature
	o, err := readObject(at, raw, "header", "signature", "protected")
	if err != nil {
		return s, err
	}
	if s.protected, err = o.text("protected"); err != nil {
		return s, err
	}
	encoded, err := o.text("signature")
	if err != nil {
		return s, err
	}
	if s.signature, err = fromBase64(encoded); err != nil || len(s.signature) == 0 {
		return s, invalid("%s.signature is not base64url", at)
	}
	header, err := readObject(at+".header", o.members["header"], "jwk", "alg", "x5c")
	if err != nil {
		return s, err
	}
	if s.algorithm, err = header.text("alg"); err != nil {
		return s, err
	}
	s.key, err = readKey(header)
	return s, err
}

// payload rebuilds the signed bytes from the body and the protected header.
func (s jwsSignature) payload(at string, body []byte) ([]byte, error) {
	decoded, err := fromBase64(s.protected)
	if err != nil || checkDocument(decoded) != nil {
		return nil, invalid("%s.protected is not a JSON object in base64url", at)
	}
	o, err := readObject(at+".protected", decoded, "formatLength", "formatTail")
	if err != nil {
		return nil, err
	}
	length, ok, err := o.integer("formatLength")
	if err != nil {
		return nil, err
	}
	encoded, err := o.text("formatTail")
	if err != nil {
		return nil, err
	}
	tail, err := fromBase64(encoded)
	if err != nil || !ok || length > int64(len(body)) {
		return nil, invalid("%s.protected does not describe the manifest", at)
	}
	// What follows the signed beginning is the closing brace there, and the
	// signatures here.
	if string(bytes.TrimSpace(tail)) != "}" || !bytes.HasPrefix(bytes.TrimSpace(body[length:]), []byte(",")) {
		return nil, invalid("%s.protected does not describe the manifest", at)
	}
	return append(append(make([]byte, 0, length+int64(len(tail))), body[:length]...), tail...), nil
}

// verify checks the signature over the payload.
func (s jwsSignature) verify(payload []byte) error {
	signed := []byte(s.protected + "." + toBase64(payload))
	hash, ok := map[string]crypto.Hash{
		"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512,
		"ES256": crypto.SHA256, "ES384": crypto.SHA384, "ES512": crypto.SHA512,
	}[s.algorithm]
	if !ok {
		return fmt.Errorf("the algorithm %s is not known", quote(s.algorithm))
	}
	h := hash.New()
	h.Write(signed)
	sum := h.Sum(nil)
	switch key := s.key.(type) {
	case *ecdsa.PublicKey:
		size := (key.Curve.Params().BitSize + 7) / 8
		if s.algorithm != curveAlgorithm(key.Curve) || len(s.signature) != 2*size {
			return fmt.Errorf("the key is not for %s", quote(s.algorithm))
		}
		r, t := new(big.Int).SetBytes(s.signature[:size]), new(big.Int).SetBytes(s.signature[size:])
		if !ecdsa.Verify(key, sum, r, t) {
			return fmt.Errorf("wrong signature")
		}
		return nil
	case *rsa.PublicKey:
		if !strings.HasPrefix(s.algorithm, "RS") {
			return fmt.Errorf("the key is not for %s", quote(s.algorithm))
		}
		if rsa.VerifyPKCS1v15(key, hash, sum, s.signature) != nil {
			return fmt.Errorf("wrong signature")
		}
		return nil
	}
	return fmt.Errorf("the key is neither RSA nor EC")
}

func curveAlgorithm(c elliptic.Curve) string {
	switch c {
	case elliptic.P256():
		return "ES256"
	case elliptic.P384():
		return "ES384"
	case elliptic.P521():
		return "ES512"
	}
	return ""
}

// readKey reads the signer's public key: a JSON web key, or the first of a
// chain of certificates. Nobody is trusted by it; the signature proves only
// that the manifest is as its signer made it.
func readKey(header object) (crypto.PublicKey, error) {
	chain, err := header.texts("x5c")
	if err != nil {
		return nil, err
	}
	if len(chain) > 0 {
		der, err := base64.StdEncoding.DecodeString(chain[0])
		if err != nil {
			return nil, invalid("%s.x5c is not base64", header.at)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, invalid("%s.x5c does not begin with a certificate", header.at)
		}
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && !acceptableRSA(key) {
			return nil, invalid("%s.x5c has an RSA key of unusual size", header.at)
		}
		return cert.PublicKey, nil
	}
	if !header.has("jwk") {
		return nil, invalid("%s has no jwk", header.at)
	}
	jwk, err := readObject(header.at+".jwk", header.members["jwk"], "kty", "crv", "x", "y", "n", "e", "kid")
	if err != nil {
		return nil, err
	}
	key, err := readJWK(jwk)
	if err != nil {
		return nil, err
	}
	id, err := jwk.text("kid")
	if err != nil {
		return nil, err
	}
	if id != "" {
		if want, err := keyID(key); err != nil || id != want {
			return nil, invalid("%s.kid is not the key's fingerprint", jwk.at)
		}
	}
	return key, nil
}

func readJWK(jwk object) (crypto.PublicKey, error) {
	numbers := map[string][]byte{}
	for _, member := range []string{"x", "y", "n", "e"} {
		s, err := jwk.text(member)
		if err != nil {
			return nil, err
		}
		b, err := fromBase64(s)
		if err != nil || len(b) > maxRSABits/8+1 {
			return nil, invalid("%s.%s is not a number in base64url", jwk.at, member)
		}
		numbers[member] = b
	}
	kind, err := jwk.text("kty")
	if err != nil {
		return nil, err
	}
	switch kind {
	case "RSA":
		e := new(big.Int).SetBytes(numbers["e"])
		if !e.IsInt64() || e.Int64() > 1<<31-1 {
			return nil, invalid("%s.e is too large", jwk.at)
		}
		key := &rsa.PublicKey{N: new(big.Int).SetBytes(numbers["n"]), E: int(e.Int64())}
		if !acceptableRSA(key) {
			return nil, invalid("%s is an RSA key of unusual size", jwk.at)
		}
		return key, nil
	case "EC":
		name, err := jwk.text("crv")
		if err != nil {
			return nil, err
		}
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[name]
		if curve == nil {
			return nil, invalid("%s.crv is not known: %s", jwk.at, quote(name))
		}
		size := (curve.Params().BitSize + 7) / 8
		point := append(append([]byte{4}, numbers["x"]...), numbers["y"]...)
		key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
		if err != nil || len(numbers["x"]) != size {
			return nil, invalid("%s is not a point of %s", jwk.at, name)
		}
		return key, nil
	}
	return nil, invalid("%s.kty is neither RSA nor EC: %s", jwk.at, quote(kind))
}

func acceptableRSA(key *rsa.PublicKey) bool {
	bits := key.N.BitLen()
	return bits >= minRSABits && bits <= maxRSABits && key.E >= 3
}

// keyID is libtrust's fingerprint of a public key: the first 240 bits of the
// SHA-256 of its DER form, in base32, in groups of four.
func keyID(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:30])
	var groups []string
	for len(text) > 0 {
		groups, text = append(groups, text[:4]), text[4:]
	}
	return strings.Join(groups, ":"), nil
}

func toBase64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// fromBase64 decodes base64url with or without its padding.
func fromBase64(s string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}
