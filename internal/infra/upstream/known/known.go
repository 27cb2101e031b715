// Package known lists the registries that AWS names as upstreams, with the hosts
// that each of them sends its clients to. It does not own whether one goes there
// (upstream).
package known

import (
	"path"
	"strings"
)

// Registry is a registry and the hosts that it may send its clients to. All are
// patterns of Match.
type Registry struct {
	Host   string   // the registry
	Tokens []string // where its tokens are made, besides the registry itself
	Blobs  []string // where it keeps blobs, and for registry.k8s.io manifests
}

// Registries is what the operators of these registries document, as far as that is
// known: the table was put together from their pages and has not been tried against
// every one of them. A host that is missing is refused by its name, and an operator
// of Berth can add it (pull_through.upstreams). Object storage is narrowed to the
// registry's buckets where these are documented; elsewhere anybody may have a bucket
// under such a name, and what protects the caller is that no credentials go there
// and that digests are compared.
func Registries() []Registry {
	return []Registry{
		{
			// Docker documentation, "Allowlist for Docker Desktop": auth.docker.io,
			// production.cloudflare.docker.com, and docker-images-prod on Cloudflare R2 with
			// the number of Docker's account, which older versions of the page leave out. The
			// second label of production.* names the CDN.
			Host:   "registry-1.docker.io",
			Tokens: []string{"auth.docker.io"},
			Blobs:  []string{"production.*.docker.com", "docker-images-prod.r2.cloudflarestorage.com", "docker-images-prod.*.r2.cloudflarestorage.com"},
		},
		{
			// GitHub documentation, "Self-hosted runners reference", accessible domains:
			// *.pkg.github.com, pkg-containers.githubusercontent.com, ghcr.io.
			Host:  "ghcr.io",
			Blobs: []string{"pkg-containers.githubusercontent.com"},
		},
		{
			// OpenShift documentation, "Configuring your firewall": cdn.quay.io, cdn01 and
			// so on, or all of *.quay.io; "Required AWS service quotas and firewall
			// prerequisites" of Red Hat OpenShift Service on AWS: the bucket quayio-production-s3.
			Host:  "quay.io",
			Blobs: []string{"*.quay.io", "quayio-production-s3.s3.amazonaws.com", "quayio-production-s3.s3.*.amazonaws.com", "quayio-production-s3.s3.dualstack.*.amazonaws.com"},
		},
		{
			// github.com/kubernetes/registry.k8s.io, cmd/archeio/README.md: manifests are
			// redirected to Artifact Registry (<region>-docker.pkg.dev), blobs there or to a
			// bucket in the client's region of AWS, or a CDN before one. The project asks
			// nobody to depend on which.
			Host: "registry.k8s.io",
			Blobs: []string{
				"*.pkg.dev", "prod-registry-k8s-io-*.s3.dualstack.*.amazonaws.com", "prod-registry-k8s-io-*.s3.*.amazonaws.com",
				"*.cloudfront.net", "storage.googleapis.com", "*.storage.googleapis.com",
			},
		},
		{
			// EKS Anywhere documentation, "Domains": public.ecr.aws and two distributions
			// under cloudfront.net; ECR Public does not promise which.
			Host:  "public.ecr.aws",
			Blobs: []string{"*.cloudfront.net"},
		},
		{
			// Amazon ECR user guide, "Amazon ECR interface VPC endpoints (AWS PrivateLink)":
			// layers are in the bucket prod-<region>-starport-layer-bucket.
			Host: "*.dkr.ecr.*.amazonaws.com",
			Blobs: []string{
				"prod-*-starport-layer-bucket.s3.*.amazonaws.com", "prod-*-starport-layer-bucket.s3.dualstack.*.amazonaws.com",
				"prod-*-starport-layer-bucket.s3.amazonaws.com",
			},
		},
		{
			// Azure documentation, "Configure rules to access an Azure container registry
			// behind a firewall": *.blob.core.windows.net, or with dedicated data endpoints
			// <registry>.<region>.data.azurecr.io. Tokens are made by the registry.
			Host:  "*.azurecr.io",
			Blobs: []string{"*.blob.core.windows.net", "*.data.azurecr.io"},
		},
		{
			// GitLab issue 350048, "Implement Google CDN for the GitLab.com Container
			// Registry": blobs come from the CDN in place of Google Cloud Storage. Tokens come
			// from gitlab.com/jwt/auth (GitLab documentation, "Container registry token
			// authentication").
			Host:   "registry.gitlab.com",
			Tokens: []string{"gitlab.com"},
			Blobs:  []string{"cdn.registry.gitlab-static.net", "storage.googleapis.com", "*.storage.googleapis.com"},
		},
		{
			// Chainguard documentation, "Network requirements": cgr.dev,
			// issuer.enforce.dev, and Chainguard's account on Cloudflare R2.
			Host:   "cgr.dev",
			Tokens: []string{"issuer.enforce.dev"},
			Blobs:  []string{"9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com", "*.9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com"},
		},
	}
}

// Match says whether a host fits a pattern, label by label. "*" as the first
// label stands for one label or more, elsewhere for what is left of its label.
func Match(pattern, host string) bool {
	p, h := strings.Split(pattern, "."), strings.Split(host, ".")
	if p[0] == "*" && len(p) > 1 && len(h) > len(p) {
		h = h[len(h)-len(p):]
	}
	if len(p) != len(h) {
		return false
	}
	for i := range p {
		if h[i] == "" {
			return false
		}
		if ok, err := path.Match(p[i], h[i]); !ok || err != nil {
			return false
		}
	}
	return true
}
