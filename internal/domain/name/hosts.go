package name

import (
	"net"
	"slices"
	"strings"
	"sync/atomic"
)

// HostKind says which of Berth's services a host name stands for.
type HostKind int

// The services that hosts stand for.
const (
	// HostAny is a host that names no service (localhost, an IP address):
	// everything answers there.
	HostAny HostKind = iota
	HostRegistry
	HostECR
	HostECRPublic
	HostSTS
	HostIAM
	HostPublicRegistry
	HostGallery
	HostConsole
	HostSecretsManager
	HostEvents
	HostCloudTrail
	HostCloudWatch
	HostServiceQuotas
)

// Host is a host name taken apart.
type Host struct {
	Kind HostKind
	// Account and Region stand in a registry's host; Region alone in a
	// regional API's. Otherwise they are empty.
	Account AccountID
	Region  Region
}

// Hosts knows the domains under which a deployment is reached.
type Hosts struct {
	// Domain is what follows the region in a canonical host: localhost,
	// amazonaws.com, registry.example.
	Domain string
	// PublicDomain carries the public registry and the gallery; AWS's is ecr.aws.
	PublicDomain string
}

// zone is one of the domains that AWS has side by side. A domain of the
// operator's own is all of them at once.
type zone int

const (
	zoneBase zone = iota
	zoneRegistry
	zoneAPI
	zonePublic
)

// form is one spelling of a host in front of a domain. The labels <account> and
// <region> stand for any.
type form struct {
	zones  []zone
	labels string
	kind   HostKind
}

// forms is every host that Berth knows: the endpoint rules of the AWS SDKs for
// ecr, ecr-public, sts and iam, with FIPS and dual stack, and the registry
// names of the ECR user guide and of the credential helper. docs/network.md has
// the same table in words.
func forms() []form {
	both, base := []zone{zoneBase, zoneAPI}, []zone{zoneBase}
	registryDual, public := []zone{zoneRegistry}, []zone{zonePublic}
	return []form{
		{base, "<account>.dkr.ecr.<region>", HostRegistry},
		{base, "<account>.dkr.ecr-fips.<region>", HostRegistry},
		{registryDual, "<account>.dkr-ecr.<region>", HostRegistry},
		{registryDual, "<account>.dkr-ecr-fips.<region>", HostRegistry},
		{both, "api.ecr.<region>", HostECR},
		{both, "api.ecr-fips.<region>", HostECR},
		{both, "ecr.<region>", HostECR},
		{both, "ecr-fips.<region>", HostECR},
		{both, "api.ecr-public.<region>", HostECRPublic},
		{both, "api.ecr-public-fips.<region>", HostECRPublic},
		{both, "ecr-public.<region>", HostECRPublic},
		{both, "ecr-public-fips.<region>", HostECRPublic},
		{base, "sts", HostSTS},
		{base, "sts-fips", HostSTS},
		{both, "sts.<region>", HostSTS},
		{both, "sts-fips.<region>", HostSTS},
		{both, "iam", HostIAM},
		{both, "iam-fips", HostIAM},
		{both, "iam.global", HostIAM},
		{both, "iam-fips.global", HostIAM},
		{both, "iam.us-gov", HostIAM},
		{both, "iam.<region>", HostIAM},
		{both, "iam-fips.<region>", HostIAM},
		{both, "secretsmanager.<region>", HostSecretsManager},
		{both, "secretsmanager-fips.<region>", HostSecretsManager},
		{both, "events.<region>", HostEvents},
		{both, "events-fips.<region>", HostEvents},
		{both, "cloudtrail.<region>", HostCloudTrail},
		{both, "cloudtrail-fips.<region>", HostCloudTrail},
		{both, "monitoring.<region>", HostCloudWatch},
		{both, "monitoring-fips.<region>", HostCloudWatch},
		{both, "servicequotas.<region>", HostServiceQuotas},
		{both, "servicequotas-fips.<region>", HostServiceQuotas},
		{base, "console", HostConsole},
		{base, "console.<region>", HostConsole},
		{public, "public", HostPublicRegistry},
		{public, "gallery", HostGallery},
		{public, "api.<region>.gallery", HostGallery},
	}
}

