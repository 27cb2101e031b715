package client_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/peer/client"
	"github.com/berth-registry/berth/internal/api/peer/wire"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/peer"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func newDatabase(t *testing.T) *sqldb.DB {
	t.Helper()
	return sqldbtest.SQLite(t)
}

// state looks at a peer.
func (s *side) state(name string) client.Check {
	s.t.Helper()
	c, err := s.client.Check(s.t.Context(), s.peer(name))
	ok(s.t, err)
	return c
}

// TestCheck: what a look at a peer tells apart.
func TestCheck(t *testing.T) {
	here, there := newSide(t, newDatabase(t), stall), newSide(t, newDatabase(t), stall)
	here.knows(there, "there")
	is := func(want client.State, text bool) client.Check {
		t.Helper()
		got := here.state("there")
		if got.State != want || (got.Text != "") != text {
			t.Errorf("%+v, want %s", got, want)
		}
		if p, err := here.peers.List(t.Context()); err != nil || (p[0].Error != "") != text {
			t.Errorf("%+v %v", p, err)
		}
		return got
	}
	is(client.NotAdded, true)
	there.knows(here, "here", "*")
	if got := is(client.OK, false); !slices.Equal(got.Accounts, []name.AccountID{"*"}) {
		t.Errorf("%+v", got)
	}
	there.clk.Advance(time.Hour)
	is(client.OK, false)
	there.wrap(func(http.Handler) http.Handler { return http.NotFoundHandler() })
	is(client.Unsigned, true)
	there.wrap(nil)

	third := newSide(t, newDatabase(t), stall)
	third.key()
	there.wrap(func(http.Handler) http.Handler { return third.handler })
	is(client.OtherKey, true)
	there.wrap(nil)
	is(client.OK, false)
	there.server.Close()
	is(client.Unreachable, true)
}

// TestRotation, with kills between all steps, on both databases.
func TestRotation(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		here, there, to := introduce(newSide(t, newDatabase(t), stall), newSide(t, db, stall))
		ctx, p := t.Context(), place()
		back := there.client.To(here.server.URL)
		here.knows(there, "there", account)
		works := func(step string) {
			t.Helper()
			if err := to.Prepare(ctx, p); err != nil {
				t.Errorf("%s: here to there: %v", step, err)
			}
			if err := back.Prepare(ctx, p); err != nil {
				t.Errorf("%s: there to here: %v", step, err)
			}
		}
		restart := func() {
			here.restart()
			there.restart()
			to, back = here.client.To(there.server.URL), there.client.To(here.server.URL)
		}
		knows := func(n int) {
			t.Helper()
			there.clk.Advance(peer.CacheLife)
			here.clk.Advance(peer.CacheLife)
			if got := there.peer("here").Keys; len(got) != n {
				t.Errorf("there holds %d keys of here, want %d", len(got), n)
			}
		}
		old := here.key()
		works("before")

		fresh, err := here.peers.Rotate(ctx)
		ok(t, err)
		restart() // killed before anybody was told
		works("made, not told")
		knows(1)

		// The peer cannot be reached.
		there.wrap(func(http.Handler) http.Handler { return http.NotFoundHandler() })
		if told, err := here.client.Tell(ctx); err != nil || len(told) != 1 || told[0].Peer != "there" || told[0].Error == "" {
			t.Errorf("%v %v", told, err)
		}
		// It is told, and its answer does not arrive.
		there.wrap(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			})
		})
		if told, err := here.client.Tell(ctx); err != nil || told[0].Error == "" {
			t.Errorf("%v %v", told, err)
		}
		there.wrap(nil)
		knows(2)
		if here.peer("there").Told != 1 {
			t.Error("an answer that was lost counts")
		}
		restart() // killed before the answer was noted
		works("told, not noted")
		knows(2)

		ok(t, here.client.Maintain(ctx))
		if here.peer("there").Told != 2 {
			t.Error("the peer was not told again")
		}
		knows(2)
		s, in := speak(here, there, nil)
		restart() // killed before the new key was used
		works("noted")
		knows(1)
		if there.peer("here").Newest() != fresh {
			t.Error("the old key was kept")
		}
		if status, _ := s.send(there, in); status != http.StatusOK {
			t.Errorf("the new key: %d", status)
		}
		// What the old key signs is refused from now on.
		signers, err := here.peers.Signers(ctx)
		ok(t, err)
		if signers[0].Key != old {
			t.Fatal("the old key is gone already")
		}
		_, was := speak(here, there, nil)
		was.From, was.Nonce = old.Fingerprint(), wire.NewNonce()
		was.Sign(s.header, signers[0])
		if status, word := s.send(there, was); status != http.StatusUnauthorized || word != wire.RefusedKey {
			t.Errorf("the old key: %d %s", status, word)
		}
		// Once all know the new one, the old one goes.
		here.clk.Advance(time.Hour)
		there.clk.Advance(time.Hour)
		ok(t, here.client.Maintain(ctx))
		if signers, err = here.peers.Signers(ctx); err != nil || len(signers) != 1 {
			t.Errorf("%d keys are left: %v", len(signers), err)
		}
		works("after")
	})
}

