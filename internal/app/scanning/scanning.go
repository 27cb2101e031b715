// Package scanning puts together what scans images: the service, the processes of the
// scanner, the vulnerability databases, and what is done with findings beyond ECR.
//
// It holds no rules of its own; those are in domain/scan and the packages below it.
package scanning

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/app/scanadmin"
	"github.com/berth-registry/berth/internal/app/vulndbadmin"
	"github.com/berth-registry/berth/internal/app/vulndbfetch"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan"
	"github.com/berth-registry/berth/internal/domain/scan/gate"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
	"github.com/berth-registry/berth/internal/domain/scan/tagrule"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
	"github.com/berth-registry/berth/internal/domain/scan/worker"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/certs"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

// Config is what the services stand on. Everything is needed.
type Config struct {
	Settings     config.Config
	Version      string
	Durable      *sqldb.DB
	Clock        clock.Clock
	Log          *slog.Logger
	Jobs         *jobs.Queue
	Outbox       *event.Outbox
	Trail        *audit.Trail
	Hosts        name.Hosts
	Entities     *entity.Service
	Registries   *registry.Service
	Repositories *repository.Service
	Layers       *layer.Service
	Images       *image.Service
	Cache        *cache.Service
	// Store gives the blob store of a region.
	Store func(name.Region) (blobstore.Store, bool)
	// Command starts the scanner's processes; nil: this program itself.
	Command []string
}

// Services are what was put together.
type Services struct {
	c         Config
	Scans     *scan.Service
	Databases *vulndb.Service
	Gate      *gate.Service
	Tags      *tagrule.Service

	workers *worker.Pool
	fetcher *vulndbfetch.Fetcher
}

// jobArtifact takes the database out of an artifact that was pushed.
const jobArtifact = "scan.database"

// inspector is the service whose role enhanced scanning has.
const inspector = "inspector2.amazonaws.com"

// InUse says in which regions an account has enhanced scanning, for the role of the
// service. It is an entity.InUse.
func (s *Services) InUse(ctx context.Context, account name.AccountID, service string) (regions []name.Region, err error) {
	if service != inspector {
		return nil, nil
	}
	err = s.c.Durable.View(ctx, func(tx *sqldb.Tx) error {
		regions = nil
		all, err := rules.Registries(ctx, tx)
		for _, reg := range all {
			if reg.Account == account {
				regions = append(regions, reg.Region)
			}
		}
		return err
	})
	return regions, err
}

// New puts the services together.
func New(c Config) (*Services, error) {
	s := &Services{c: c}
	set := c.Settings.Scanning
	spool := filepath.Join(c.Settings.Data, "scan")
	if err := os.RemoveAll(spool); err != nil { // what killed processes left
		return nil, fmt.Errorf("the directory of the scanner cannot be cleared: %w", err)
	}
	if err := os.MkdirAll(spool, 0o700); err != nil {
		return nil, fmt.Errorf("the directory of the scanner cannot be made: %w", err)
	}
	limits := worker.DefaultLimits()
	limits.Memory, limits.Wall = set.Memory, time.Duration(set.Timeout)
	s.workers = worker.New(worker.Config{
		Command: c.Command, Readers: set.Workers, Spool: spool, Log: c.Log, Clock: c.Clock,
		Limits: limits,
	})
	var err error
	if s.fetcher, err = fetcher(c); err != nil {
		return nil, err
	}
	s.Databases, err = vulndb.New(vulndb.Config{
		DB: c.Durable, Dir: filepath.Join(c.Settings.Data, "vulndb"), Clock: c.Clock, Log: c.Log, Jobs: c.Jobs,
		Store: func() blobstore.Store {
			store, _ := c.Store(c.Settings.Region) // the default region is always served
			return store
		},
		Check: s.workers.Check, Fetch: s.fetcher.Fetch, Resolve: s.fetcher.Resolve, Sources: set.Database.Sources, Refresh: time.Duration(set.Database.Refresh), MaxAge: time.Duration(set.Database.MaxAge),
		Changed: s.changed,
	})
	if err != nil {
		return nil, err
	}
	s.Tags = tagrule.New(tagrule.Config{DB: c.Durable, Clock: c.Clock, Registries: c.Registries})
	s.Scans = scan.New(scan.Config{
		DB: c.Durable, Registries: c.Registries, Repositories: c.Repositories, Images: c.Images, Layers: c.Layers, Workers: s.workers, Databases: s.Databases,
		Outbox: c.Outbox, Jobs: c.Jobs, Clock: c.Clock, Log: c.Log, Complete: c.Cache.Complete, TagsTx: s.Tags.AllowsTx, DoneTx: s.scanned,
		Role: func(ctx context.Context, account name.AccountID) error {
			_, err := c.Entities.EnsureServiceRole(ctx, account, inspector)
			return err
		},
		Parallel: set.Workers, Eligible: time.Duration(set.Eligible), Rescan: time.Duration(set.Rescan),
	})
	s.Gate = gate.New(gate.Config{DB: c.Durable, Clock: c.Clock, Registries: c.Registries, Reports: s.Scans})
	c.Jobs.Handle(jobSBOM, jobs.Handler{Run: s.attachSBOM})
	c.Jobs.Handle(jobArtifact, jobs.Handler{Run: s.importArtifact, Timeout: time.Hour})
	return s, nil
}

