package clients

import (
	"regexp"
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

func containerd(t *testing.T, f *fixture) {
	b := harness.NewBox(t, "ctr", "containerd")
	harness.StartContainerd(t, b)
	f.CreateRepository(t, "ctr/app", "ctr/copy", "ctr/old")
	user := "AWS:" + f.Password(t)
	digestOf := func(ref string) string {
		t.Helper()
		m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(ref) + `\s+\S+\s+(sha256:[0-9a-f]{64})`).FindStringSubmatch(b.Run("ctr", "images", "ls"))
		if m == nil {
			t.Fatalf("ctr does not list %s", ref)
		}
		return m[1]
	}

	t.Log("one platform")
	f.image(t, "ctr/app", "v1", "amd64", harness.Random(80, 300_000))
	v1 := f.registry.Verify(t, "ctr/app", "v1")
	image := f.ref("ctr/app", ":v1")
	b.Run("ctr", "images", "pull", "--plain-http", "--user", user, image)
	same(t, "ctr images pull", digestOf(image), v1.Digest)
	b.Run("ctr", "images", "tag", image, f.ref("ctr/copy", ":v1"))
	b.Run("ctr", "images", "push", "--plain-http", "--user", user, f.ref("ctr/copy", ":v1"))
	identical(t, v1, f.registry.Verify(t, "ctr/copy", "v1"))

	t.Log("all platforms of an index, by digest too")
	f.index(t, "ctr/app", "multi")
	multi := f.registry.Verify(t, "ctr/app", "multi")
	byDigest := f.ref("ctr/app", "@"+multi.Digest)
	b.Run("ctr", "images", "pull", "--plain-http", "--user", user, "--all-platforms", byDigest)
	same(t, "ctr images pull of the index", digestOf(byDigest), multi.Digest)
	b.Run("ctr", "images", "push", "--plain-http", "--user", user, f.ref("ctr/copy", ":multi"), byDigest)
	identical(t, multi, f.registry.Verify(t, "ctr/copy", "multi"))

	t.Log("a layer that containerd has not got, pushed")
	b.Run("ctr", "images", "rm", image, byDigest, f.ref("ctr/copy", ":v1"))
	b.Run("ctr", "images", "pull", "--plain-http", "--user", user, f.ref("ctr/copy", ":v1"))
	same(t, "pulled back", digestOf(f.ref("ctr/copy", ":v1")), v1.Digest)

	_, stderr, err := b.Try("", "ctr", "images", "push", "--plain-http", "--user", user, f.ref("ctr/missing", ":v1"), f.ref("ctr/copy", ":v1"))
	if err == nil {
		t.Fatal("a push into a repository that does not exist succeeded")
	}
	if !strings.Contains(stderr, "404") && !strings.Contains(stderr, "does not exist") {
		t.Fatalf("ctr says %q of a repository that does not exist", stderr)
	}
	_, stderr, err = b.Try("", "ctr", "images", "pull", "--plain-http", "--user", "AWS:wrong", f.ref("ctr/app", ":v1"))
	if err == nil || !strings.Contains(stderr, "401 Unauthorized") {
		t.Fatalf("a pull with a wrong password: %v, %s", err, stderr)
	}
}
