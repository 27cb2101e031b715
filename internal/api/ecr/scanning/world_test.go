package scanning_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	api "github.com/berth-registry/berth/internal/api/ecr/scanning"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const (
	ours   = name.AccountID("111111111111")
	theirs = name.AccountID("222222222222")
)

var (
	here = name.Registry{Account: ours, Region: "us-east-1"}
	now  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

// scans keeps configurations in the database, and the scans of images in memory,
// where the test puts them.
type scans struct {
	db           *sqldb.DB
	registries   *registry.Service
	repositories *repository.Service
	entities     *entity.Service
	tags         map[name.Tag]name.Digest
	pages        map[name.Digest]*scan.Page // whole ones
	started      map[name.Digest]bool
}

func (s *scans) find(ref image.Ref) (name.Digest, error) {
	d := ref.Digest
	if d == "" {
		d = s.tags[ref.Tag]
	}
	if _, there := s.pages[d]; !there {
		return "", errs.New(errs.ImageNotFound, "no image %s %s", ref.Digest, ref.Tag)
	}
	return d, nil
}

func (s *scans) Start(ctx context.Context, r repository.Repository, ref image.Ref) (scan.State, error) {
	if c, err := s.Configuration(ctx, r.Registry); err != nil || c.Type == rules.Enhanced {
		return scan.State{}, errs.New(errs.Validation, "This feature is disabled")
	}
	d, err := s.find(ref)
	if err != nil {
		return scan.State{}, err
	}
	if s.started[d] {
		return scan.State{}, errs.New(errs.LimitExceeded, "The scan quota per image has been exceeded. Wait and try again.")
	}
	s.started[d] = true
	return scan.State{Digest: d, Tag: ref.Tag, Status: scan.InProgress}, nil
}

func (s *scans) Findings(_ context.Context, _ repository.Repository, ref image.Ref, after, limit int) (scan.Page, error) {
	d, err := s.find(ref)
	if err != nil {
		return scan.Page{}, err
	}
	all := s.pages[d]
	if all == nil {
		return scan.Page{}, errs.New(errs.ScanNotFound, "no scan of %s", d)
	}
	page := *all
	page.Digest, page.Tag = d, ref.Tag
	if page.Type == rules.Enhanced {
		page.Enhanced, page.Next = part(page.Enhanced, after, limit)
	} else {
		page.Basic, page.Next = part(page.Basic, after, limit)
	}
	return page, nil
}

func part[T any](all []T, after, limit int) (page []T, next int) {
	from := min(after, len(all))
	to := min(from+limit, len(all))
	if to < len(all) {
		next = to
	}
	return all[from:to], next
}

func (s *scans) Summaries(context.Context, repository.Repository, []image.Detail) (map[name.Digest]scan.Summary, error) {
	return nil, nil
}

func (s *scans) Configuration(ctx context.Context, reg name.Registry) (c rules.Configuration, err error) {
	err = s.db.View(ctx, func(tx *sqldb.Tx) error {
		c, err = rules.Stored(ctx, tx, reg)
		return err
	})
	return c, err
}

func (s *scans) PutConfiguration(ctx context.Context, reg name.Registry, c rules.Configuration) (rules.Configuration, error) {
	err := s.db.Update(ctx, func(tx *sqldb.Tx) error {
		if err := s.registries.EnsureTx(ctx, tx, reg); err != nil {
			return err
		}
		return rules.Store(ctx, tx, reg, c, now)
	})
	if err == nil && c.Type == rules.Enhanced {
		_, err = s.entities.EnsureServiceRole(ctx, reg.Account, "inspector2.amazonaws.com")
	}
	return c, err
}

func (s *scans) RepositoryConfigurations(ctx context.Context, reg name.Registry, repos []name.Repository) ([]scan.RepositoryConfiguration, error) {
	c, err := s.Configuration(ctx, reg)
	if err != nil {
		return nil, err
	}
	var all []scan.RepositoryConfiguration
	for _, n := range repos {
		one := scan.RepositoryConfiguration{Repository: n}
		r, err := s.repositories.Get(ctx, reg, n)
		switch {
		case errs.Is(err, errs.RepositoryNotFound):
			one.Missing = true
		case err != nil:
			return nil, err
		default:
			one.ARN, one.Applied = r.ARN(), c.For(n, r.ScanOnPush)
		}
		all = append(all, one)
	}
	return all, nil
}

func (s *scans) SetScanOnPush(ctx context.Context, reg name.Registry, repo name.Repository, on bool) (repository.Repository, error) {
	if c, err := s.Configuration(ctx, reg); err != nil || c.Type == rules.Enhanced {
		return repository.Repository{}, errs.New(errs.Validation, "This feature is disabled")
	}
	return s.repositories.SetScanOnPush(ctx, reg, repo, on)
}

// world is the rows behind the real pipeline and authorizer; who calls is the test's
// to say.
type world struct {
	*scans
	t      *testing.T
	url    string
	caller principal.Principal
}

// Authenticate says that the caller of the test calls.
func (w *world) Authenticate(context.Context, *http.Request, []byte) (sigv4.Result, error) {
	return sigv4.Result{Principal: w.caller, Region: string(here.Region), Service: "ecr"}, nil
}

// Record implements audit.Recorder.
func (w *world) Record(context.Context, audit.Entry) {}

// newWorld has a repository app.
func newWorld(t *testing.T) *world {
	t.Helper()
	db, ctx, clk := sqldbtest.SQLite(t), t.Context(), clock.NewFake(now)
	w := &world{t: t, caller: principal.Root(ours)}
	w.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clk)
	w.must(err)
	principals, err := principal.New(db, ring, clk)
	w.must(err)
	for _, a := range []name.AccountID{ours, theirs} {
		w.must(principals.EnsureAccount(ctx, a))
	}
	registries := registry.New(db, clk, []name.Region{here.Region})
	w.scans = &scans{
		db: db, entities: entity.New(principals), registries: registries,
		repositories: repository.New(repository.Config{DB: db, Clock: clk, Registries: registries, Keys: ring, Quotas: quota.Fixed(quota.Default())}),
		tags:         map[name.Tag]name.Digest{}, pages: map[name.Digest]*scan.Page{}, started: map[name.Digest]bool{},
	}
	_, err = w.repositories.Create(ctx, repository.Create{Registry: here, Name: "app", Mutability: repository.Mutability{Setting: repository.Mutable}})
	w.must(err)
	access, err := authz.New(authz.Config{Principals: principals, Entities: w.entities, Registries: registries, Repositories: w.repositories, Keys: ring, Clock: clk})
	w.must(err)
	table := aws.ErrorTable{
		errs.Internal: {Name: "ServerException", Status: 500}, errs.AccessDenied: {Name: "AccessDeniedException", Status: 400},
		errs.InvalidParameter: {Name: "InvalidParameterException", Status: 400}, errs.Validation: {Name: "ValidationException", Status: 400},
		errs.RepositoryNotFound: {Name: "RepositoryNotFoundException", Status: 400}, errs.ImageNotFound: {Name: "ImageNotFoundException", Status: 400},
		errs.ScanNotFound: {Name: "ScanNotFoundException", Status: 400}, errs.LimitExceeded: {Name: "LimitExceededException", Status: 400},
	}
	operations := api.Operations(api.Config{Scans: w.scans, Repositories: w.repositories, Entities: w.entities, Tokens: paging.Tokens{Key: make([]byte, 32)}})
	var known []string
	for _, o := range operations {
		known = append(known, o.Name)
	}
	pipeline, err := aws.New(aws.Config{
		Services: []aws.Service{{
			Name: "ecr", EventSource: "ecr.amazonaws.com", TargetPrefix: "AmazonEC2ContainerRegistry_V20150921", SigningNames: []string{"ecr"},
			Protocol: json11.Protocol{}, Known: known, Errors: table.Named, ErrorShapes: []shape.Error{}, Operations: operations,
		}},
		Authenticator: w, Authorizer: access, Audit: w, Clock: clk, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	w.must(err)
	server := httptest.NewServer(pipeline)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// sdk is the SDK's client.
func (w *world) sdk() *ecr.Client {
	return ecr.New(ecr.Options{Region: string(here.Region), BaseEndpoint: &w.url, RetryMaxAttempts: 1, HTTPClient: awstest.Client{Client: http.DefaultClient},
		Credentials: sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
			return sdk.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}, nil
		})})
}

