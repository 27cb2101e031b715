package clients

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/test/contract/harness"
)

func regctl(t *testing.T, f *fixture) {
	b := harness.NewBox(t, "regctl")
	b.With("REGCTL_CONFIG=" + b.Path("regctl.json"))
	f.CreateRepository(t, "regctl/app", "regctl/copy")
	// Everything above 100 kB goes up in chunks of 64 KiB.
	b.Run("regctl", "registry", "set", f.Host, "--tls", "disabled", "--skip-check", "--blob-max", "100000", "--blob-chunk", "65536")
	b.Feed(f.Password(t), "regctl", "registry", "login", f.Host, "--user", "AWS", "--pass-stdin")

	t.Log("a chunked blob")
	content := harness.Random(60, 1_000_001)
	out, stderr, err := b.Try(string(content), "regctl", "blob", "put", f.ref("regctl/app", ""))
	if err != nil {
		t.Fatalf("regctl blob put: %v\n%s", err, stderr)
	}
	same(t, "regctl blob put", out, harness.Digest(content))
	got, err := f.registry.Blob(t.Context(), "regctl/app", out)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("the blob came back with %d bytes: %v", len(got), err)
	}

	t.Log("an image out into a layout and in again, its layer chunked")
	f.image(t, "regctl/app", "v1", "amd64", harness.Random(61, 400_000))
	v1 := f.registry.Verify(t, "regctl/app", "v1")
	b.Run("regctl", "image", "copy", f.ref("regctl/app", ":v1"), "ocidir://"+b.Path("layout")+":v1")
	b.Run("regctl", "image", "copy", "ocidir://"+b.Path("layout")+":v1", f.ref("regctl/copy", ":v1"))
	identical(t, v1, f.registry.Verify(t, "regctl/copy", "v1"))
	same(t, "regctl image digest", b.Run("regctl", "image", "digest", f.ref("regctl/copy", ":v1")), v1.Digest)

	t.Log("an artifact that refers to the image")
	subject := f.ref("regctl/copy", ":v1")
	digest := strings.TrimSpace(b.Feed("the bill of materials", "regctl", "artifact", "put", "--artifact-type", "application/spdx+json",
		"--subject", subject, "--annotation", "from=regctl", "--format", "{{ .Manifest.GetDescriptor.Digest }}"))
	artifact := f.registry.Verify(t, "regctl/copy", digest)
	if artifact.Manifest.Subject == nil || artifact.Manifest.Subject.Digest != v1.Digest || artifact.Manifest.ArtifactType != "application/spdx+json" {
		t.Fatalf("the artifact is %s", artifact.Raw)
	}
	listed := decode[harness.Manifest](t, b.Run("regctl", "artifact", "list", subject, "--format", "{{jsonPretty .Manifest}}"))
	if len(listed.Manifests) != 1 || listed.Manifests[0].Digest != digest || listed.Manifests[0].Annotations["from"] != "regctl" {
		t.Fatalf("regctl artifact list shows %+v", listed.Manifests)
	}
	none := b.Run("regctl", "artifact", "list", subject, "--filter-artifact-type", "other/type", "--format", "{{len .Descriptors}}")
	same(t, "referrers of another type", none, "0")
	if got := b.Run("regctl", "tag", "ls", f.ref("regctl/copy", "")); got != "v1" {
		t.Fatalf("the tags are %q: the referrers API was not used", got)
	}
	b.Run("regctl", "image", "copy", "--referrers", subject, f.ref("regctl/app", ":with-referrers"))
	identical(t, artifact, f.registry.Verify(t, "regctl/app", digest))
	api, err := f.ECR().ListImageReferrers(t.Context(), &ecr.ListImageReferrersInput{
		RepositoryName: aws.String("regctl/app"), SubjectId: &types.SubjectIdentifier{ImageDigest: &v1.Digest},
	})
	if err != nil || len(api.Referrers) != 1 || aws.ToString(api.Referrers[0].Digest) != digest {
		t.Fatalf("ListImageReferrers: %v, %+v", err, api)
	}

	t.Log("an index, and deleting tags")
	b.Run("regctl", "index", "create", f.ref("regctl/app", ":index"), "--ref", f.ref("regctl/app", ":v1"), "--desc-platform", "linux/amd64")
	same(t, "the index's entry", f.registry.Verify(t, "regctl/app", "index").Manifest.Manifests[0].Digest, v1.Digest)
	b.Run("regctl", "tag", "delete", f.ref("regctl/app", ":with-referrers"))
	if got := strings.Fields(b.Run("regctl", "tag", "ls", f.ref("regctl/app", ""))); !slices.Equal(got, []string{"index", "v1"}) {
		t.Fatalf("regctl tag ls lists %v", got)
	}
	identical(t, v1, f.registry.Verify(t, "regctl/app", "v1"))
	repos := strings.Fields(b.Run("regctl", "repo", "ls", f.Host))
	if !slices.Contains(repos, "regctl/app") {
		t.Fatalf("regctl repo ls lists %v", repos)
	}
	b.Run("regctl", "manifest", "delete", f.ref("regctl/copy", "@"+v1.Digest), "--referrers")
	b.Refused("not found", "regctl", "manifest", "get", f.ref("regctl/copy", ":v1"))
}
