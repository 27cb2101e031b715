package harness

import (
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/internal/api/aws/awstest"
)

// Config is the AWS SDK's configuration for the server's root user in the
// default region. Requests are not repeated: a test wants to see every answer.
func (s *Server) Config() aws.Config {
	return aws.Config{
		Region: s.Region, BaseEndpoint: aws.String(s.Endpoint),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey}, nil
		}),
		HTTPClient: awstest.Client{Client: &http.Client{Transport: s.transport}},
		Retryer:    func() aws.Retryer { return aws.NopRetryer{} },
	}
}

// ECR is an SDK client.
func (s *Server) ECR() *ecr.Client { return ecr.NewFromConfig(s.Config()) }

// Token gets an authorization token: base64 of AWS:password.
func (s *Server) Token(t testing.TB) string {
	t.Helper()
	out, err := s.ECR().GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		t.Fatalf("GetAuthorizationToken: %v", err)
	}
	if len(out.AuthorizationData) != 1 {
		t.Fatalf("GetAuthorizationToken gave %d tokens, want 1", len(out.AuthorizationData))
	}
	return aws.ToString(out.AuthorizationData[0].AuthorizationToken)
}

// Password is what a registry client logs in with, as the user AWS.
func (s *Server) Password(t testing.TB) string {
	t.Helper()
	plain, err := base64.StdEncoding.DecodeString(s.Token(t))
	if err != nil {
		t.Fatal(err)
	}
	password, ok := strings.CutPrefix(string(plain), "AWS:")
	if !ok {
		t.Fatalf("the token is not of the user AWS")
	}
	return password
}

// CreateRepository makes repositories with default settings.
func (s *Server) CreateRepository(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := s.ECR().CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String(name)}); err != nil {
			t.Fatalf("CreateRepository %s: %v", name, err)
		}
	}
}

// Registry is a client of the default registry as the root user.
func (s *Server) Registry(t testing.TB) *Registry {
	t.Helper()
	return NewRegistry(s.Endpoint, "Basic "+s.Token(t), s.transport)
}

// ConfigAs is Config for other credentials; token is "" for permanent ones.
func (s *Server) ConfigAs(id, secret, token string) aws.Config {
	c := s.Config()
	c.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}, nil
	})
	return c
}

// RegistryAt is a client of the registry with this host name, at the server's
// port, with the value of the Authorization header. Every host is the server.
func (s *Server) RegistryAt(host, authorization string) *Registry {
	_, port, _ := net.SplitHostPort(s.Addr) // Prepare has split it before
	return NewRegistry("http://"+net.JoinHostPort(host, port), authorization, s.transport)
}

// CreateAccount makes an account with berth account create, and returns the
// access key of its root user, which the command prints.
func (s *Server) CreateAccount(t testing.TB, account string) (id, secret string) {
	t.Helper()
	out, err := s.Command(t.Context(), "account", "create", "--data", s.Data, account).CombinedOutput()
	if err != nil {
		t.Fatalf("berth account create: %v\n%s", err, out)
	}
	key := regexp.MustCompile(`(?m)^Access key id: +(\S+)$\n^Secret access key: +(\S+)`).FindSubmatch(out)
	if key == nil {
		t.Fatalf("berth account create printed no access key:\n%s", out)
	}
	return string(key[1]), string(key[2])
}
