package policies_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/api/aws/query"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/api/iam/policies"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/managed"
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
	account  = name.AccountID("111111111111")
	admin    = "arn:aws:iam::aws:policy/AdministratorAccess"
	readOnly = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"
	push     = "arn:aws:iam::111111111111:policy/team/Push"
	document = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:*","Resource":"*"}]}`
	trust    = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"arn:aws:iam::111111111111:user/ann"}}}`
)

// world is the rows behind the real pipeline, with the SDK in front.
type world struct {
	*iam.Client
	entities *entity.Service
	// asked are the needs of all calls that came to the authorizer.
	asked []authz.Need
	clk   *clock.Fake
}

// Authorize allows what is in the account and AWS's own policies.
func (w *world) Authorize(_ context.Context, r authz.Request) error {
	w.asked = append(w.asked, r.Needs...)
	for _, n := range r.Needs {
		if !n.Resource.IsZero() && n.Resource.Account != r.Principal.Account && n.Resource.Account != "aws" {
			return errs.New(errs.AccessDenied, "no")
		}
	}
	return nil
}

func (*world) Record(context.Context, audit.Entry) {}

func (*world) AccessKey(_ context.Context, id, _ string) (sigv4.Key, bool, error) {
	return sigv4.Key{Secret: "secret", Principal: principal.Root(account), Enabled: true}, id == "AKIDEXAMPLE", nil
}

func errorOf(code errs.Code) (string, int) {
	table := aws.ErrorTable{
		errs.EntityNotFound: {Name: "NoSuchEntity", Status: 404}, errs.EntityExists: {Name: "EntityAlreadyExists", Status: 409},
		errs.EntityInUse: {Name: "DeleteConflict", Status: 409}, errs.EntityLimit: {Name: "LimitExceeded", Status: 409},
		errs.InvalidInput: {Name: "InvalidInput", Status: 400}, errs.PolicyMalformed: {Name: "MalformedPolicyDocument", Status: 400},
		errs.PolicyNotAttachable: {Name: "PolicyNotAttachable", Status: 400}, errs.EntityUnmodifiable: {Name: "UnmodifiableEntity", Status: 400},
		errs.Validation: {Name: "ValidationError", Status: 400}, errs.InvalidParameter: {Name: "ValidationError", Status: 400},
		errs.AccessDenied: {Name: "AccessDenied", Status: 403}, errs.Internal: {Name: "ServiceFailure", Status: 500},
	}
	return table.Named(code)
}

func open(t *testing.T, db *sqldb.DB) *world {
	t.Helper()
	if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
		t.Fatal(err)
	}
	w := &world{clk: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
	if err != nil {
		t.Fatal(err)
	}
	p, err := principal.New(db, ring, w.clk)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.EnsureAccount(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	w.entities = entity.New(p)
	pipeline, err := aws.New(aws.Config{
		Services: []aws.Service{{
			Name: "iam", EventSource: "iam.amazonaws.com", Version: "2010-05-08", SigningNames: []string{"iam"}, Global: true,
			Protocol: query.Protocol{Namespace: "https://iam.amazonaws.com/doc/2010-05-08/"}, Known: shapes.OperationNames(),
			Errors: errorOf, ErrorShapes: shapes.ErrorShapes(),
			Operations: policies.Operations(policies.Config{Principals: p, Managed: managed.New(p), Entities: w.entities}),
		}},
		Authenticator: sigv4.New(sigv4.Config{Keys: w, Clock: clock.System{}}), Authorizer: w, Audit: w, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(pipeline)
	t.Cleanup(server.Close)
	w.Client = iam.New(iam.Options{Region: "us-east-1", BaseEndpoint: &server.URL, RetryMaxAttempts: 1, HTTPClient: awstest.Client{Client: server.Client()},
		Credentials: sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
			return sdk.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}, nil
		})})
	return w
}

// entity makes a user, group or role of the name, below the path.
func (w *world) entity(t *testing.T, kind entity.Kind, path, called string, tags ...entity.Tag) entity.Entity {
	t.Helper()
	c := entity.Create{Account: account, Kind: kind, Path: path, Name: called, Tags: tags}
	if kind == entity.Role {
		c.Trust = trust
	}
	e, err := w.entities.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (w *world) attach(t *testing.T, e entity.Entity, arn string) {
	t.Helper()
	ok(t, w.entities.Attach(t.Context(), account, e.Kind, e.Name, arn))
}

// push makes the policy push.
func (w *world) push(t *testing.T) {
	t.Helper()
	_, err := w.CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: new("Push"), Path: new("/team/"), PolicyDocument: new(document)})
	ok(t, err)
}

// needs returns what has been asked since the last call, one a line.
func (w *world) needs() string {
	var lines []string
	for _, n := range w.asked {
		resource := "*"
		if !n.Resource.IsZero() {
			resource = n.Resource.String()
		}
		line := n.Action + " " + resource
		if len(n.Context) > 0 {
			line += " " + strings.TrimPrefix(fmt.Sprint(n.Context), "map")
		}
		lines = append(lines, line)
	}
	w.asked = nil
	return strings.Join(lines, "\n")
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks an error's name and text.
func refused(t *testing.T, what string, err error, code, text string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || api.ErrorMessage() != text {
		t.Errorf("%s: %v, want %s: %s", what, err, code, text)
	}
}

// plain undoes the URL-encoding of a document in an answer.
func plain(t *testing.T, document *string) string {
	t.Helper()
	text, err := url.PathUnescape(*document)
	if err != nil || strings.Contains(*document, "+") {
		t.Errorf("%q: %v", *document, err)
	}
	return text
}
