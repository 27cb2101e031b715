// Package publishing puts the public half together: the catalog, the public registry's
// wire, its API, and the gallery.
//
// It holds no rules of its own; those are in the domain packages.
package publishing

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/ecrpublic"
	"github.com/berth-registry/berth/internal/api/oci"
	"github.com/berth-registry/berth/internal/api/oci/observation"
	"github.com/berth-registry/berth/internal/api/oci/public"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
	"github.com/berth-registry/berth/internal/domain/catalog/volume"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/tagged"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	web "github.com/berth-registry/berth/internal/web/gallery"
)

// Config is what the public half stands on. Everything is needed.
type Config struct {
	Settings config.Config

	Durable, Volatile *sqldb.DB
	Keys              keys.Manager
	Clock             clock.Clock
	Log               *slog.Logger
	Jobs              *jobs.Queue
	Quotas            *quota.Service
	Hosts             name.Hosts
	Principals        *principal.Service
	Entities          *entity.Service
	Access            *authz.Service
	Registries        *registry.Service
	Repositories      *repository.Service
	Layers            *layer.Service
	Images            *image.Service
	Audit             oci.Audit
	// Wire is how the registry's wire reads and takes layers, Layers among it.
	Wire oci.Layers

	// Listener is the address of the listener for public registries alone, "" for none.
	Listener func() string
	Origin   func(*http.Request) authz.Origin
	Draining func() bool
	Observe  func(http.ResponseWriter, observation.Request)
}

// Services are the parts.
type Services struct {
	c        Config
	at       addresses
	front    *public.Front
	registry *oci.API
	volume   *volume.Meter
	site     http.Handler

	Catalog *catalog.Service
	Gallery *gallery.Service
}

