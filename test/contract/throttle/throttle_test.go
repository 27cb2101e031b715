package throttle

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/smithy-go"

	"github.com/berth-registry/berth/test/contract/harness"
)

// impatient refuses registry clients at once.
const impatient = "quota: {patience: 0s}\n"

// limit gives the server's account a rate, in requests a second.
func limit(t *testing.T, s *harness.Server, action string, rate int) {
	t.Helper()
	berth(t, s, "quota", "set", "rate:"+action, fmt.Sprint(rate))
}

// berth runs a command against the server.
func berth(t *testing.T, s *harness.Server, args ...string) string {
	t.Helper()
	out, err := s.Command(t.Context(), append(args, "--data", s.Data)...).CombinedOutput()
	if err != nil {
		t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestRefusals is what an exhausted client is told on each edge.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Config: impatient})
	t.Run("SDK", func(t *testing.T) { sdk(t, s) })
	t.Run("registry", func(t *testing.T) { refusal(t, s) })
}

// sdk: AWS's SDK for Go is refused at once and, as it is used, comes again by
// itself until it is admitted.
func sdk(t *testing.T, s *harness.Server) {
	limit(t, s, "DescribeRepositories", 3)

	t.Log("without retries")
	refused := 0
	for range 10 {
		_, err := s.ECR().DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{})
		if err == nil {
			continue
		}
		refused++
		var e smithy.APIError
		var status interface{ HTTPStatusCode() int }
		if !errors.As(err, &e) || e.ErrorCode() != "ThrottlingException" || e.ErrorMessage() != "Rate exceeded" {
			t.Fatalf("%v", err)
		}
		if !errors.As(err, &status) || status.HTTPStatusCode() != http.StatusBadRequest {
			t.Fatalf("%v, want the status 400", err)
		}
	}
	if refused < 5 {
		t.Errorf("%d of 10 calls were refused at three a second", refused)
	}

	t.Log("with the SDK's own retries")
	config := s.Config()
	// Its waits are random, so one call in a hundred is refused at all three of the
	// attempts that it makes unless told otherwise.
	config.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = 6 })
	}
	client := ecr.NewFromConfig(config)
	began := time.Now()
	for n := range 10 {
		if _, err := client.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{}); err != nil {
			t.Fatalf("call %d: %v", n, err)
		}
	}
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("10 calls at three a second took %s", took)
	} else {
		t.Logf("10 calls took %s", took)
	}
}

// refusal is the registry's answer itself.
func refusal(t *testing.T, s *harness.Server) {
	s.CreateRepository(t, "refused")
	registry := s.Registry(t)
	registry.PushImage(t, "refused", "v1", 1, 1000)
	limit(t, s, "BatchGetImage", 1)
	for range 10 {
		a, err := registry.Do(t.Context(), harness.Request{Method: http.MethodGet, Path: "/v2/refused/manifests/v1", Accept: harness.EveryManifest()}, http.StatusTooManyRequests)
		if err != nil {
			continue // the first is admitted
		}
		if got := a.Header.Get("Retry-After"); got != "1" {
			t.Errorf("Retry-After is %q", got)
		}
		if want := `{"errors":[{"code":"TOOMANYREQUESTS","message":"Rate exceeded"}]}`; strings.TrimSpace(string(a.Body)) != want {
			t.Errorf("the answer is %s, want %s", a.Body, want)
		}
		return
	}
	t.Fatal("nothing was refused")
}
