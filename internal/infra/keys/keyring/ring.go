package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/infra/keys"
)

// What is derived from key material, kept apart by HKDF's info. No two of
// these are the beginning of one another.
const (
	infoWrap   = "berth keyring: wrap"
	infoCheck  = "berth keyring: check"
	infoDerive = "berth keyring: derive: "
)

// A wrapped key is
//
//	format (1 byte) | key id (16) | version (4, big-endian) | nonce (12) | ciphertext | tag (16)
//
// by AES-256-GCM under a key derived from that version's material. Associated
// data: everything in front of the nonce, then the context.
const (
	wrapFormat = 1
	headerSize = 1 + 16 + 4
	sealSize   = 12 + 16
)

const aliasPrefix = "alias/"

type aliasName struct{ account, region, alias string }

// ring is a keyring's content made ready for use. It is never changed.
type ring struct {
	form     *fileForm
	stamp    stamp // of a file
	revision int64 // of a row
	byID     map[string]*key
	byAlias  map[aliasName]*key
	standard *key // the default key
}

type key struct {
	form     *keyForm
	id       [16]byte
	versions []cipher.AEAD // [i] is version i+1
}

// resolveID puts the default key's ID in place of the empty one.
func (r *ring) resolveID(id string) string {
	if id == "" {
		return r.standard.form.ID
	}
	return id
}

func (k *key) describe() keys.Key {
	return keys.Key{
		ID:        k.form.ID,
		Aliases:   slices.Clone(k.form.Aliases),
		Account:   k.form.Account,
		Region:    k.form.Region,
		Enabled:   k.form.Enabled,
		CreatedAt: k.form.CreatedAt,
		Versions:  len(k.versions),
	}
}

// wrap seals dataKey under the newest version.
func (k *key) wrap(dataKey, context []byte) []byte {
	b := make([]byte, 0, headerSize+sealSize+len(dataKey))
	b = append(b, wrapFormat)
	b = append(b, k.id[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(k.versions)))
	return k.versions[len(k.versions)-1].Seal(b, nil, dataKey, slices.Concat(b, context))
}

type header struct {
	id      string
	version int // at least 1
}

func parseHeader(wrapped []byte) (header, error) {
	if len(wrapped) <= headerSize+sealSize || len(wrapped) > keys.MaxWrapped || wrapped[0] != wrapFormat {
		return header{}, fmt.Errorf("%w: not made by a keyring", keys.ErrUnwrap)
	}
	version := binary.BigEndian.Uint32(wrapped[1+16:])
	if version == 0 || version > maxVersions {
		return header{}, fmt.Errorf("%w: no key has a version %d", keys.ErrUnwrap, version)
	}
	return header{id: formatID([16]byte(wrapped[1:])), version: int(version)}, nil
}

func (k *key) unwrap(h header, wrapped, context []byte) ([]byte, error) {
	plain, err := k.versions[h.version-1].Open(nil, nil, wrapped[headerSize:], slices.Concat(wrapped[:headerSize], context))
	if err != nil {
		return nil, fmt.Errorf("%w (key %s, version %d)", keys.ErrUnwrap, h.id, h.version)
	}
	return plain, nil
}

// newWrapper makes ready what seals under one version of a key.
func newWrapper(material []byte) (cipher.AEAD, error) {
	wrapKey, err := hkdf.Key(sha256.New, material, nil, infoWrap, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(wrapKey)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// checkValue is short and says nothing about material, but changes with it: a
// flipped bit in the file is found before anything is sealed under it.
func checkValue(material []byte) (string, error) {
	b, err := hkdf.Key(sha256.New, material, nil, infoCheck, 8)
	return hex.EncodeToString(b), err
}

// newID is a random UUID (version 4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // cannot fail
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return formatID(b)
}

// formatID writes a UUID in its usual form.
func formatID(b [16]byte) string {
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// parseID is the inverse of formatID.
func parseID(s string) ([16]byte, bool) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 || formatID([16]byte(b)) != s {
		return [16]byte{}, false
	}
	return [16]byte(b), true
}

func validAlias(s string) bool {
	name, ok := strings.CutPrefix(s, aliasPrefix)
	if !ok || name == "" || len(name) > 250 {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '/', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
