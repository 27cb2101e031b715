package clients

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// containersBox has podman's and buildah's storage in its home.
func containersBox(t *testing.T, programs ...string) *harness.Box {
	t.Helper()
	harness.NeedRoot(t, programs[0])
	b := harness.NewBox(t, programs...)
	// Both read these; no policy file is taken from the machine.
	b.With("CONTAINERS_STORAGE_CONF=" + b.Write("storage.conf", []byte(
		"[storage]\ndriver = \"vfs\"\ngraphroot = \""+b.Path("graph")+"\"\nrunroot = \""+b.Path("runroot")+"\"\n")))
	return b
}

func podman(t *testing.T, f *fixture) {
	b := containersBox(t, "podman")
	f.CreateRepository(t, "podman/app", "podman/multi")
	b.Feed(f.Password(t), "podman", "login", "--tls-verify=false", "--username", "AWS", "--password-stdin", f.Host)
	same(t, "the user logged in", b.Run("podman", "login", "--get-login", f.Host), "AWS")

	image := f.ref("podman/app", ":v1")
	tarball := b.Write("root.tar", harness.Tar(t, "file", harness.Random(10, 200_000)))
	id := b.Run("podman", "import", "--quiet", tarball, image)
	b.Run("podman", "push", "--tls-verify=false", "--digestfile", b.Path("digest"), image)
	stored := f.registry.Verify(t, "podman/app", "v1")
	same(t, "podman push", string(b.Read("digest")), stored.Digest)
	same(t, "the config", stored.Manifest.Config.Digest, id)

	for _, ref := range []string{image, f.ref("podman/app", "@"+stored.Digest)} {
		b.Run("podman", "rmi", "--force", id)
		same(t, "the image pulled as "+ref, "sha256:"+b.Run("podman", "pull", "--quiet", "--tls-verify=false", ref), id)
		same(t, "its digest", b.Run("podman", "image", "inspect", "--format", "{{.Digest}}", ref), stored.Digest)
	}

	t.Log("docker's format")
	b.Run("podman", "push", "--tls-verify=false", "--format", "v2s2", "--digestfile", b.Path("digest"), id, f.ref("podman/app", ":v2s2"))
	v2s2 := f.registry.Verify(t, "podman/app", "v2s2")
	same(t, "podman push", string(b.Read("digest")), v2s2.Digest)
	if stored.MediaType != harness.OCIImage || v2s2.MediaType != harness.DockerImage {
		t.Fatalf("stored as %s and %s, want OCI and docker", stored.MediaType, v2s2.MediaType)
	}

	t.Log("a manifest list")
	list := f.ref("podman/multi", ":list")
	b.Run("podman", "manifest", "create", list)
	for i, arch := range []string{"amd64", "arm64"} {
		one := b.Run("podman", "import", "--quiet", "--arch", arch, b.Write(arch+".tar", harness.Tar(t, "file", harness.Random(uint64(20+i), 5000))))
		b.Run("podman", "manifest", "add", list, "containers-storage:"+strings.TrimPrefix(one, "sha256:"))
	}
	b.Run("podman", "manifest", "push", "--all", "--tls-verify=false", "--format", "oci", "--digestfile", b.Path("digest"), list, "docker://"+list)
	multi := f.registry.Verify(t, "podman/multi", "list")
	same(t, "podman manifest push", string(b.Read("digest")), multi.Digest)
	if len(multi.Children) != 2 {
		t.Fatalf("the list has %d images, want 2", len(multi.Children))
	}

	t.Log("tags")
	var found []struct{ Tags []string }
	out := b.Run("podman", "search", "--tls-verify=false", "--list-tags", "--format", "json", f.ref("podman/app", ""))
	if err := json.Unmarshal([]byte(out), &found); err != nil || len(found) != 1 || !slices.Equal(found[0].Tags, []string{"v1", "v2s2"}) {
		t.Fatalf("podman search --list-tags: %v\n%s", err, out)
	}

	b.Run("podman", "tag", id, f.ref("podman/missing", ":v1"))
	b.Refused("name unknown: The repository with name 'podman/missing' does not exist", "podman", "push", "--tls-verify=false", f.ref("podman/missing", ":v1"))
	b.Run("podman", "logout", f.Host)
	b.Refused("authentication required", "podman", "pull", "--tls-verify=false", image)
}

func buildah(t *testing.T, f *fixture) {
	b := containersBox(t, "buildah")
	f.CreateRepository(t, "buildah/app")
	b.Feed(f.Password(t), "buildah", "login", "--tls-verify=false", "--username", "AWS", "--password-stdin", f.Host)

	container := b.Run("buildah", "from", "scratch")
	content := b.Write("file", harness.Random(30, 150_000))
	b.Run("buildah", "copy", container, content, "/file")
	b.Run("buildah", "config", "--cmd", "/file", "--label", "made=here", container)
	id := b.Run("buildah", "commit", "--quiet", container, "local")

	digests := map[string]string{}
	for _, format := range []string{"oci", "v2s2"} {
		ref := f.ref("buildah/app", ":"+format)
		b.Run("buildah", "push", "--tls-verify=false", "--format", format, "--digestfile", b.Path("digest"), id, "docker://"+ref)
		stored := f.registry.Verify(t, "buildah/app", format)
		same(t, "buildah push", string(b.Read("digest")), stored.Digest)
		digests[format] = stored.Digest
	}
	t.Log("layers as zstd")
	b.Run("buildah", "copy", container, b.Write("more", harness.Random(31, 50_000)), "/more")
	id = b.Run("buildah", "commit", "--quiet", "--squash", container, "zstd")
	b.Run("buildah", "push", "--tls-verify=false", "--format", "oci", "--compression-format", "zstd", id, "docker://"+f.ref("buildah/app", ":zstd"))
	if zstd := f.registry.Verify(t, "buildah/app", "zstd"); !strings.HasSuffix(zstd.Manifest.Layers[0].MediaType, "+zstd") {
		t.Fatalf("the layer is %s, want zstd", zstd.Manifest.Layers[0].MediaType)
	}

	for _, suffix := range []string{":oci", "@" + digests["v2s2"], ":zstd"} {
		b.Run("buildah", "rmi", "--all", "--force")
		b.Run("buildah", "pull", "--quiet", "--tls-verify=false", f.ref("buildah/app", suffix))
		mounted := b.Run("buildah", "from", "--pull-never", f.ref("buildah/app", suffix))
		root := b.Run("buildah", "mount", mounted)
		same(t, "the file in "+suffix, b.Run("sha256sum", root+"/file")[:64], b.Run("sha256sum", content)[:64])
		b.Run("buildah", "rm", mounted)
	}
}