// call makes a call and gives its status and body.
func (w *world) call(operation, in string) (int, []byte) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url, bytes.NewReader([]byte(in)))
	w.must(err)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "AmazonEC2ContainerRegistry_V20150921."+operation)
	answer, err := http.DefaultClient.Do(r)
	w.must(err)
	body, err := io.ReadAll(answer.Body)
	w.must(err)
	w.must(answer.Body.Close())
	return answer.StatusCode, body
}

// wants expects exactly this answer.
func (w *world) wants(operation, in, out string) {
	w.t.Helper()
	status, body := w.call(operation, in)
	var got, want any
	w.must(json.Unmarshal([]byte(out), &want))
	if err := json.Unmarshal(body, &got); err != nil || status != http.StatusOK || !reflect.DeepEqual(got, want) {
		w.t.Errorf("%s %s: got %d %s, want %s", operation, in, status, body, out)
	}
}

// refuses expects a client error by its name and text.
func (w *world) refuses(operation, in, code, text string) {
	w.t.Helper()
	status, body := w.call(operation, in)
	var got struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(body, &got); err != nil || status != http.StatusBadRequest || got.Type != code || got.Message != text {
		w.t.Errorf("%s %s: got %d %s, want %s %q", operation, in, status, body, code, text)
	}
}

// as lets a user with the statements call until the function is over.
func (w *world) as(account name.AccountID, user, statements string, fn func()) {
	w.t.Helper()
	e, err := w.entities.Create(w.t.Context(), entity.Create{Account: account, Kind: entity.User, Name: user})
	w.must(err)
	if statements != "" {
		w.must(w.entities.PutInline(w.t.Context(), account, entity.User, user, "p", `{"Version":"2012-10-17","Statement":[`+statements+`]}`))
	}
	before := w.caller
	w.caller = principal.Principal{Account: account, ARN: e.ARN(), ID: e.ID, Entity: e.ID, AccessKeyID: "AKIA" + user}
	defer func() { w.caller = before }()
	fn()
}

// put makes an image with a tag and what its scan says; nil for none.
func (w *world) put(short string, tag name.Tag, p *scan.Page) name.Digest {
	d := name.SHA256([]byte(short))
	w.tags[tag], w.pages[d] = d, p
	return d
}
