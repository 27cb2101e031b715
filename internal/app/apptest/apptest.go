// Package apptest runs the whole program in the test's own process, on a
// temporary data directory and a clock that the test may hold.
//
// It is for tests only. Tests of the built binary start it themselves
// (test/contract/harness).
package apptest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/backends/backendstest"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// The root access key of the default account.
const (
	AccessKeyID     = "AKIAAPPTESTAPPTEST00"
	SecretAccessKey = "app/test+secret"
)

// Options change the program before it starts.
type Options struct {
	Clock  clock.Clock
	Log    *slog.Logger
	Config func(*config.Config)
	// Work runs the jobs, too, and writes what is kept in memory.
	Work bool
}

// Server is a running program.
type Server struct {
	App *app.App
	// URL is http://127.0.0.1:port.
	URL string
	// PublicURL is the same of the public registry and the gallery.
	PublicURL string
	// ECR is an SDK client for the default region.
	ECR *ecr.Client
}

// Start runs the program until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	cfg := config.Default()
	cfg.Data = t.TempDir()
	cfg.RootAccessKeyID, cfg.RootSecretAccessKey = AccessKeyID, SecretAccessKey
	cfg.PublicListen = "127.0.0.1:0" // if the program listens itself
	if o.Config != nil {
		o.Config(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	backendstest.Prepare(t, cfg)
	a, err := app.New(t.Context(), cfg, app.Options{Clock: o.Clock, Log: o.Log, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a.Handler())
	public := httptest.NewUnstartedServer(nil)
	public.Config.Handler = a.PublicHandler(public.Listener.Addr().String())
	public.Start()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	if o.Work {
		go func() { ended <- a.Work(ctx) }()
	} else {
		ended <- nil
	}
	t.Cleanup(func() {
		server.Close()
		public.Close()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Server{App: a, URL: server.URL, PublicURL: public.URL, ECR: Client(server.URL, string(cfg.Region))}
}

// Client is an SDK client for a region of the server at the URL, as the root
// user of the default account.
func Client(url, region string) *ecr.Client {
	return ClientOf(url, region, AccessKeyID, SecretAccessKey)
}

// ClientOf is Client with another access key.
func ClientOf(url, region, id, secret string) *ecr.Client {
	return ecr.New(ecr.Options{
		BaseEndpoint: &url, Region: region, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
		}),
		HTTPClient: awstest.Client{Client: http.DefaultClient},
	})
}

// Authorization fetches a token with the client and returns the value of the
// header that opens the registry.
func Authorization(t testing.TB, client *ecr.Client) string {
	t.Helper()
	out, err := client.GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	return "Basic " + *out.AuthorizationData[0].AuthorizationToken
}

// Authorization is the default account's header value.
func (s *Server) Authorization(t testing.TB) string {
	t.Helper()
	return Authorization(t, s.ECR)
}

// CreateRepository makes a repository with default settings.
func (s *Server) CreateRepository(t testing.TB, repo string) {
	t.Helper()
	if _, err := s.ECR.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &repo}); err != nil {
		t.Fatal(err)
	}
}
