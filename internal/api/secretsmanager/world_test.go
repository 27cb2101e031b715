package secretsmanager_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/api/secretsmanager"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/domain/secret"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const (
	account = name.AccountID("111111111111")
	other   = name.AccountID("222222222222")
	region  = name.Region("eu-test-1")
)

// keySource gives the verifier the secrets that principal keeps.
type keySource struct{ p *principal.Service }

func (s keySource) AccessKey(ctx context.Context, id, sessionToken string) (sigv4.Key, bool, error) {
	k, found, err := s.p.Credentials(ctx, id, sessionToken)
	return sigv4.Key{Secret: k.Secret, Principal: k.Principal, Enabled: k.Enabled, Expires: k.Expires}, found, err
}

// world is Secrets Manager over a real database, behind the real pipeline with the
// real authorizer. It keeps what went into the trail and the log.
type world struct {
	t          *testing.T
	url        string
	principals *principal.Service
	entities   *entity.Service
	keys       *keyring.Keyring

	mu      sync.Mutex
	entries []audit.Entry
	log     bytes.Buffer
}

func (w *world) Record(_ context.Context, e audit.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = append(w.entries, e)
}

// Write takes the log.
func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

// recorded is everything that the trail and the log have.
func (w *world) recorded() string {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	b, err := json.Marshal(w.entries)
	w.must(err)
	return string(b) + w.log.String()
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func newWorld(t *testing.T) *world {
	ctx, clk := t.Context(), clock.System{} // the signer has the machine's time
	w := &world{t: t}
	db := sqldbtest.SQLite(t)
	w.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	var err error
	w.keys, err = keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clk)
	w.must(err)
	w.principals, err = principal.New(db, w.keys, clk)
	w.must(err)
	for _, a := range []name.AccountID{account, other} {
		w.must(w.principals.EnsureAccount(ctx, a))
	}
	w.entities = entity.New(w.principals)
	registries := registry.New(db, clk, []name.Region{region})
	access, err := authz.New(authz.Config{
		Principals: w.principals, Entities: w.entities, Registries: registries, Keys: w.keys, Clock: clk,
		Repositories: repository.New(repository.Config{DB: db, Clock: clk, Registries: registries, Keys: w.keys, Quotas: quota.Fixed(quota.Default())}),
	})
	w.must(err)
	log := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	api := secretsmanager.New(secretsmanager.Config{Secrets: secret.New(secret.Config{DB: db, Keys: w.keys, Clock: clk})})
	pipeline, err := aws.New(aws.Config{
		Services:      []aws.Service{api.Service()},
		Authenticator: sigv4.New(sigv4.Config{Keys: keySource{w.principals}, Clock: clk, Log: log}),
		Authorizer:    access, Audit: w, Clock: clk, Log: log,
	})
	w.must(err)
	server := httptest.NewServer(pipeline)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// caller is somebody with an access key.
type caller struct {
	w          *world
	id, secret string
}

func (w *world) root(a name.AccountID) caller {
	w.t.Helper()
	id, secretKey := principal.NewAccessKeyPair(principal.PrefixAccessKey, a)
	w.must(w.principals.PutRootKey(w.t.Context(), a, id, secretKey))
	return caller{w, id, secretKey}
}

// user makes a user with the statements as its policy.
func (w *world) user(userName, statements string) caller {
	w.t.Helper()
	ctx := w.t.Context()
	e, err := w.entities.Create(ctx, entity.Create{Account: account, Kind: entity.User, Name: userName})
	w.must(err)
	w.must(w.entities.PutInline(ctx, account, entity.User, userName, "p", fmt.Sprintf(`{"Version":"2012-10-17","Statement":[%s]}`, statements)))
	id, secretKey := principal.NewAccessKeyPair(principal.PrefixAccessKey, account)
	w.must(w.principals.Change(ctx, account, func(tx *sqldb.Tx) error { return w.principals.PutKeyTx(ctx, tx, account, e.ID, id, secretKey) }))
	return caller{w, id, secretKey}
}

type object = map[string]any

// call makes a signed request as an SDK does, and returns the status and the answer.
func (c caller) call(op string, in object) (int, object) {
	c.w.t.Helper()
	body, err := json.Marshal(in)
	c.w.must(err)
	r, err := http.NewRequestWithContext(c.w.t.Context(), http.MethodPost, c.w.url, bytes.NewReader(body))
	c.w.must(err)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "secretsmanager."+op)
	sum := sha256.Sum256(body)
	c.w.must(v4.NewSigner().SignHTTP(c.w.t.Context(), sdk.Credentials{AccessKeyID: c.id, SecretAccessKey: c.secret}, r, hex.EncodeToString(sum[:]), "secretsmanager", string(region), time.Now()))
	resp, err := http.DefaultClient.Do(r)
	c.w.must(err)
	text, err := io.ReadAll(resp.Body)
	c.w.must(err)
	c.w.must(resp.Body.Close())
	out := object{}
	if err := json.Unmarshal(text, &out); err != nil {
		c.w.t.Fatalf("%s: %v: %s", op, err, text)
	}
	return resp.StatusCode, out
}

// succeed makes a call that has to work.
func (c caller) succeed(op string, in object) object {
	c.w.t.Helper()
	status, out := c.call(op, in)
	if status != http.StatusOK {
		c.w.t.Fatalf("%s %v: %d %v", op, in, status, out)
	}
	return out
}

// refused makes a call that has to fail with the error and a message that begins so.
func (c caller) refused(op string, in object, code, message string) {
	c.w.t.Helper()
	status, out := c.call(op, in)
	text, _ := out["message"].(string)
	if text == "" {
		text, _ = out["Message"].(string)
	}
	if status != http.StatusBadRequest || out["__type"] != code || !strings.HasPrefix(text, message) {
		c.w.t.Errorf("%s %v: %d %v, want %s %q", op, in, status, out, code, message)
	}
}
