package config

import (
	"net"
	"net/netip"
	"strconv"

	"github.com/berth-registry/berth/internal/domain/name"
)

// Public says how public registries are served.
type Public struct {
	// Region is where the ECR Public API is: AWS has it in us-east-1 only. It need not
	// be among the regions that are served.
	Region name.Region `yaml:"region"`
	// PullRate bounds pulls.
	PullRate PullRate `yaml:"pull_rate"`
	// Workloads are networks, in CIDR form, whose pulls count as those of a workload
	// of the account's own, with a token or without.
	Workloads []string `yaml:"workloads"`
	// AnonymousBytesPerMonth is what one address may pull without a token in a
	// calendar month (UTC), in bytes; 0 is no bound. AWS's is 500 GB.
	AnonymousBytesPerMonth int64 `yaml:"anonymous_bytes_per_month"`
}

// PullRate bounds the pulls from public repositories, in pulls a second. 0 is no bound;
// one that is not set is AWS's where quota.rates says ecr, and none otherwise.
type PullRate struct {
	// Anonymous is for each address without a token; AWS's is 1.
	Anonymous *int64 `yaml:"anonymous"`
	// Authenticated is for each account; AWS's is 10.
	Authenticated *int64 `yaml:"authenticated"`
	// Workload is for each address of the networks in Workloads; AWS's is 10.
	Workload *int64 `yaml:"workload"`
}

// off is how a file says that PublicListen is none.
const off = "off"

// PublicAddress is where the public registry listens, "" for nowhere.
func (c *Config) PublicAddress() string {
	switch c.PublicListen {
	case off:
		return ""
	case "":
	default:
		return c.PublicListen
	}
	host, port, err := net.SplitHostPort(c.Listen)
	n, numeric := strconv.Atoi(port)
	switch {
	case err != nil || numeric != nil || n >= maxPort:
		return ""
	case n == 0: // any
		return net.JoinHostPort(host, "0")
	}
	return net.JoinHostPort(host, strconv.Itoa(n+1))
}

const maxPort = 65535

// maxPullRate is more than anybody pulls.
const maxPullRate = 1_000_000

func (c *Config) validatePublic(say func(format string, args ...any)) {
	p := c.Public
	if _, err := name.ParseRegion(string(p.Region)); err != nil {
		say("public.region: %q: %w", p.Region, err)
	}
	if a := c.PublicListen; a != "" && a != off {
		if _, _, err := net.SplitHostPort(a); err != nil {
			say("public_listen: %q is not an address; write 127.0.0.1:5001 or off", a)
		}
	}
	for _, w := range p.Workloads {
		if _, err := netip.ParsePrefix(w); err != nil {
			say("public.workloads: %q is not a network; write 10.0.0.0/8 or 192.0.2.7/32", w)
		}
	}
	for what, rate := range map[string]*int64{"anonymous": p.PullRate.Anonymous, "authenticated": p.PullRate.Authenticated, "workload": p.PullRate.Workload} {
		if rate != nil && (*rate < 0 || *rate > maxPullRate) {
			say("public.pull_rate.%s: has to be between 0 and %d", what, maxPullRate)
		}
	}
	if p.AnonymousBytesPerMonth < 0 {
		say("public.anonymous_bytes_per_month: is less than 0; 0 is no limit")
	}
}
