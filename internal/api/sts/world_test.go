package sts_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/api/sts"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/provider"
	"github.com/berth-registry/berth/internal/domain/principal/session"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/oidcverify"
	"github.com/berth-registry/berth/internal/infra/oidcverify/oidcverifytest"
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

// codes are MFA devices, by user id and serial number, whose only code is taken
// once.
type codes map[[2]string]string

func (c codes) CheckCode(_ context.Context, _ name.AccountID, userID, serial, code string) error {
	device := [2]string{userID, serial}
	if code == "" || c[device] != code {
		return errs.New(errs.AccessDenied, "MultiFactorAuthentication failed with invalid MFA one time pass code.")
	}
	delete(c, device)
	return nil
}

// world is STS over a real database, behind the real pipeline with the real
// authorizer.
type world struct {
	t          *testing.T
	url        string
	principals *principal.Service
	entities   *entity.Service
	providers  *provider.Service
	codes      codes
	issuer     *oidcverifytest.Issuer

	mu      sync.Mutex
	entries []audit.Entry
	asked   []authz.Request
	access  *authz.Service
}

func (w *world) Record(_ context.Context, e audit.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = append(w.entries, e)
}

// Authorize remembers what was asked.
func (w *world) Authorize(ctx context.Context, r authz.Request) error {
	w.mu.Lock()
	w.asked = append(w.asked, r)
	w.mu.Unlock()
	return w.access.Authorize(ctx, r)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func newWorld(t *testing.T) *world {
	ctx, clk := t.Context(), clock.System{} // the SDK signs with the machine's time
	w := &world{t: t, codes: codes{}, issuer: oidcverifytest.New(t, "/tenant")}
	db := sqldbtest.SQLite(t)
	w.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clk)
	w.must(err)
	w.principals, err = principal.New(db, ring, clk)
	w.must(err)
	for _, a := range []name.AccountID{account, other} {
		w.must(w.principals.EnsureAccount(ctx, a))
	}
	w.entities, w.providers = entity.New(w.principals), provider.New(w.principals)
	registries := registry.New(db, clk, []name.Region{region})
	w.access, err = authz.New(authz.Config{
		Principals: w.principals, Entities: w.entities, Registries: registries, Keys: ring, Clock: clk,
		Repositories: repository.New(repository.Config{DB: db, Clock: clk, Registries: registries, Keys: ring, Quotas: quota.Fixed(quota.Default())}),
	})
	w.must(err)
	api := sts.New(sts.Config{
		Principals: w.principals, Messages: w.access,
		Sessions: session.New(session.Config{
			Principals: w.principals, Roles: w.entities, Codes: w.codes, Providers: w.providers,
			Verifier: oidcverify.New(oidcverify.Config{Clock: clk}),
		}),
	})
	pipeline, err := aws.New(aws.Config{
		Services:      []aws.Service{api.Service()},
		Authenticator: sigv4.New(sigv4.Config{Keys: keySource{w.principals}, Clock: clk, Log: slog.New(slog.DiscardHandler)}),
		Authorizer:    w, Audit: w, Clock: clk, Log: slog.New(slog.DiscardHandler),
	})
	w.must(err)
	server := httptest.NewServer(pipeline)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// caller is somebody with an STS client.
type caller struct {
	*client.Client
	id, entity string
}

func (w *world) client(id, secret, token string) *client.Client {
	return client.New(client.Options{Region: string(region), BaseEndpoint: &w.url, RetryMaxAttempts: 1, HTTPClient: awstest.Client{Client: http.DefaultClient},
		Credentials: sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
			return sdk.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}, nil
		})})
}

// root is the root user of the account.
func (w *world) root() caller {
	w.t.Helper()
	id, secret := principal.NewAccessKeyPair(principal.PrefixAccessKey, account)
	w.must(w.principals.PutRootKey(w.t.Context(), account, id, secret))
	return caller{Client: w.client(id, secret, ""), id: id}
}

// user makes a user with the statements as its policy; none for "".
func (w *world) user(userName, statements string) caller {
	w.t.Helper()
	ctx := w.t.Context()
	e, err := w.entities.Create(ctx, entity.Create{Account: account, Kind: entity.User, Name: userName})
	w.must(err)
	if statements != "" {
		w.must(w.entities.PutInline(ctx, account, entity.User, userName, "p", document(statements)))
	}
	id, secret := principal.NewAccessKeyPair(principal.PrefixAccessKey, account)
	w.must(w.principals.Change(ctx, account, func(tx *sqldb.Tx) error { return w.principals.PutKeyTx(ctx, tx, account, e.ID, id, secret) }))
	return caller{Client: w.client(id, secret, ""), id: id, entity: e.ID}
}

func (w *world) role(a name.AccountID, roleName, trust string) entity.Entity {
	w.t.Helper()
	e, err := w.entities.Create(w.t.Context(), entity.Create{Account: a, Kind: entity.Role, Name: roleName, Path: "/ci/", Trust: document(trust)})
	w.must(err)
	return e
}

func document(statements string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[%s]}`, statements)
}

// whoIs is the caller's identity as the service tells it.
func (w *world) whoIs(c *client.Client) string {
	w.t.Helper()
	out, err := c.GetCallerIdentity(w.t.Context(), &client.GetCallerIdentityInput{})
	w.must(err)
	return *out.Account + " " + *out.Arn + " " + *out.UserId
}

// asking lists the actions and resources that the last request asked for.
func (w *world) asking() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.asked[len(w.asked)-1].Needs {
		resource := "*"
		if !n.Resource.IsZero() {
			resource = n.Resource.String()
		}
		all = append(all, n.Action+" "+resource)
	}
	return all
}

// failed makes sure that an error is the one of the name, status and message; ""
// is any message.
func failed(t *testing.T, what string, err error, code string, status int, message string) {
	t.Helper()
	var api smithy.APIError
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &answer) || api.ErrorCode() != code || answer.HTTPStatusCode() != status || message != "" && api.ErrorMessage() != message {
		t.Errorf("%s: %v, want %s %d %q", what, err, code, status, message)
	}
}
