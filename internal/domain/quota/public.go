package quota

import (
	"maps"
	"net/netip"

	"github.com/berth-registry/berth/internal/domain/name"
)

// The rates of pulls from public registries, in manifests a second. PublicPull is an
// account's; AnonymousPull and WorkloadPull are those of an address (OfAddress), of a
// client without a token and of a workload.
const (
	PublicPull    = publicPrefix + "Pull"
	AnonymousPull = publicPrefix + "AnonymousPull"
	WorkloadPull  = publicPrefix + "WorkloadPull"
)

// publicPrefix begins the names of actions on public registries.
const publicPrefix = name.ServiceECRPublic + ":"

// publicRates are the rates that AWS publishes for public registries (ECR Public user
// guide, "Amazon ECR Public service quotas").
func publicRates() Rates {
	return Rates{
		publicPrefix + "GetAuthorizationToken":       200,
		publicPrefix + "BatchCheckLayerAvailability": 200,
		publicPrefix + "InitiateLayerUpload":         10,
		publicPrefix + "UploadLayerPart":             260,
		publicPrefix + "CompleteLayerUpload":         10,
		publicPrefix + "PutImage":                    10,
		PublicPull:                                   10,
		AnonymousPull:                                1,
		WorkloadPull:                                 10,
	}
}

// With is a copy of the rates in which the action has another one, in requests a
// second; 0 is no limit.
func (r Rates) With(action string, perSecond int64) Rates {
	copied := maps.Clone(r)
	if copied == nil {
		copied = Rates{}
	}
	copied[action] = perSecond
	return copied
}

// ofAddresses says that the rate is one of addresses and not of accounts.
func ofAddresses(action string) bool { return action == AnonymousPull || action == WorkloadPull }

// ipv6Bits is how much of an IPv6 address is one client's: a network has as many
// addresses as it likes.
const ipv6Bits = 64

// OfAddress stands in the place of an account where rates are those of an address. IPv6
// addresses of one /64 are the same.
func OfAddress(a netip.Addr) name.AccountID {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(ipv6Bits); err == nil {
			return name.AccountID(p.String())
		}
	}
	return name.AccountID(a.String())
}
