// Package distribution puts together what moves images between registries: peers,
// replication, and the pull-through cache with its rules and secrets.
//
// It holds no rules of its own; those are in domain/peer, domain/replication,
// domain/pullthrough and domain/secret. Which of a push's facts starts what is app's
// table of subscriptions.
package distribution

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	apipeer "github.com/berth-registry/berth/internal/api/peer"
	"github.com/berth-registry/berth/internal/api/peer/client"
	"github.com/berth-registry/berth/internal/app/peeradmin"
	"github.com/berth-registry/berth/internal/app/replicationadmin"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/peer"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/replication/backfill"
	"github.com/berth-registry/berth/internal/domain/replication/receive"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/secret"
	"github.com/berth-registry/berth/internal/domain/template"
	"github.com/berth-registry/berth/internal/infra/certs"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

// Config is what the services stand on. Everything is needed.
type Config struct {
	Settings          config.Config
	Durable, Volatile *sqldb.DB
	Keys              keys.Manager
	Clock             clock.Clock
	Log               *slog.Logger
	Jobs              *jobs.Queue
	Outbox            *event.Outbox
	Trail             *audit.Trail
	Quotas            *quota.Service
	Hosts             name.Hosts
	Principals        *principal.Service
	Entities          *entity.Service
	Access            *authz.Service
	Registries        *registry.Service
	Repositories      *repository.Service
	Layers            *layer.Service
	Images            *image.Service
	Templates         *template.Service
	// Handler answers all requests of the program.
	Handler func() http.Handler
}

// Services are what was put together.
type Services struct {
	c           Config
	Peers       *peer.Service
	Replication *replication.Service
	Backfills   *backfill.Service
	Secrets     *secret.Service
	Rules       *pullthrough.Service
	Cache       *cache.Service
	// Receiver answers peers, below its Prefix.
	Receiver http.Handler

	client *client.Client
}

// New puts the services together.
func New(ctx context.Context, c Config) (*Services, error) {
	s := &Services{c: c}
	s.Peers = peer.New(peer.Config{DB: c.Durable, Clock: c.Clock, Log: c.Log, Secrets: c.Principals})
	c.Entities.Elsewhere = s.elsewhere
	if err := s.buildPullThrough(); err != nil {
		return nil, err
	}
	receiver, err := s.buildReplication()
	if err == nil && !c.Settings.Database.Postgres() { // no other node can be at work
		err = errors.Join(receiver.Alone(ctx), s.Cache.Alone(ctx))
	}
	return s, err
}

// Run does what goes on without a request, until ctx ends.
func (s *Services) Run(ctx context.Context) error { return s.Cache.Run(ctx) }

// Close ends connections to peers.
func (s *Services) Close() { s.client.Close() }

// Routes adds the administration of peers and of replication.
func (s *Services) Routes(mux *http.ServeMux) {
	peeradmin.Service{Peers: s.Peers, Client: s.client}.Routes(mux)
	replicationadmin.Service{
		Replication: s.Replication, Backfills: s.Backfills, Registries: s.c.Registries, Principals: s.c.Principals,
		Default: name.Registry{Account: s.c.Settings.Account, Region: s.c.Settings.Region},
	}.Routes(mux)
}

// elsewhere says whether a peer may speak for the account: then policies may name
// it.
func (s *Services) elsewhere(ctx context.Context, account name.AccountID) (bool, error) {
	all, err := s.Peers.List(ctx)
	return slices.ContainsFunc(all, func(p peer.Peer) bool { return p.SpeaksFor(account) }), err
}

// InUse says in which regions an account has configured what a service's role is
// for. It is an entity.InUse.
func (s *Services) InUse(ctx context.Context, account name.AccountID, service string) ([]name.Region, error) {
	var all []name.Region
	for _, in := range []entity.InUse{s.c.Templates.InUse, s.Replication.InUse, s.Rules.InUse} {
		regions, err := in(ctx, account, service)
		if err != nil {
			return nil, err
		}
		all = append(all, regions...)
	}
	return all, nil
}

