package aws_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/test/contract/aws"
)

// shifted is the machine's clock, which a test can put forward and back.
type shifted struct{ by atomic.Int64 }

// Now is the shifted time.
func (s *shifted) Now() time.Time { return time.Now().Add(time.Duration(s.by.Load())) }

// shapes are the storage shapes of the embedded program.
func shapes() map[string]func(*config.Config) {
	return map[string]func(*config.Config){
		"sealed files": func(*config.Config) {},
		"plain files":  func(c *config.Config) { c.Blobs.Encryption = "none" },
	}
}

// target is what the suite needs to know of a server in process.
func target(s *apptest.Server) aws.Target {
	return aws.Target{
		URL: s.URL, Region: "us-east-1", Account: "000000000000",
		AccessKeyID: apptest.AccessKeyID, SecretAccessKey: apptest.SecretAccessKey,
	}
}

// TestShapes runs the contract over every storage shape.
func TestShapes(t *testing.T) {
	t.Parallel()
	for shape, change := range shapes() {
		t.Run(shape, func(t *testing.T) {
			other := aws.Caller{AccessKeyID: "AKIAOTHERACCOUNT0000", SecretAccessKey: "other/secret"}
			data := t.TempDir()
			t.Run("another account", func(t *testing.T) {
				apptest.Start(t, apptest.Options{Config: func(c *config.Config) {
					change(c)
					c.Data, c.Account = data, "111111111111"
					c.RootAccessKeyID, c.RootSecretAccessKey = other.AccessKeyID, other.SecretAccessKey
				}})
			})
			clk := &shifted{}
			s := apptest.Start(t, apptest.Options{Clock: clk, Work: true, Config: func(c *config.Config) {
				change(c)
				c.Data, c.Regions = data, []name.Region{"eu-west-1"}
			}})
			contract := target(s)
			contract.OtherRegion, contract.Domain = "eu-west-1", "localhost"
			contract.OtherAccount, contract.Other = "111111111111", other
			contract.Built, contract.Missing = operations(t, "ecr")
			contract.PublicBuilt, _ = operations(t, "ecr-public")
			contract.PublicRegistry, contract.Gallery = strings.TrimPrefix(s.PublicURL, "http://"), s.URL+"/gallery"
			contract.ExpiredDownload = expiredDownload(t, s, clk)
			aws.Run(t, contract)
		})
	}
}

// TestLimits runs the checks of the quotas against a program in which they are
// low.
func TestLimits(t *testing.T) {
	limits := aws.Limits{
		RepositoriesPerRegistry: 3, ImagesPerRepository: 3, TagsPerImage: 4, LayersPerImage: 5, ManifestBytes: 3000,
		MaxLayerBytes: 5000, MaxLayerParts: 3, MinPartBytes: 100, MaxPartBytes: 3000, PartSize: 1000, ResourceTags: 2,
	}
	s := apptest.Start(t, apptest.Options{Config: func(c *config.Config) {
		others := c.Limits
		c.Limits = config.Limits{
			RepositoriesPerRegistry: int64(limits.RepositoriesPerRegistry), ImagesPerRepository: int64(limits.ImagesPerRepository),
			TagsPerImage: int64(limits.TagsPerImage), LayersPerImage: limits.LayersPerImage, ManifestBytes: limits.ManifestBytes,
			MaxLayerBytes: int64(limits.MaxLayerBytes), MaxLayerParts: int64(limits.MaxLayerParts), MinPartBytes: int64(limits.MinPartBytes),
			MaxPartBytes: int64(limits.MaxPartBytes), PartSize: int64(limits.PartSize), ResourceTags: limits.ResourceTags,
			LifecycleRules: others.LifecycleRules, LifecyclePolicyChars: others.LifecyclePolicyChars, PolicyChars: others.PolicyChars, PullTimeExclusions: others.PullTimeExclusions,
			PublicRepositories: int64(limits.RepositoriesPerRegistry), PublicMaxLayerBytes: int64(limits.MaxLayerBytes), PublicMaxLayerParts: int64(limits.MaxLayerParts),
		}
	}})
	contract := target(s)
	contract.Limits, contract.PublicRegistry = &limits, strings.TrimPrefix(s.PublicURL, "http://")
	aws.Run(t, contract)
}

// operations reads the page that says what of a service is built.
func operations(t *testing.T, service string) (built, missing []string) {
	t.Helper()
	page, err := os.ReadFile("../../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := bytes.Cut(page, []byte("\n## "+service+"\n"))
	section, _, _ = bytes.Cut(section, []byte("\n## "))
	for _, row := range regexp.MustCompile(`(?m)^\| (\w+) \| (built|missing)(?:; [^|]+)? \|$`).FindAllSubmatch(section, -1) {
		if string(row[2]) == "built" {
			built = append(built, string(row[1]))
		} else {
			missing = append(missing, string(row[1]))
		}
	}
	if n := bytes.Count(section, []byte("\n| ")) - 1; len(built)+len(missing) != n {
		t.Fatalf("%d operations were read out of a table of %d", len(built)+len(missing), n)
	}
	return built, missing
}

// expiredDownload asks for the address of a layer while the server's clock is
// more than an hour slow.
func expiredDownload(t *testing.T, s *apptest.Server, clk *shifted) string {
	t.Helper()
	s.CreateRepository(t, "expired")
	content := []byte("a layer")
	apptest.PushImage(t, s.URL, s.Authorization(t), "expired", "v1", nil, content)
	clk.by.Store(int64(-time.Hour - time.Second))
	defer clk.by.Store(0)
	body, err := json.Marshal(map[string]string{"repositoryName": "expired", "layerDigest": digest.FromBytes(content).String()})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "AmazonEC2ContainerRegistry_V20150921.GetDownloadUrlForLayer")
	sum := sha256.Sum256(body)
	key := sdk.Credentials{AccessKeyID: apptest.AccessKeyID, SecretAccessKey: apptest.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), key, r, hex.EncodeToString(sum[:]), "ecr", "us-east-1", clk.Now()); err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	var out struct{ DownloadURL string }
	if err := errors.Join(json.NewDecoder(answer.Body).Decode(&out), answer.Body.Close()); err != nil || out.DownloadURL == "" {
		t.Fatal(answer.Status, err)
	}
	return out.DownloadURL
}
