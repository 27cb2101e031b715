// Package peer knows the other deployments that this one exchanges images with, and
// who this one is to them: its Ed25519 identity, the peers' addresses and keys, and
// the accounts that each may speak for.
//
// It owns those rows, the generations of keys in a rotation, and what was last heard
// of a peer. What a request looks like, and what of it is signed, is in api/peer; what
// is sent is domain/replication's.
//
// # Rotation
//
// A deployment's keys are counted in generations, and for each peer it is noted which
// generation the peer knows (Peer.Told). Requests to a peer are signed with that one,
// so a peer that cannot be reached goes on with the old key. In every order of kills:
//
//  1. Rotate stores the new key. No peer knows it, nothing uses it.
//  2. The peer is told of it in a request signed with the key that it knows. It keeps
//     both from here on (Learn). Told twice, it does nothing the second time.
//  3. The answer is noted here (Told). From now on the new key signs; when the peer
//     first sees that, it drops the old one (Used).
//  4. Once all peers have been told for a while, the old private key goes (Prune).
package peer

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Everyone in a list of accounts stands for all accounts.
const Everyone name.AccountID = "*"

// Peer is another deployment.
type Peer struct {
	// Name is the operator's name for it.
	Name string
	// URL is its base address as ParseURL writes it.
	URL string
	// Insecure says that the operator allowed plain HTTP.
	Insecure bool
	// Accounts are those that it may speak for here, or Everyone alone.
	Accounts []name.AccountID
	// Keys are those that it may sign with, the newest last: two in a rotation.
	Keys []PublicKey
	// Told is the generation of our identity that it knows.
	Told      int64
	CreatedAt time.Time
	// SeenAt is when it last answered or asked with a good signature; zero: never.
	SeenAt time.Time
	// Error is what failed last, at FailedAt; "" while the last contact was good.
	// Like SeenAt it is up to a minute late, and only List reads it.
	Error    string
	FailedAt time.Time
}

// SpeaksFor says whether the peer may send what belongs to the account.
func (p Peer) SpeaksFor(a name.AccountID) bool {
	return slices.Contains(p.Accounts, Everyone) || slices.Contains(p.Accounts, a)
}

// Newest is the key that the peer signs with or will: the one to address it by.
func (p Peer) Newest() PublicKey { return p.Keys[len(p.Keys)-1] }

// key finds a key of the peer by its fingerprint.
func (p Peer) key(f Fingerprint) (PublicKey, bool) {
	for _, k := range p.Keys {
		if k.Fingerprint() == f {
			return k, true
		}
	}
	return PublicKey{}, false
}

var nameRE = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)

func checkName(text string) error {
	if !nameRE.MatchString(text) {
		return errs.New(errs.InvalidInput, "%q cannot be the name of a peer: 1 to 63 small letters, digits, dots and hyphens, a letter or digit first.", cut(text, 80))
	}
	return nil
}

// ParseURL reads the base address of a deployment and writes it in one way:
// scheme and host in small letters, a port only where it is not the scheme's own.
// It has no path, since proxies that change paths would break signatures.
// errs.InvalidInput says what is wrong with it.
func ParseURL(text string) (string, error) {
	bad := func(why string) (string, error) {
		return "", errs.New(errs.InvalidInput, "%q is no address of a deployment: %s. Example: https://berth.eu.example", cut(text, 200), why)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return bad("it cannot be read")
	case u.Scheme != "https" && u.Scheme != "http":
		return bad("it begins with https://")
	case u.User != nil:
		return bad("it has no user and no password")
	case u.Hostname() == "":
		return bad("it has no host")
	case u.Opaque != "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return bad("nothing follows the host and the port")
	}
	host := strings.ToLower(u.Host)
	host = strings.TrimSuffix(host, map[string]string{"https": ":443", "http": ":80"}[u.Scheme])
	return u.Scheme + "://" + strings.TrimSuffix(host, ":"), nil
}

// ParseAccounts reads a list of accounts that a peer may speak for: numbers of 12
// digits, or Everyone alone. errs.InvalidInput says what is wrong with it.
func ParseAccounts(list []string) ([]name.AccountID, error) {
	var all []name.AccountID
	for _, text := range list {
		a := name.AccountID(strings.TrimSpace(text))
		if _, err := name.ParseAccountID(string(a)); err != nil && a != Everyone {
			return nil, errs.New(errs.InvalidInput, "%q is no account: an account id has 12 digits, and * stands for all.", cut(text, 80))
		}
		all = append(all, a)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > 1 && slices.Contains(all, Everyone) {
		return nil, errs.New(errs.InvalidInput, "* stands for all accounts; name it alone, or name accounts without it.")
	}
	return all, nil
}
