package clients

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/test/contract/harness"
)

// dockerBox has an engine of its own, logged in the way that the README says.
func dockerBox(t *testing.T, f *fixture) *harness.Box {
	t.Helper()
	b := harness.NewBox(t, "bash", "aws", "docker", "dockerd")
	harness.StartDocker(t, b)
	out := b.Script(fmt.Sprintf(`
		eval "$(%s env --data %s)"
		aws ecr get-login-password | docker login --username AWS --password-stdin %s
	`, f.Binary(), f.Data, f.Host))
	if !strings.Contains(out, "Login Succeeded") {
		t.Fatalf("docker login said %q", out)
	}
	return b
}

// pushed is the digest at the end of docker push's output.
func pushed(t *testing.T, out string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^\S+: digest: (sha256:[0-9a-f]{64}) size: \d+$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("docker push printed no digest:\n%s", out)
	}
	return m[1]
}

func docker(t *testing.T, f *fixture) {
	b := dockerBox(t, f)
	f.CreateRepository(t, "docker/app", "docker/other")
	b.Refused("401 Unauthorized", "docker", "login", "--username", "AWS", "--password", "wrong", f.Host)

	b.Write("ctx/Dockerfile", []byte("FROM scratch\nCOPY one /one\nCOPY two /two\nLABEL made=here\nCMD [\"/one\"]\n"))
	b.Write("ctx/one", harness.Random(1, 300_000))
	b.Write("ctx/two", harness.Random(2, 4_000))
	image := f.ref("docker/app", ":v1")
	b.Run("docker", "build", "-t", image, "ctx")
	id := b.Run("docker", "image", "inspect", "--format", "{{.Id}}", image)

	t.Log("push, and push again")
	digest := pushed(t, b.Run("docker", "push", image))
	stored := f.registry.Verify(t, "docker/app", "v1")
	same(t, "docker push", digest, stored.Digest)
	same(t, "the config", stored.Manifest.Config.Digest, id)
	if stored.MediaType != harness.DockerImage || len(stored.Manifest.Layers) != 2 {
		t.Fatalf("stored as %s with %d layers, want docker's own type and 2", stored.MediaType, len(stored.Manifest.Layers))
	}
	again := b.Run("docker", "push", image)
	same(t, "the second push", pushed(t, again), digest)
	if n := strings.Count(again, "Layer already exists"); n != 2 {
		t.Fatalf("the second push found %d layers there, want 2:\n%s", n, again)
	}

	t.Log("pull by tag and by digest")
	for _, ref := range []string{image, f.ref("docker/app", "@"+digest)} {
		b.Run("docker", "rmi", "--force", id)
		b.Refused("No such image", "docker", "image", "inspect", ref)
		out := b.Run("docker", "pull", ref)
		if !strings.Contains(out, "Digest: "+digest) {
			t.Fatalf("docker pull %s printed another digest than %s:\n%s", ref, digest, out)
		}
		same(t, "the image pulled as "+ref, b.Run("docker", "image", "inspect", "--format", "{{.Id}}", ref), id)
		same(t, "its origin", b.Run("docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", ref), f.ref("docker/app", "@"+digest))
	}

	t.Log("into another repository: the layers are mounted")
	b.Run("docker", "tag", f.ref("docker/app", "@"+digest), f.ref("docker/other", ":v1"))
	out := b.Run("docker", "push", f.ref("docker/other", ":v1"))
	if n := strings.Count(out, "Mounted from docker/app"); n != 2 {
		t.Fatalf("%d layers were mounted, want 2:\n%s", n, out)
	}
	identical(t, stored, f.registry.Verify(t, "docker/other", "v1"))

	t.Log("a root file system by import")
	tarball := b.Write("root.tar", harness.Tar(t, "file", harness.Random(3, 100_000)))
	b.Run("docker", "import", tarball, f.ref("docker/app", ":imported"))
	digest = pushed(t, b.Run("docker", "push", f.ref("docker/app", ":imported")))
	same(t, "the imported image", digest, f.registry.Verify(t, "docker/app", "imported").Digest)

	t.Log("an OCI image that another client has pushed")
	f.image(t, "docker/app", "oci", "amd64", []byte("from elsewhere"))
	oci := f.registry.Verify(t, "docker/app", "oci")
	b.Run("docker", "pull", f.ref("docker/app", ":oci"))
	same(t, "the OCI image", b.Run("docker", "image", "inspect", "--format", "{{.Id}}", f.ref("docker/app", ":oci")), oci.Manifest.Config.Digest)

	dockerRefusals(t, f, b, image)
}

