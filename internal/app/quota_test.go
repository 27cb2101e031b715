package app_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/app/identityadmin"
	"github.com/berth-registry/berth/internal/app/quotaadmin"
	"github.com/berth-registry/berth/internal/config"
)

// TestRates: the rates of the configuration and of an account hold on both
// edges, each account by itself.
func TestRates(t *testing.T) {
	s, admin := startAdmin(t)
	admin.must("POST", "/quotas", quotaadmin.Request{Do: "set", Name: "rate:DescribeRepositories", Value: "2"}, nil)
	refused := 0
	for range 20 {
		_, err := s.ECR.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{})
		if err != nil {
			if !strings.Contains(err.Error(), "ThrottlingException: Rate exceeded") {
				t.Fatal(err)
			}
			refused++
		}
	}
	if refused < 15 {
		t.Errorf("%d of 20 calls were refused at two a second", refused)
	}
	for range 50 { // another operation
		if _, err := s.ECR.DescribeRegistry(t.Context(), &ecr.DescribeRegistryInput{}); err != nil {
			t.Fatal(err)
		}
	}
	var other identityadmin.CreatedAccount
	admin.must("POST", "/accounts", identityadmin.AccountRequest{}, &other)
	theirs := apptest.ClientOf(s.URL, "us-east-1", other.RootKey.AccessKeyID, other.RootKey.SecretAccessKey)
	for range 20 { // another account
		if _, err := theirs.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{}); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := apptest.Client(s.URL, "eu-west-1")
	if _, err := elsewhere.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{}); err != nil {
		t.Errorf("another region: %v", err)
	}
	admin.must("POST", "/quotas", quotaadmin.Request{Do: "unset", Name: "rate:DescribeRepositories"}, nil)
	for range 20 {
		if _, err := s.ECR.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 { // no rates by default
		if _, err := s.ECR.GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRatesOfECR: with AWS's rates the eleventh PutImage of a second waits, and
// fails where it would have to wait for longer than it may.
func TestRatesOfECR(t *testing.T) {
	for _, patience := range []time.Duration{0, 2 * time.Second} {
		s := apptest.Start(t, apptest.Options{Config: func(c *config.Config) {
			c.Quota.Rates, c.Quota.Patience = "ecr", config.Duration(patience)
		}})
		if _, err := s.ECR.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("app")}); err != nil {
			t.Fatal(err)
		}
		authorization := s.Authorization(t)
		refused, retry := 0, ""
		began := time.Now()
		for range 25 {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL+"/v2/app/manifests/v1", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", authorization)
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close() // the status is all
			if answer.StatusCode == http.StatusTooManyRequests {
				refused++
				retry = answer.Header.Get("Retry-After")
			}
		}
		took := time.Since(began)
		if patience == 0 && (refused < 5 || retry != "1") || patience > 0 && (refused != 0 || took < time.Second) {
			t.Errorf("with a patience of %s %d of 25 were refused, Retry-After %q, after %s", patience, refused, retry, took)
		}
	}
}
