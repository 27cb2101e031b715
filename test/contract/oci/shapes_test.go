package oci_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"

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
			target.Expired = tokenAt(t, s.URL, "ecr", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken", clk.Now())
			clk.by.Store(0)
			target.Authorization = s.Authorization(t)
			target.Refused = []string{apptest.Authorization(t, apptest.Client(s.URL, "eu-west-1"))}
			target.Foreign = apptest.Authorization(t, apptest.ClientOf(s.URL, "us-east-1", otherID, otherSecret))
			oci.Run(t, target)
			t.Run("public", func(t *testing.T) {
				oci.Run(t, publicTarget(t, s, clk, otherID, otherSecret))
			})
		})
	}
}

// publicTarget makes two public repositories, and one of another account with an image
// in it.
func publicTarget(t *testing.T, s *apptest.Server, clk *shifted, otherID, otherSecret string) oci.Target {
	t.Helper()
	mine, theirs := publicOf(t, s, apptest.AccessKeyID, apptest.SecretAccessKey), publicOf(t, s, otherID, otherSecret)
	target := oci.Target{BaseURL: s.PublicURL, Authorization: mine.token, Foreign: theirs.token}
	target.Repo1, target.Repo2, target.ForeignRepo = mine.create(t, "contract/one"), mine.create(t, "two"), theirs.create(t, "theirs")
	target.Alias, _, _ = strings.Cut(target.Repo1, "/")
	apptest.PushImage(t, s.PublicURL, theirs.token, target.ForeignRepo, "latest", nil, []byte("a layer of theirs"))
	clk.by.Store(int64(-12*time.Hour - time.Second))
	target.Expired = "Bearer " + strings.TrimPrefix(tokenAt(t, s.URL, "ecr-public", "SpencerFrontendService.GetAuthorizationToken", clk.Now()), "Basic ")
	clk.by.Store(0)
	target.Refused = []string{"Bearer " + strings.TrimPrefix(s.Authorization(t), "Basic ")}
	return target
}

// publisher is an account's side of the ECR Public API.
type publisher struct {
	api   *ecrpublic.Client
	token string // as a bearer
}

func publicOf(t *testing.T, s *apptest.Server, id, secret string) publisher {
	t.Helper()
	options := apptest.ClientOf(s.URL, "us-east-1", id, secret).Options()
	p := publisher{api: ecrpublic.New(ecrpublic.Options{
		Region: "us-east-1", BaseEndpoint: options.BaseEndpoint, Credentials: options.Credentials, HTTPClient: options.HTTPClient,
	})}
	out, err := p.api.GetAuthorizationToken(t.Context(), &ecrpublic.GetAuthorizationTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	p.token = "Bearer " + aws.ToString(out.AuthorizationData.AuthorizationToken)
	return p
}

// create makes a repository, and says how registry clients call it.
func (p publisher) create(t *testing.T, repo string) string {
	t.Helper()
	out, err := p.api.CreateRepository(t.Context(), &ecrpublic.CreateRepositoryInput{RepositoryName: aws.String(repo)})
	if err != nil {
		t.Fatal(err)
	}
	_, called, _ := strings.Cut(aws.ToString(out.Repository.RepositoryUri), "/")
	return called
}

// tokenAt fetches a token with a request that is signed for another time, which
// the SDK's client cannot do.
func tokenAt(t *testing.T, url, service, operation string, at time.Time) string {
	t.Helper()
	body := []byte("{}")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", operation)
	sum := sha256.Sum256(body)
	key := aws.Credentials{AccessKeyID: apptest.AccessKeyID, SecretAccessKey: apptest.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), key, r, hex.EncodeToString(sum[:]), service, "us-east-1", at); err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		t.Fatal(err)
	}
	// The one has a list of tokens, the other one.
	found := regexp.MustCompile(`"authorizationToken":"([^"]+)"`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s: %s", answer.Status, text)
	}
	return "Basic " + string(found[1])
}
