package credentials_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/api/aws/query"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/api/iam/credentials"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/credential"
	"github.com/berth-registry/berth/internal/domain/principal/provider"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const (
	account = name.AccountID("111111111111")
	bayID   = "AIDABAYBAYBAYBAYBAYBO"
	arns    = "arn:aws:iam::111111111111:"
)

// errorTable stands in for that of internal/api/iam.
var errorTable = aws.ErrorTable{
	errs.EntityNotFound:     {Name: "NoSuchEntity", Status: 404},
	errs.EntityExists:       {Name: "EntityAlreadyExists", Status: 409},
	errs.EntityInUse:        {Name: "DeleteConflict", Status: 409},
	errs.EntityLimit:        {Name: "LimitExceeded", Status: 409},
	errs.InvalidInput:       {Name: "InvalidInput", Status: 400},
	errs.InvalidUserType:    {Name: "InvalidUserType", Status: 400},
	errs.PasswordRefused:    {Name: "PasswordPolicyViolation", Status: 400},
	errs.AuthenticationCode: {Name: "InvalidAuthenticationCode", Status: 403},
	errs.PolicyMalformed:    {Name: "MalformedPolicyDocument", Status: 400},
	errs.Validation:         {Name: "ValidationError", Status: 400},
	errs.InvalidParameter:   {Name: "ValidationError", Status: 400},
	errs.AccessDenied:       {Name: "AccessDenied", Status: 403},
	errs.Internal:           {Name: "ServiceFailure", Status: 500},
}

// server is the rows in a real pipeline, with users in a real database.
type server struct {
	t          *testing.T
	url        string
	clk        *clock.Fake
	principals *principal.Service

	mu      sync.Mutex
	asked   []authz.Need
	deny    string // an action
	entries []audit.Entry
}

func (s *server) Record(_ context.Context, e audit.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = append(s.entries, e)
}

func (s *server) Authorize(_ context.Context, r authz.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = r.Needs
	for _, n := range r.Needs {
		if n.Action == s.deny {
			return errs.New(errs.AccessDenied, "User: %s is not authorized to perform: %s", r.Principal.ARN, n.Action)
		}
	}
	return nil
}

var keyID = regexp.MustCompile(`Credential=([^/]+)/`)

// Authenticate takes the access key id for the caller's name.
func (s *server) Authenticate(_ context.Context, r *http.Request, _ []byte) (sigv4.Result, error) {
	who := map[string]principal.Principal{
		"root": principal.Root(account),
		"bay":  {Account: account, ARN: arns + "user/dev/Bay", ID: bayID, Entity: bayID},
		"token": {Account: account, ARN: arns + "user/dev/Bay", ID: bayID, Entity: bayID,
			Session: &principal.Session{Kind: principal.TokenSession}},
		"role": {Account: account, ARN: "arn:aws:sts::111111111111:assumed-role/Ops/me", ID: "AROA:me", Entity: "AROA",
			Session: &principal.Session{Kind: principal.RoleSession}},
		"federated": {Account: account, ARN: "arn:aws:sts::111111111111:federated-user/me", ID: "111111111111:me", Entity: bayID,
			Session: &principal.Session{Kind: principal.FederatedSession}},
	}[keyID.FindStringSubmatch(r.Header.Get("Authorization"))[1]]
	return sigv4.Result{Principal: who, Region: "us-east-1", Service: "iam"}, nil
}

func start(t *testing.T) *server {
	t.Helper()
	ctx := t.Context()
	db := sqldbtest.SQLite(t)
	if err := db.Migrate(ctx, "schema_version", schema.Durable()...); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, clk: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), s.clk)
	if err != nil {
		t.Fatal(err)
	}
	if s.principals, err = principal.New(db, ring, s.clk); err != nil {
		t.Fatal(err)
	}
	if err := s.principals.EnsureAccount(ctx, account); err != nil {
		t.Fatal(err)
	}
	err = db.Update(ctx, func(tx *sqldb.Tx) error {
		for _, u := range [][4]string{{bayID, "Bay", "bay", "/dev/"}, {"AIDAEVEEVEEVEEVEEVEEV", "elm", "elm", "/"}} {
			_, err := tx.Exec(ctx, `INSERT INTO iam_entity (id, account_id, kind, name, name_key, path, created_at) VALUES ($1, $2, 'user', $3, $4, $5, $6)`,
				u[0], string(account), u[1], u[2], u[3], s.clk.Now().UnixMicro())
			if err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `INSERT INTO iam_tag (owner, key_fold, tag_key, tag_value) VALUES ($1, 'team', 'Team', 'red')`, bayID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pipeline, err := aws.New(aws.Config{
		Services: []aws.Service{{
			Name: "iam", EventSource: "iam.amazonaws.com", Version: "2010-05-08", SigningNames: []string{"iam"}, Global: true,
			Protocol:   query.Protocol{Namespace: "https://iam.amazonaws.com/doc/2010-05-08/"},
			Operations: credentials.Operations(credentials.Config{Credentials: credential.New(s.principals), Providers: provider.New(s.principals)}),
			Known:      shapes.OperationNames(), Errors: errorTable.Named, ErrorShapes: shapes.ErrorShapes(),
		}},
		Authenticator: s, Authorizer: s, Audit: s, Clock: s.clk, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	httpServer := httptest.NewServer(pipeline)
	t.Cleanup(httpServer.Close)
	s.url = httpServer.URL
	return s
}

// as is a client of the caller.
func (s *server) as(who string) *iam.Client {
	return iam.New(iam.Options{
		Region: "us-east-1", BaseEndpoint: &s.url, RetryMaxAttempts: 1, HTTPClient: awstest.Client{Client: http.DefaultClient},
		Credentials: sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
			return sdk.Credentials{AccessKeyID: who, SecretAccessKey: "secret"}, nil
		}),
	})
}

// needs are what the last call asked for: "action resource key=value ...".
func (s *server) needs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, n := range s.asked {
		text := n.Action + " *"
		if !n.Resource.IsZero() {
			text = n.Action + " " + strings.TrimPrefix(n.Resource.String(), arns)
		}
		for _, k := range slices.Sorted(maps.Keys(n.Context)) {
			text += fmt.Sprintf(" %s=%s", k, strings.Join(n.Context[k], ","))
		}
		out = append(out, text)
	}
	return out
}

// trail is all that was recorded, as the audit trail stores it.
func (s *server) trail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := json.Marshal(s.entries)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

func wants(t *testing.T, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || api.ErrorMessage() != message {
		t.Errorf("got %v, want %s: %s", err, code, message)
	}
}

func ok[T any](out T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}
