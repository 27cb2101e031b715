package app_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/config"
)

// boundTo gives a new user a policy that allows listing under the condition, and
// returns the header that opens the registry for it.
func boundTo(t *testing.T, url, userName, condition string) string {
	t.Helper()
	c := iam.New(iam.Options{BaseEndpoint: &url, Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: apptest.AccessKeyID, SecretAccessKey: apptest.SecretAccessKey}, nil
		})})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &userName})
	must(err)
	_, err = c.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &userName, PolicyName: new("p"), PolicyDocument: new(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:GetAuthorizationToken","Resource":"*"},
			{"Effect":"Allow","Action":"ecr:DescribeRepositories","Resource":"*","Condition":` + condition + `}]}`)})
	must(err)
	key, err := c.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &userName})
	must(err)
	return apptest.Authorization(t, apptest.ClientOf(url, "us-east-1", *key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey))
}

// What a proxy says of the client counts only from where proxies are trusted,
// and only what a trusted proxy has written itself.
func TestTrustedProxies(t *testing.T) {
	const fromOffice = `{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}`
	const secured = `{"Bool":{"aws:SecureTransport":"true"}}`
	trusting := apptest.Start(t, apptest.Options{Config: func(c *config.Config) { c.TrustedProxies = []string{"127.0.0.0/8", "10.0.0.0/8"} }})
	plain := apptest.Start(t, apptest.Options{})
	for _, c := range []struct {
		what      string
		server    *apptest.Server
		condition string
		header    map[string]string
		want      int
	}{
		{"no proxy", trusting, fromOffice, nil, 403},
		{"the client", trusting, fromOffice, map[string]string{"X-Forwarded-For": "203.0.113.9"}, 200},
		{"behind two proxies", trusting, fromOffice, map[string]string{"X-Forwarded-For": "203.0.113.9, 10.1.1.1"}, 200},
		{"made up by the client", trusting, fromOffice, map[string]string{"X-Forwarded-For": "203.0.113.9, 198.51.100.1"}, 403},
		{"made up, no address", trusting, fromOffice, map[string]string{"X-Forwarded-For": "203.0.113.9, unknown"}, 403},
		{"an untrusted proxy", plain, fromOffice, map[string]string{"X-Forwarded-For": "203.0.113.9"}, 403},
		{"https by a proxy", trusting, secured, map[string]string{"X-Forwarded-Proto": "https"}, 200},
		{"http by a proxy", trusting, secured, map[string]string{"X-Forwarded-Proto": "http"}, 403},
		{"https by an untrusted proxy", plain, secured, map[string]string{"X-Forwarded-Proto": "https"}, 403},
	} {
		authorization := boundTo(t, c.server.URL, strings.ReplaceAll(strings.ReplaceAll(c.what, " ", "-"), ",", ""), c.condition)
		if answer, text := apptest.Do(t, http.MethodGet, c.server.URL+"/v2/_catalog", authorization, nil, c.header); answer.StatusCode != c.want {
			t.Errorf("%s: %s %s", c.what, answer.Status, text)
		}
	}
}

// A listener gives its requests the network that it stands for.
func TestListeners(t *testing.T) {
	cfg := config.Default()
	cfg.Data, cfg.Listen = t.TempDir(), "127.0.0.1:0"
	cfg.RootAccessKeyID, cfg.RootSecretAccessKey = apptest.AccessKeyID, apptest.SecretAccessKey
	cfg.Listeners = []config.Listener{{Listen: freeAddress(t), VPC: "vpc-1", VPCEndpoint: "vpce-1"}}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), cfg, app.Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready, done := make(chan app.ServerInfo, 1), make(chan error, 1)
	go func() { done <- a.Run(ctx, func(i app.ServerInfo) { ready <- i }) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	var public string
	select {
	case i := <-ready:
		public = i.Endpoint
	case <-time.After(30 * time.Second):
		t.Fatal("not ready")
	}
	endpoint := "http://" + cfg.Listeners[0].Listen
	through := boundTo(t, public, "through", `{"StringEquals":{"aws:SourceVpce":"vpce-1","aws:SourceVpc":"vpc-1"},"IpAddress":{"aws:VpcSourceIp":"127.0.0.0/8"}}`)
	direct := boundTo(t, public, "direct", `{"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}}`)
	for _, c := range []struct {
		what, url, authorization string
		want                     int
	}{
		{"the endpoint's user by the endpoint", endpoint, through, 200}, {"the endpoint's user elsewhere", public, through, 403},
		{"another user by the endpoint", endpoint, direct, 403}, {"another user elsewhere", public, direct, 200},
	} {
		if answer, text := apptest.Do(t, http.MethodGet, c.url+"/v2/_catalog", c.authorization, nil, nil); answer.StatusCode != c.want {
			t.Errorf("%s: %s %s", c.what, answer.Status, text)
		}
	}
}
