package oci_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/oci"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/domain/template"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...), sqldbtest.Migrated("schema_version_volatile", schema.Volatile()...))
}

const (
	account = name.AccountID("123456789012")
	foreign = name.AccountID("210987654321")
	region  = name.Region("eu-central-1")
	other   = name.Region("us-west-2")
)

// world is the API over the real domain on SQLite files and a store in memory.
type world struct {
	url    string
	api    *oci.API
	clock  *clock.Fake
	audit  *trail
	config oci.Config

	principals   *principal.Service
	repositories *repository.Service
	registries   *registry.Service
	templates    *template.Service
	entities     *entity.Service
}

// trail keeps the audit entries.
type trail struct {
	mu      sync.Mutex
	entries []audit.Entry
}

func (t *trail) Record(_ context.Context, e audit.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = append(t.entries, e)
}

func (t *trail) last() audit.Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.entries) == 0 {
		return audit.Entry{}
	}
	return t.entries[len(t.entries)-1]
}

func newWorld(t *testing.T, change func(*oci.Config)) *world {
	t.Helper()
	w := &world{clock: clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), audit: &trail{}}
	dir, ctx, log := t.TempDir(), t.Context(), slog.New(slog.DiscardHandler)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	durable, volatile := sqldbtest.SQLite(t), sqldbtest.SQLite(t)
	ring, err := keyring.Open(filepath.Join(dir, "keyring.json"), w.clock)
	must(err)
	w.principals, err = principal.New(durable, ring, w.clock)
	must(err)
	for _, a := range []name.AccountID{account, foreign} {
		must(w.principals.EnsureAccount(ctx, a))
		must(w.principals.PutRootKey(ctx, a, "AKIA"+string(a), "secret"+string(a)))
	}
	store, limits := memory.New(), quota.Default()
	registries := registry.New(durable, w.clock, []name.Region{region})
	w.repositories = repository.New(repository.Config{
		DB: durable, Clock: w.clock, Registries: registries, Keys: ring, Quotas: quota.Fixed(limits), Sealing: true,
	})
	w.registries = registries
	entities := entity.New(w.principals)
	w.entities = entities
	authorizer, err := authz.New(authz.Config{
		Principals: w.principals, Entities: entities, Registries: registries, Repositories: w.repositories, Keys: ring, Clock: w.clock,
	})
	must(err)
	w.templates = template.New(template.Config{
		DB: durable, Clock: w.clock, Registries: registries, Repositories: w.repositories, Entities: entities, Access: authorizer,
	})
	layers := layer.New(layer.Config{
		Durable: durable, Volatile: volatile, Repositories: w.repositories, Clock: w.clock, Log: log, Quotas: quota.Fixed(limits),
		Store: func(r name.Region) (blobstore.Store, bool) { return store, r == region || r == name.Public },
	})
	signer, err := manifest.NewSigner(make([]byte, manifest.SignerSeedSize))
	must(err)
	images := image.New(image.Config{
		Durable: durable, Repositories: w.repositories, Layers: layers, Outbox: event.NewOutbox(), Clock: w.clock, Log: log, Quotas: quota.Fixed(limits), Signer: signer,
	})
	for repo, setting := range map[name.Repository]repository.TagMutability{
		"team/one": repository.Mutable, "team/two": repository.Mutable, "team/fixed": repository.Immutable,
	} {
		_, err := w.repositories.Create(ctx, repository.Create{Registry: here(), Name: repo, Mutability: repository.Mutability{Setting: setting}})
		must(err)
	}
	w.config = oci.Config{
		Resolve: func(r *http.Request) (name.Registry, string, bool) {
			if r.TLS != nil {
				return here(), "https://" + r.Host, true
			}
			return here(), "http://" + r.Host, true
		},
		Tokens:     w.principals,
		Authorizer: authorizer, Registries: registries, Templates: w.templates, Repositories: w.repositories, Layers: layers, Images: images,
		Audit: w.audit, Log: log, Clock: w.clock, ManifestBytes: limits.ManifestBytes, Mounting: true,
	}
	if change != nil {
		change(&w.config)
	}
	w.api, err = oci.New(w.config)
	must(err)
	server := httptest.NewServer(w.api)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// overHTTP2 serves the same world over TLS and HTTP/2.
func (w *world) overHTTP2(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(w.api)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func here() name.Registry { return name.Registry{Account: account, Region: region} }

// token is the Authorization of an account's root user for a region.
func (w *world) token(t *testing.T, a name.AccountID, r name.Region) string {
	t.Helper()
	p := principal.Principal{Account: a, ARN: principal.RootARN(a), ID: string(a), AccessKeyID: "AKIA" + string(a)}
	password, _, err := w.principals.IssueToken(context.Background(), p, r)
	if err != nil {
		t.Fatal(err)
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("AWS:"+password))
}
