package known_test

import (
	"slices"
	"testing"

	"github.com/berth-registry/berth/internal/infra/upstream/known"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, host string
		want          bool
	}{
		{"ghcr.io", "ghcr.io", true},
		{"ghcr.io", "xghcr.io", false},
		{"ghcr.io", "ghcr.io.evil.example", false},
		{"ghcr.io", "evil.ghcr.io", false},
		{"*.quay.io", "cdn01.quay.io", true},
		{"*.quay.io", "a.b.quay.io", true},
		{"*.quay.io", "quay.io", false},
		{"*.quay.io", "evilquay.io", false},
		{"*.quay.io", ".quay.io", false},
		{"*.s3.*.amazonaws.com", "bucket.s3.eu-west-1.amazonaws.com", true},
		{"*.s3.*.amazonaws.com", "my.bucket.s3.eu-west-1.amazonaws.com", true},
		{"*.s3.*.amazonaws.com", "s3.eu-west-1.amazonaws.com", false},
		{"*.s3.*.amazonaws.com", "bucket.s3.a.b.amazonaws.com", false},
		{"*.s3.*.amazonaws.com", "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com", false},
		{"prod-*-bucket.s3.amazonaws.com", "prod-eu-west-1-bucket.s3.amazonaws.com", true},
		{"prod-*-bucket.s3.amazonaws.com", "prod-x.evil-bucket.s3.amazonaws.com", false},
		{"*", "localhost", true},
		{"*", "a.example", false},
		{"[", "[", false},
	} {
		if got := known.Match(c.pattern, c.host); got != c.want {
			t.Errorf("Match(%q, %q) = %t", c.pattern, c.host, got)
		}
	}
}

// TestRegistries: hosts of the kind that each registry redirects to are in the table.
func TestRegistries(t *testing.T) {
	for _, c := range []struct {
		host   string
		tokens []string
		blobs  []string
	}{
		{"registry-1.docker.io", []string{"auth.docker.io"}, []string{"production.cloudflare.docker.com", "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com"}},
		{"ghcr.io", nil, []string{"pkg-containers.githubusercontent.com"}},
		{"quay.io", nil, []string{"cdn.quay.io", "cdn03.quay.io", "quayio-production-s3.s3.us-east-1.amazonaws.com"}},
		{"registry.k8s.io", nil, []string{"us-west2-docker.pkg.dev", "prod-registry-k8s-io-us-east-1.s3.dualstack.us-east-1.amazonaws.com"}},
		{"public.ecr.aws", nil, []string{"d2glxqk2uabbnd.cloudfront.net", "d5l0dvt14r5h8.cloudfront.net"}},
		{"123456789012.dkr.ecr.eu-west-1.amazonaws.com", nil, []string{"prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com"}},
		{"contoso.azurecr.io", nil, []string{"eusmanaged1.blob.core.windows.net", "contoso.eastus.data.azurecr.io"}},
		{"registry.gitlab.com", []string{"gitlab.com"}, []string{"cdn.registry.gitlab-static.net", "storage.googleapis.com"}},
		{"cgr.dev", nil, []string{"9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com"}},
	} {
		var found []known.Registry
		for _, r := range known.Registries() {
			if known.Match(r.Host, c.host) {
				found = append(found, r)
			}
		}
		if len(found) != 1 {
			t.Errorf("%s: %d entries", c.host, len(found))
			continue
		}
		within := func(patterns []string, host string) bool {
			return slices.ContainsFunc(patterns, func(p string) bool { return known.Match(p, host) })
		}
		for _, h := range c.tokens {
			if !within(found[0].Tokens, h) {
				t.Errorf("%s: no tokens from %s", c.host, h)
			}
		}
		for _, h := range c.blobs {
			if !within(found[0].Blobs, h) {
				t.Errorf("%s: no blobs from %s", c.host, h)
			}
			if within(found[0].Tokens, h) {
				t.Errorf("%s: credentials go to %s", c.host, h)
			}
		}
		for _, h := range []string{"evil.example", "localhost", "169.254.169.254", "ec2-1-2-3-4.compute-1.amazonaws.com"} {
			if within(slices.Concat(found[0].Tokens, found[0].Blobs), h) {
				t.Errorf("%s: leads to %s", c.host, h)
			}
		}
	}
}
