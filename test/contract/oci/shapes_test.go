package oci_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/test/contract/oci"
)

// shifted is the machine's clock, which a test can put forward.
type shifted struct{ by atomic.Int64 }

// Now is the shifted time.
func (s *shifted) Now() time.Time { return time.Now().Add(time.Duration(s.by.Load())) }

// TestShapes runs the contract over every storage shape of the embedded
// program.
func TestShapes(t *testing.T) {
	for shape, change := range map[string]func(*config.Config){
		"sealed files": func(*config.Config) {},
		"plain files":  func(c *config.Config) { c.Blobs.Encryption = "none" },
	} {
		t.Run(shape, func(t *testing.T) {
			const otherID, otherSecret = "AKIAOTHERACCOUNT0000", "other/secret"
			data := t.TempDir()
			t.Run("another account", func(t *testing.T) {
				apptest.Start(t, apptest.Options{Config: func(c *config.Config) {
					change(c)
					c.Data, c.Account = data, "111111111111"
					c.RootAccessKeyID, c.RootSecretAccessKey = otherID, otherSecret
				}})
			})
			clk := &shifted{}
			s := apptest.Start(t, apptest.Options{Clock: clk, Config: func(c *config.Config) {
				change(c)
				c.Data, c.Regions = data, []name.Region{"eu-west-1"}
			}})
			target := oci.Target{BaseURL: s.URL, Repo1: "contract/one", Repo2: "two", ImmutableRepo: "fixed"}
			s.CreateRepository(t, target.Repo1)
			s.CreateRepository(t, target.Repo2)
			if _, err := s.ECR.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{
				RepositoryName: aws.String(target.ImmutableRepo), ImageTagMutability: types.ImageTagMutabilityImmutable,
			}); err != nil {
				t.Fatal(err)
			}
			clk.by.Store(int64(-12*time.Hour - time.Second))
			target.Expired = tokenAt(t, s.URL, clk.Now())
			clk.by.Store(0)
			target.Authorization = s.Authorization(t)
			target.Refused = []string{apptest.Authorization(t, apptest.Client(s.URL, "eu-west-1"))}
			target.Foreign = apptest.Authorization(t, apptest.ClientOf(s.URL, "us-east-1", otherID, otherSecret))
			oci.Run(t, target)
		})
	}
}

// tokenAt fetches a token with a request that is signed for another time, which
// the SDK's client cannot do.
func tokenAt(t *testing.T, url string, at time.Time) string {
	t.Helper()
	body := []byte("{}")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")
	sum := sha256.Sum256(body)
	key := aws.Credentials{AccessKeyID: apptest.AccessKeyID, SecretAccessKey: apptest.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), key, r, hex.EncodeToString(sum[:]), "ecr", "us-east-1", at); err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		AuthorizationData []struct{ AuthorizationToken string }
	}
	if err := errors.Join(json.NewDecoder(answer.Body).Decode(&out), answer.Body.Close()); err != nil || len(out.AuthorizationData) != 1 {
		t.Fatal(answer.Status, err)
	}
	return "Basic " + out.AuthorizationData[0].AuthorizationToken
}
