package events_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/smithy-go"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/api/events"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/rule"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
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

	pushes = `{"source":["aws.ecr"],"detail-type":["ECR Image Action"],"detail":{"action-type":["PUSH"]}}`
	queue  = "arn:aws:sqs:eu-test-1:111111111111:images"
	hook   = "arn:aws:events:eu-test-1:111111111111:api-destination/hook/11111111-1111-1111-1111-111111111111"
)

// keySource gives the verifier the secrets that principal keeps.
type keySource struct{ p *principal.Service }

func (s keySource) AccessKey(ctx context.Context, id, sessionToken string) (sigv4.Key, bool, error) {
	k, found, err := s.p.Credentials(ctx, id, sessionToken)
	return sigv4.Key{Secret: k.Secret, Principal: k.Principal, Enabled: k.Enabled, Expires: k.Expires}, found, err
}

// world is EventBridge over a real database, behind the real pipeline with the real
// authorizer. It keeps what went into the trail.
type world struct {
	t          *testing.T
	url        string
	principals *principal.Service
	entities   *entity.Service

	mu      sync.Mutex
	entries []audit.Entry
}

// Record keeps an entry.
func (w *world) Record(_ context.Context, e audit.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = append(w.entries, e)
}

// last is the last entry of the operation.
func (w *world) last(operation string) audit.Entry {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.entries) - 1; i >= 0; i-- {
		if w.entries[i].EventName == operation {
			return w.entries[i]
		}
	}
	w.t.Fatalf("the trail has no %s", operation)
	return audit.Entry{}
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
	keys, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clk)
	w.must(err)
	w.principals, err = principal.New(db, keys, clk)
	w.must(err)
	for _, a := range []name.AccountID{account, other} {
		w.must(w.principals.EnsureAccount(ctx, a))
	}
	w.entities = entity.New(w.principals)
	registries := registry.New(db, clk, []name.Region{region})
	access, err := authz.New(authz.Config{
		Principals: w.principals, Entities: w.entities, Registries: registries, Keys: keys, Clock: clk,
		Repositories: repository.New(repository.Config{DB: db, Clock: clk, Registries: registries, Keys: keys, Quotas: quota.Fixed(quota.Default())}),
	})
	w.must(err)
	log := slog.New(slog.DiscardHandler)
	api := events.New(events.Config{Rules: rule.New(rule.Config{DB: db, Clock: clk, Log: log, Known: func(_ context.Context, _ name.AccountID, _ name.Region, arn string) error {
		if arn == queue || arn == hook {
			return nil
		}
		return errs.New(errs.EventResourceNotFound, "no")
	}})})
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

func (w *world) client(id, secretKey string) *eventbridge.Client {
	return eventbridge.New(eventbridge.Options{
		Region: string(region), BaseEndpoint: &w.url, RetryMaxAttempts: 1, HTTPClient: awstest.Client{Client: http.DefaultClient},
		Credentials: credentials.NewStaticCredentialsProvider(id, secretKey, ""),
	})
}

func (w *world) root(a name.AccountID) *eventbridge.Client {
	w.t.Helper()
	id, secretKey := principal.NewAccessKeyPair(principal.PrefixAccessKey, a)
	w.must(w.principals.PutRootKey(w.t.Context(), a, id, secretKey))
	return w.client(id, secretKey)
}

// user makes a user with the statements as its policy.
func (w *world) user(userName, statements string) *eventbridge.Client {
	w.t.Helper()
	ctx := w.t.Context()
	e, err := w.entities.Create(ctx, entity.Create{Account: account, Kind: entity.User, Name: userName})
	w.must(err)
	w.must(w.entities.PutInline(ctx, account, entity.User, userName, "p", fmt.Sprintf(`{"Version":"2012-10-17","Statement":[%s]}`, statements)))
	id, secretKey := principal.NewAccessKeyPair(principal.PrefixAccessKey, account)
	w.must(w.principals.Change(ctx, account, func(tx *sqldb.Tx) error { return w.principals.PutKeyTx(ctx, tx, account, e.ID, id, secretKey) }))
	return w.client(id, secretKey)
}

// refused fails unless the call failed with the error and a message that begins so.
func (w *world) refused(what string, err error, code, message string) {
	w.t.Helper()
	var failure smithy.APIError
	if !errors.As(err, &failure) || failure.ErrorCode() != code || !strings.HasPrefix(failure.ErrorMessage(), message) {
		w.t.Errorf("%s: %v, want %s %q", what, err, code, message)
	}
}

func text(s *string) string { return sdk.ToString(s) }
