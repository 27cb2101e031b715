// Package public is the front of public registries (oci/front): anybody pulls, who
// pushes has a token, and paths begin with a registry's alias. It makes and reads the
// bearer tokens that registry clients fetch first (token.go), and says how pulls are
// counted (pulls.go).
//
// It does not own the pipeline and what it serves (api/oci), aliases (domain/catalog),
// the tokens of principals (domain/principal), nor rates and volumes (domain/quota,
// domain/catalog/volume).
package public

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/api/oci/front"
	"github.com/berth-registry/berth/internal/api/oci/path"
	"github.com/berth-registry/berth/internal/api/oci/token"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// Volume counts what addresses pull without a token; *volume.Meter is one.
type Volume interface {
	// Allowed returns errs.Throttled for an address that may have no more.
	Allowed(ctx context.Context, from netip.Addr) error
	Add(from netip.Addr, bytes int64)
}

// Config is what a Front stands on. Everything is needed but what says its default.
type Config struct {
	// Base says under which URL (scheme://host[:port]) a client has reached public
	// registries; ok is false for a host that has none.
	Base func(*http.Request) (base string, ok bool)
	// Tokens verifies the passwords of authorization tokens for name.Public.
	Tokens token.Verifier
	// Key signs anonymous tokens, at least minKey bytes; all nodes have the same.
	Key   []byte
	Clock clock.Clock
	// Resolve finds the account whose public registry has an active alias;
	// errs.RegistryNotFound.
	Resolve func(ctx context.Context, alias string) (name.AccountID, error)
	// Home is the region that stands for public registries in the audit trail and in
	// policies (aws:RequestedRegion).
	Home name.Region
	// Workloads are networks whose pulls have a rate of their own, with a token or
	// without, and whose volume is not counted.
	Workloads []netip.Prefix
	// Throttle admits a request for an action (quota.PublicPull and so on) of an
	// account, or of an address in an account's place (quota.OfAddress), now or after a
	// wait, or refuses it with errs.Throttled; nil admits everything.
	Throttle func(ctx context.Context, caller name.AccountID, addressed name.Region, action string) error
	// Volume bounds what an address pulls without a token; nil: nothing does.
	Volume Volume
}

// minKey is the least length of Config.Key, in bytes.
const minKey = 32

// Front is the front of public registries.
type Front struct{ c Config }

var _ front.Front = (*Front)(nil)

// New builds the front. It fails when the configuration has a hole.
func New(c Config) (*Front, error) {
	for what, missing := range map[string]bool{
		"Base": c.Base == nil, "Tokens": c.Tokens == nil, "Clock": c.Clock == nil, "Resolve": c.Resolve == nil, "Home": c.Home == "",
	} {
		if missing {
			return nil, fmt.Errorf("public.Config.%s is not set", what)
		}
	}
	if len(c.Key) < minKey {
		return nil, fmt.Errorf("public.Config.Key has to have %d bytes or more", minKey)
	}
	return &Front{c: c}, nil
}

// Reach implements front.Front. Which registry is meant stands in the path.
func (f *Front) Reach(r *http.Request) (reg name.Registry, base string, ok bool) {
	base, ok = f.c.Base(r)
	return name.PublicRegistry(""), base, ok
}

// Serves implements front.Front. There is no list of everybody's repositories; that is
// the gallery.
func (f *Front) Serves(k path.Kind) bool { return k != path.Catalog }

// Locate implements front.Front: a repository is called <alias>/<name>. What cannot be
// an alias is one that nobody has.
func (f *Front) Locate(ctx context.Context, reg name.Registry, called string) (name.Registry, string, error) {
	text, repo, ok := strings.Cut(called, "/")
	if _, err := name.ParseAlias(text); err != nil || !ok {
		return reg, "", errs.New(errs.RegistryNotFound, "The registry with alias %s does not exist", strconv.Quote(text))
	}
	account, err := f.c.Resolve(ctx, text)
	return name.PublicRegistry(account), repo, err
}

// free are the operations that everybody may do, whatever policies say (ECR Public user
// guide, "Public images": policies do not restrict pulls).
func free(action string) bool {
	switch action {
	case "BatchGetImage", "GetDownloadUrlForLayer", "BatchCheckLayerAvailability", "ListImages", "ListImageReferrers":
		return true
	}
	return false
}

// Needs implements front.Front.
func (f *Front) Needs(caller principal.Principal, needs []authz.Need) ([]authz.Need, error) {
	var left []authz.Need
	for _, n := range needs {
		action, ok := strings.CutPrefix(n.Action, name.ServiceECR+":")
		switch {
		case !ok:
			return nil, errors.New("public registries do not know the action " + n.Action)
		case free(action):
			continue
		}
		n.Action = name.ServiceECRPublic + ":" + action
		left = append(left, n)
	}
	if len(left) > 0 && anonymous(caller) {
		return nil, errs.New(errs.AccessDenied, notAuthorized)
	}
	return left, nil
}

// anonymous says that nobody is known to be asking.
func anonymous(p principal.Principal) bool { return p.ARN == "" }

// Service implements front.Front.
func (f *Front) Service(name.Registry) front.Service {
	return front.Service{EventSource: name.ServiceECRPublic + ".amazonaws.com", Region: f.c.Home}
}

// hostOf is the host name in a base URL, without a port.
func hostOf(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	return u.Hostname()
}
