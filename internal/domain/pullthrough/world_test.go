package pullthrough_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/domain/secret"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const account = name.AccountID("111111111111")

var (
	reg       = name.Registry{Account: account, Region: "us-east-1"}
	elsewhere = name.Registry{Account: account, Region: "eu-west-1"}
)

// registries are upstreams that know who may log in: the password by the host and
// the username. A host that is not there does not answer.
type registries map[string]string

func (r registries) Ping(_ context.Context, e upstream.Endpoint, repo string) error {
	if repo != "" {
		return &upstream.Failure{Kind: upstream.NotFound, Err: context.Canceled}
	}
	password, ok := r[strings.TrimSuffix(e.Host+" "+e.Username, " ")]
	if ok && password == e.Password {
		return nil
	}
	kind := upstream.Unavailable
	for known := range r {
		if strings.HasPrefix(known, e.Host) {
			kind = upstream.Unauthorized
		}
	}
	return &upstream.Failure{Kind: kind, Err: context.DeadlineExceeded}
}

// world is the service over a real database.
type world struct {
	*pullthrough.Service
	t    *testing.T
	clk  *clock.Fake
	keys *keyring.Keyring
	// listed are the hosts of the operator.
	listed map[string]bool
	// local are the roles that registries were reached as.
	local []string
}

func newWorld(t *testing.T, db *sqldb.DB) *world {
	t.Helper()
	w := &world{t: t, clk: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)), listed: map[string]bool{"registry.example:5000": true, "mirror.example": true}}
	ctx := t.Context()
	w.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	var err error
	w.keys, err = keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
	w.must(err)
	principals, err := principal.New(db, w.keys, w.clk)
	w.must(err)
	w.must(principals.EnsureAccount(ctx, account))
	regs := registry.New(db, w.clk, []name.Region{reg.Region, elsewhere.Region})
	repositories := repository.New(repository.Config{DB: db, Clock: w.clk, Registries: regs, Keys: w.keys, Quotas: quota.Fixed(quota.Default())})
	entities := entity.New(principals)
	access, err := authz.New(authz.Config{Principals: principals, Entities: entities, Registries: regs, Repositories: repositories, Keys: w.keys, Clock: w.clk})
	w.must(err)
	w.Service = pullthrough.New(pullthrough.Config{
		DB: db, Clock: w.clk, Registries: regs, Entities: entities, Access: access, Secrets: secret.New(secret.Config{DB: db, Keys: w.keys, Clock: w.clk}),
		Hosts: name.Hosts{Domain: "registry.test"}, Upstreams: func(host string) bool { return w.listed[host] },
		Local: func(_ context.Context, r pullthrough.Rule, role string) (upstream.Endpoint, error) {
			w.local = append(w.local, role)
			return upstream.Endpoint{Host: r.URL, Username: "AWS", Password: "token"}, nil
		},
		Upstream: registries{"registry-1.docker.io me": "open", "quay.io": "", "222222222222.dkr.ecr.us-east-1.amazonaws.com AWS": "token"},
	})
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused fails unless the error has the code and begins with the text.
func (w *world) refused(what string, err error, code errs.Code, text string) {
	w.t.Helper()
	if !errs.Is(err, code) || !strings.HasPrefix(err.Error(), text) {
		w.t.Errorf("%s: %v, want %q", what, err, text)
	}
}

func (w *world) make(r pullthrough.Rule) pullthrough.Rule {
	w.t.Helper()
	if r.Registry == (name.Registry{}) {
		r.Registry = reg
	}
	made, err := w.Create(w.t.Context(), r)
	w.must(err)
	return made
}

// secret makes a secret with the value, "" for none, and returns its ARN.
func (w *world) secret(secretName, value, key string) string {
	w.t.Helper()
	c := secret.Create{Home: reg, Name: secretName, KMSKey: key}
	if value != "" {
		c.Content = &secret.Content{Data: []byte(value)}
	}
	made, _, err := w.Secrets.Create(w.t.Context(), c)
	w.must(err)
	return made.ARN().String()
}

func document(statements string) string {
	return `{"Version":"2012-10-17","Statement":[` + statements + `]}`
}

// role makes a role that the service may assume, with the statements as its policy.
func (w *world) role(roleName, service, statements string) string {
	w.t.Helper()
	e, err := w.Entities.Create(w.t.Context(), entity.Create{
		Account: account, Kind: entity.Role, Name: roleName, Path: "/ecr/",
		Trust: document(`{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole","Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:ecr:us-east-1:111111111111:repository/*"}}}`),
	})
	w.must(err)
	if statements != "" {
		w.must(w.Entities.PutInline(w.t.Context(), account, entity.Role, roleName, "p", document(statements)))
	}
	return e.ARN()
}