// fetcher makes what asks sources for databases.
func fetcher(c Config) (*vulndbfetch.Fetcher, error) {
	set := c.Settings.Scanning.Database
	roots, err := certs.Authorities(set.CA, "scanning.database.ca")
	if err != nil {
		return nil, err
	}
	u := upstream.Config{Hosts: map[string]upstream.Host{}, Roots: roots, UserAgent: "berth", Log: c.Log, Clock: c.Clock}
	for _, source := range set.Sources {
		ref, err := vulndbfetch.ParseReference(source)
		if err != nil {
			return nil, fmt.Errorf("scanning.database.sources: %w", err)
		}
		u.Hosts[strings.ToLower(ref.Host)] = upstream.Host{PlainHTTP: set.PlainHTTP, AllowPrivate: set.AllowPrivate}
	}
	return vulndbfetch.New(vulndbfetch.Config{Upstream: u, Attempts: 2}), nil
}

// Run does what goes on without a request, until ctx ends.
func (s *Services) Run(ctx context.Context) error { return s.Databases.Run(ctx) }

// Close ends the scanner's processes.
func (s *Services) Close() error {
	s.fetcher.Close()
	return s.workers.Close()
}

// Routes adds the administration of scans and databases.
func (s *Services) Routes(mux *http.ServeMux) {
	vulndbadmin.Service{Databases: s.Databases}.Routes(mux)
	scanadmin.Service{
		Scans: s.Scans, Images: s.c.Images, Gate: s.Gate, Tags: s.Tags, Repositories: s.c.Repositories, Clock: s.c.Clock,
		Default: name.Registry{Account: s.c.Settings.Account, Region: s.c.Settings.Region}, Version: s.c.Version, Host: s.c.Hosts.RegistryHost,
	}.Routes(mux)
}

// changed has images scanned anew with another database, and records that there is one.
func (s *Services) changed(ctx context.Context, tx *sqldb.Tx, db vulndb.Database) error {
	err := s.c.Trail.ServiceEventTx(ctx, tx, audit.ServiceEvent{
		Time: s.c.Clock.Now(), Region: s.c.Settings.Region, Account: s.c.Settings.Account, EventName: "VulnerabilityDatabaseEvent",
		Details: map[string]any{"digest": db.Digest, "updatedAt": db.UpdatedAt, "source": db.Source},
	})
	if err != nil {
		return err
	}
	return s.Scans.ChangedTx(ctx, tx)
}

// Subscribe starts what a fact starts. It is an event.Subscriber.
func (s *Services) Subscribe(ctx context.Context, tx *sqldb.Tx, e event.Event) error {
	if err := s.Scans.Subscribe(ctx, tx, e); err != nil || e.Kind != event.ImagePushed {
		return err
	}
	reg, repo, ok := s.c.Settings.Scanning.Database.RepositoryOf()
	d := e.Detail.(event.ImageDetail)
	if !ok || e.Registry != reg || d.Repository != repo {
		return nil
	}
	return s.c.Jobs.Enqueue(ctx, tx, jobs.Job{Kind: jobArtifact, UniqueKey: string(d.Digest), Payload: d.Digest, MaxAttempts: 5})
}

// importArtifact does jobArtifact.
func (s *Services) importArtifact(ctx context.Context, t jobs.Task) error {
	var d name.Digest
	if err := json.Unmarshal(t.Payload, &d); err != nil {
		return jobs.Permanent(err)
	}
	reg, repo, ok := s.c.Settings.Scanning.Database.RepositoryOf()
	if !ok {
		return nil
	}
	r, err := s.c.Repositories.Get(ctx, reg, repo)
	if err != nil {
		return gone(err)
	}
	img, err := s.c.Images.Peek(ctx, r, image.Ref{Digest: d}, nil)
	if err != nil {
		return gone(err)
	}
	_, err = s.Databases.ImportArtifact(ctx, img.Manifest, func(ctx context.Context, d name.Digest) (io.ReadCloser, error) {
		body, _, err := s.c.Layers.Open(ctx, r, d, 0, -1)
		return body, err
	}, fmt.Sprintf("%s/%s/%s@%s", reg.Account, reg.Region, repo, d))
	return s.refused(ctx, err)
}

// gone is nil for what was deleted meanwhile.
func gone(err error) error {
	if errs.Is(err, errs.RepositoryNotFound) || errs.Is(err, errs.ImageNotFound) {
		return nil
	}
	return err
}

// refused has what is no database, or an older one, not tried again.
func (s *Services) refused(ctx context.Context, err error) error {
	var r *vulndb.Refused
	switch {
	case !errors.As(err, &r):
		return err
	case r.Older:
		s.c.Log.WarnContext(ctx, "the vulnerability database that was pushed is not used", "reason", r.Reason)
		return nil
	}
	return jobs.Permanent(err)
}
