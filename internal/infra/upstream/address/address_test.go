package address_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/berth-registry/berth/internal/infra/upstream/address"
)

func TestCheck(t *testing.T) {
	public := []string{"1.1.1.1", "140.82.121.33", "52.216.0.1", "2606:4700::1111", "2a00:1450:4001::1", "64:ff9b::101:101", "::ffff:1.1.1.1", "100.63.255.255", "172.32.0.1", "192.0.1.1"}
	private := []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "172.16.0.1", "172.31.255.255",
		"192.168.1.1", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1",
		"240.0.0.1", "255.255.255.255",
		"::", "::1", "fe80::1", "fe80::1%lo", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1", "ff0e::1", "100::1", "5f00::1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::7f00:1",
		"2001::1", "2001:db8::1", "2002:7f00:1::1", "2002:a00:1::", "3fff::1",
	}
	metadata := []string{
		"169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.1.1", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "100.100.100.200",
		"192.0.0.192", "168.63.129.16", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "::169.254.169.254",
	}
	check := func(addr string, private bool, allowed ...string) error {
		var prefixes []netip.Prefix
		for _, a := range allowed {
			prefixes = append(prefixes, netip.MustParsePrefix(a))
		}
		return address.Check(net.JoinHostPort(addr, "443"), private, prefixes)
	}
	for _, a := range public {
		if err := check(a, false); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	for _, a := range private {
		if err := check(a, false); !isError(err) {
			t.Errorf("%s is dialled: %v", a, err)
		}
		if err := check(a, true); err != nil {
			t.Errorf("%s with private addresses allowed: %v", a, err)
		}
	}
	for _, a := range metadata {
		if err := check(a, false); !isError(err) {
			t.Errorf("%s is dialled: %v", a, err)
		}
		if err := check(a, true); !isError(err) {
			t.Errorf("%s is dialled with private addresses allowed: %v", a, err)
		}
		if err := check(a, false, "0.0.0.0/0", "::/0"); err != nil {
			t.Errorf("%s although everything is allowed: %v", a, err)
		}
	}
	for _, c := range []struct {
		addr, allowed string
		ok            bool
	}{
		{"10.1.2.3", "10.1.0.0/16", true},
		{"::ffff:10.1.2.3", "10.1.0.0/16", true},
		{"64:ff9b::a01:203", "10.1.0.0/16", true},
		{"10.2.2.3", "10.1.0.0/16", false},
		{"169.254.169.254", "10.0.0.0/8", false},
		{"fd12::1", "fd12::/16", true},
		{"fe80::1%lo", "fe80::/10", true},
	} {
		if err := check(c.addr, false, c.allowed); (err == nil) != c.ok {
			t.Errorf("%s with %s allowed: %v", c.addr, c.allowed, err)
		}
	}
	if err := address.Check("localhost:80", true, nil); !isError(err) {
		t.Errorf("a name: %v", err)
	}
}

func isError(err error) bool {
	_, ok := errors.AsType[*address.Error](err)
	return ok
}
