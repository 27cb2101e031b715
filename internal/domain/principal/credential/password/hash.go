// Package password owns how passwords are kept and what an account asks of
// them: hashes by argon2id, and the rules of a password policy.
//
// It stores nothing; principal/credential does.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Parameters of new hashes: OWASP's second choice for argon2id, 19 MiB and two
// passes. They stand in each hash, so that they can be raised later.
const (
	memory     = 19 << 10 // KiB
	passes     = 2
	lanes      = 1
	saltLength = 16
	hashLength = 32
)

// Bounds of the parameters that a stored hash may ask for, so that a damaged
// row takes neither the memory nor the time of the machine.
const (
	maxMemory = 256 << 10 // KiB
	maxPasses = 16
	maxLanes  = 16
	maxLength = 64
)

// ErrHash is returned for a stored hash that is none of ours.
var ErrHash = errors.New("not an argon2id hash of a password")

var encoding = base64.RawStdEncoding.Strict()

// Hasher hashes passwords, a few at a time: each takes memory, and the clients
// that can ask for it are many. It is safe for concurrent use.
type Hasher struct {
	slots chan struct{}
}

// NewHasher returns a Hasher that works on parallel passwords at once; on as
// many as there are processors where parallel is 0.
func NewHasher(parallel int) *Hasher {
	if parallel <= 0 {
		parallel = runtime.GOMAXPROCS(0)
	}
	return &Hasher{slots: make(chan struct{}, parallel)}
}

// acquire waits for a slot; the caller gives it back.
func (h *Hasher) acquire(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (h *Hasher) release() { <-h.slots }

// Hash makes a hash with a salt of its own, in the PHC string format. It fails
// when ctx ends before a slot is free.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if err := h.acquire(ctx); err != nil {
		return "", err
	}
	defer h.release()
	salt := make([]byte, saltLength)
	_, _ = rand.Read(salt) // never fails: crypto/rand ends the program instead
	sum := argon2.IDKey([]byte(password), salt, passes, memory, lanes, hashLength)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, passes, lanes,
		encoding.EncodeToString(salt), encoding.EncodeToString(sum)), nil
}

// Verify says whether the hash is the password's. ErrHash for what Hash did not
// make; other errors when ctx ends before a slot is free.
func (h *Hasher) Verify(ctx context.Context, hash, password string) (bool, error) {
	p, err := parse(hash)
	if err != nil {
		return false, err
	}
	if err := h.acquire(ctx); err != nil {
		return false, err
	}
	defer h.release()
	sum := argon2.IDKey([]byte(password), p.salt, p.passes, p.memory, p.lanes, uint32(len(p.sum)))
	return subtle.ConstantTimeCompare(sum, p.sum) == 1, nil
}

// Pretend does the work of Verify for a password that there is no hash for, so
// that the time taken does not tell who has a password.
func (h *Hasher) Pretend(ctx context.Context, password string) error {
	if err := h.acquire(ctx); err != nil {
		return err
	}
	defer h.release()
	argon2.IDKey([]byte(password), make([]byte, saltLength), passes, memory, lanes, hashLength)
	return nil
}

type parsed struct {
	memory, passes uint32
	lanes          uint8
	salt, sum      []byte
}

func parse(hash string) (parsed, error) {
	part := strings.Split(hash, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" {
		return parsed{}, ErrHash
	}
	var p parsed
	var version int
	if _, err := fmt.Sscanf(part[2], "v=%d", &version); err != nil || version != argon2.Version {
		return parsed{}, ErrHash
	}
	if _, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &p.memory, &p.passes, &p.lanes); err != nil {
		return parsed{}, ErrHash
	}
	var err error
	if p.salt, err = encoding.DecodeString(part[4]); err != nil {
		return parsed{}, ErrHash
	}
	if p.sum, err = encoding.DecodeString(part[5]); err != nil {
		return parsed{}, ErrHash
	}
	if p.memory == 0 || p.memory > maxMemory || p.passes == 0 || p.passes > maxPasses || p.lanes == 0 || p.lanes > maxLanes ||
		len(p.salt) < saltLength || len(p.salt) > maxLength || len(p.sum) < hashLength || len(p.sum) > maxLength {
		return parsed{}, ErrHash
	}
	return p, nil
}
