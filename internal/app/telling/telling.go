// Package telling puts together what a deployment tells the rest of the world: events
// and their targets, the trails that write the audit records to files, usage and quotas,
// and the AWS APIs of all these.
//
// It holds no rules of its own; those are in the domain packages.
package telling

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/cloudtrail"
	"github.com/berth-registry/berth/internal/api/cloudwatch"
	"github.com/berth-registry/berth/internal/api/events"
	"github.com/berth-registry/berth/internal/api/servicequotas"
	"github.com/berth-registry/berth/internal/app/auditadmin"
	"github.com/berth-registry/berth/internal/app/eventadmin"
	"github.com/berth-registry/berth/internal/app/eventing"
	"github.com/berth-registry/berth/internal/app/observe"
	"github.com/berth-registry/berth/internal/app/usageadmin"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/audit/trails"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/event/delivery"
	"github.com/berth-registry/berth/internal/domain/event/destination"
	"github.com/berth-registry/berth/internal/domain/event/pulls"
	"github.com/berth-registry/berth/internal/domain/event/rule"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota/increase"
	"github.com/berth-registry/berth/internal/domain/usage"
	"github.com/berth-registry/berth/internal/domain/usage/metric"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/eventsink/webhook"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/trailstore"
	"github.com/berth-registry/berth/internal/infra/trailstore/dir"
	trails3 "github.com/berth-registry/berth/internal/infra/trailstore/s3"
)

// Config is what all this stands on. Everything is needed.
type Config struct {
	Settings config.Config

	Durable *sqldb.DB
	Keys    keys.Manager
	Clock   clock.Clock
	Log     *slog.Logger
	Jobs    *jobs.Queue
	Trail   *audit.Trail
	Desk    *increase.Desk
	// Outbox gives the outbox, once it is there.
	Outbox func() *event.Outbox
	// Regions says which regions are served.
	Regions func(name.Region) bool
}

// Services are the parts.
type Services struct {
	c            Config
	rules        *rule.Service
	destinations *destination.Service
	senders      *eventing.Senders
	delivery     *delivery.Service
	pulls        *pulls.Service
	trails       *trails.Service
	lookup       *lookup.Index
	usage        *usage.Service
	stores       []*dir.Store
}

