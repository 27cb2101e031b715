package peer_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/peer"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

// world is a deployment's database with what opens its keys.
type world struct {
	t       *testing.T
	db      *sqldb.DB
	clk     *clock.Fake
	secrets *principal.Service
}

func each(t *testing.T, fn func(t *testing.T, w world)) {
	t.Helper()
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
			t.Fatal(err)
		}
		w := world{t: t, db: db, clk: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}
		ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
		if err != nil {
			t.Fatal(err)
		}
		if w.secrets, err = principal.New(db, ring, w.clk); err != nil {
			t.Fatal(err)
		}
		fn(t, w)
	})
}

// node is a node on the database.
func (w world) node() *peer.Service {
	return peer.New(peer.Config{DB: w.db, Clock: w.clk, Log: slog.New(slog.DiscardHandler), Secrets: w.secrets})
}

func key(n byte) peer.PublicKey {
	var k peer.PublicKey
	k[0], k[31] = n, 1
	return k
}

func (w world) add(s *peer.Service, a peer.Addition) peer.Peer {
	w.t.Helper()
	p, err := s.Add(w.t.Context(), a)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func want(t *testing.T, err error, code errs.Code, text string) {
	t.Helper()
	if !errs.Is(err, code) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want code %d and a text with %q", err, code, text)
	}
}

