package peer

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// noteEvery bounds how often a node writes that a peer is still heard of.
const noteEvery = time.Minute

// noteTimeout bounds one such write, which a request waits for.
const noteTimeout = 5 * time.Second

// maxError bounds the text that is kept of a failure, in bytes.
const maxError = 500

// contact is what this node has noted of a peer.
type contact struct {
	at  time.Time
	err string
}

// Seen notes that the peer answered, or asked, with a good signature.
func (s *Service) Seen(ctx context.Context, peer string) { s.note(ctx, peer, "") }

// Failed notes why the peer could not be reached, or did not do as it was asked.
func (s *Service) Failed(ctx context.Context, peer, why string) {
	s.note(ctx, peer, cut(why, maxError))
}

// note writes at most once in noteEvery, and whenever good turns to bad or back.
func (s *Service) note(ctx context.Context, peer, why string) {
	now := s.Clock.Now()
	s.mu.Lock()
	last, known := s.contacts[peer]
	due := !known || (last.err == "") != (why == "") || now.Sub(last.at) >= noteEvery || now.Before(last.at)
	if due {
		s.contacts[peer] = contact{at: now, err: why}
	}
	s.mu.Unlock()
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) (err error) {
		if why == "" {
			_, err = tx.Exec(ctx, `UPDATE peer SET seen_at = $2, error = '', failed_at = 0 WHERE name = $1`, peer, now.UnixMicro())
		} else {
			_, err = tx.Exec(ctx, `UPDATE peer SET error = $3, failed_at = $2 WHERE name = $1`, peer, now.UnixMicro(), why)
		}
		return err
	})
	if err != nil {
		s.forgetContact(peer)
		s.Log.Warn("what was heard of a peer could not be noted", "peer", peer, "error", err)
	}
}

func (s *Service) forgetContact(peer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.contacts, peer)
}
