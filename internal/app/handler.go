package app

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/api/ecr"
	"github.com/berth-registry/berth/internal/api/oci"
	"github.com/berth-registry/berth/internal/api/oci/schema1"
	"github.com/berth-registry/berth/internal/api/peer"
	"github.com/berth-registry/berth/internal/api/secretsmanager"
	"github.com/berth-registry/berth/internal/app/publishing"
	"github.com/berth-registry/berth/internal/domain/name"
)

// keySource gives the verifier the secrets that principal keeps.
type keySource struct{ a *App }

// AccessKey finds the secret of an access key.
func (s keySource) AccessKey(ctx context.Context, id, sessionToken string) (sigv4.Key, bool, error) {
	k, found, err := s.a.principals.Credentials(ctx, id, sessionToken)
	return sigv4.Key{Secret: k.Secret, Principal: k.Principal, Enabled: k.Enabled, Expires: k.Expires}, found, err
}

// buildHandler puts the edges behind one handler: which of them answers is
// decided by the host first and the path second (architecture, "Hosts").
func (a *App) buildHandler() (http.Handler, error) {
	signing, err := a.keys.Derive("page tokens and download addresses", 32)
	if err != nil {
		return nil, err
	}
	defaultRegistry := name.Registry{Account: a.cfg.Account, Region: a.cfg.Region}
	ecrAPI := ecr.New(ecr.Config{
		Principals: a.principals, Entities: a.entities, Access: a.access, Registries: a.registries, Repositories: a.repositories, Layers: a.layers, Images: a.images, Storage: a.storage, Lifecycle: a.lifecycle,
		Clock: a.clk, Quotas: a.quotas, Hosts: a.hosts, Default: defaultRegistry, SigningKey: signing,
		Rules: a.distribution.Rules, Replication: a.distribution.Replication, Backfills: a.distribution.Backfills, Cache: a.distribution.Cache,
		Templates: a.templates, BlobMounting: a.cfg.BlobMounting,
		Scans: a.scanning.Scans, Gate: a.scanning.Gate,
	})
	pipeline, err := aws.New(aws.Config{
		Services: append([]aws.Service{
			ecrAPI.Service(), a.publishing.API(signing).Service(), a.stsAPI().Service(), a.iamAPI().Service(),
			secretsmanager.New(secretsmanager.Config{Secrets: a.distribution.Secrets}).Service(),
		}, a.telling.APIs(signing)...), // behind ECR, whose words the unroutable gets
		Authenticator: sigv4.New(sigv4.Config{Keys: keySource{a}, Clock: a.clk, Log: a.log}),
		Authorizer:    a.access, Audit: a.trail, Clock: a.clk, Log: a.log, Throttle: callThrottle{a.quotas},
		Hosts: a.hosts, Regions: a.registries.Enabled, Origin: a.origin, Used: a.principals.Used, Observe: a.observe.AWS,
	})
	if err != nil {
		return nil, err
	}
	registryAPI, err := oci.New(oci.Config{
		Layers: schema1.Layers{Service: a.layers, Reader: a.distribution.Cache}, Cache: a.distribution.Cache, Images: a.images, Repositories: a.repositories,
		Authorizer: a.access, Origin: a.origin, Tokens: a.principals, Resolve: a.resolve, Audit: a.trail,
		Log: a.log, Clock: a.clk, ManifestBytes: a.cfg.Limits.ManifestBytes,
		Quirks: a.cfg.Compat.ECRQuirks, Mounting: a.cfg.BlobMounting, Draining: a.draining.Load, Throttle: a.admitTransfer,
		Registries: a.registries, Templates: a.templates, Gate: a.scanning.Gate, Observe: a.observe.Registry,
	})
	if err != nil {
		return nil, err
	}
	downloads := ecrAPI.Downloads(a.log)
	return a.observe.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.common(w, r) {
			return
		}
		path, kind := r.URL.Path, a.lastHost.Parse(a.hosts, r.Host).Kind
		switch {
		case kind == name.HostPublicRegistry && a.publishing.ServeRegistry(w, r):
		case kind == name.HostPublicRegistry && r.Method != http.MethodPost, kind == name.HostGallery,
			kind == name.HostAny && (path == publishing.Prefix || strings.HasPrefix(path, publishing.Prefix+"/")):
			a.publishing.ServeGallery(w, r)
		case path == "/v2" || strings.HasPrefix(path, "/v2/"):
			registryAPI.ServeHTTP(w, r)
		case strings.HasPrefix(path, peer.Prefix):
			a.distribution.Receiver.ServeHTTP(w, r)
		case strings.HasPrefix(path, ecr.DownloadPrefix):
			a.observe.Download(w)
			downloads.ServeHTTP(w, r)
		default:
			// A call's body is small, so a total time for it will do. Whether the
			// connection can keep to one does not matter for the answer.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(callBodyTimeout))
			pipeline.ServeHTTP(w, r)
		}
	})), nil
}