func (s *Services) buildReplication() (*receive.Receiver, error) {
	c := s.c
	roots, err := certs.Authorities(c.Settings.Replication.CA, "replication.ca")
	if err != nil {
		return nil, err
	}
	s.client = client.New(client.Config{Peers: s.Peers, Clock: c.Clock, Log: c.Log, Roots: roots})
	s.client.Register(c.Jobs)
	receiver := receive.New(receive.Config{
		Durable: c.Durable, Volatile: c.Volatile, Repositories: c.Repositories, Layers: c.Layers, Images: c.Images, Outbox: c.Outbox, Trail: c.Trail,
		Clock: c.Clock, Log: c.Log, Jobs: c.Jobs, Authorize: c.Access.AuthorizeReplication,
		TemplateTags: s.templateTags(template.Replication), Template: s.template(template.Replication),
		Mounts: func(ctx context.Context, reg name.Registry) (bool, error) {
			access, err := c.Registries.Access(ctx, reg)
			return access.Mounts(c.Settings.BlobMounting), err
		},
	})
	s.Receiver = apipeer.New(apipeer.Config{Peers: s.Peers, Destination: receiver, Clock: c.Clock, Log: c.Log})
	peers := map[name.Region]replication.Destination{}
	for region, url := range c.Settings.Peers {
		peers[region] = s.client.To(url)
	}
	destination := func(r name.Region) (replication.Destination, bool) {
		if c.Registries.Enabled(r) {
			return receiver, true
		}
		d, ok := peers[r]
		return d, ok
	}
	s.Replication = replication.New(replication.Config{
		Durable: c.Durable, Registries: c.Registries, Repositories: c.Repositories, Images: c.Images, Layers: c.Layers, Entities: c.Entities, Outbox: c.Outbox,
		Clock: c.Clock, Log: c.Log, Jobs: c.Jobs, Destination: destination, Complete: s.Cache.Complete,
		Served: func(r name.Region) bool { _, ok := destination(r); return ok },
		Done: func(ctx context.Context, tx *sqldb.Tx, d replication.Done) error {
			return s.Backfills.DoneTx(ctx, tx, d)
		},
		Wanted:  func(ctx context.Context, id string) (string, error) { return s.Backfills.Wanted(ctx, id) },
		Workers: c.Settings.Replication.Workers, Bandwidth: c.Settings.Replication.Bandwidth, GiveUp: time.Duration(c.Settings.Replication.GiveUp),
	})
	s.Backfills = backfill.New(backfill.Config{
		DB: c.Durable, Clock: c.Clock, Log: c.Log, Registries: c.Registries, Repositories: c.Repositories, Images: c.Images, Jobs: c.Jobs, Queue: s.Replication,
	})
	return receiver, nil
}

// template makes repositories by the templates for the trigger.
func (s *Services) template(trigger template.Trigger) func(context.Context, name.Registry, name.Repository) (repository.Repository, error) {
	return func(ctx context.Context, reg name.Registry, repo name.Repository) (repository.Repository, error) {
		return s.c.Templates.Apply(ctx, reg, repo, trigger)
	}
}

func (s *Services) templateTags(trigger template.Trigger) func(context.Context, name.Registry, name.Repository) (map[string]string, error) {
	return func(ctx context.Context, reg name.Registry, repo name.Repository) (map[string]string, error) {
		t, _, err := s.c.Templates.Match(ctx, reg, repo, trigger)
		return t.Tags, err
	}
}

func (s *Services) buildPullThrough() error {
	c, set := s.c, s.c.Settings.PullThrough
	s.Secrets = secret.New(secret.Config{DB: c.Durable, Keys: c.Keys, Clock: c.Clock, Jobs: c.Jobs})
	roots, err := certs.Authorities(set.CA, "pull_through.ca")
	if err != nil {
		return err
	}
	u := upstream.Config{Hosts: map[string]upstream.Host{}, Roots: roots, UserAgent: "berth", Log: c.Log, Clock: c.Clock, MaxManifest: int64(c.Settings.Limits.ManifestBytes)}
	for _, network := range set.AllowPrivate {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return fmt.Errorf("pull_through.allow_private: %w", err)
		}
		u.AllowPrivate = append(u.AllowPrivate, prefix)
	}
	for host, h := range set.Upstreams {
		roots, err := certs.Authorities(h.CA, "pull_through.upstreams: "+host+": ca")
		if err != nil {
			return err
		}
		u.Hosts[strings.ToLower(host)] = upstream.Host{Endpoint: h.Endpoint, Also: h.Hosts, Roots: roots, PlainHTTP: h.PlainHTTP, AllowPrivate: h.AllowPrivate}
	}
	foreign := upstream.New(u)
	s.Rules = pullthrough.New(pullthrough.Config{
		DB: c.Durable, Clock: c.Clock, Registries: c.Registries, Entities: c.Entities, Access: c.Access, Secrets: s.Secrets, Hosts: c.Hosts,
		Upstreams: func(host string) bool { _, ok := u.Hosts[host]; return ok }, Local: s.localUpstream, Upstream: foreign,
	})
	spool := filepath.Join(c.Settings.Data, "spool")
	if err := os.MkdirAll(spool, 0o700); err != nil {
		return fmt.Errorf("the directory for layers on their way cannot be made: %w", err)
	}
	s.Cache = cache.New(cache.Config{
		Durable: c.Durable, Volatile: c.Volatile, Layers: c.Layers, Images: c.Images, Repositories: c.Repositories, Outbox: c.Outbox, Jobs: c.Jobs,
		Clock: c.Clock, Log: c.Log, Quotas: c.Quotas, Rules: rules{s.Rules}, Upstream: foreign,
		Make: s.template(template.PullThroughCache), Tags: s.templateTags(template.PullThroughCache),
		Refresh: time.Duration(set.Refresh), Dir: spool,
	})
	return nil
}
