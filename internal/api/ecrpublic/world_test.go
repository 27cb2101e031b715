package ecrpublic_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/ecrpublic"
	"github.com/aws/smithy-go"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/api/ecrpublic"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/tagged"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const (
	ours   = name.AccountID("111111111111")
	theirs = name.AccountID("222222222222")
	home   = name.Region("us-east-1")
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

// world is the API over a real database, behind the real pipeline and authorizer; who
// calls, and in which region, is the test's to say.
type world struct {
	*client.Client
	t       *testing.T
	clk     *clock.Fake
	caller  principal.Principal
	region  name.Region
	catalog *catalog.Service
	entity  *entity.Service
	tokens  *principal.Service
	quotas  quota.Limits

	mu      sync.Mutex
	entries []audit.Entry
}

// Limits is the quotas as the test has set them.
func (w *world) Limits(context.Context, name.AccountID) (quota.Limits, error) { return w.quotas, nil }

// RepositoryLimits is the same.
func (w *world) RepositoryLimits(context.Context, name.AccountID, name.Repository) (quota.Limits, error) {
	return w.quotas, nil
}

// Authenticate says that the caller of the test calls.
func (w *world) Authenticate(context.Context, *http.Request, []byte) (sigv4.Result, error) {
	return sigv4.Result{Principal: w.caller, Region: string(w.region), Service: "ecr-public"}, nil
}

// Record keeps what goes into the trail.
func (w *world) Record(_ context.Context, e audit.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = append(w.entries, e)
}

// last is the newest entry of the trail, and its JSON.
func (w *world) last() (audit.Entry, string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entries[len(w.entries)-1]
	text, err := json.Marshal(e)
	w.must(err)
	return e, string(text)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused fails unless err is the exception with the message.
func (w *world) refused(err error, exception, message string) {
	w.t.Helper()
	var failed smithy.APIError
	if !errors.As(err, &failed) || failed.ErrorCode() != exception || failed.ErrorMessage() != message {
		w.t.Errorf("%v, want %s: %s", err, exception, message)
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, caller: principal.Root(ours), region: home, quotas: quota.Default(), clk: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}
	db, log, ctx, clk := sqldbtest.SQLite(t), slog.New(slog.DiscardHandler), t.Context(), w.clk
	w.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	w.must(db.Migrate(ctx, "volatile_version", schema.Volatile()...)) // as with PostgreSQL, both in one
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clk)
	w.must(err)
	w.tokens, err = principal.New(db, ring, clk)
	w.must(err)
	for _, a := range []name.AccountID{ours, theirs} {
		w.must(w.tokens.EnsureAccount(ctx, a))
	}
	w.entity = entity.New(w.tokens)
	registries := registry.New(db, clk, []name.Region{home})
	repositories := repository.New(repository.Config{DB: db, Clock: clk, Registries: registries, Keys: ring, Quotas: w})
	tags := tagged.Reader{Durable: db}
	access, err := authz.New(authz.Config{Principals: w.tokens, Entities: w.entity, Registries: registries, Repositories: repositories, Keys: ring, Clock: clk, ImageTags: tags.Of})
	w.must(err)
	store := memory.New()
	layers := layer.New(layer.Config{
		Durable: db, Volatile: db, Repositories: repositories, Clock: clk, Log: log, Quotas: w, Jobs: jobs.New(db, clk, log, jobs.Options{}),
		Store:   func(name.Region) (blobstore.Store, bool) { return store, true },
		Archive: func(name.Region) (blobstore.Store, bool) { return store, true },
	})
	images := image.New(image.Config{Durable: db, Repositories: repositories, Layers: layers, Outbox: event.NewOutbox(), Clock: clk, Log: log, Quotas: w})
	w.catalog = catalog.New(catalog.Config{DB: db, Clock: clk, Log: log, Repositories: repositories})
	api := ecrpublic.New(ecrpublic.Config{
		Principals: w.tokens, Entities: w.entity, Access: access, Repositories: repositories, Layers: layers, Images: images, Tags: tags,
		Catalog: w.catalog, Quotas: w, Home: home, SigningKey: make([]byte, 32),
		Base:    func(*aws.Call) string { return "public.example" },
		Gallery: func(*aws.Call) string { return "https://gallery.example" },
	})
	pipeline, err := aws.New(aws.Config{
		Services: []aws.Service{api.Service()}, Authenticator: w, Authorizer: access, Audit: w, Clock: clk, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	w.must(err)
	server := httptest.NewServer(pipeline)
	t.Cleanup(server.Close)
	w.Client = client.New(client.Options{
		BaseEndpoint: &server.URL, Region: string(home), Retryer: sdk.NopRetryer{}, HTTPClient: awstest.Client{Client: http.DefaultClient},
		Credentials: sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
			return sdk.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "secret"}, nil
		}),
	})
	return w
}

// user makes a user of an account with a policy of these statements.
func (w *world) user(account name.AccountID, userName, statements string) principal.Principal {
	w.t.Helper()
	ctx := w.t.Context()
	e, err := w.entity.Create(ctx, entity.Create{Account: account, Kind: entity.User, Name: userName})
	w.must(err)
	w.must(w.entity.PutInline(ctx, account, entity.User, userName, "p", `{"Version":"2012-10-17","Statement":[`+statements+`]}`))
	id, secret := principal.NewAccessKeyPair(principal.PrefixAccessKey, account)
	w.must(w.tokens.Change(ctx, account, func(tx *sqldb.Tx) error { return w.tokens.PutKeyTx(ctx, tx, account, e.ID, id, secret) }))
	k, found, err := w.tokens.Credentials(ctx, id, "")
	w.must(err)
	if !found {
		w.t.Fatal("the user has no key")
	}
	return k.Principal
}

// create makes a repository of the caller's and returns the registry's primary alias.
func (w *world) create(repo string) string {
	w.t.Helper()
	_, err := w.CreateRepository(w.t.Context(), &client.CreateRepositoryInput{RepositoryName: &repo})
	w.must(err)
	r, err := w.catalog.Registry(w.t.Context(), w.caller.Account)
	w.must(err)
	return string(r.Primary())
}
