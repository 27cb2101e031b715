package clients

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

func skopeo(t *testing.T, f *fixture) {
	b := harness.NewBox(t, "skopeo")
	f.CreateRepository(t, "skopeo/a", "skopeo/b")
	b.Feed(f.Password(t), "skopeo", "login", "--tls-verify=false", "--username", "AWS", "--password-stdin", f.Host)
	copyArgs := func(args ...string) []string {
		return append([]string{"--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"}, args...)
	}
	a := func(suffix string) string { return "docker://" + f.ref("skopeo/a", suffix) }

	t.Log("registry to directory, to another repository, to directory again")
	f.image(t, "skopeo/a", "one", "amd64", harness.Random(40, 500_000))
	one := f.registry.Verify(t, "skopeo/a", "one")
	b.Run("skopeo", copyArgs("--preserve-digests", a(":one"), "dir:"+b.Path("d1"))...)
	b.Run("skopeo", copyArgs("--preserve-digests", "--digestfile", b.Path("digest"), "dir:"+b.Path("d1"), "docker://"+f.ref("skopeo/b", ":one"))...)
	same(t, "skopeo copy", string(b.Read("digest")), one.Digest)
	identical(t, one, f.registry.Verify(t, "skopeo/b", "one"))
	b.Run("skopeo", copyArgs("--preserve-digests", "docker://"+f.ref("skopeo/b", "@"+one.Digest), "dir:"+b.Path("d2"))...)
	sameFiles(t, b.Path("d1"), b.Path("d2"))

	t.Log("all platforms of an index, by way of an OCI layout")
	f.index(t, "skopeo/a", "multi")
	multi := f.registry.Verify(t, "skopeo/a", "multi")
	b.Run("skopeo", copyArgs("--all", "--preserve-digests", a(":multi"), "oci:"+b.Path("layout")+":multi")...)
	b.Run("skopeo", copyArgs("--all", "--preserve-digests", "oci:"+b.Path("layout")+":multi", "docker://"+f.ref("skopeo/b", ":multi"))...)
	identical(t, multi, f.registry.Verify(t, "skopeo/b", "multi"))
	b.Run("skopeo", copyArgs("--all", "--preserve-digests", a(":multi"), a(":again"))...) // within the registry
	identical(t, multi, f.registry.Verify(t, "skopeo/a", "again"))

	t.Log("one platform out of it, in docker's format and compressed")
	b.Run("skopeo", copyArgs("--format", "v2s2", "--dest-compress", "docker://"+f.ref("skopeo/b", ":multi"), a(":v2s2"))...)
	v2s2 := f.registry.Verify(t, "skopeo/a", "v2s2")
	if v2s2.MediaType != harness.DockerImage {
		t.Fatalf("stored as %s, want docker's image", v2s2.MediaType)
	}

	t.Log("inspect and list")
	inspected := decode[struct {
		Digest       string
		RepoTags     []string
		Architecture string
		Layers       []string
	}](t, b.Run("skopeo", "inspect", "--tls-verify=false", a(":v2s2")))
	same(t, "skopeo inspect", inspected.Digest, v2s2.Digest)
	if !slices.Equal(inspected.RepoTags, []string{"again", "multi", "one", "v2s2"}) {
		t.Fatalf("skopeo inspect lists the tags %v", inspected.RepoTags)
	}
	same(t, "a layer", inspected.Layers[0], v2s2.Manifest.Layers[0].Digest)
	stdout, stderr, err := b.Try("", "skopeo", "inspect", "--tls-verify=false", "--raw", a(":multi"))
	if err != nil || stdout != strings.TrimSpace(string(multi.Raw)) {
		t.Fatalf("skopeo inspect --raw: %v\n%s\n%s", err, stdout, stderr)
	}
	tags := decode[struct{ Tags []string }](t, b.Run("skopeo", "list-tags", "--tls-verify=false", "docker://"+f.ref("skopeo/b", "")))
	if !slices.Equal(tags.Tags, []string{"multi", "one"}) {
		t.Fatalf("skopeo list-tags lists %v", tags.Tags)
	}

	t.Log("sync and delete")
	b.Run("skopeo", "--insecure-policy", "sync", "--all", "--src", "docker", "--dest", "dir", "--src-tls-verify=false", f.ref("skopeo/b", ""), b.Path("mirror"))
	if dirs, err := filepath.Glob(b.Path("mirror", "*")); err != nil || len(dirs) != 2 {
		t.Fatalf("skopeo sync made %v: %v", dirs, err)
	}
	b.Run("skopeo", "delete", "--tls-verify=false", "docker://"+f.ref("skopeo/b", ":one"))
	b.Refused("Requested image not found", "skopeo", "inspect", "--tls-verify=false", "docker://"+f.ref("skopeo/b", ":one"))
	b.Refused("authentication required", "skopeo", "inspect", "--tls-verify=false", "--no-creds", a(":one"))
}

// sameFiles fails unless two directories hold the same files.
func sameFiles(t *testing.T, a, b string) {
	t.Helper()
	names := func(dir string) (out []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return out
	}
	if x, y := names(a), names(b); !slices.Equal(x, y) {
		t.Fatalf("%s holds %v, %s holds %v", a, x, b, y)
	}
	for _, name := range names(a) {
		x, errX := os.ReadFile(filepath.Join(a, name))
		y, errY := os.ReadFile(filepath.Join(b, name))
		if errX != nil || errY != nil || !bytes.Equal(x, y) {
			t.Fatalf("%s differs (%v, %v)", name, errX, errY)
		}
	}
}
