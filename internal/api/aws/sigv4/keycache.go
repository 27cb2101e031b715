package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"sync"
)

// cacheSize bounds the derived keys of one generation; two are kept.
const cacheSize = 2048

type scope struct{ keyID, day, region, service string }

type derived struct {
	// secret is what the key was derived from: an access key that was given a
	// new secret must not go on with the old one.
	secret string
	key    []byte
}

// keyCache holds signing keys, which change only once a day and cost four MACs
// each. It is safe for concurrent use. When a generation is full it becomes the
// old one and the old one goes, so memory is bounded without bookkeeping per
// entry.
type keyCache struct {
	mu         sync.RWMutex
	young, old map[scope]derived
}

// get returns the signing key, and whether it was there already.
func (c *keyCache) get(s scope, secret string) (key []byte, cached bool) {
	c.mu.RLock()
	d, ok := c.young[s]
	if !ok {
		d, ok = c.old[s]
	}
	c.mu.RUnlock()
	if ok && d.secret == secret {
		return d.key, true
	}
	return deriveKey(s, secret), false
}

// put stores a key. Only keys that verified a signature are stored, so that
// made-up scopes do not push out those in use.
func (c *keyCache) put(s scope, secret string, key []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.young == nil || len(c.young) >= cacheSize {
		c.old = c.young
		c.young = make(map[scope]derived)
	}
	c.young[s] = derived{secret: secret, key: key}
}

func deriveKey(s scope, secret string) []byte {
	key := mac([]byte("AWS4"+secret), s.day)
	key = mac(key, s.region)
	key = mac(key, s.service)
	return mac(key, terminator)
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
