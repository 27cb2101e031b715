package clients

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/test/contract/harness"
)

// TestPullThrough: clients pull through the cache from Debian's distribution
// registry, each from repositories that nobody has asked for before: an image by tag
// and by digest, and an index; then all of it again while the upstream is gone.
func TestPullThrough(t *testing.T) {
	d := harness.StartDistribution(t)
	s := harness.Start(t, harness.Options{Config: fmt.Sprintf(
		"pull_through: {allow_private: [127.0.0.1/32], upstreams: {%q: {plain_http: true}}}\n", d.Host)})
	_, err := s.ECR().CreatePullThroughCacheRule(t.Context(), &ecr.CreatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("cache"), UpstreamRegistryUrl: &d.Host})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{Server: s, registry: s.Registry(t)}
	// The same helpers push into the upstream.
	there := &fixture{registry: d.Registry}
	pulls := map[string]*pulled{}
	for _, c := range []struct {
		name string
		make func(*testing.T, *fixture) puller
	}{
		{"docker", dockerPuller}, {"podman", podmanPuller}, {"ctr", ctrPuller}, {"crane", cranePuller},
	} {
		p := &pulled{f: f, repo: "cache/" + c.name, puller: c.make(t, f)}
		p.tagged = there.image(t, c.name, "v1", "amd64", harness.Random(90, 200_000)).Digest
		p.pinned = there.image(t, c.name, "other", "amd64", harness.Random(91, 3000)).Digest
		p.multi = there.index(t, c.name, "multi").Digest
		p.child = there.registry.Verify(t, c.name, "multi").Children[1].Digest
		pulls[c.name] = p
	}
	for _, upstream := range []string{"first", "again, without the upstream"} {
		t.Run(upstream, func(t *testing.T) {
			for name, p := range pulls {
				t.Run(name, p.all)
			}
		})
		d.Kill()
	}
	for name, p := range pulls {
		whole := f.registry.Verify(t, p.repo, "v1")
		same(t, name, whole.Digest, p.tagged)
	}
	f.MustFsck(t)
}

// puller pulls an image into a storage that does not have it, for linux on an
// architecture, and returns the digest of what it was given for the reference.
type puller func(t *testing.T, ref, architecture string) (digest string)

// pulled is what one client pulls.
type pulled struct {
	f      *fixture
	repo   string
	puller puller
	// tagged is an image with a tag, pinned one that is pulled by its digest, multi an
	// index and child its image for arm64.
	tagged, pinned, multi, child string
}

func (p *pulled) all(t *testing.T) {
	same(t, "by tag", p.puller(t, p.f.ref(p.repo, ":v1"), "amd64"), p.tagged)
	same(t, "by digest", p.puller(t, p.f.ref(p.repo, "@"+p.pinned), "amd64"), p.pinned)
	if got := p.puller(t, p.f.ref(p.repo, ":multi"), "arm64"); got != p.multi && got != p.child {
		t.Errorf("the index: the digest is %s, want that of the index, %s, or of its image, %s", got, p.multi, p.child)
	}
	same(t, "the index by its digest", p.puller(t, p.f.ref(p.repo, "@"+p.multi), "arm64"), p.multi)
}

func dockerPuller(t *testing.T, f *fixture) puller {
	b := dockerBox(t, f)
	digest := regexp.MustCompile(`Digest: (sha256:[0-9a-f]{64})`)
	return func(t *testing.T, ref, architecture string) string {
		t.Helper()
		defer b.Run("docker", "image", "prune", "--all", "--force")
		out := b.Run("docker", "pull", "--platform", "linux/"+architecture, ref)
		same(t, "the architecture of "+ref, b.Run("docker", "image", "inspect", "--format", "{{.Architecture}}", ref), architecture)
		m := digest.FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("docker pull printed no digest:\n%s", out)
		}
		return m[1]
	}
}

func podmanPuller(t *testing.T, f *fixture) puller {
	b := containersBox(t, "podman")
	b.Feed(f.Password(t), "podman", "login", "--tls-verify=false", "--username", "AWS", "--password-stdin", f.Host)
	return func(t *testing.T, ref, architecture string) string {
		t.Helper()
		id := b.Run("podman", "pull", "--quiet", "--tls-verify=false", "--arch", architecture, ref)
		defer b.Run("podman", "rmi", "--force", id)
		same(t, "the architecture of "+ref, b.Run("podman", "image", "inspect", "--format", "{{.Architecture}}", id), architecture)
		if _, digest, ok := strings.Cut(ref, "@"); ok {
			// podman shows the digest of the image for a reference to its index too.
			if all := b.Run("podman", "image", "inspect", "--format", "{{.RepoDigests}}", id); !strings.Contains(all, digest) {
				t.Errorf("%s has the digests %s", ref, all)
			}
			return digest
		}
		return b.Run("podman", "image", "inspect", "--format", "{{.Digest}}", id)
	}
}

func ctrPuller(t *testing.T, f *fixture) puller {
	b := harness.NewBox(t, "ctr", "containerd")
	harness.StartContainerd(t, b)
	user := "AWS:" + f.Password(t)
	return func(t *testing.T, ref, architecture string) string {
		t.Helper()
		b.Run("ctr", "images", "pull", "--plain-http", "--user", user, "--platform", "linux/"+architecture, ref)
		defer b.Run("ctr", "images", "rm", "--sync", ref) // with what it holds
		m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(ref) + `\s+\S+\s+(sha256:[0-9a-f]{64})`).FindStringSubmatch(b.Run("ctr", "images", "ls"))
		if m == nil {
			t.Fatalf("ctr does not list %s", ref)
		}
		return m[1]
	}
}

func cranePuller(t *testing.T, f *fixture) puller {
	b := harness.NewBox(t, "crane")
	b.Feed(f.Password(t), "crane", "auth", "login", f.Host, "--username", "AWS", "--password-stdin")
	return func(t *testing.T, ref, architecture string) string {
		t.Helper()
		b.Run("crane", "pull", "--platform", "linux/"+architecture, ref, b.Path("image.tar"))
		return b.Run("crane", "digest", ref)
	}
}
