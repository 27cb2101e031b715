package pullthrough

import (
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// kindOf is what a kind of upstream with one host has (API reference,
// CreatePullThroughCacheRule; ECR user guide, "Using pull through cache rules").
type kindOf struct {
	kind Kind
	host string
	// secret says that it is not spoken to without credentials.
	secret bool
}

func fixedHosts() []kindOf {
	return []kindOf{
		{ECRPublic, "public.ecr.aws", false},
		{K8s, "registry.k8s.io", false},
		{Quay, "quay.io", false},
		{DockerHub, "registry-1.docker.io", true},
		{GitHub, "ghcr.io", true},
		{GitLab, "registry.gitlab.com", true},
		{Chainguard, "cgr.dev", true},
	}
}

// azureHost is a registry of Azure: its name has letters and digits.
var azureHost = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*\.azurecr\.io$`)

// amazonDomain ends the hosts of ECR's registries on AWS. A rule that was written for
// AWS means the registries of this deployment by it.
const amazonDomain = "amazonaws.com"

// RegistryOf reads the host of an ECR registry, under AWS's domain or the
// deployment's own; false for any other host.
func (s *Service) RegistryOf(host string) (name.Registry, bool) {
	for _, hosts := range []name.Hosts{s.Hosts, {Domain: amazonDomain}} {
		if h := hosts.Parse(host); h.Kind == name.HostRegistry {
			return name.Registry{Account: h.Account, Region: h.Region}, true
		}
	}
	return name.Registry{}, false
}

// hostForm is a host with or without a port. The rest is for who resolves it.
var hostForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$`)

// infer finds the kind of upstream that a host is, and whether it needs credentials.
// An operator who lists a host means that very host, whatever else it looks like.
func (s *Service) infer(host string) (kind Kind, secret, supported bool) {
	for _, k := range fixedHosts() {
		if k.host == host {
			return k.kind, k.secret, true
		}
	}
	if azureHost.MatchString(host) {
		return Azure, true, true
	}
	if s.Upstreams != nil && hostForm.MatchString(host) && s.Upstreams(host) {
		return "", false, true
	}
	if _, ok := s.RegistryOf(host); ok {
		return ECR, false, true
	}
	return "", false, false
}

// settle completes a rule that is to be made and holds its parts against each other.
func (s *Service) settle(r *Rule) error {
	host := strings.ToLower(r.URL)
	if h, port, err := net.SplitHostPort(host); err == nil && port == "443" && !strings.Contains(h, ":") {
		host = h
	}
	kind, secret, supported := s.infer(host)
	if !supported {
		return errs.New(errs.UpstreamUnsupported, "The specified upstream registry isn't supported: '%s' is none of the registries of the API, written as a host without a scheme, and the operator has not listed it as an upstream.", r.URL)
	}
	if r.Upstream != "" && r.Upstream != kind {
		return errs.New(errs.UpstreamUnsupported, "The specified upstream registry isn't supported: '%s' is not the URL of an upstream registry of the type '%s'.", r.URL, r.Upstream)
	}
	r.URL, r.Upstream = host, kind
	if secret && r.CredentialARN == "" {
		return errs.New(errs.UpstreamUnsupported, "The specified upstream registry requires authentication. Specify a valid Secrets Manager ARN in credentialArn, of a secret with the members username and accessToken, and try again.")
	}
	if r.UpstreamPrefix == "" {
		r.UpstreamPrefix = Root
	}
	if r.Prefix == Root && r.UpstreamPrefix != Root {
		return errs.Parameter("upstreamRepositoryPrefix", "An upstream repository prefix can be specified only when the repository prefix is not ROOT")
	}
	return s.checkAccess(*r)
}

// checkAccess holds the credentials and the role of a rule against its upstream.
func (s *Service) checkAccess(r Rule) error {
	if r.Upstream != ECR {
		if r.CustomRole != "" {
			return errs.Parameter("customRoleArn", "A custom role can be specified only for an upstream registry of the type ecr")
		}
		return r.checkCredential()
	}
	if r.CredentialARN != "" {
		return errs.Parameter("credentialArn", "An upstream registry of the type ecr is spoken to with a role, not with a secret")
	}
	from, _ := s.RegistryOf(r.URL)
	if from == r.Registry {
		return errs.Parameter("upstreamRegistryUrl", "The upstream registry has to be another one than the registry that the rule is for")
	}
	if r.CustomRole == "" {
		if from.Account != r.Registry.Account {
			return errs.Parameter("customRoleArn", "A custom role is required for an upstream registry of another account")
		}
		return nil
	}
	arn, err := name.ParseARN(r.CustomRole)
	switch {
	case err != nil || arn.Service != "iam" || arn.Region != "" || !strings.HasPrefix(arn.Resource, "role/"):
		return errs.Parameter("customRoleArn", "Invalid ARN")
	case arn.Account != r.Registry.Account:
		return errs.Parameter("customRoleArn", "The role has to be one of the account that the registry belongs to")
	}
	return nil
}

// SecretPrefix begins the names of the secrets that rules may use (ECR user guide,
// "Storing your upstream repository credentials").
const SecretPrefix = "ecr-pullthroughcache/"

// checkCredential looks at the secret's ARN.
func (r Rule) checkCredential() error {
	if r.CredentialARN == "" {
		return nil
	}
	arn, err := name.ParseARN(r.CredentialARN)
	switch {
	case err != nil || arn.Service != "secretsmanager" || !strings.HasPrefix(arn.Resource, "secret:"+SecretPrefix):
		return errs.Parameter("credentialArn", "The ARN has to be that of a secret whose name begins with "+SecretPrefix)
	case arn.Account != r.Registry.Account || arn.Region != r.Registry.Region:
		return errs.Parameter("credentialArn", "The secret has to be in the account and the region of the registry")
	}
	return nil
}

// maxRules is how many rules a registry can have (ECR user guide, "Amazon ECR service
// quotas").
const maxRules = 50

func tooMany(reg name.Registry) error {
	return errs.New(errs.LimitExceeded, "The registry with id '%s' already has the maximum allowed number of pull through cache rules which is '%s'", reg.Account, strconv.Itoa(maxRules))
}

func notFound(reg name.Registry, prefix string) error {
	return errs.New(errs.PullThroughRuleNotFound, "The pull through cache rule with Amazon ECR repository prefix '%s' does not exist in the registry with id '%s'", prefix, reg.Account)
}
