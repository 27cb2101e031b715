// Package app puts the program together: it is the only place that knows all
// the others. New builds everything from a configuration, Run serves until it
// is told to stop and drains.
//
// It holds no rules of its own; those are in the domain packages.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/berth-registry/berth/internal/api/oci/schema1"
	"github.com/berth-registry/berth/internal/app/backends"
	"github.com/berth-registry/berth/internal/app/backup"
	"github.com/berth-registry/berth/internal/app/distribution"
	"github.com/berth-registry/berth/internal/app/observe"
	"github.com/berth-registry/berth/internal/app/publishing"
	"github.com/berth-registry/berth/internal/app/scanning"
	"github.com/berth-registry/berth/internal/app/telling"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/image/storage"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/lifecycle"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/credential"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/managed"
	"github.com/berth-registry/berth/internal/domain/principal/organization"
	"github.com/berth-registry/berth/internal/domain/principal/provider"
	"github.com/berth-registry/berth/internal/domain/principal/session"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/quota/increase"
	"github.com/berth-registry/berth/internal/domain/recovery"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/template"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/certs"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/obs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Options are what a program or a test adds to the configuration.
type Options struct {
	Clock   clock.Clock // nil: the machine's
	Log     *slog.Logger
	Version string
	// Scanner is the program, with its first arguments, that is started to scan images;
	// nil: this one.
	Scanner []string
}

// App is the whole program.
type App struct {
	cfg     config.Config
	clk     clock.Clock
	log     *slog.Logger
	version string
	scanner []string
	hosts   name.Hosts

	durable  *sqldb.DB
	volatile *sqldb.DB
	keys     keys.Manager
	backends *backends.Backends
	outbox   *event.Outbox
	queue    *jobs.Queue
	trail    *audit.Trail
	quotas   *quota.Service
	desk     *increase.Desk

	principals    *principal.Service
	registries    *registry.Service
	repositories  *repository.Service
	layers        *layer.Service
	images        *image.Service
	storage       *storage.Service
	recovery      *recovery.Service
	lifecycle     *lifecycle.Service
	entities      *entity.Service
	managed       *managed.Service
	credentials   *credential.Service
	providers     *provider.Service
	organizations *organization.Service
	sessions      *session.Service
	access        *authz.Service
	templates     *template.Service
	distribution  *distribution.Services
	scanning      *scanning.Services
	publishing    *publishing.Services
	telling       *telling.Services
	proxies       []netip.Prefix

	certificates *certs.Manager // nil without TLS

	observe *observe.Observer
	tracing *obs.Tracing // nil: off

	// publicAddress is where public registries listen, once they do.
	publicAddress atomic.Pointer[string]
	lastHost      name.LastHost

	handler http.Handler
	// stopping is what /readyz says from the beginning of the end on; draining refuses
	// registry clients, once load balancers have had the time to see the other.
	stopping, draining atomic.Bool
}

// New builds the program on the data directory, making it on the first start.
// Its errors say what to do; nothing is left open when it fails.
func New(ctx context.Context, cfg config.Config, o Options) (_ *App, err error) {
	a := &App{cfg: cfg, clk: o.Clock, log: o.Log, version: o.Version, scanner: o.Scanner}
	if a.clk == nil {
		a.clk = clock.System{}
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	for _, p := range cfg.TrustedProxies {
		network, err := netip.ParsePrefix(p)
		if err != nil {
			return nil, fmt.Errorf("trusted_proxies: %w", err)
		}
		a.proxies = append(a.proxies, network.Masked())
	}
	a.hosts = name.Hosts{Domain: cfg.Domain, PublicDomain: cfg.PublicDomain}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("the data directory cannot be made: %w", err)
	}
	if err := backup.CheckFinished(cfg.Data); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if err := a.buildObserver(ctx); err != nil {
		return nil, err
	}
	if a.backends, err = backends.Open(ctx, cfg, backends.Options{Clock: a.clk, Log: a.log, Observe: a.observe.Store}); err != nil {
		return nil, err
	}
	a.durable, a.volatile, a.keys = a.backends.Durable, a.backends.Volatile, a.backends.Keys
	a.watchDatabases(a.durable, a.volatile)
	if err := a.buildServices(ctx); err != nil {
		return nil, err
	}
	if err := a.firstStart(ctx); err != nil {
		return nil, err
	}
	if err := a.quotas.Refresh(ctx); err != nil {
		return nil, err
	}
	if a.certificates, err = a.openCertificates(); err != nil {
		return nil, err
	}
	if a.certificates != nil {
		a.observe.Certificate(a.certificates.Expiry)
	}
	if a.handler, err = a.buildHandler(); err != nil {
		return nil, err
	}
	return a, nil
}