// dockerRefusals is what docker tells its user when a push or pull is refused.
func dockerRefusals(t *testing.T, f *fixture, b *harness.Box, image string) {
	t.Log("refusals")
	missing := f.ref("docker/missing", ":v1")
	b.Run("docker", "tag", f.ref("docker/app", ":imported"), missing)
	text := "name unknown: The repository with name 'docker/missing' does not exist in the registry with id '" + f.Account + "'"
	b.Refused(text, "docker", "push", missing)
	b.Refused("The repository with name 'docker/missing' does not exist", "docker", "pull", missing)
	b.Refused("manifest unknown: Requested image not found", "docker", "pull", f.ref("docker/app", ":missing"))

	_, err := f.ECR().CreateRepository(t.Context(), &ecr.CreateRepositoryInput{
		RepositoryName: aws.String("docker/fixed"), ImageTagMutability: types.ImageTagMutabilityImmutable,
	})
	if err != nil {
		t.Fatal(err)
	}
	fixed := f.ref("docker/fixed", ":v1")
	b.Run("docker", "tag", f.ref("docker/other", ":v1"), fixed)
	b.Run("docker", "push", fixed)
	b.Run("docker", "tag", f.ref("docker/app", ":imported"), fixed)
	b.Refused("tag invalid: The image tag 'v1' already exists in the 'docker/fixed' repository and cannot be overwritten because the tag is immutable.",
		"docker", "push", fixed)

	b.Run("docker", "logout", f.Host)
	b.Refused("no basic auth credentials", "docker", "pull", image)
	b.Refused("no basic auth credentials", "docker", "push", f.ref("docker/other", ":v1"))
}

func dockerManifest(t *testing.T, f *fixture) {
	b := dockerBox(t, f)
	f.CreateRepository(t, "docker/multi")
	list := f.ref("docker/multi", ":list")
	args := []string{"manifest", "create", "--insecure", list}
	var digests []string
	for _, arch := range []string{"amd64", "arm64"} {
		tarball := b.Write(arch+".tar", harness.Tar(t, "file", []byte(arch)))
		ref := f.ref("docker/multi", ":"+arch)
		b.Run("docker", "import", "--platform", "linux/"+arch, tarball, ref)
		digests = append(digests, pushed(t, b.Run("docker", "push", ref)))
		args = append(args, ref)
	}
	b.Run("docker", args...)
	b.Run("docker", "manifest", "annotate", "--arch", "arm64", "--variant", "v8", list, f.ref("docker/multi", ":arm64"))
	digest := b.Run("docker", "manifest", "push", "--insecure", list)
	stored := f.registry.Verify(t, "docker/multi", "list")
	same(t, "docker manifest push", digest, stored.Digest)
	if stored.MediaType != harness.DockerList {
		t.Fatalf("stored as %s, want docker's list", stored.MediaType)
	}
	for i, d := range digests {
		same(t, "an entry of the list", stored.Manifest.Manifests[i].Digest, d)
	}

	b.Run("docker", "manifest", "rm", list)
	inspected := decode[harness.Manifest](t, b.Run("docker", "manifest", "inspect", "--insecure", list))
	if len(inspected.Manifests) != 2 || inspected.Manifests[1].Platform.Architecture != "arm64" {
		t.Fatalf("docker manifest inspect shows %+v", inspected)
	}
	same(t, "the inspected list", inspected.Manifests[1].Digest, digests[1])

	b.Run("docker", "image", "prune", "--all", "--force")
	if out := b.Run("docker", "pull", "--platform", "linux/arm64", list); !strings.Contains(out, "Digest: "+stored.Digest) {
		t.Fatalf("docker pull of the list printed another digest than %s:\n%s", stored.Digest, out)
	}
	same(t, "the arm64 image", b.Run("docker", "image", "inspect", "--format", "{{.Id}}", list), stored.Children[1].Manifest.Config.Digest)
}
