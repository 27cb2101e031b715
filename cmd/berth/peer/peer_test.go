package peer

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	api "github.com/berth-registry/berth/internal/api/peer"
	"github.com/berth-registry/berth/internal/api/peer/client"
	"github.com/berth-registry/berth/internal/app/peeradmin"
	"github.com/berth-registry/berth/internal/domain/peer"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

// deployment is one side: what its commands speak to, and its server.
type deployment struct {
	t      *testing.T
	clk    *clock.Fake
	peers  *peer.Service
	roots  *x509.CertPool
	admin  http.Handler
	server *httptest.Server
}

func deploy(t *testing.T) *deployment {
	t.Helper()
	db := sqldbtest.SQLite(t)
	if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
		t.Fatal(err)
	}
	d := &deployment{t: t, clk: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), roots: x509.NewCertPool()}
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), d.clk)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := principal.New(db, ring, d.clk)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	d.peers = peer.New(peer.Config{DB: db, Clock: d.clk, Log: log, Secrets: secrets})
	c := client.New(client.Config{Peers: d.peers, Clock: d.clk, Log: log, Roots: d.roots})
	d.server = httptest.NewTLSServer(api.New(api.Config{Peers: d.peers, Clock: d.clk, Log: log})) // no image is sent here
	mux := http.NewServeMux()
	peeradmin.Service{Peers: d.peers, Client: c}.Routes(mux)
	d.admin = mux
	t.Cleanup(func() { c.Close(); d.server.Close() })
	return d
}

// call is an Admin.
func (d *deployment) call(ctx context.Context, _, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	w := httptest.NewRecorder()
	d.admin.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, path, bytes.NewReader(body)))
	if w.Code != http.StatusOK {
		return errors.New(strings.TrimSpace(w.Body.String()))
	}
	return json.Unmarshal(w.Body.Bytes(), out)
}

// run runs a command line, as the program does.
func (d *deployment) run(args ...string) (string, error) {
	d.t.Helper()
	var out bytes.Buffer
	var root struct {
		Peer Command `cmd:""`
	}
	parser, err := kong.New(&root, kong.BindTo(d.t.Context(), (*context.Context)(nil)), kong.BindTo(io.Writer(&out), (*io.Writer)(nil)), kong.Bind(Admin(d.call)))
	if err != nil {
		d.t.Fatal(err)
	}
	parsed, err := parser.Parse(append([]string{"peer"}, args...))
	if err != nil {
		return "", err
	}
	err = parsed.Run()
	return out.String(), err
}

func (d *deployment) must(args ...string) string {
	d.t.Helper()
	out, err := d.run(args...)
	if err != nil {
		d.t.Fatalf("berth peer %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func has(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s\nhas no %q", text, w)
		}
	}
}

