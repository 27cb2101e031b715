// Package totp makes and checks the codes of virtual MFA devices: RFC 6238 with
// HMAC-SHA-1, six digits and steps of 30 seconds, which is what authenticator
// apps speak.
//
// It keeps nothing: seeds, and which steps were used, are with
// principal/credential.
package totp

import (
	"crypto/hmac"
	"crypto/sha1" // what RFC 6238 and the apps use; the attack on SHA-1 is not one on its HMAC
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"time"
)

// Period is how long a code is shown.
const Period = 30 * time.Second

// Digits is the length of a code.
const Digits = 6

// Step is the number of the period that a time lies in.
func Step(t time.Time) int64 { return t.Unix() / int64(Period/time.Second) }

// Code is the code of a step.
func Code(seed []byte, step int64) string {
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], uint64(step))
	mac := hmac.New(sha1.New, seed)
	_, _ = mac.Write(counter[:]) // a hash does not fail
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0xf
	return fmt.Sprintf("%0*d", Digits, binary.BigEndian.Uint32(sum[at:at+4])&0x7fffffff%1_000_000)
}

// Find returns the first of the steps from to to, both included, whose code is
// the given one. It takes the same time wherever it is.
func Find(seed []byte, code string, from, to int64) (step int64, found bool) {
	for s := from; s <= to; s++ {
		if is(seed, s, code) && !found {
			step, found = s, true
		}
	}
	return step, found
}

// FindPair returns the first of the steps from to to, both included, that has
// the second code while the step before it has the first.
func FindPair(seed []byte, first, second string, from, to int64) (step int64, found bool) {
	before := is(seed, from-1, first)
	for s := from; s <= to; s++ {
		if before && is(seed, s, second) && !found {
			step, found = s, true
		}
		before = is(seed, s, first)
	}
	return step, found
}

func is(seed []byte, step int64, code string) bool {
	return subtle.ConstantTimeCompare([]byte(Code(seed, step)), []byte(code)) == 1
}
