// Package upstream reads images from registries of others, as docker and OCI
// clients do: manifests, blobs, lists of referrers. The pull-through cache stands
// on it.
//
// It owns how such a registry is spoken to and what is believed of its answers:
// logging in, the hosts that it may send us to, the addresses that are dialled,
// limits of size and time, digests of manifests, and what a failure means. It
// does not own which registry a repository comes from or with which credentials
// (domain/pullthrough), when it is asked and where the bytes go
// (domain/pullthrough/cache). Nothing is stored here, and nothing is tried again
// except after a token has run out.
//
// # What is verified
//
// A manifest is read whole and its digest computed; what does not agree with the
// reference or with the registry's Docker-Content-Digest is refused. A blob is
// passed on as it comes: its caller compares size and digest. Ranges are held to
// what was asked for.
//
// # Hosts
//
// Requests go to the host of the Endpoint (or to the mirror that Config names for
// it), to the hosts where its tokens are made, and to those that it keeps its
// blobs on: a table of the registries that AWS lists as upstreams, and Host.Also
// for others. A redirect or a token realm that leads elsewhere is refused. HTTPS
// only, save hosts that are set to plain HTTP. Credentials and tokens go to the
// host and credentials to its token host, never along with a redirect.
//
// # Addresses
//
// After the name is resolved, the address that is really dialled has to be a
// public one, so that neither a rule nor an upstream makes this program ask its
// own network: loopback, private, link-local, shared (CGNAT), multicast and
// reserved addresses are refused in all their spellings (IPv4 in IPv6, NAT64,
// 6to4), and with them the clouds' metadata services. Config.AllowPrivate and
// Host.AllowPrivate make exceptions. HTTP proxies of the environment are not
// used: they would dial in our place.
package upstream
