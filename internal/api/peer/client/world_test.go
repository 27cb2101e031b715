package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	api "github.com/berth-registry/berth/internal/api/peer"
	"github.com/berth-registry/berth/internal/api/peer/client"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/peer"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

// side is a deployment: a database, its registries, and a server over loopback TLS.
type side struct {
	t      *testing.T
	db     *sqldb.DB
	clk    *clock.Fake
	peers  *peer.Service
	client *client.Client
	store  *store
	stall  time.Duration
	// handler is the present process's.
	handler *api.Handler
	server  *httptest.Server
	// before, where it is set, stands before the handler, as a proxy would.
	before atomic.Pointer[func(http.Handler) http.Handler]
	// conns counts the connections that were made to the server.
	conns   atomic.Int64
	secrets *principal.Service
	roots   *x509.CertPool
}

// stall is what the sides allow a body to stand still.
const stall = 30 * time.Second

func newSide(t *testing.T, db *sqldb.DB, stall time.Duration) *side {
	t.Helper()
	if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
		t.Fatal(err)
	}
	s := &side{t: t, db: db, clk: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), store: newStore(), stall: stall, roots: x509.NewCertPool()}
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), s.clk)
	if err != nil {
		t.Fatal(err)
	}
	if s.secrets, err = principal.New(db, ring, s.clk); err != nil {
		t.Fatal(err)
	}
	s.restart()
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var h http.Handler = s.handler
		if before := s.before.Load(); before != nil {
			h = (*before)(h)
		}
		h.ServeHTTP(w, r)
	}))
	s.server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.server.EnableHTTP2 = true
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	return s
}

// restart is another process on the same database: nothing is in memory.
func (s *side) restart() {
	log := slog.New(slog.DiscardHandler)
	s.peers = peer.New(peer.Config{DB: s.db, Clock: s.clk, Log: log, Secrets: s.secrets})
	s.handler = api.New(api.Config{Peers: s.peers, Destination: s.store, Clock: s.clk, Log: log, Stall: s.stall})
	s.client = client.New(client.Config{Peers: s.peers, Clock: s.clk, Log: log, Roots: s.roots, Stall: stall})
	s.t.Cleanup(s.client.Close)
}