// New makes the parts, and registers their periodic work.
func New(ctx context.Context, c Config) (_ *Services, err error) {
	s := &Services{c: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := s.makeEvents(); err != nil {
		return nil, err
	}
	buckets, err := s.openBuckets(ctx)
	if err != nil {
		return nil, err
	}
	s.lookup = lookup.New(c.Durable)
	s.trails = trails.New(trails.Config{
		DB: c.Durable, Clock: c.Clock, Log: c.Log, Keys: c.Keys, Records: c.Trail, Regions: c.Settings.Regions, Buckets: buckets,
		Jobs: c.Jobs, Every: time.Duration(c.Settings.Audit.Delivery), Margin: margin(c.Settings),
	})
	c.Jobs.Handle(jobExpire, jobs.Handler{Workers: 1, Timeout: expireTimeout, Run: func(ctx context.Context, _ jobs.Task) error { return s.delivery.Expire(ctx) }})
	c.Jobs.Every(jobExpire, expirePeriod)
	s.usage = usage.New(usage.Config{DB: c.Durable, Clock: c.Clock, Log: c.Log, Repositories: c.Settings.Usage.Repositories})
	return s, nil
}

// The periodic work that removes old events and dead letters.
const (
	jobExpire     = "events.expire"
	expirePeriod  = time.Hour
	expireTimeout = 10 * time.Minute
)

// ExpireTrails forgets the files of trails from before the given time; they stay where
// they are.
func (s *Services) ExpireTrails(ctx context.Context, before time.Time) error {
	_, err := s.trails.Expire(ctx, before)
	return err
}

// margin is how old records are that trails write. Where files are to come more often than
// its default, the records of slow transactions are waited for that much less.
func margin(c config.Config) time.Duration {
	return min(trails.DefaultMargin, time.Duration(c.Audit.Delivery))
}

// mostNamed bounds the rules that are named where a destination is in use.
const mostNamed = 100

// filesDirectory is in the data directory, where no other one is configured.
const filesDirectory = "events"

func (s *Services) makeEvents() error {
	set := s.c.Settings.Events
	files := set.Files
	if files == "" {
		data, err := filepath.Abs(s.c.Settings.Data)
		if err != nil {
			return err
		}
		files = filepath.Join(data, filesDirectory)
		if err := os.MkdirAll(files, 0o700); err != nil {
			return fmt.Errorf("the directory for files of events cannot be made: %w", err)
		}
	}
	maker := eventing.Maker{AllowPrivate: set.AllowPrivate, AllowHTTP: set.AllowHTTP, Files: files, Clock: s.c.Clock}
	s.destinations = destination.New(destination.Config{
		DB: s.c.Durable, Keys: s.c.Keys, Clock: s.c.Clock, Check: maker.Check, NewSecret: webhook.NewSecret,
		InUse: func(ctx context.Context, account name.AccountID, region name.Region, arn string) ([]string, error) {
			names, _, err := s.rules.NamesByTarget(ctx, name.Registry{Account: account, Region: region}, arn, "", mostNamed)
			return names, err
		},
	})
	s.senders = eventing.New(s.destinations, maker, s.c.Log)
	s.rules = rule.New(rule.Config{DB: s.c.Durable, Clock: s.c.Clock, Log: s.c.Log, Known: s.destinations.Known})
	s.delivery = delivery.New(delivery.Config{
		DB: s.c.Durable, Clock: s.c.Clock, Log: s.c.Log, Rules: s.rules, Send: s.senders.Send,
		Retention: time.Duration(set.Retention), Keep: time.Duration(set.DeadLetters), Alone: !s.c.Settings.Database.Postgres(),
	})
	var err error
	s.pulls, err = pulls.New(pulls.Config{
		Mode: pulls.Mode(set.Pulls.Mode), Interval: time.Duration(set.Pulls.Interval), OneIn: int(set.Pulls.OneIn), Clock: s.c.Clock, Log: s.c.Log,
		Record: func(ctx context.Context, all []event.Event) error {
			return s.c.Durable.Update(ctx, func(tx *sqldb.Tx) error {
				for _, e := range all {
					if err := s.c.Outbox().Record(ctx, tx, e); err != nil {
						return err
					}
				}
				return nil
			})
		},
	})
	return err
}

// openBuckets opens what trails may write to.
func (s *Services) openBuckets(ctx context.Context) (map[string]trailstore.Store, error) {
	all := map[string]trailstore.Store{}
	for called, b := range s.c.Settings.Audit.Buckets {
		if !b.Remote() {
			store, err := dir.Open(b.URL)
			if err != nil {
				return nil, fmt.Errorf("audit.buckets.%s: %w", called, err)
			}
			s.stores = append(s.stores, store)
			all[called] = store
			continue
		}
		bucket, prefix := b.Object()
		store, err := trails3.Open(ctx, trails3.Config{
			Bucket: bucket, Prefix: prefix, Endpoint: b.S3.Endpoint, Region: b.S3.Region, PathStyle: b.S3.PathStyle,
			SSE: b.S3.Encryption, KMSKeyID: b.S3.KMSKey, Timeout: time.Duration(b.S3.Timeout),
		})
		if err != nil {
			return nil, fmt.Errorf("audit.buckets.%s: %w", called, err)
		}
		all[called] = store
	}
	return all, nil
}

// WantedTx says whether rules may want the events of a registry, and has one that is
// recorded here routed at once where there are any.
func (s *Services) WantedTx(ctx context.Context, tx *sqldb.Tx, reg name.Registry) (bool, error) {
	return s.delivery.WantedTx(ctx, tx, reg)
}

// APIs are the services that the pipeline gets; signing signs their page tokens.
func (s *Services) APIs(signing []byte) []aws.Service {
	return []aws.Service{
		events.New(events.Config{Rules: s.rules}).Service(),
		cloudtrail.New(cloudtrail.Config{Trails: s.trails, Lookup: s.lookup, SigningKey: signing, Regions: s.trailRegion}).Service(),
		cloudwatch.New(cloudwatch.Config{Metrics: s.usage, Quota: s.quotaOf, Clock: s.c.Clock, SigningKey: signing}).Service(),
		servicequotas.New(servicequotas.Config{Desk: s.c.Desk}).Service(),
	}
}

// globalRegion is where the calls of public registries are recorded, served or not.
const globalRegion = "us-east-1"

func (s *Services) trailRegion(r name.Region) error {
	if r == globalRegion || s.c.Regions(r) {
		return nil
	}
	return errs.New(errs.Validation, "The region %s is not served here. There are %q.", r, s.c.Settings.Regions)
}

// quotaOf is the quota that a metric of ECR counts against. Rates are of a second, and
// CloudWatch's SERVICE_QUOTA gives them so.
func (s *Services) quotaOf(ctx context.Context, account name.AccountID, _ name.Region, of metric.Series) (float64, bool, error) {
	if of.Namespace != usage.NamespaceUsage {
		return 0, false, nil
	}
	resource := ""
	for _, d := range of.Dimensions {
		if d.Name == "Resource" {
			resource = d.Value
		}
	}
	all, err := s.c.Desk.List(ctx, account, name.ServiceECR)
	if err != nil {
		return 0, false, err
	}
	for _, q := range all {
		if resource != "" && (of.Name == "CallCount" && q.Action == resource || of.Name == "ResourceCount" && q.Resource == resource) {
			return q.Value, true, nil
		}
	}
	return 0, false, nil
}

// Routes adds the administration of all this.
func (s *Services) Routes(mux *http.ServeMux) {
	set := s.c.Settings
	eventadmin.Deliveries{Delivery: s.delivery}.Routes(mux)
	eventadmin.Destinations{
		Destinations: s.destinations, Senders: s.senders, Default: name.Registry{Account: set.Account, Region: set.Region}, Regions: set.Regions,
	}.Routes(mux)
	auditadmin.Service{Trails: s.trails, Lookup: s.lookup, Default: set.Account}.Routes(mux)
	usageadmin.Service{Usage: s.usage}.Routes(mux)
}

// Run does what goes on without a request, until ctx ends.
func (s *Services) Run(ctx context.Context) error {
	workers, ctx := errgroup.WithContext(ctx)
	workers.Go(func() error { return s.delivery.Run(ctx) })
	workers.Go(func() error { return s.pulls.Run(ctx) })
	workers.Go(func() error { return s.usage.Run(ctx) })
	return workers.Wait()
}

// Close gives connections and directories up.
func (s *Services) Close() error {
	if s.senders != nil {
		s.senders.Close()
	}
	var err error
	for _, store := range s.stores {
		err = errors.Join(err, store.Close())
	}
	return err
}

// TrailOptions are what an operator has chosen for the audit trail.
func TrailOptions(c config.Config) audit.Options {
	o := audit.Options{ClientAddresses: c.Audit.ClientAddresses}
	if c.Audit.Overflow == "drop" {
		o.Overflow = audit.Drop
	}
	return o
}

// Observe has requests counted, and what is counted here shown as metrics.
func (s *Services) Observe(o *observe.Observer) error {
	o.Meter(s.Meter())
	o.Telling(s.delivery, s.c.Trail.Dropped, s.pulls.Overflow)
	if s.c.Settings.Usage.Repositories == 0 {
		return nil
	}
	return o.RepositoryPulls(s.usage)
}