// TestExchange goes through docs/peers.md: keys are exchanged, each side says what is
// missing on the other, and keys are rotated.
func TestExchange(t *testing.T) {
	us, eu := deploy(t), deploy(t)
	us.roots.AddCert(eu.server.Certificate())
	eu.roots.AddCert(us.server.Certificate())

	euKey := strings.TrimSpace(eu.must("key"))
	if k, err := eu.peers.Key(t.Context()); err != nil || k.String() != euKey {
		t.Errorf("%q %v", euKey, err)
	}
	has(t, us.must("list"), "This deployment's key: ")
	out := us.must("add", "eu", "--url", eu.server.URL, "--key", euKey)
	usKey := strings.TrimSpace(us.must("key"))
	has(t, out, "Added the peer eu at "+eu.server.URL+". It may send images here of: no account.\n", "does not know this deployment yet. Run there:\n\n  berth peer add peer-",
		" --url https://ADDRESS-OF-THIS-DEPLOYMENT --key "+usKey+"\n")
	has(t, us.must("list"), "never", "failed 2026-01-02 03:04: This deployment knows no peer with the key.", "no account", eu.server.URL)

	// The command that was printed, with what is the operator's to fill in.
	_, command, _ := strings.Cut(out, "berth peer ")
	command, _, _ = strings.Cut(command, "\n")
	command = strings.Replace(command, "https://ADDRESS-OF-THIS-DEPLOYMENT", us.server.URL, 1) + " --accounts 111122223333,444455556666"
	has(t, eu.must(strings.Fields(command)...), "of: 111122223333, 444455556666.\nIt answers, and knows this deployment, which may send images there of: no account.\n")
	var added peeradmin.Added
	if err := json.Unmarshal([]byte(us.must("add", "eu", "--url", eu.server.URL, "--key", euKey, "--accounts", "*", "--replace", "--json")), &added); err != nil {
		t.Fatal(err)
	}
	if added.Check.State != client.OK || len(added.Check.Accounts) != 2 || added.Command != "" || added.Peer.Name != "eu" || added.Peer.Accounts[0] != "*" || !added.Peer.KnowsKey {
		t.Errorf("%+v", added)
	}
	has(t, us.must("list"), "all accounts", "2026-01-02 03:04  ok\n")

	out = us.must("rotate")
	has(t, out, "The new key: berth-peer-1:", "The peer eu knows it.\n")
	if strings.Contains(out, usKey) {
		t.Error("the key is the old one")
	}
	has(t, eu.must("list"), "; changes its key")
	eu.server.Close()
	has(t, us.must("rotate"), "The peer eu does not know it yet, and is told again every minute: ")
	has(t, us.must("list"), "failed 2026-01-02 03:04: ", "; does not know our new key yet")
	has(t, us.must("add", "gone", "--url", "https://127.0.0.1:1", "--key", "berth-peer-1:"+strings.Repeat("A", 43)), "It cannot be reached: ", "refused", "asked again every minute")

	var list peeradmin.List
	if err := json.Unmarshal([]byte(us.must("list", "--json")), &list); err != nil || len(list.Peers) != 2 || list.Peers[0].KnowsKey || !list.Peers[1].KnowsKey || list.Peers[0].Error == "" {
		t.Errorf("%+v %v", list, err)
	}
	has(t, us.must("remove", "gone"), "Removed the peer gone.")
	if _, err := us.run("remove", "gone"); err == nil || !strings.Contains(err.Error(), `There is no peer named "gone"`) {
		t.Errorf("got %v", err)
	}
	has(t, us.must("remove", "eu", "--json"), `"name": "eu"`)
	if out := us.must("list"); strings.Contains(out, "PEER") {
		t.Errorf("%s\nhas peers", out)
	}
}

// TestMistakes: what an operator can get wrong is said in full.
func TestMistakes(t *testing.T) {
	us, eu := deploy(t), deploy(t)
	us.roots.AddCert(eu.server.Certificate())
	key := strings.TrimSpace(eu.must("key"))
	for want, args := range map[string][]string{
		"--insecure-http":                   {"--url", "http://eu.example", "--key", key},
		"it begins with https://":           {"--url", "eu.example", "--key", key},
		"43 letters and digits":             {"--url", "https://eu.example", "--key", key[:30]},
		"an account id has 12 digits":       {"--url", "https://eu.example", "--key", key, "--accounts", "12"},
		"the key of this deployment itself": {"--url", "https://eu.example", "--key", strings.TrimSpace(us.must("key"))},
		"name it alone, or name accounts":   {"--url", "https://eu.example", "--key", key, "--accounts", "*,111122223333"},
		"missing flags: --key=STRING":       {"--url", "https://eu.example"},
		`"EU" cannot be the name of a peer`: {"EU", "--url", "https://eu.example", "--key", key},
	} {
		if !strings.HasPrefix(args[0], "-") {
			args = append([]string{"add"}, args...)
		} else {
			args = append([]string{"add", "eu"}, args...)
		}
		if _, err := us.run(args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
	has(t, us.must("add", "eu", "--url", eu.server.URL, "--key", "berth-peer-1:"+strings.Repeat("A", 43)), "Something is wrong: the deployment at ", "with another key", "--replace")
	web := httptest.NewTLSServer(http.NotFoundHandler())
	defer web.Close()
	us.roots.AddCert(web.Certificate())
	has(t, us.must("add", "web", "--url", web.URL, "--key", key), "Something is wrong: what answers at", "Check the address")
}
