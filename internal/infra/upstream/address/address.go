// Package address knows which addresses are public ones, so that a program which
// is told by others where to connect cannot be made to ask its own network. It
// does not own who is exempt (upstream).
package address

import (
	"fmt"
	"net/netip"
	"slices"
)

// Error is an address that is not dialled.
type Error struct {
	Addr netip.Addr
	Why  string // what the address is
}

// Error says which address it is, and why it is not dialled.
func (e *Error) Error() string {
	return fmt.Sprintf("address %s is not dialled: it is %s", e.Addr, e.Why)
}

// Check refuses to dial an address, given as "ip:port" as net.Dialer.Control has
// it, after the name was resolved. With private every address is taken but those
// of metadata services; those in allowed always are. The error is an *Error.
func Check(address string, private bool, allowed []netip.Prefix) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return &Error{Why: fmt.Sprintf("none, %q", address)}
	}
	addr := at.Addr().WithZone("")
	plain := embedded(addr)
	covered := func(p netip.Prefix) bool { return p.Contains(plain) || p.Contains(addr) }
	if slices.ContainsFunc(allowed, covered) {
		return nil
	}
	why := ""
	switch {
	case listed(metadataAddresses(), plain):
		why = "where clouds keep the credentials of machines"
	case private:
	case plain.Is4() && listed(specialIPv4(), plain):
		why = "not a public one; allow it in the configuration of upstream hosts where that is meant"
	case plain.Is6() && (!prefix("2000::/3").Contains(plain) || listed(specialIPv6(), plain)):
		why = "not a public one; allow it in the configuration of upstream hosts where that is meant"
	}
	if why != "" {
		return &Error{Addr: addr, Why: why}
	}
	return nil
}

// embedded is the IPv4 address inside an IPv6 one that leads there: mapped,
// compatible, and by NAT64's well-known prefix (RFC 6052).
func embedded(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if !addr.Is6() {
		return addr
	}
	b := addr.As16()
	if prefix("64:ff9b::/96").Contains(addr) {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	// ::1 and :: are IPv6's own; the rest of ::/96 are the IPv4-compatible ones.
	if prefix("::/96").Contains(addr) && addr != netip.IPv6Loopback() && !addr.IsUnspecified() {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return addr
}

func listed(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// specialIPv4 are the blocks that IANA's registry of IPv4 special-purpose
// addresses does not call globally reachable, with multicast, the old class E and
// the anycast prefix of 6to4.
func specialIPv4() []netip.Prefix {
	return []netip.Prefix{
		prefix("0.0.0.0/8"), prefix("10.0.0.0/8"), prefix("100.64.0.0/10"), prefix("127.0.0.0/8"),
		prefix("169.254.0.0/16"), prefix("172.16.0.0/12"), prefix("192.0.0.0/24"), prefix("192.0.2.0/24"),
		prefix("192.88.99.0/24"), prefix("192.168.0.0/16"), prefix("198.18.0.0/15"), prefix("198.51.100.0/24"),
		prefix("203.0.113.0/24"), prefix("224.0.0.0/4"), prefix("240.0.0.0/4"),
	}
}

// specialIPv6 are the blocks inside 2000::/3, the public addresses, that lead
// elsewhere: protocol assignments with Teredo, documentation, 6to4.
func specialIPv6() []netip.Prefix {
	return []netip.Prefix{prefix("2001::/23"), prefix("2001:db8::/32"), prefix("2002::/16"), prefix("3fff::/20")}
}

// metadataAddresses are where clouds serve the credentials of their machines and
// containers: AWS, Google, Azure and others at 169.254.169.254, AWS's containers at
// 169.254.170.2 and .23, AWS and Google by IPv6, Alibaba, Oracle, and Azure's
// wire server, which is a public address.
func metadataAddresses() []netip.Prefix {
	return []netip.Prefix{
		prefix("169.254.0.0/16"), prefix("fd00:ec2::/32"), prefix("fd20:ce::/32"),
		prefix("100.100.100.200/32"), prefix("192.0.0.192/32"), prefix("168.63.129.16/32"),
	}
}
