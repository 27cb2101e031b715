package clientslong

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/test/contract/harness"
)

func TestHelm(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	b := harness.NewBox(t, "helm")
	registry := s.Registry(t)
	s.CreateRepository(t, "charts/app")
	b.Feed(s.Password(t), "helm", "registry", "login", "--plain-http", "--username", "AWS", "--password-stdin", s.Host)

	b.Run("helm", "create", "app")
	b.Run("helm", "package", "app", "--version", "1.2.3")
	stdout, stderr, err := b.Try("", "helm", "push", "--plain-http", "app-1.2.3.tgz", "oci://"+s.Host+"/charts")
	if err != nil {
		t.Fatalf("helm push: %v\n%s%s", err, stdout, stderr)
	}
	printed := regexp.MustCompile(`Digest: (sha256:[0-9a-f]{64})`).FindStringSubmatch(stdout + stderr)
	stored := registry.Verify(t, "charts/app", "1.2.3")
	if printed == nil || printed[1] != stored.Digest {
		t.Fatalf("helm push printed %v, the registry has %s", printed, stored.Digest)
	}
	chart := stored.Blobs[stored.Manifest.Layers[0].Digest]
	if string(chart) != string(b.Read("app-1.2.3.tgz")) {
		t.Fatal("the stored chart is not the pushed one")
	}

	b.Run("helm", "pull", "--plain-http", "oci://"+s.Host+"/charts/app", "--version", "1.2.3", "--destination", b.Home+"/")
	b.Run("helm", "pull", "--plain-http", "oci://"+s.Host+"/charts/app", "--version", "^1.0", "--untar", "--untardir", "pulled")
	if !strings.Contains(string(b.Read("pulled", "app", "Chart.yaml")), "version: 1.2.3") {
		t.Fatalf("the pulled chart is\n%s", b.Read("pulled", "app", "Chart.yaml"))
	}
	if out := b.Run("helm", "show", "chart", "--plain-http", "oci://"+s.Host+"/charts/app@"+stored.Digest); !strings.Contains(out, "version: 1.2.3") {
		t.Fatalf("helm show chart printed %s", out)
	}

	details, err := s.ECR().DescribeImages(t.Context(), &ecr.DescribeImagesInput{RepositoryName: aws.String("charts/app")})
	if err != nil || len(details.ImageDetails) != 1 {
		t.Fatalf("DescribeImages: %v", err)
	}
	if d := details.ImageDetails[0]; aws.ToString(d.ArtifactMediaType) != "application/vnd.cncf.helm.config.v1+json" || !slices.Equal(d.ImageTags, []string{"1.2.3"}) {
		t.Errorf("DescribeImages shows %s with %v", aws.ToString(d.ArtifactMediaType), d.ImageTags)
	}
	b.Run("helm", "package", "app", "--version", "1.3.0")
	b.Refused("does not exist", "helm", "push", "--plain-http", "app-1.3.0.tgz", "oci://"+s.Host+"/missing")
	b.Run("helm", "registry", "logout", s.Host)
	s.MustFsck(t)
}