// PublicHandler answers the requests of the listener that public registries and the
// gallery have for themselves; at is its address, host:port, which answers speak of.
func (a *App) PublicHandler(at string) http.Handler {
	a.publicAddress.Store(&at)
	return a.observe.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.common(w, r) {
			a.publishing.Own(w, r)
		}
	}))
}

// common answers what every address is asked for, and says whether it did.
func (a *App) common(w http.ResponseWriter, r *http.Request) bool {
	if a.stopping.Load() {
		// Announced, so that no proxy sends a request on a connection that ends.
		w.Header().Set("Connection", "close")
	}
	switch r.URL.Path {
	case "/healthz":
		a.health(w, r)
	case "/readyz":
		a.ready(w, r)
	default:
		return false
	}
	return true
}

// publicListener is the address where public registries listen for clients without
// their host's name, "" for none.
func (a *App) publicListener() string {
	if at := a.publicAddress.Load(); at != nil {
		return *at
	}
	return a.cfg.PublicAddress()
}

// resolve tells which registry a request for /v2/ addresses, and under which
// address the client knows it: the one in the host, or the default one on a host that names no service. The API's hosts
// have no registry.
func (a *App) resolve(r *http.Request) (reg name.Registry, base string, ok bool) {
	base = "http://" + r.Host
	if a.origin(r).Secure {
		base = "https://" + r.Host
	}
	switch h := a.lastHost.Parse(a.hosts, r.Host); h.Kind {
	case name.HostRegistry:
		return name.Registry{Account: h.Account, Region: h.Region}, base, a.registries.Enabled(h.Region)
	case name.HostAny:
		return name.Registry{Account: a.cfg.Account, Region: a.cfg.Region}, base, true
	case name.HostECR, name.HostECRPublic, name.HostSTS, name.HostIAM, name.HostPublicRegistry, name.HostGallery, name.HostConsole, name.HostSecretsManager,
		name.HostEvents, name.HostCloudTrail, name.HostCloudWatch, name.HostServiceQuotas:
		return name.Registry{}, "", false
	}
	return name.Registry{}, "", false
}

// health answers as long as the process can answer.
func (a *App) health(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte("ok\n")) // a client that has gone needs no answer
}

// callBodyTimeout is how long a client may take to send the body of an API
// call, 29 MiB at the most.
const callBodyTimeout = 2 * time.Minute

// readinessTimeout bounds the look at the database.
const readinessTimeout = 2 * time.Second

// ready answers 200 while requests are welcome: the database answers and the
// server is not stopping.
func (a *App) ready(w http.ResponseWriter, r *http.Request) {
	if a.stopping.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readinessTimeout)
	defer cancel()
	if _, err := a.principals.HasRootKey(ctx, a.cfg.Account); err != nil {
		a.log.Error("not ready: the database does not answer", "error", err)
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	a.health(w, r)
}
