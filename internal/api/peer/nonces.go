package peer

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/api/peer/wire"
)

// maxNonces bounds how many are remembered, some 40 MB. Only requests with a good
// signature leave one: 1,700 a second for as long as one has to be remembered.
const maxNonces = 1 << 20

// nonces remembers the requests of the time window of this node. A repeated request
// that another node gets is answered: everything that peers ask for may be done twice
// (replication.Destination), so this is a second lock on the door.
type nonces struct {
	mu       sync.Mutex
	byMinute map[int64]map[[16]byte]struct{} // by the minute of the request's own time
	n        int
}

type nonceState int

const (
	nonceFresh nonceState = iota
	nonceRepeated
	nonceNoRoom
)

// add remembers the request, whose time lies in the window around now.
func (s *nonces) add(r wire.Request, now time.Time) nonceState {
	const minute = int64(time.Minute / time.Second)
	sum := sha256.Sum256([]byte(string(r.From) + "\n" + r.Nonce))
	key, at := [16]byte(sum[:16]), r.Time.Unix()/minute
	oldest := now.Add(-wire.MaxSkew).Unix() / minute

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byMinute == nil {
		s.byMinute = map[int64]map[[16]byte]struct{}{}
	}
	for m, all := range s.byMinute {
		if m < oldest {
			s.n -= len(all)
			delete(s.byMinute, m)
		}
	}
	if _, there := s.byMinute[at][key]; there {
		return nonceRepeated
	}
	if s.n >= maxNonces {
		return nonceNoRoom
	}
	if s.byMinute[at] == nil {
		s.byMinute[at] = map[[16]byte]struct{}{}
	}
	s.byMinute[at][key] = struct{}{}
	s.n++
	return nonceFresh
}
