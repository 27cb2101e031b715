package replication_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	api "github.com/berth-registry/berth/internal/api/ecr/replication"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/replication/backfill"
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
	ours     = name.AccountID("111111111111")
	theirs   = name.AccountID("222222222222")
	patience = time.Minute
)

var (
	here  = name.Registry{Account: ours, Region: "us-east-1"}
	there = name.Registry{Account: ours, Region: "eu-west-1"}
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

// world is the rows behind the real pipeline and authorizer, in front of a queue
// whose destination cannot be reached; who calls is the test's to say.
type world struct {
	*ecr.Client
	t            *testing.T
	db           *sqldb.DB
	caller       principal.Principal
	principals   *principal.Service
	entities     *entity.Service
	registries   *registry.Service
	repositories *repository.Service
	replication  *replication.Service
	backfills    *backfill.Service
}

// Authenticate says that the caller of the test calls.
func (w *world) Authenticate(context.Context, *http.Request, []byte) (sigv4.Result, error) {
	return sigv4.Result{Principal: w.caller, Region: string(here.Region), Service: "ecr"}, nil
}

// Record implements audit.Recorder.
func (w *world) Record(context.Context, audit.Entry) {}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, db: sqldbtest.SQLite(t), caller: principal.Root(ours)}
	clk, log, ctx := clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), slog.New(slog.DiscardHandler), t.Context()
	w.must(w.db.Migrate(ctx, "schema_version", schema.Durable()...))
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clk)
	w.must(err)
	w.principals, err = principal.New(w.db, ring, clk)
	w.must(err)
	for _, a := range []name.AccountID{ours, theirs} {
		w.must(w.principals.EnsureAccount(ctx, a))
	}
	w.entities = entity.New(w.principals)
	w.registries = registry.New(w.db, clk, []name.Region{here.Region, there.Region})
	w.repositories = repository.New(repository.Config{DB: w.db, Clock: clk, Registries: w.registries, Keys: ring, Quotas: quota.Fixed(quota.Default())})
	access, err := authz.New(authz.Config{Principals: w.principals, Entities: w.entities, Registries: w.registries, Repositories: w.repositories, Keys: ring, Clock: clk})
	w.must(err)
	queue := jobs.New(w.db, clk, log, jobs.Options{Poll: 10 * time.Millisecond})
	store := memory.New()
	layers := layer.New(layer.Config{
		Durable: w.db, Volatile: w.db, Repositories: w.repositories, Clock: clk, Log: log, Quotas: quota.Fixed(quota.Default()), Jobs: queue,
		Store:   func(name.Region) (blobstore.Store, bool) { return store, true },
		Archive: func(name.Region) (blobstore.Store, bool) { return store, true },
	})
	outbox := event.NewOutbox()
	images := image.New(image.Config{Durable: w.db, Repositories: w.repositories, Layers: layers, Outbox: outbox, Clock: clk, Log: log, Quotas: quota.Fixed(quota.Default())})
	w.replication = replication.New(replication.Config{
		Durable: w.db, Registries: w.registries, Repositories: w.repositories, Images: images, Layers: layers, Entities: w.entities, Outbox: outbox, Clock: clk, Log: log, Jobs: queue,
		Served:      w.registries.Enabled,
		Destination: func(name.Region) (replication.Destination, bool) { return nil, false },
	})
	w.backfills = backfill.New(backfill.Config{
		DB: w.db, Clock: clk, Log: log, Registries: w.registries, Repositories: w.repositories, Images: images, Jobs: queue, Queue: w.replication,
	})
	table := aws.ErrorTable{
		errs.Internal: {Name: "ServerException", Status: 500}, errs.AccessDenied: {Name: "AccessDeniedException", Status: 400},
		errs.InvalidParameter: {Name: "InvalidParameterException", Status: 400}, errs.Validation: {Name: "ValidationException", Status: 400},
		errs.RepositoryNotFound: {Name: "RepositoryNotFoundException", Status: 400}, errs.ImageNotFound: {Name: "ImageNotFoundException", Status: 400},
		errs.BackfillNotFound: {Name: "ReplicationBackfillNotFoundException", Status: 400}, errs.BackfillInProgress: {Name: "ReplicationBackfillInProgressException", Status: 400},
		errs.BackfillStatusInvalid: {Name: "ReplicationBackfillInvalidStatusException", Status: 400}, errs.LimitExceeded: {Name: "LimitExceededException", Status: 400},
	}
	operations := api.Operations(api.Config{
		Entities: w.entities, Repositories: w.repositories, Replication: w.replication, Backfills: w.backfills, Tokens: paging.Tokens{Key: make([]byte, 32)},
	})
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
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- queue.Run(running) }()
	t.Cleanup(func() {
		server.Close()
		stop()
		w.must(<-ended)
	})
	w.Client = ecr.New(ecr.Options{Region: string(here.Region), BaseEndpoint: &server.URL, RetryMaxAttempts: 1, HTTPClient: awstest.Client{Client: http.DefaultClient},
		Credentials: sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
			return sdk.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}, nil
		})})
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused expects an error by its name and text.
func (w *world) refused(what string, err error, code, text string) {
	w.t.Helper()
	var failure smithy.APIError
	var response *smithyhttp.ResponseError
	if !errors.As(err, &failure) || !errors.As(err, &response) {
		w.t.Errorf("%s: got %v, want %s", what, err, code)
		return
	}
	if failure.ErrorCode() != code || response.HTTPStatusCode() != http.StatusBadRequest || failure.ErrorMessage() != text {
		w.t.Errorf("%s: got %s %d %q, want %s %q", what, failure.ErrorCode(), response.HTTPStatusCode(), failure.ErrorMessage(), code, text)
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

// registryPolicy sets the policy of our registry.
func (w *world) registryPolicy(statements string) {
	w.t.Helper()
	d, err := policy.Parse(`{"Version":"2012-10-17","Statement":[`+statements+`]}`, policy.Registry)
	w.must(err)
	w.must(w.registries.SetPolicy(w.t.Context(), here, d, w.entities.PinPrincipals))
}

func digest(short string) name.Digest { return name.SHA256([]byte(short)) }

// put makes the row of an image with its tags.
func (w *world) put(repo name.Repository, short string, tags ...string) {
	w.t.Helper()
	ctx := w.t.Context()
	r, err := w.repositories.Get(ctx, here, repo)
	if errs.Is(err, errs.RepositoryNotFound) {
		r, err = w.repositories.Create(ctx, repository.Create{Registry: here, Name: repo, Mutability: repository.Mutability{Setting: repository.Mutable}})
	}
	w.must(err)
	w.must(w.db.Update(ctx, func(tx *sqldb.Tx) error {
		id := sqldb.NewID()
		if _, err := tx.Exec(ctx, `INSERT INTO image (id, repository_id, digest, media_type, artifact_type, size, manifest_size, pushed_at, tags, subject, annotations)
			VALUES ($1, $2, $3, 'application/vnd.oci.image.index.v1+json', '', 1, 1, 0, $4, '', '')`, id, r.ID, string(digest(short)), len(tags)); err != nil {
			return err
		}
		for _, t := range tags {
			if _, err := tx.Exec(ctx, `INSERT INTO image_tag (repository_id, tag, image_id, updated_at) VALUES ($1, $2, $3, 0)`, r.ID, t, id); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `UPDATE repository SET images = images + 1 WHERE id = $1`, r.ID)
		return err
	}))
}