// buildServices wires the domain, once.
func (a *App) buildServices(ctx context.Context) (err error) {
	a.queue = jobs.New(a.durable, a.clk, a.log, jobs.Options{
		DrainTimeout: time.Duration(a.cfg.DrainTimeout), Lease: jobLease, Alone: !a.cfg.Database.Postgres(), Around: a.observe.Job,
	})
	a.trail = audit.NewTrail(a.durable, a.log, telling.TrailOptions(a.cfg))
	a.quotas = a.buildQuotas()
	a.desk = increase.New(increase.Config{DB: a.durable, Clock: a.clk, Quotas: a.quotas})
	if a.principals, err = principal.New(a.durable, a.keys, a.clk); err != nil {
		return err
	}
	a.registries = registry.New(a.durable, a.clk, a.cfg.Regions)
	a.repositories = repository.New(repository.Config{
		DB: a.durable, Clock: a.clk, Registries: a.registries, Keys: a.keys, Quotas: a.quotas,
		Sealing: a.cfg.Blobs.Encryption == "berth",
	})
	if err := a.buildIdentity(); err != nil {
		return err
	}
	a.templates = template.New(template.Config{
		DB: a.durable, Clock: a.clk, Registries: a.registries, Repositories: a.repositories, Entities: a.entities, Access: a.access,
		CheckLifecycle: lifecycle.Check,
		PutLifecycleTx: func(ctx context.Context, tx *sqldb.Tx, r repository.Repository, text string) error {
			return a.lifecycle.PutTx(ctx, tx, r, text)
		},
	})
	a.layers = layer.New(layer.Config{
		Durable: a.durable, Volatile: a.volatile, Store: a.store, Archive: a.archive, Repositories: a.repositories,
		Clock: a.clk, Log: a.log, Quotas: a.quotas, Jobs: a.queue,
		Grace: time.Duration(a.cfg.LayerGrace), UploadLife: time.Duration(a.cfg.UploadLife),
		ReconcileRound: cmp.Or(time.Duration(a.cfg.ReconcileRound), -1),
		InlineBytes:    int64(a.cfg.Blobs.InlineBytes),
		DurableSuspend: a.cfg.Blobs.Remote(), Alone: !a.volatile.Shared(), Redirects: a.cfg.Blobs.S3.PublicEndpoint != "",
	})
	seed, err := a.keys.Derive("schema 1 manifest signatures", manifest.SignerSeedSize)
	if err != nil {
		return err
	}
	signer, err := manifest.NewSigner(seed)
	if err != nil {
		return err
	}
	a.telling, err = telling.New(ctx, telling.Config{
		Settings: a.cfg, Durable: a.durable, Keys: a.keys, Clock: a.clk, Log: a.log, Jobs: a.queue, Trail: a.trail, Desk: a.desk,
		Outbox: func() *event.Outbox { return a.outbox }, Regions: a.registries.Enabled,
	})
	if err != nil {
		return err
	}
	a.outbox = event.NewOutbox(a.subscriptions()...)
	a.outbox.WantedBy(a.telling.WantedTx)
	a.images = image.New(image.Config{
		Signer:  signer,
		Bin:     recovery.Bin{Clock: a.clk},
		Durable: a.durable, Repositories: a.repositories, Layers: a.layers, Outbox: a.outbox,
		Clock: a.clk, Log: a.log, Quotas: a.quotas,
	})
	a.storage = storage.New(storage.Config{
		Durable: a.durable, Repositories: a.repositories, Images: a.images, Layers: a.layers, Outbox: a.outbox, Clock: a.clk, Jobs: a.queue,
	})
	a.recovery = recovery.New(recovery.Config{
		Durable: a.durable, Repositories: a.repositories, Images: a.images, Layers: a.layers, Clock: a.clk, Log: a.log, Jobs: a.queue,
	})
	a.lifecycle = lifecycle.New(lifecycle.Config{
		Durable: a.durable, Repositories: a.repositories, Images: a.images, Storage: a.storage, Outbox: a.outbox,
		Clock: a.clk, Log: a.log, Jobs: a.queue, Quotas: a.quotas, Delay: time.Duration(a.cfg.LifecycleDelay),
		OptionsTx: func(ctx context.Context, tx *sqldb.Tx, repositoryID int64) (lifecycle.Options, error) {
			set, err := repository.SettingsTx(ctx, tx, repositoryID)
			return lifecycle.Options{Extended: set.LifecycleExtended, MultiArch: set.LifecycleMultiArch}, err
		},
	})
	a.distribution, err = distribution.New(ctx, distribution.Config{
		Settings: a.cfg, Durable: a.durable, Volatile: a.volatile, Keys: a.keys, Clock: a.clk, Log: a.log, Jobs: a.queue, Outbox: a.outbox, Trail: a.trail,
		Quotas: a.quotas, Hosts: a.hosts, Principals: a.principals, Entities: a.entities, Access: a.access, Registries: a.registries,
		Repositories: a.repositories, Layers: a.layers, Images: a.images, Templates: a.templates, Handler: a.Handler,
	})
	if err != nil {
		return err
	}
	a.scanning, err = scanning.New(scanning.Config{
		Settings: a.cfg, Version: a.version, Durable: a.durable, Clock: a.clk, Log: a.log, Jobs: a.queue, Outbox: a.outbox, Trail: a.trail, Hosts: a.hosts, Entities: a.entities,
		Registries: a.registries, Repositories: a.repositories, Layers: a.layers, Images: a.images, Cache: a.distribution.Cache, Store: a.store, Command: a.scanner,
	})
	if err != nil {
		return err
	}
	a.publishing, err = publishing.New(publishing.Config{
		Settings: a.cfg, Durable: a.durable, Volatile: a.volatile, Keys: a.keys, Clock: a.clk, Log: a.log, Jobs: a.queue, Quotas: a.quotas, Hosts: a.hosts,
		Principals: a.principals, Entities: a.entities, Access: a.access, Registries: a.registries, Repositories: a.repositories,
		Layers: a.layers, Wire: schema1.Layers{Service: a.layers, Reader: a.layers}, Images: a.images, Audit: a.trail,
		Listener: a.publicListener, Origin: a.origin, Draining: a.draining.Load, Observe: a.observe.Registry,
	})
	if err != nil {
		return err
	}
	a.maintain()
	a.observe.Jobs(a.queue)
	a.observe.Layers(a.layers)
	a.observe.Distribution(a.distribution.Replication, a.distribution.Cache)
	a.observe.Scanning(a.scanning.Scans, a.scanning.Databases)
	return a.telling.Observe(a.observe)
}