func TestOneIdentityOnManyNodes(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		if all, err := w.node().Signers(t.Context()); err != nil || len(all) != 0 {
			t.Fatalf("before the first use: %v %v", all, err)
		}
		keys := make([]peer.PublicKey, 8)
		var wg sync.WaitGroup
		for i := range keys {
			wg.Go(func() {
				var err error
				if keys[i], err = w.node().Key(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if one := slices.Compact(keys); len(one) != 1 || one[0] == (peer.PublicKey{}) {
			t.Errorf("the nodes have %d keys", len(one))
		}
		all, err := w.node().Signers(t.Context())
		if err != nil || len(all) != 1 || all[0].Key != keys[0] || all[0].Generation != 1 {
			t.Fatalf("%v %v", all, err)
		}
		if m := []byte("text"); !keys[0].Verify(m, all[0].Sign(m)) || keys[0].Verify([]byte("Text"), all[0].Sign(m)) || key(1).Verify(m, all[0].Sign(m)) || keys[0].Verify(m, all[0].Sign(m)[:63]) {
			t.Error("signatures do not fit")
		}
		var sealed []byte
		if err := w.db.View(t.Context(), func(tx *sqldb.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT private_key FROM peer_identity`).Scan(&sealed)
		}); err != nil {
			t.Fatal(err)
		}
		what := "peer identity " + string(keys[0].Fingerprint())
		seed, err := w.secrets.OpenSecret(what, sealed)
		if err != nil || len(seed) != 32 || bytes.Contains(sealed, seed) {
			t.Errorf("the private key is not sealed: %v", err)
		}
	})
}

func TestAddListRemove(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		s, other := w.node(), w.node()
		ctx := t.Context()
		own, err := s.Key(ctx)
		if err != nil {
			t.Fatal(err)
		}
		p := w.add(s, peer.Addition{Name: "eu", URL: "HTTPS://Berth.EU.example:443/", Key: key(1), Accounts: []name.AccountID{"111122223333"}})
		if p.Name != "eu" || p.URL != "https://berth.eu.example" || p.Newest() != key(1) || p.Told != 1 || !p.CreatedAt.Equal(w.clk.Now()) || !p.SeenAt.IsZero() {
			t.Errorf("%+v", p)
		}
		if !p.SpeaksFor("111122223333") || p.SpeaksFor("111122223334") || p.SpeaksFor("*") {
			t.Errorf("it speaks for %v", p.Accounts)
		}
		all := w.add(s, peer.Addition{Name: "all", URL: "http://10.0.0.1:80", Key: key(2), Accounts: []name.AccountID{peer.Everyone}, Insecure: true})
		none := w.add(s, peer.Addition{Name: "none", URL: "https://c.example:8443", Key: key(3)})
		if all.URL != "http://10.0.0.1" || !all.Insecure || !all.SpeaksFor("000000000001") || none.SpeaksFor("000000000001") || none.SpeaksFor("") {
			t.Errorf("%+v %+v", all, none)
		}
		for _, c := range []struct {
			a    peer.Addition
			code errs.Code
			text string
		}{
			{peer.Addition{Name: "eu", URL: "https://d.example", Key: key(4)}, errs.EntityExists, "--replace"},
			{peer.Addition{Name: "d", URL: "https://berth.eu.example", Key: key(4)}, errs.EntityExists, "The peer eu has this address already"},
			{peer.Addition{Name: "d", URL: "https://d.example", Key: key(1)}, errs.EntityExists, "The peer eu has this key already"},
			{peer.Addition{Name: "d", URL: "https://d.example", Key: own}, errs.InvalidInput, "the key of this deployment itself"},
			{peer.Addition{Name: "D", URL: "https://d.example", Key: key(4)}, errs.InvalidInput, "cannot be the name of a peer"},
			{peer.Addition{Name: "d", URL: "http://d.example", Key: key(4)}, errs.InvalidInput, "--insecure-http"},
			{peer.Addition{Name: "d", URL: "d.example", Key: key(4)}, errs.InvalidInput, "https://"},
		} {
			_, err := s.Add(ctx, c.a)
			want(t, err, c.code, c.text)
		}
		list, err := other.List(ctx)
		if err != nil || len(list) != 3 || list[0].Name != "all" || list[1].Name != "eu" || list[2].Name != "none" {
			t.Fatalf("%+v %v", list, err)
		}
		w.clk.Advance(time.Hour)
		again := w.add(s, peer.Addition{Name: "eu", URL: "https://e.example", Key: key(5), Replace: true})
		if again.URL != "https://e.example" || len(again.Keys) != 1 || again.Newest() != key(5) || len(again.Accounts) != 0 || !again.CreatedAt.Equal(p.CreatedAt) {
			t.Errorf("replaced: %+v", again)
		}
		if _, err := s.ByURL(ctx, "https://berth.eu.example"); !errs.Is(err, errs.EntityNotFound) {
			t.Errorf("the address before: %v", err)
		}
		if one, err := other.ByURL(ctx, "https://E.example/"); err != nil || one.Name != "eu" {
			t.Errorf("%+v %v", one, err)
		}
		for f, found := range map[peer.Fingerprint]bool{key(5).Fingerprint(): true, key(1).Fingerprint(): false, own.Fingerprint(): false} {
			if _, _, ok, err := other.ByFingerprint(ctx, f); err != nil || ok != found {
				t.Errorf("%s found: %v %v", f, ok, err)
			}
		}
		if err := s.Remove(ctx, "eu"); err != nil {
			t.Fatal(err)
		}
		want(t, s.Remove(ctx, "eu"), errs.EntityNotFound, "berth peer list")
		if _, _, ok, err := s.ByFingerprint(ctx, key(5).Fingerprint()); err != nil || ok {
			t.Errorf("a removed peer: %v %v", ok, err)
		}
		if _, _, ok, err := other.ByFingerprint(ctx, key(5).Fingerprint()); err != nil || !ok {
			t.Errorf("another node asks the database every time: %v %v", ok, err)
		}
		w.clk.Advance(peer.CacheLife)
		if _, _, ok, err := other.ByFingerprint(ctx, key(5).Fingerprint()); err != nil || ok {
			t.Errorf("a removed peer on another node: %v %v", ok, err)
		}
		if _, err := other.ByName(ctx, "eu"); !errs.Is(err, errs.EntityNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

func TestOwnRotation(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		s := w.node()
		ctx := t.Context()
		old, err := s.Key(ctx)
		if err != nil {
			t.Fatal(err)
		}
		w.add(s, peer.Addition{Name: "a", URL: "https://a.example", Key: key(1)})
		w.add(s, peer.Addition{Name: "b", URL: "https://b.example", Key: key(2)})
		fresh, err := s.Rotate(ctx)
		if err != nil || fresh == old {
			t.Fatal(err)
		}
		// As after a kill: another process on the same database.
		s = w.node()
		if k, err := s.Key(ctx); err != nil || k != fresh {
			t.Errorf("the newest key: %v", err)
		}
		signs := func(name string, k peer.PublicKey) {
			t.Helper()
			p, err := s.ByName(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			if by, err := s.SignerFor(ctx, p); err != nil || by.Key != k {
				t.Errorf("%s gets generation %d, %v", name, by.Generation, err)
			}
		}
		untold := func(names ...string) {
			t.Helper()
			all, err := s.Untold(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range all {
				got = append(got, p.Name)
			}
			if !slices.Equal(got, names) {
				t.Errorf("%v are to be told, want %v", got, names)
			}
		}
		count := func(n int) {
			t.Helper()
			w.clk.Advance(11 * time.Minute)
			if err := s.Prune(ctx); err != nil {
				t.Fatal(err)
			}
			if all, err := s.Signers(ctx); err != nil || len(all) != n {
				t.Errorf("%d keys are left, want %d: %v", len(all), n, err)
			}
		}
		tell := func(name string, generation int64, back bool) {
			t.Helper()
			if err := s.Told(ctx, name, generation, back); err != nil {
				t.Fatal(err)
			}
		}
		signs("a", old)
		untold("a", "b")
		tell("a", 2, false)
		signs("a", fresh)
		signs("b", old)
		untold("b")
		count(2)
		tell("a", 1, false) // a late one changes nothing
		signs("a", fresh)
		tell("a", 1, true) // a peer that came back from a backup
		signs("a", old)
		tell("a", 2, false)
		tell("b", 2, false)
		untold()
		if err := s.Prune(ctx); err != nil {
			t.Fatal(err)
		}
		if all, err := s.Signers(ctx); err != nil || len(all) != 2 {
			t.Errorf("%d keys at once after the last peer was told: %v", len(all), err)
		}
		count(1)
		signs("b", fresh)
		newest, err := s.Rotate(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if all, err := s.Signers(ctx); err != nil || len(all) != 2 || all[1].Generation != 3 || all[1].Key != newest {
			t.Errorf("%v %v", all, err)
		}
	})
}

func TestPeersRotation(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		s := w.node()
		ctx := t.Context()
		w.add(s, peer.Addition{Name: "a", URL: "https://a.example", Key: key(1)})
		w.add(s, peer.Addition{Name: "b", URL: "https://b.example", Key: key(9)})
		keys := func(want ...peer.PublicKey) peer.Peer {
			t.Helper()
			p, err := s.ByName(ctx, "a")
			if err != nil || !slices.Equal(p.Keys, want) {
				t.Errorf("%d keys, want %d: %v", len(p.Keys), len(want), err)
			}
			return p
		}
		learn := func(by, k peer.PublicKey, generation int64) error {
			return s.Learn(ctx, "a", by.Fingerprint(), k, generation)
		}
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		ok(learn(key(1), key(2), 2))
		ok(learn(key(1), key(2), 2)) // told twice
		p := keys(key(1), key(2))
		ok(s.Used(ctx, p, key(1))) // the old one still holds
		keys(key(1), key(2))
		// The answer was lost, and the peer has made another key meanwhile.
		ok(learn(key(1), key(3), 3))
		p = keys(key(1), key(3))
		want(t, learn(key(1), key(2), 2), errs.Validation, "later key") // a node that is behind
		want(t, learn(key(1), key(9), 4), errs.EntityExists, "another peer's")
		want(t, learn(key(2), key(4), 4), errs.EntityNotFound, "no peer")
		want(t, learn(key(1), key(4), 0), errs.Validation, "from 1 on")
		keys(key(1), key(3))
		ok(s.Used(ctx, p, key(3)))
		ok(s.Used(ctx, p, key(3)))
		keys(key(3))
		want(t, learn(key(1), key(4), 4), errs.EntityNotFound, "no peer")
		// An operator enters the key that the peer has by now: it has no number here.
		w.add(s, peer.Addition{Name: "a", URL: "https://a.example", Key: key(4), Replace: true})
		ok(learn(key(4), key(4), 4))
		keys(key(4))
		want(t, learn(key(4), key(3), 3), errs.Validation, "later key")
		ok(learn(key(4), key(5), 5))
		keys(key(4), key(5))
		ok(s.Remove(ctx, "a"))
		want(t, learn(key(4), key(6), 6), errs.EntityNotFound, "no peer")
	})
}

func TestContacts(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		s := w.node()
		ctx := t.Context()
		w.add(s, peer.Addition{Name: "a", URL: "https://a.example", Key: key(1)})
		look := func() peer.Peer {
			t.Helper()
			all, err := s.List(ctx)
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			return all[0]
		}
		start := w.clk.Now()
		s.Seen(ctx, "a")
		if p := look(); !p.SeenAt.Equal(start) || p.Error != "" {
			t.Errorf("%+v", p)
		}
		w.clk.Advance(30 * time.Second)
		s.Seen(ctx, "a")
		if p := look(); !p.SeenAt.Equal(start) {
			t.Errorf("every contact is written: %v", p.SeenAt)
		}
		s.Failed(ctx, "a", strings.Repeat("x", 1000)+"\x00")
		if p := look(); !strings.HasPrefix(p.Error, "xxx") || len(p.Error) > 600 || !p.FailedAt.Equal(start.Add(30*time.Second)) || !p.SeenAt.Equal(start) {
			t.Errorf("%+v", p)
		}
		s.Seen(ctx, "a")
		if p := look(); p.Error != "" || !p.FailedAt.IsZero() || !p.SeenAt.Equal(start.Add(30*time.Second)) {
			t.Errorf("%+v", p)
		}
		w.clk.Advance(time.Minute)
		s.Seen(ctx, "a")
		if p := look(); !p.SeenAt.Equal(w.clk.Now()) {
			t.Errorf("%+v", p)
		}
		s.Failed(ctx, "nobody", "x") // changes nothing
		look()
	})
}

func TestParse(t *testing.T) {
	k := key(7)
	if got, err := peer.ParseKey(k.String()); err != nil || got != k || len(k.Fingerprint()) != 32 || !strings.HasPrefix(k.String(), "berth-peer-1:") {
		t.Errorf("%s %v", k, err)
	}
	for _, text := range []string{"", "berth-peer-1:", k.String() + "A", k.String()[:len(k.String())-1], "berth-peer-2" + k.String()[12:], k.String() + "=", " " + k.String(), strings.Repeat("x", 9999)} {
		if _, err := peer.ParseKey(text); !errs.Is(err, errs.InvalidInput) || len(err.Error()) > 400 {
			t.Errorf("%.60q is a key: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"https://a.example": "https://a.example", "https://A.example:443/": "https://a.example", "http://a.example:80": "http://a.example",
		"https://a.example:80": "https://a.example:80", "https://[::1]:8443": "https://[::1]:8443", "HTTPS://1.2.3.4": "https://1.2.3.4",
		"": "", "a.example": "", "ftp://a.example": "", "https://": "", "https://u:p@a.example": "", "https://a.example/path": "", "https://a.example?q": "", "https://a.example#f": "", "https:a.example": "", "https://a b": "",
	} {
		if got, err := peer.ParseURL(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"111111111111,000000000002, 111111111111": "000000000002,111111111111", "*": "*", "*,111111111111": "error", "1": "error", "111111111111,": "error",
	} {
		all, err := peer.ParseAccounts(strings.Split(text, ","))
		var got []string
		for _, a := range all {
			got = append(got, string(a))
		}
		if err != nil && want != "error" || err == nil && strings.Join(got, ",") != want {
			t.Errorf("%q is %v, %v; want %s", text, got, err, want)
		}
	}
	if all, err := peer.ParseAccounts(nil); err != nil || len(all) != 0 {
		t.Errorf("%v %v", all, err)
	}
}
