package entities_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/api/aws/query"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/api/iam/entities"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const (
	mine   = name.AccountID("111111111111")
	arn    = "arn:aws:iam::111111111111:"
	trust  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	inline = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecr:*", "Resource": "*", "Sid": "PlusAndBlank"}]}`
)

// world is the rows behind the real pipeline; who calls and what is allowed is
// the test's to say.
type world struct {
	*iam.Client
	t        *testing.T
	db       *sqldb.DB
	clk      *clock.Fake
	config   entities.Config
	caller   principal.Principal
	forbid   string // an action that is refused
	last     authz.Request
	inUse    []name.Region
	endpoint string
}

func (w *world) Authenticate(context.Context, *http.Request, []byte) (sigv4.Result, error) {
	return sigv4.Result{Principal: w.caller, Region: "us-east-1", Service: "iam"}, nil
}

func (w *world) Authorize(_ context.Context, r authz.Request) error {
	w.last = r
	for _, n := range r.Needs {
		if n.Action == w.forbid {
			return errs.New(errs.AccessDenied, "User: %s is not authorized", r.Principal.ARN)
		}
	}
	return nil
}

func (w *world) Record(context.Context, audit.Entry) {}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, db: sqldbtest.SQLite(t), clk: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), caller: principal.Root(mine)}
	if err := w.db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
	if err != nil {
		t.Fatal(err)
	}
	p, err := principal.New(w.db, ring, w.clk)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.EnsureAccount(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	w.config = entities.Config{Principals: p, Entities: entity.New(p), InUse: func(context.Context, name.AccountID, string) ([]name.Region, error) { return w.inUse, nil }}
	table := aws.ErrorTable{
		errs.Internal: {Name: "ServiceFailure", Status: 500}, errs.AccessDenied: {Name: "AccessDenied", Status: 403},
		errs.EntityNotFound: {Name: "NoSuchEntity", Status: 404}, errs.EntityExists: {Name: "EntityAlreadyExists", Status: 409},
		errs.EntityInUse: {Name: "DeleteConflict", Status: 409}, errs.EntityLimit: {Name: "LimitExceeded", Status: 409},
		errs.InvalidInput: {Name: "InvalidInput", Status: 400}, errs.PolicyMalformed: {Name: "MalformedPolicyDocument", Status: 400},
		errs.PolicyNotAttachable: {Name: "PolicyNotAttachable", Status: 400}, errs.EntityUnmodifiable: {Name: "UnmodifiableEntity", Status: 400},
		errs.Validation: {Name: "ValidationError", Status: 400}, errs.InvalidParameter: {Name: "ValidationError", Status: 400},
	}
	pipeline, err := aws.New(aws.Config{
		Services: []aws.Service{{
			Name: "iam", EventSource: "iam.amazonaws.com", Version: "2010-05-08", SigningNames: []string{"iam"}, Global: true,
			Protocol: query.Protocol{Namespace: "https://iam.amazonaws.com/doc/2010-05-08/"}, Known: shapes.OperationNames(),
			Errors: table.Named, ErrorShapes: shapes.ErrorShapes(), Operations: entities.Operations(w.config),
		}},
		Authenticator: w, Authorizer: w, Audit: w, Clock: w.clk, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(pipeline)
	t.Cleanup(server.Close)
	w.endpoint = server.URL
	w.Client = iam.New(iam.Options{Region: "us-east-1", BaseEndpoint: &server.URL, RetryMaxAttempts: 1, HTTPClient: awstest.Client{Client: http.DefaultClient},
		Credentials: sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
			return sdk.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}, nil
		})})
	return w
}

// managed makes a managed policy of the account and returns its ARN.
func (w *world) managed(place string) string {
	w.t.Helper()
	made := arn + "policy/" + place
	if err := w.db.Update(w.t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(w.t.Context(), `INSERT INTO iam_policy (id, account_id, arn, name, name_key, path, description, default_version, last_version, created_at, updated_at)
			VALUES ($1, $2, $3, $1, $1, '/', '', 1, 1, 0, 0)`, place, string(mine), made)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return made
}

// got is the output of a call that has to succeed.
func got[T any](out T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// refused expects an error by its name, status and text.
func (w *world) refused(err error, code string, status int, text string) {
	w.t.Helper()
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) {
		w.t.Errorf("got %v, want %s", err, code)
		return
	}
	if api.ErrorCode() != code || response.HTTPStatusCode() != status || text != "" && api.ErrorMessage() != text {
		w.t.Errorf("got %s %d %q, want %s %d %q", api.ErrorCode(), response.HTTPStatusCode(), api.ErrorMessage(), code, status, text)
	}
}

// decoded is a policy in an answer, as it was before it was encoded.
func (w *world) decoded(document *string) string {
	w.t.Helper()
	out, err := url.PathUnescape(*document)
	if err != nil {
		w.t.Error(err)
	}
	return out
}