// jobLease is how long the jobs of a node that was killed rest, so that others
// have taken all of them over within 30 seconds.
const jobLease = 20 * time.Second

// store gives the blob store of a region that is served here.
func (a *App) store(r name.Region) (blobstore.Store, bool) {
	s, ok := a.backends.Stores[r]
	return s, ok
}

// archive gives the second place of a region, for the bytes of archived images.
func (a *App) archive(r name.Region) (blobstore.Store, bool) {
	s, ok := a.backends.Archives[r]
	return s, ok
}

// Handler answers all HTTP requests.
func (a *App) Handler() http.Handler { return a.handler }

// saveLimit bounds the last thing that is written.
const saveLimit = 10 * time.Second

// Close releases what New opened.
func (a *App) Close() error {
	a.endTracing()
	if a.distribution != nil {
		a.distribution.Close()
	}
	var err error
	if a.telling != nil {
		err = a.telling.Close()
	}
	if a.scanning != nil {
		err = errors.Join(err, a.scanning.Close())
	}
	if a.layers != nil {
		ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
		err = errors.Join(err, a.layers.SaveUploads(ctx))
		cancel()
	}
	if a.backends != nil {
		err = errors.Join(err, a.backends.Close())
	}
	return err
}

// path is a file in the data directory.
func (a *App) path(file string) string { return filepath.Join(a.cfg.Data, file) }
