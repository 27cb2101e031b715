// Package pullthrough owns the pull-through cache rules of a registry: which names
// come from which upstream registry, what each kind of upstream is reached by and
// needs for it, and the credentials and roles that a rule speaks to its upstream
// with.
//
// It does not own the images that are fetched, nor when they are fetched
// (pullthrough/cache), the connection itself (infra/upstream), secrets
// (domain/secret), nor what may be done with a rule (domain/authz).
package pullthrough

import (
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
)

// Kind is a kind of upstream registry, as the ECR API calls it; "" is any other OCI
// registry that the operator has listed.
type Kind string

// The kinds of the ECR API.
const (
	ECR        Kind = "ecr"
	ECRPublic  Kind = "ecr-public"
	Quay       Kind = "quay"
	K8s        Kind = "k8s"
	DockerHub  Kind = "docker-hub"
	GitHub     Kind = "github-container-registry"
	Azure      Kind = "azure-container-registry"
	GitLab     Kind = "gitlab-container-registry"
	Chainguard Kind = "chainguard"
)

// Root is the prefix that stands for all names: of the rule for what no other rule
// covers, and of an upstream whose names are taken as they are.
const Root = "ROOT"

// Rule is one pull-through cache rule.
type Rule struct {
	Registry name.Registry
	// Prefix as it was given, or Root; a slash at its end is meant in any case.
	Prefix string
	// Upstream is the kind, "" for another OCI registry.
	Upstream Kind
	// URL is the upstream's host, with a port where it has its own.
	URL string
	// UpstreamPrefix stands in place of Prefix in the upstream's names; Root: nothing does.
	UpstreamPrefix string
	// CredentialARN is the secret with the upstream's credentials, "" for none.
	CredentialARN string
	// CustomRole is the ARN of the role that asks an ECR registry, "" for the
	// service-linked one.
	CustomRole           string
	CreatedAt, UpdatedAt time.Time
}

// UpstreamRepository is the name that the upstream knows a repository by which the
// rule covers (ECR user guide, "Customizing repository prefixes for ECR to ECR pull
// through cache"). For a repository that it does not cover it is "".
func (r Rule) UpstreamRepository(repo name.Repository) string {
	rest := string(repo)
	if r.Prefix != Root {
		var covered bool
		if rest, covered = strings.CutPrefix(rest, key(r.Prefix)+"/"); !covered {
			return ""
		}
	}
	if r.UpstreamPrefix == Root || r.UpstreamPrefix == "" {
		return rest
	}
	return key(r.UpstreamPrefix) + "/" + rest
}

// key is what a prefix is kept and found under: "hub" and "hub/" are one.
func key(prefix string) string { return strings.TrimSuffix(prefix, "/") }