// TestBothRotate: both sides change their keys, twice, without a pause between.
func TestBothRotate(t *testing.T) {
	here, there, to := pair(t)
	here.knows(there, "there", account)
	back := there.client.To(here.server.URL)
	for range 2 {
		_, err := here.peers.Rotate(t.Context())
		ok(t, err)
		_, err = there.peers.Rotate(t.Context())
		ok(t, err)
		for _, s := range []*side{here, there, here} {
			ok(t, s.client.Maintain(t.Context()))
		}
		ok(t, to.Prepare(t.Context(), place()))
		ok(t, back.Prepare(t.Context(), place()))
	}
	for name, s := range map[string]*side{"there": here, "here": there} {
		if p := s.peer(name); p.Told != 3 || len(p.Keys) != 1 {
			t.Errorf("%+v", p)
		}
	}
}

// TestTheOperatorWasFaster: the other side was added with the old key, or gets the new
// one by hand: which of them it knows is found out.
func TestTheOperatorWasFaster(t *testing.T) {
	here, there := newSide(t, newDatabase(t), stall), newSide(t, newDatabase(t), stall)
	old := here.key()
	here.knows(there, "there")
	_, err := here.peers.Rotate(t.Context())
	ok(t, err)
	there.knows(here, "here", account) // with the new key
	if told, err := here.client.Tell(t.Context()); err != nil || len(told) != 1 || told[0].Error != "" {
		t.Errorf("%v %v", told, err)
	}
	to := here.client.To(there.server.URL)
	ok(t, to.Prepare(t.Context(), place()))
	// A backup has brought the other side's old row back.
	_, err = there.peers.Add(t.Context(), peer.Addition{Name: "here", URL: here.server.URL, Key: old, Accounts: []name.AccountID{account}, Replace: true})
	ok(t, err)
	if err := to.Prepare(t.Context(), place()); err == nil {
		t.Error("a key that the other side does not know is good")
	}
	ok(t, here.client.Maintain(t.Context())) // finds the key that it knows
	ok(t, to.Prepare(t.Context(), place()))
	ok(t, here.client.Maintain(t.Context())) // tells it of the new one
	ok(t, to.Prepare(t.Context(), place()))
	if k := there.peer("here").Newest(); k == old {
		t.Error("the old key is still the one")
	}
}

// TestNobodyAnnouncesAnothersKey: a new key signs for itself.
func TestNobodyAnnouncesAnothersKey(t *testing.T) {
	here, there, _ := pair(t)
	third := newSide(t, newDatabase(t), stall)
	signers, err := here.peers.Signers(t.Context())
	ok(t, err)
	thirds := third.key()
	for what, proof := range map[string][]byte{
		"none":    nil,
		"our own": signers[0].Sign(wire.ProofText(here.key().Fingerprint(), there.key().Fingerprint(), thirds, 2)),
	} {
		body, err := json.Marshal(wire.NewKey{Key: thirds.String(), Generation: 2, Proof: proof})
		ok(t, err)
		s, in := speak(here, there, func(r *wire.Request) { r.Target, r.Content = wire.PathKey, wire.BodyDigest(body) })
		s.body = body
		if status, word := s.send(there, in); status != http.StatusBadRequest || word != wire.RefusedMalformed {
			t.Errorf("%s: %d %s", what, status, word)
		}
	}
	if got := there.peer("here").Keys; len(got) != 1 {
		t.Errorf("there holds %d keys", len(got))
	}
}
