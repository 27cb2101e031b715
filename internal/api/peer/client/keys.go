package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/api/peer/wire"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/peer"
	"github.com/berth-registry/berth/internal/infra/jobs"
)

// State is how a peer stands, as a look at it has shown.
type State string

// What a look at a peer can show.
const (
	// OK: both sides know each other.
	OK State = "ok"
	// NotAdded: the peer answers, and does not know this deployment yet.
	NotAdded State = "not-added"
	// OtherKey: who answers signs with another key than the peer's.
	OtherKey State = "other-key"
	// Unsigned: who answers does not sign, so is no Berth that has a key.
	Unsigned State = "unsigned"
	// Unreachable: nobody answers.
	Unreachable State = "unreachable"
	// Refused: the peer answers and refuses for another reason, which Text has.
	Refused State = "refused"
)

// Check is what a look at a peer has shown.
type Check struct {
	State State `json:"state"`
	// Text says more, where State is not OK.
	Text string `json:"text,omitempty"`
	// Accounts are those that this deployment may speak for there, where State is OK.
	Accounts []name.AccountID `json:"accounts,omitempty"`
}

// checkTimeout bounds a look at a peer, and the telling of a key.
const checkTimeout = 20 * time.Second

// Check asks the peer whether it knows this deployment, by every key that this one
// still has: which of them it knows is noted.
func (c *Client) Check(ctx context.Context, p peer.Peer) (Check, error) {
	signers, err := c.Peers.Signers(ctx)
	if err != nil {
		return Check{}, err
	}
	// The one that it should know first, then the others, the newest first.
	slices.Reverse(signers)
	slices.SortStableFunc(signers, func(a, b peer.Signer) int {
		switch {
		case a.Generation == p.Told && b.Generation != p.Told:
			return -1
		case b.Generation == p.Told && a.Generation != p.Told:
			return 1
		}
		return 0
	})
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var f *failure
	for _, signer := range signers {
		var out wire.Pong
		if f = c.ping(ctx, p, signer, &out); f == nil {
			c.Peers.Seen(ctx, p.Name)
			if signer.Generation != p.Told {
				if err := c.Peers.Told(ctx, p.Name, signer.Generation, true); err != nil {
					return Check{}, err
				}
			}
			return Check{State: OK, Accounts: out.Accounts}, nil
		}
		if !f.signed || f.word != wire.RefusedKey {
			break
		}
	}
	if f == nil {
		return Check{}, errs.New(errs.Unavailable, "This deployment has no key yet. Run berth peer key.")
	}
	c.Peers.Failed(ctx, p.Name, f.text)
	return Check{State: f.state(), Text: f.text}, nil
}

func (c *Client) ping(ctx context.Context, p peer.Peer, signer peer.Signer, out *wire.Pong) *failure {
	k := call{method: http.MethodPost, path: wire.PathPing, body: []byte("{}")}
	f := c.once(ctx, p, signer, k, nil, out)
	if f != nil && f.signed && f.word == wire.RefusedClock {
		f = c.once(ctx, p, signer, k, nil, out) // with the clock corrected
	}
	return f
}

func (f *failure) state() State {
	switch {
	case f.signed && f.word == wire.RefusedKey:
		return NotAdded
	case f.signed:
		return Refused
	case f.otherKey != "":
		return OtherKey
	case f.cause == nil:
		return Unsigned
	}
	return Unreachable
}

// Telling is how one peer took the news of this deployment's new key.
type Telling struct {
	Peer string `json:"peer"`
	// Error is why it does not know the key yet; "" when it does.
	Error string `json:"error,omitempty"`
}

// Tell tells all peers that do not know this deployment's newest key of it. Those that
// could not be told are told at the next call; until then the old key serves them.
func (c *Client) Tell(ctx context.Context) ([]Telling, error) {
	untold, err := c.Peers.Untold(ctx)
	if err != nil || len(untold) == 0 {
		return nil, err
	}
	all := make([]Telling, len(untold))
	var wg sync.WaitGroup
	for i, p := range untold {
		wg.Go(func() {
			all[i].Peer = p.Name
			if err := c.tell(ctx, p); err != nil {
				all[i].Error = err.Error()
			}
		})
	}
	wg.Wait()
	return all, nil
}

func (c *Client) tell(ctx context.Context, p peer.Peer) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	signers, err := c.Peers.Signers(ctx)
	if err != nil {
		return err
	}
	signer, err := c.Peers.SignerFor(ctx, p)
	if err != nil {
		return err
	}
	newest := signers[len(signers)-1]
	in := wire.NewKey{Key: newest.Key.String(), Generation: newest.Generation}
	in.Proof = newest.Sign(wire.ProofText(signer.Key.Fingerprint(), p.Newest().Fingerprint(), newest.Key, newest.Generation))
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	k := call{method: http.MethodPost, path: wire.PathKey, body: body}
	f := c.once(ctx, p, signer, k, nil, &nothing{})
	if f != nil && f.signed && f.word == wire.RefusedClock {
		f = c.once(ctx, p, signer, k, nil, &nothing{})
	}
	if f == nil {
		c.Peers.Seen(ctx, p.Name)
		return c.Peers.Told(ctx, p.Name, newest.Generation, false)
	}
	if f.signed && f.word == wire.RefusedKey {
		// It may know another of our keys: its operator may have been given the new one.
		seen, err := c.Check(ctx, p)
		if err != nil {
			return err
		}
		if now, err := c.Peers.ByName(ctx, p.Name); err == nil && seen.State == OK && now.Told >= newest.Generation {
			return nil
		}
	}
	c.Peers.Failed(ctx, p.Name, f.text)
	return f
}

// Periods of Maintain.
const (
	// JobMaintain is the job's kind.
	JobMaintain    = "peer.maintain"
	maintainPeriod = time.Minute
	// silence is after how long a peer is asked whether it is there.
	silence = 10 * time.Minute
)

// Register has the queue call Maintain every minute.
func (c *Client) Register(q *jobs.Queue) {
	q.Handle(JobMaintain, jobs.Handler{Timeout: 5 * time.Minute, Workers: 1, Run: func(ctx context.Context, _ jobs.Task) error { return c.Maintain(ctx) }})
	q.Every(JobMaintain, maintainPeriod)
}

// Maintain tells peers of a new key, looks at those that failed or were silent, and
// removes old keys that nobody needs any more. A peer that cannot be reached is no
// failure of it.
func (c *Client) Maintain(ctx context.Context) error {
	told, err := c.Tell(ctx)
	if err != nil {
		return err
	}
	for _, t := range told {
		if t.Error != "" {
			c.Log.Warn("a peer does not know this deployment's new key yet; it is told again in a minute", "peer", t.Peer, "error", t.Error)
		}
	}
	all, err := c.Peers.List(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	failed := make([]error, len(all))
	for i, p := range all {
		if p.Error == "" && c.Clock.Now().Sub(p.SeenAt) < silence {
			continue
		}
		wg.Go(func() {
			if _, err := c.Check(ctx, p); err != nil {
				failed[i] = fmt.Errorf("the peer %s: %w", p.Name, err)
			}
		})
	}
	wg.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return c.Peers.Prune(ctx)
}
