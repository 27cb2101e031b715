package upstream

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/infra/upstream/known"
)

// site is where the requests for an endpoint go, and where they may be sent on.
type site struct {
	name   string   // Endpoint.Host, lower case
	base   *url.URL // scheme and host
	tokens []string // patterns of "host" or "host:port"
	blobs  []string
	plain  bool // http is spoken to the base and to what is in also
	also   []string
	via    bool
}

// siteOf finds out where an endpoint is.
func (c *Client) siteOf(e Endpoint) (site, error) {
	s := site{name: strings.ToLower(e.Host), via: e.Via != nil}
	set := c.hosts[s.name]
	s.plain, s.also = set.PlainHTTP, set.Also
	address := "https://" + s.name
	if s.plain {
		address = "http://" + s.name
	}
	if set.Endpoint != "" && !s.via {
		address = set.Endpoint
	}
	u, err := url.Parse(address)
	if err != nil || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" || (set.Endpoint == "" && u.Path != "") {
		return site{}, refusef("%q is no address of a registry; give a host, with a port where it is not 443", clip(e.Host))
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !s.plain) {
		return site{}, refusef("%s is not spoken to by https; set plain HTTP for it where that is meant", clip(s.name))
	}
	if why := badHost(u); why != "" && !s.via {
		return site{}, refusef("%q is no address of a registry: %s", clip(e.Host), why)
	}
	if u.Host == "" {
		return site{}, refusef("an upstream registry without a host")
	}
	s.base = &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}
	if !s.via && port(s.base) == "443" {
		for _, k := range c.known {
			if known.Match(k.Host, s.base.Hostname()) {
				s.tokens, s.blobs = k.Tokens, k.Blobs
			}
		}
	}
	return s, nil
}

// badHost says what is wrong with the host of an address, "" if nothing is. Hosts
// that are numbers in disguise (2130706433, 0x7f.1, 127.1) are read as addresses by
// some resolvers and as names by others.
func badHost(u *url.URL) string {
	host := u.Hostname()
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return "its port is none"
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return "its port is missing"
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return "it is bound to an interface"
		}
		return ""
	}
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > 253 {
		return "it has no host"
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_' {
			return "its host has characters that host names do not have"
		}
	}
	last := strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
	if strings.Trim(last, "0123456789") == "" || (strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == "") {
		return "its host is a number that is not spelled as an IP address"
	}
	return ""
}

// same says whether an address is on the base itself, so that credentials may go
// there.
func (s site) same(u *url.URL) bool {
	if !strings.EqualFold(u.Hostname(), s.base.Hostname()) {
		return false
	}
	if s.via { // the scheme is the in-process server's business
		return u.Port() == s.base.Port() || port(u) == port(s.base)
	}
	return u.Scheme == s.base.Scheme && port(u) == port(s.base)
}

// mayRedirect says why a redirect is not followed, "" if it is.
func (s site) mayRedirect(u *url.URL) string { return s.mayAsk(u, s.blobs) }

// mayFetchToken says why no token is fetched at an address, "" if it is.
func (s site) mayFetchToken(u *url.URL) string { return s.mayAsk(u, s.tokens) }

func (s site) mayAsk(u *url.URL, listed []string) string {
	if (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return "that is no address"
	}
	if u.User != nil {
		return "credentials in an address are not used"
	}
	if why := badHost(u); why != "" && !s.via {
		return why
	}
	if s.same(u) {
		return ""
	}
	if s.via {
		return "a registry of this deployment does not send elsewhere"
	}
	if u.Scheme != "https" && !s.plain {
		return "that is not https"
	}
	for _, pattern := range s.also {
		if matchPort(strings.ToLower(pattern), u) {
			return ""
		}
	}
	for _, pattern := range listed {
		if u.Scheme == "https" && matchPort(pattern, u) {
			return ""
		}
	}
	return fmt.Sprintf("that is none of its hosts; where it is, list it beside %s in the configuration of upstream hosts", clip(s.name))
}

// matchPort matches a pattern that may have a port; without one it means the
// scheme's own.
func matchPort(pattern string, u *url.URL) bool {
	host, p := pattern, ""
	if h, q, err := net.SplitHostPort(pattern); err == nil {
		host, p = h, q
	}
	if p == "" {
		p = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return p == port(u) && known.Match(strings.Trim(host, "[]"), strings.TrimSuffix(strings.ToLower(u.Hostname()), "."))
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}