// New builds them.
func New(c Config) (*Services, error) {
	s := &Services{c: c, at: addresses{hosts: c.Hosts, listener: c.Listener}}
	s.Catalog = catalog.New(catalog.Config{DB: c.Durable, Clock: c.Clock, Log: c.Log, Repositories: c.Repositories})
	s.Gallery = gallery.New(gallery.Config{
		DB: c.Durable, Clock: c.Clock, Log: c.Log, Jobs: c.Jobs, Repositories: c.Repositories, Images: c.Images, Layers: c.Layers, Catalog: s.Catalog,
	})
	s.volume = volume.New(volume.Config{DB: c.Volatile, Clock: c.Clock, Log: c.Log, Limit: c.Settings.Public.AnonymousBytesPerMonth})
	var err error
	if s.registry, err = s.newRegistry(); err != nil {
		return nil, err
	}
	s.site, err = web.New(web.Config{
		Gallery: s.Gallery, Logo: s.Catalog.Logo, Registry: func(r *http.Request) string { return s.at.registry(r.Host) }, Prefix: s.at.prefix,
		Base: func(r *http.Request) string { return s.scheme(r) + "://" + r.Host }, Log: c.Log, Clock: c.Clock,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Run does what goes on without a request, until ctx ends.
func (s *Services) Run(ctx context.Context) error {
	workers, ctx := errgroup.WithContext(ctx)
	workers.Go(func() error { return s.Gallery.Run(ctx) })
	workers.Go(func() error { return s.volume.Run(ctx) })
	return workers.Wait()
}

// API is the ECR Public API. signing signs its page tokens; 32 bytes.
func (s *Services) API(signing []byte) *ecrpublic.API {
	c := s.c
	return ecrpublic.New(ecrpublic.Config{
		Principals: c.Principals, Entities: c.Entities, Access: c.Access, Repositories: c.Repositories, Layers: c.Layers, Images: c.Images,
		Tags: tagged.Reader{Durable: c.Durable}, Catalog: s.Catalog, Quotas: c.Quotas, Home: c.Settings.Public.Region, SigningKey: signing,
		Base:    func(call *aws.Call) string { return s.at.registry(call.Host) },
		Gallery: func(call *aws.Call) string { return s.at.gallery(strings.ToLower(call.Scheme), call.Host) },
	})
}

// newRegistry builds the wire of public registries.
func (s *Services) newRegistry() (*oci.API, error) {
	c := s.c
	key, err := c.Keys.Derive("anonymous tokens of public registries", anonymousKeySize)
	if err != nil {
		return nil, err
	}
	var workloads []netip.Prefix
	for _, w := range c.Settings.Public.Workloads {
		p, err := netip.ParsePrefix(w)
		if err != nil {
			return nil, err
		}
		workloads = append(workloads, p.Masked())
	}
	s.front, err = public.New(public.Config{
		Base: s.base, Tokens: c.Principals, Key: key, Clock: c.Clock, Resolve: s.Catalog.Resolve, Home: c.Settings.Public.Region,
		Workloads: workloads, Throttle: s.admit, Volume: s.meter(),
	})
	if err != nil {
		return nil, err
	}
	return oci.New(oci.Config{
		Front: s.front, Pulled: s.Gallery.Downloaded, Layers: c.Wire, Images: c.Images, Repositories: c.Repositories, Registries: c.Registries, Authorizer: c.Access, Audit: c.Audit,
		Log: c.Log, Clock: c.Clock, ManifestBytes: c.Settings.Limits.ManifestBytes, Quirks: c.Settings.Compat.ECRQuirks, Mounting: c.Settings.BlobMounting,
		Origin: c.Origin, Draining: c.Draining, Observe: c.Observe,
	})
}

// meter counts what is pulled without a token, where that is bounded.
func (s *Services) meter() public.Volume {
	if s.c.Settings.Public.AnonymousBytesPerMonth == 0 {
		return nil
	}
	return s.volume
}

// anonymousKeySize is the length of the key of anonymous tokens, in bytes.
const anonymousKeySize = 32

// base is the URL under which a request has reached public registries.
func (s *Services) base(r *http.Request) (string, bool) {
	own, _ := r.Context().Value(ownListener{}).(bool)
	if !own && s.c.Hosts.Parse(r.Host).Kind != name.HostPublicRegistry {
		return "", false
	}
	return s.scheme(r) + "://" + r.Host, true
}

func (s *Services) scheme(r *http.Request) string {
	if s.c.Origin(r).Secure {
		return "https"
	}
	return "http"
}

// admit holds requests of registry clients to rates, as the private registry does.
func (s *Services) admit(ctx context.Context, caller name.AccountID, addressed name.Region, action string) error {
	return s.c.Quotas.Admit(ctx, quota.Request{Account: caller, Region: addressed, Action: action, Patience: time.Duration(s.c.Settings.Quota.Patience)})
}

// Rates are the request rates with what is set for pulls from public registries.
func Rates(r quota.Rates, set config.PullRate) quota.Rates {
	for action, rate := range map[string]*int64{quota.AnonymousPull: set.Anonymous, quota.PublicPull: set.Authenticated, quota.WorkloadPull: set.Workload} {
		if rate != nil {
			r = r.With(action, *rate)
		}
	}
	return r
}

// Own answers the requests of the listener that is for public registries and the
// gallery alone.
func (s *Services) Own(w http.ResponseWriter, r *http.Request) {
	if !s.ServeRegistry(w, byOwnListener(r)) {
		s.ServeGallery(w, byOwnListener(r))
	}
}

// ServeRegistry answers what a public registry's host is asked for as one, and says
// whether it did.
func (s *Services) ServeRegistry(w http.ResponseWriter, r *http.Request) bool {
	switch path := r.URL.Path; {
	case path == "/v2" || strings.HasPrefix(path, "/v2/"):
		s.registry.ServeHTTP(w, r)
	case path == public.TokenPath || path+"/" == public.TokenPath:
		s.front.ServeToken(w, r)
	default:
		return false
	}
	return true
}

// bodyTimeout is how long a client may take to send a question to the gallery.
const bodyTimeout = 20 * time.Second

// ServeGallery answers a request of the gallery, wherever it stands. At the host of
// public registries it stands elsewhere.
func (s *Services) ServeGallery(w http.ResponseWriter, r *http.Request) {
	// The questions of programs are short. Whether the connection can keep to a time does
	// not matter for the answer.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	prefix := s.at.prefix(r)
	switch {
	case prefix == "":
		s.site.ServeHTTP(w, r)
	case s.c.Hosts.Parse(r.Host).Kind == name.HostPublicRegistry:
		http.Redirect(w, r, s.at.gallery(s.scheme(r), r.Host)+r.URL.EscapedPath(), http.StatusFound)
	case r.URL.Path == prefix:
		http.Redirect(w, r, prefix+"/", http.StatusMovedPermanently)
	default:
		http.StripPrefix(prefix, s.site).ServeHTTP(w, r)
	}
}
