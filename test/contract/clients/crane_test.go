package clients

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

func crane(t *testing.T, f *fixture) {
	b := harness.NewBox(t, "crane")
	f.CreateRepository(t, "crane/app", "crane/copy")
	b.Feed(f.Password(t), "crane", "auth", "login", f.Host, "--username", "AWS", "--password-stdin")

	t.Log("an image for each of two platforms, and an index of both")
	var digests []string
	for i, arch := range []string{"amd64", "arm64"} {
		tarball := b.Write(arch+".tar", harness.Tar(t, "hello", harness.Random(uint64(50+i), 300_000)))
		ref := f.ref("crane/app", ":"+arch)
		b.Run("crane", "append", "--oci-empty-base", "-f", tarball, "-t", ref)
		out := b.Run("crane", "mutate", ref, "--set-platform", "linux/"+arch, "--entrypoint", "/hello", "-t", ref)
		digests = append(digests, f.registry.Verify(t, "crane/app", arch).Digest)
		if !strings.HasSuffix(out, "@"+digests[i]) {
			t.Fatalf("crane mutate printed %q, the registry has %s", out, digests[i])
		}
	}
	multi := f.ref("crane/app", ":multi")
	b.Run("crane", "index", "append", "-m", f.ref("crane/app", ":amd64"), "-m", f.ref("crane/app", ":arm64"), "-t", multi)
	index := f.registry.Verify(t, "crane/app", "multi")
	same(t, "crane digest", b.Run("crane", "digest", multi), index.Digest)
	same(t, "crane digest --platform", b.Run("crane", "digest", "--platform", "linux/arm64", multi), digests[1])
	same(t, "the first child", index.Children[0].Digest, digests[0])
	if got := b.Run("crane", "manifest", multi); got != strings.TrimSpace(string(index.Raw)) {
		t.Fatalf("crane manifest printed\n%s\nwant\n%s", got, index.Raw)
	}
	b.Run("crane", "validate", "--remote", multi)
	config := b.Run("crane", "config", f.ref("crane/app", ":arm64"))
	if !bytes.Equal([]byte(config), index.Children[1].Blobs[index.Children[1].Manifest.Config.Digest]) {
		t.Fatalf("crane config printed %s", config)
	}

	t.Log("listing and copying")
	if got := strings.Fields(b.Run("crane", "ls", f.ref("crane/app", ""))); !slices.Equal(got, []string{"amd64", "arm64", "multi"}) {
		t.Fatalf("crane ls lists %v", got)
	}
	if got := strings.Fields(b.Run("crane", "catalog", f.Host)); !slices.Contains(got, "crane/app") || !slices.Contains(got, "crane/copy") {
		t.Fatalf("crane catalog lists %v", got)
	}
	b.Run("crane", "copy", multi, f.ref("crane/copy", ":multi"))
	identical(t, index, f.registry.Verify(t, "crane/copy", "multi"))
	b.Run("crane", "copy", "--all-tags", f.ref("crane/app", ""), f.ref("crane/copy", ""))
	same(t, "a copied tag", f.registry.Verify(t, "crane/copy", "arm64").Digest, digests[1])
	b.Run("crane", "tag", f.ref("crane/copy", "@"+digests[0]), "stable")
	same(t, "crane tag", b.Run("crane", "digest", f.ref("crane/copy", ":stable")), digests[0])

	t.Log("out into files and in again")
	b.Run("crane", "pull", "--format", "oci", multi, b.Path("layout"))
	b.Run("crane", "push", "--index", b.Path("layout"), f.ref("crane/copy", ":again"))
	wrapped := f.registry.Verify(t, "crane/copy", "again")
	if len(wrapped.Children) != 1 {
		t.Fatalf("the pushed layout has %d entries, want 1", len(wrapped.Children))
	}
	identical(t, index, wrapped.Children[0])
	b.Run("crane", "pull", f.ref("crane/app", ":amd64"), b.Path("image.tar"))
	b.Run("crane", "push", b.Path("image.tar"), f.ref("crane/copy", ":tarball"))
	same(t, "the layer by way of docker's tar",
		f.registry.Verify(t, "crane/copy", "tarball").Manifest.Layers[0].Digest, index.Children[0].Manifest.Layers[0].Digest)

	t.Log("deleting")
	b.Refused("Requested image referenced by manifest list: ["+index.Digest+"]", "crane", "delete", f.ref("crane/app", "@"+digests[0]))
	b.Run("crane", "delete", f.ref("crane/app", "@"+index.Digest))
	b.Refused("MANIFEST_UNKNOWN", "crane", "manifest", multi)
	b.Run("crane", "delete", f.ref("crane/app", "@"+digests[0]))
	b.Refused("MANIFEST_UNKNOWN", "crane", "manifest", f.ref("crane/app", "@"+digests[0]))
	if got := b.Run("crane", "ls", f.ref("crane/app", "")); got != "arm64" {
		t.Fatalf("crane ls lists %q, want what was not deleted", got)
	}
	b.Refused("NAME_UNKNOWN", "crane", "append", "--oci-empty-base", "-f", b.Path("amd64.tar"), "-t", f.ref("crane/missing", ":v1"))
}