func (s *side) key() peer.PublicKey {
	s.t.Helper()
	k, err := s.peers.Key(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return k
}

// knows adds the other side as a peer.
func (s *side) knows(other *side, name string, accounts ...name.AccountID) peer.Peer {
	s.t.Helper()
	s.roots.AddCert(other.server.Certificate())
	p, err := s.peers.Add(s.t.Context(), peer.Addition{Name: name, URL: other.server.URL, Key: other.key(), Accounts: accounts, Replace: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *side) peer(name string) peer.Peer {
	s.t.Helper()
	p, err := s.peers.ByName(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// wrap puts a handler before the server's; nil takes it away.
func (s *side) wrap(before func(http.Handler) http.Handler) {
	if before == nil {
		s.before.Store(nil)
		return
	}
	s.before.Store(&before)
}

// pair are two sides that know each other: here sends images of account to there.
func pair(t *testing.T) (here, there *side, to replication.Destination) {
	t.Helper()
	here, there = newSide(t, sqldbtest.SQLite(t), stall), newSide(t, sqldbtest.SQLite(t), stall)
	return introduce(here, there)
}

func introduce(here, there *side) (*side, *side, replication.Destination) {
	here.knows(there, "there")
	there.knows(here, "here", account)
	return here, there, here.client.To(there.server.URL)
}

const account name.AccountID = "111122223333"

func place() replication.Place {
	return replication.Place{
		Source:      name.Registry{Account: account, Region: "us-east-1"},
		Destination: name.Registry{Account: "444455556666", Region: "eu-west-1"}, Repository: "team/app",
	}
}

// store is a small destination in memory that really works.
type store struct {
	mu     sync.Mutex
	made   map[replication.Place]bool
	blobs  map[name.Digest][]byte // whole or not
	images map[name.Digest]replication.Manifest
	tags   map[name.Tag]name.Digest
	failed []string
	gone   []replication.Removal
	calls  int
	// refuse, where it is set, is what every call returns.
	refuse error
	// entered, where it is set, is told of every body when its first bytes have come,
	// and the reading goes on when it answers.
	entered func(name.Digest)
	broken  chan error // how bodies broke
}

func newStore() *store {
	return &store{
		made: map[replication.Place]bool{}, blobs: map[name.Digest][]byte{}, images: map[name.Digest]replication.Manifest{},
		tags: map[name.Tag]name.Digest{}, broken: make(chan error, 100),
	}
}

func (s *store) begin() (func(), error) {
	s.mu.Lock()
	s.calls++
	return s.mu.Unlock, s.refuse
}

func (s *store) Prepare(_ context.Context, p replication.Place) error {
	end, err := s.begin()
	defer end()
	if err == nil {
		s.made[p] = true
	}
	return err
}

func (s *store) Lacking(_ context.Context, p replication.Place, blobs []replication.Blob) (parts []replication.Part, err error) {
	end, err := s.begin()
	defer end()
	if err != nil {
		return nil, err
	}
	if !s.made[p] {
		return nil, errs.New(errs.RepositoryNotFound, "The repository with name '%s' does not exist", p.Repository)
	}
	for _, b := range blobs {
		if have := int64(len(s.blobs[b.Digest])); have < b.Size || b.Size == 0 {
			parts = append(parts, replication.Part{Blob: b, Offset: have})
		}
	}
	return parts, nil
}

func (s *store) PutBlob(_ context.Context, _ replication.Place, part replication.Part, body io.Reader) error {
	end, err := s.begin()
	have, entered := int64(len(s.blobs[part.Digest])), s.entered
	end()
	switch {
	case err != nil:
		return err
	case have != part.Offset:
		return errs.New(errs.LayerPartInvalid, "The part begins at %d, and %d bytes are there.", part.Offset, have)
	}
	buffer := make([]byte, 64<<10)
	for first := true; ; first = false {
		n, err := body.Read(buffer)
		s.mu.Lock()
		s.blobs[part.Digest] = append(s.blobs[part.Digest], buffer[:n]...)
		whole := s.blobs[part.Digest]
		s.mu.Unlock()
		if first && entered != nil {
			entered(part.Digest)
		}
		switch {
		case errors.Is(err, io.EOF) && name.SHA256(whole) == part.Digest:
			return nil
		case errors.Is(err, io.EOF):
			return errs.New(errs.LayerDigestMismatch, "The layer is another one.")
		case err != nil:
			s.broken <- err
			return err
		}
	}
}

func (s *store) Images(_ context.Context, _ replication.Place, ds []name.Digest) (held []name.Digest, err error) {
	end, err := s.begin()
	defer end()
	for _, d := range ds {
		if _, ok := s.images[d]; ok {
			held = append(held, d)
		}
	}
	return held, err
}

func (s *store) PutImage(_ context.Context, _ replication.Place, m replication.Manifest) (bool, error) {
	end, err := s.begin()
	defer end()
	if err != nil {
		return false, err
	}
	s.images[m.Digest] = m
	if m.Tag == "" || m.Tag == "immutable" {
		return false, nil
	}
	s.tags[m.Tag] = m.Digest
	return true, nil
}

func (s *store) Remove(_ context.Context, _ replication.Place, r replication.Removal) error {
	end, err := s.begin()
	defer end()
	s.gone = append(s.gone, r)
	return err
}

func (s *store) Failed(_ context.Context, _ replication.Place, m replication.Manifest, code string) error {
	end, err := s.begin()
	defer end()
	s.failed = append(s.failed, fmt.Sprintf("%s %s %s %d %d", m.Digest, m.Tag, code, m.Seq, len(m.Body)))
	return err
}

func (s *store) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *store) blob(d name.Digest) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.blobs[d])
}

// layer makes n bytes that are not alike.
func layer(seed byte, n int) ([]byte, replication.Blob) {
	var b bytes.Buffer
	for sum := sha256.Sum256([]byte{seed}); b.Len() < n; sum = sha256.Sum256(sum[:]) {
		b.Write(sum[:])
	}
	all := b.Bytes()[:n]
	return all, replication.Blob{Digest: name.SHA256(all), Size: int64(n)}
}

func want(t *testing.T, err error, code errs.Code, text string) {
	t.Helper()
	if !errs.Is(err, code) || !bytes.Contains([]byte(err.Error()), []byte(text)) {
		t.Errorf("got %v (code %d), want code %d and a text with %q", err, errs.CodeOf(err), code, text)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