// zones are the deployment's domains. Those of AWS come in threes, one per
// partition: the dual-stack names end differently (AWS SDKs, partitions; the
// registry's from the ECR user guide, "make requests over IPv6").
func (h Hosts) zones() map[zone]string {
	z := map[zone]string{zoneBase: h.Domain, zoneRegistry: h.Domain, zoneAPI: h.Domain, zonePublic: h.PublicDomain}
	switch h.Domain {
	case "amazonaws.com":
		z[zoneRegistry], z[zoneAPI] = "on.aws", "api.aws"
	case "amazonaws.com.cn":
		z[zoneRegistry], z[zoneAPI] = "on.amazonwebservices.com.cn", "api.amazonwebservices.com.cn"
	case "amazonaws.eu":
		z[zoneRegistry], z[zoneAPI] = "on.amazonwebservices.eu", "api.amazonwebservices.eu"
	}
	return z
}

// publicDualStack is AWS's public registry over IPv6 (ECR public user guide).
const publicDualStack = "ecr-public.aws.com"

// RegistryHost is the canonical host of a registry, without a port.
func (h Hosts) RegistryHost(r Registry) string {
	return string(r.Account) + ".dkr.ecr." + string(r.Region) + "." + h.Domain
}

// PublicRegistryHost is the canonical host of all public registries, without a port.
func (h Hosts) PublicRegistryHost() string { return "public." + h.PublicDomain }

// GalleryHost is the host of the gallery, without a port.
func (h Hosts) GalleryHost() string { return "gallery." + h.PublicDomain }

// Parse takes apart a Host header, with or without a port. What it does not
// know is HostAny.
func (h Hosts) Parse(hostport string) Host {
	host := hostport
	if hostOnly, _, err := net.SplitHostPort(hostport); err == nil {
		host = hostOnly
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == publicDualStack && h.PublicDomain == "ecr.aws" {
		return Host{Kind: HostPublicRegistry}
	}
	for z, domain := range h.zones() {
		sub, ok := strings.CutSuffix(host, "."+domain)
		if !ok || domain == "" {
			continue
		}
		labels := strings.Split(sub, ".")
		for _, f := range forms() {
			if !slices.Contains(f.zones, z) {
				continue
			}
			if found, ok := f.match(labels); ok {
				return found
			}
		}
	}
	return Host{Kind: HostAny}
}

// LastHost remembers the last Host header that was taken apart: nearly all requests to a deployment
// have the same one. Its zero value is ready; it is for one Hosts, and safe for concurrent use.
type LastHost struct{ last atomic.Pointer[parsedHost] }

type parsedHost struct {
	hostport string
	Host
}

// longestHost bounds the header that is remembered, in bytes. Names are not longer.
const longestHost = 300

// Parse is h.Parse.
func (l *LastHost) Parse(h Hosts, hostport string) Host {
	if last := l.last.Load(); last != nil && last.hostport == hostport {
		return last.Host
	}
	parsed := h.Parse(hostport)
	if len(hostport) <= longestHost {
		l.last.Store(&parsedHost{strings.Clone(hostport), parsed})
	}
	return parsed
}

// match reads the labels in front of the domain.
func (f form) match(labels []string) (Host, bool) {
	if strings.Count(f.labels, ".")+1 != len(labels) {
		return Host{}, false
	}
	pattern := strings.Split(f.labels, ".")
	found := Host{Kind: f.kind}
	var err error
	for i, want := range pattern {
		switch want {
		case "<account>":
			found.Account, err = ParseAccountID(labels[i])
		case "<region>":
			found.Region, err = ParseRegion(labels[i])
		default:
			if labels[i] != want {
				return Host{}, false
			}
		}
		if err != nil {
			return Host{}, false
		}
	}
	return found, true
}

// CertificateNames are the names that a certificate needs for every host of the
// regions, sorted, with a wildcard in place of the account. A wildcard stands
// for one label, so each region has its own.
func (h Hosts) CertificateNames(regions []Region) []string {
	var names []string
	zones := h.zones()
	for _, f := range forms() {
		labels := strings.Replace(f.labels, "<account>", "*", 1)
		for _, z := range f.zones {
			if zones[z] == "" {
				continue
			}
			if !strings.Contains(labels, "<region>") {
				names = append(names, labels+"."+zones[z])
				continue
			}
			for _, r := range regions {
				names = append(names, strings.Replace(labels, "<region>", string(r), 1)+"."+zones[z])
			}
		}
	}
	if h.PublicDomain == "ecr.aws" {
		names = append(names, publicDualStack)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
