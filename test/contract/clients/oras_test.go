package clients

import (
	"bytes"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// orasManifest is what oras prints of a manifest that it has pushed or found.
type orasManifest struct {
	Digest       string
	MediaType    string
	ArtifactType string
	Referrers    []orasManifest
}

func oras(t *testing.T, f *fixture) {
	b := harness.NewBox(t, "oras")
	f.CreateRepository(t, "oras/app", "oras/copy")
	b.Feed(f.Password(t), "oras", "login", "--plain-http", "--username", "AWS", "--password-stdin", f.Host)

	t.Log("an artifact of two files")
	one, two := harness.Random(70, 200_000), []byte("second file\n")
	b.Write("one.bin", one)
	b.Write("two.txt", two)
	ref := f.ref("oras/app", ":v1")
	out := decode[orasManifest](t, b.Run("oras", "push", "--plain-http", "--format", "json", "--artifact-type", "application/vnd.example.thing",
		"--annotation", "made=here", ref, "one.bin:application/octet-stream", "two.txt:text/plain"))
	stored := f.registry.Verify(t, "oras/app", "v1")
	same(t, "oras push", out.Digest, stored.Digest)
	if stored.Manifest.ArtifactType != "application/vnd.example.thing" || !bytes.Equal(stored.Blobs[stored.Manifest.Layers[0].Digest], one) {
		t.Fatalf("stored as %s", stored.Raw)
	}
	same(t, "oras resolve", b.Run("oras", "resolve", "--plain-http", ref), stored.Digest)

	t.Log("referrers of it, and of those")
	sbom := decode[orasManifest](t, b.Run("oras", "attach", "--plain-http", "--format", "json", "--artifact-type", "example/sbom", ref, "two.txt:text/plain"))
	signature := decode[orasManifest](t, b.Run("oras", "attach", "--plain-http", "--format", "json", "--artifact-type", "example/signature",
		f.ref("oras/app", "@"+sbom.Digest), "--annotation", "signed=yes"))
	tree := decode[orasManifest](t, b.Run("oras", "discover", "--plain-http", "--format", "json", ref))
	if len(tree.Referrers) != 1 || len(tree.Referrers[0].Referrers) != 1 {
		t.Fatalf("oras discover shows %+v", tree)
	}
	same(t, "the referrer", tree.Referrers[0].Digest, sbom.Digest)
	same(t, "the referrer's referrer", tree.Referrers[0].Referrers[0].Digest, signature.Digest)
	filtered := decode[orasManifest](t, b.Run("oras", "discover", "--plain-http", "--format", "json", "--artifact-type", "example/other", ref))
	if len(filtered.Referrers) != 0 {
		t.Fatalf("oras discover of another type shows %+v", filtered)
	}
	if tags := b.Run("oras", "repo", "tags", "--plain-http", f.ref("oras/app", "")); tags != "v1" {
		t.Fatalf("the tags are %q: the referrers API was not used", tags)
	}

	t.Log("pull")
	b.Run("oras", "pull", "--plain-http", "--output", b.Path("out"), ref)
	if !bytes.Equal(b.Read("out", "one.bin"), one) || !bytes.Equal(b.Read("out", "two.txt"), two) {
		t.Fatal("the pulled files differ")
	}

	t.Log("copy with all referrers")
	b.Run("oras", "copy", "--recursive", "--from-plain-http", "--to-plain-http", ref, f.ref("oras/copy", ":v1,also"))
	for _, what := range []string{"v1", "also", sbom.Digest, signature.Digest} {
		name := what
		if what == "also" {
			name = "v1"
		}
		identical(t, f.registry.Verify(t, "oras/app", name), f.registry.Verify(t, "oras/copy", what))
	}

	t.Log("blobs, manifests and tags one by one")
	blob := decode[harness.Descriptor](t, b.Run("oras", "blob", "push", "--plain-http", "--descriptor", f.ref("oras/copy", ""), "one.bin"))
	same(t, "oras blob push", blob.Digest, harness.Digest(one))
	b.Run("oras", "blob", "fetch", "--plain-http", "--output", b.Path("blob"), f.ref("oras/copy", "@"+blob.Digest))
	if !bytes.Equal(b.Read("blob"), one) {
		t.Fatal("the fetched blob differs")
	}
	b.Run("oras", "manifest", "fetch", "--plain-http", "--output", b.Path("manifest"), f.ref("oras/copy", "@"+signature.Digest))
	same(t, "oras manifest fetch", harness.Digest(b.Read("manifest")), signature.Digest)
	b.Run("oras", "tag", "--plain-http", f.ref("oras/copy", ":v1"), "tagged")
	same(t, "oras tag", f.registry.Verify(t, "oras/copy", "tagged").Digest, stored.Digest)
	b.Run("oras", "manifest", "delete", "--plain-http", "--force", f.ref("oras/copy", "@"+stored.Digest))
	b.Refused("not found", "oras", "manifest", "fetch", "--plain-http", f.ref("oras/copy", ":tagged"))
}
