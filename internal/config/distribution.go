package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/berth-registry/berth/internal/domain/name"
)

// Regions are the regions that the file names: a list of those that are served
// here, or a mapping that also says which deployments serve the others.
type Regions struct {
	// Served are the regions of this deployment.
	Served []name.Region
	// Peers are the addresses of the deployments that serve the other ones.
	Peers map[name.Region]string
}

// UnmarshalYAML reads [eu-central-1, eu-west-1], or
// {eu-central-1: {}, eu-west-1: {peer: https://berth.example}}.
func (r *Regions) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.SequenceNode {
		return n.Decode(&r.Served)
	}
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: regions is a list of regions, or a mapping from each to {} or {peer: https://...}", n.Line)
	}
	r.Peers = map[name.Region]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		var region name.Region
		if err := n.Content[i].Decode(&region); err != nil {
			return err
		}
		var place struct {
			Peer string `yaml:"peer"`
		}
		if n.Content[i+1].Tag != "!!null" {
			if err := strict(n.Content[i+1], &place); err != nil {
				return err
			}
		}
		if place.Peer == "" {
			r.Served = append(r.Served, region)
		} else {
			r.Peers[region] = strings.TrimRight(place.Peer, "/")
		}
	}
	return nil
}

// Replication says how images are sent to other regions.
type Replication struct {
	// Workers is how many images a node sends at once.
	Workers int `yaml:"workers"`
	// Bandwidth bounds what a node sends, in bytes a second; 0 does not.
	Bandwidth int64 `yaml:"bandwidth"`
	// GiveUp is how long after its push an image is tried to be sent to a
	// destination that cannot be reached.
	GiveUp Duration `yaml:"give_up"`
	// CA is a PEM file with certificate authorities that peers are trusted by, besides
	// the system's; "" for none.
	CA string `yaml:"ca"`
}

// PullThrough says how the pull-through cache treats its upstreams.
type PullThrough struct {
	// Refresh is how long a tag is served before the upstream is asked for it again.
	Refresh Duration `yaml:"refresh"`
	// AllowPrivate are the networks, in CIDR form, of upstreams and their hosts
	// besides the internet's.
	AllowPrivate []string `yaml:"allow_private"`
	// CA is a PEM file with certificate authorities that upstreams are trusted by,
	// besides the system's; "" for none.
	CA string `yaml:"ca"`
	// Upstreams are OCI registries besides those that ECR knows, by host or
	// host:port, and settings for these.
	Upstreams map[string]Upstream `yaml:"upstreams"`
}

// Upstream is one upstream registry.
type Upstream struct {
	// Endpoint is the address to go to in place of the host's own, a mirror's.
	Endpoint string `yaml:"endpoint"`
	// Hosts are further hosts that may give tokens and layers, "*.example" for all
	// under a domain.
	Hosts []string `yaml:"hosts"`
	// CA is a PEM file with the authorities of this host alone; "" for none.
	CA string `yaml:"ca"`
	// PlainHTTP speaks HTTP without TLS.
	PlainHTTP bool `yaml:"plain_http"`
	// AllowPrivate allows every address.
	AllowPrivate bool `yaml:"allow_private"`
}

// validateDistribution checks peers, replication and upstreams.
func (c *Config) validateDistribution(say func(format string, args ...any)) {
	for r, u := range c.Peers {
		if _, err := name.ParseRegion(string(r)); err != nil {
			say("regions: %q: %w", r, err)
		}
		if slices.Contains(c.Regions, r) {
			say("regions: %s is served here and by a peer; it can be one of them", r)
		}
		if parsed, err := url.Parse(u); err != nil || !httpURL(u) || parsed.Path != "" || parsed.RawQuery != "" || parsed.User != nil {
			say("regions: %s: %q is not the address of a deployment; write https://berth.example", r, u)
		}
	}
	if c.Replication.Workers < 1 || c.Replication.Workers > 64 {
		say("replication.workers: has to be between 1 and 64")
	}
	if c.Replication.Bandwidth < 0 || c.Replication.Bandwidth > 0 && c.Replication.Bandwidth < 64<<10 {
		say("replication.bandwidth: has to be at least %d bytes a second, or 0 for no bound", 64<<10)
	}
	if c.Replication.GiveUp < Duration(time.Minute) {
		say("replication.give_up: has to be at least 1m")
	}
	p := c.PullThrough
	if p.Refresh < Duration(time.Second) {
		say("pull_through.refresh: has to be at least 1s")
	}
	for _, network := range p.AllowPrivate {
		if _, err := netip.ParsePrefix(network); err != nil {
			say("pull_through.allow_private: %q is not a network; write 10.0.0.0/8", network)
		}
	}
	for host, u := range p.Upstreams {
		if !validHost(host) {
			say("pull_through.upstreams: %q is not a host; write registry.example or registry.example:5000", host)
		}
		if u.Endpoint != "" && !httpURL(u.Endpoint) {
			say("pull_through.upstreams: %s: endpoint: %q is not an address; write https://mirror.example", host, u.Endpoint)
		}
		for _, h := range u.Hosts {
			if !validHost(strings.TrimPrefix(h, "*.")) {
				say("pull_through.upstreams: %s: hosts: %q is not a host; write auth.example or *.example", host, h)
			}
		}
	}
}

// validHost says whether h is a host name or address, with or without a port.
func validHost(h string) bool {
	host := h
	if bare, port, err := net.SplitHostPort(h); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
		host = bare
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return validDomain(host)
}
