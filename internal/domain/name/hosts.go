package name

import (
	"net"
	"strings"
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

// dualStack are the domains under which AWS serves the same hosts over IPv6
// (ECR user guide, "make requests over IPv6").
func (h Hosts) dualStack() (registry, api string) {
	if h.Domain == "amazonaws.com" {
		return "on.aws", "api.aws"
	}
	return h.Domain, h.Domain
}

// RegistryHost is the canonical host of a registry, without a port.
func (h Hosts) RegistryHost(r Registry) string {
	return string(r.Account) + ".dkr.ecr." + string(r.Region) + "." + h.Domain
}

// Parse takes apart a Host header, with or without a port. What it does not
// know is HostAny.
func (h Hosts) Parse(hostport string) Host {
	host := hostport
	if hostOnly, _, err := net.SplitHostPort(hostport); err == nil {
		host = hostOnly
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	registryDual, apiDual := h.dualStack()
	if h.PublicDomain != "" {
		switch host {
		case "public." + h.PublicDomain:
			return Host{Kind: HostPublicRegistry}
		case "gallery." + h.PublicDomain:
			return Host{Kind: HostGallery}
		}
	}
	for _, domain := range []string{h.Domain, registryDual, apiDual} {
		sub, ok := strings.CutSuffix(host, "."+domain)
		if !ok || domain == "" {
			continue
		}
		if found, ok := parseService(strings.Split(sub, ".")); ok {
			return found
		}
	}
	return Host{Kind: HostAny}
}

// parseService reads the labels in front of the domain.
func parseService(labels []string) (Host, bool) {
	switch {
	case len(labels) == 4 && labels[1] == "dkr" && (labels[2] == "ecr" || labels[2] == "ecr-fips"):
		return registryHost(labels[0], labels[3])
	case len(labels) == 3 && labels[1] == "dkr-ecr" || len(labels) == 3 && labels[1] == "dkr-ecr-fips":
		return registryHost(labels[0], labels[2])
	case len(labels) == 3 && labels[0] == "api":
		return apiHost(labels[1], labels[2])
	case len(labels) == 2:
		return apiHost(labels[0], labels[1])
	case len(labels) == 1:
		return apiHost(labels[0], "")
	}
	return Host{}, false
}

func registryHost(account, region string) (Host, bool) {
	a, errA := ParseAccountID(account)
	r, errR := ParseRegion(region)
	if errA != nil || errR != nil {
		return Host{}, false
	}
	return Host{Kind: HostRegistry, Account: a, Region: r}, true
}

func apiHost(service, region string) (Host, bool) {
	if region != "" {
		if _, err := ParseRegion(region); err != nil {
			return Host{}, false
		}
	}
	h := Host{Region: Region(region)}
	switch service {
	case "ecr", "ecr-fips":
		h.Kind = HostECR
	case "ecr-public":
		h.Kind = HostECRPublic
	case "sts", "sts-fips":
		h.Kind = HostSTS
	case "iam", "iam-fips":
		h.Kind = HostIAM
	case "console":
		h.Kind = HostConsole
	default:
		return Host{}, false
	}
	if region == "" && (h.Kind == HostECR || h.Kind == HostECRPublic) {
		return Host{}, false
	}
	return h, true
}
