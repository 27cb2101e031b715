// Package receive is the other side of replication for the registries of this
// deployment: what another registry sends, from here or through a peer, becomes
// repositories, layers and images, within what the destination allows.
//
// It does not own what is sent and when (replication), nor the wire between
// deployments (api/peer). Who may send is for domain/authz to say.
//
// # What is decided here
//
//   - Deleting in another account's registry needs ecr:BatchDeleteImage in that
//     registry's policy besides ecr:ReplicateImage, and only what has come from the
//     source is deleted for it.
//   - An event tells of every change that a source has made, in the transaction
//     that makes it; what was there already is told of once.
package receive

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Trail takes audit records; audit.Trail is one.
type Trail interface {
	// Record takes one entry.
	Record(ctx context.Context, e audit.Entry)
}

// Config is what a Receiver stands on. Everything is needed that is not said to be
// optional.
type Config struct {
	// Durable keeps what has come, Volatile which uploads are under way.
	Durable, Volatile *sqldb.DB
	Repositories      *repository.Service
	Layers            *layer.Service
	Images            *image.Service
	Outbox            *event.Outbox
	Trail             Trail
	Clock             clock.Clock
	Log               *slog.Logger
	// Jobs gets the periodic work; nil leaves Tidy to the caller.
	Jobs *jobs.Queue
	// Authorize is authz.Service.AuthorizeReplication.
	Authorize func(ctx context.Context, source name.AccountID, region name.Region, needs []authz.Need) error
	// TemplateTags are the resource tags of a repository that is made by the template
	// for replication; none where no template holds.
	TemplateTags func(ctx context.Context, reg name.Registry, repo name.Repository) (map[string]string, error)
	// Template makes a repository by the template that holds for replication, or fails
	// with errs.TemplateNotFound.
	Template func(ctx context.Context, reg name.Registry, repo name.Repository) (repository.Repository, error)
	// Mounts says whether layers may be taken from other repositories of the registry;
	// nil: never.
	Mounts func(ctx context.Context, reg name.Registry) (bool, error)
}

// Receiver takes images into the registries of this deployment. Its methods may be
// called from many goroutines and on many nodes at once.
type Receiver struct{ c Config }

var _ replication.Destination = (*Receiver)(nil)

// New returns the receiver and registers its periodic work on c.Jobs.
func New(c Config) *Receiver {
	r := &Receiver{c: c}
	if c.Jobs != nil {
		c.Jobs.Handle(JobTidy, jobs.Handler{Timeout: tidyPeriod / 2, Run: func(ctx context.Context, _ jobs.Task) error { return r.Tidy(ctx) }})
		c.Jobs.Every(JobTidy, tidyPeriod)
	}
	return r
}

// The names of what is asked for, and recorded.
const (
	replicateImage   = "ReplicateImage"
	createRepository = "CreateRepository"
	deleteImage      = "BatchDeleteImage"
	tagResource      = "TagResource"
)

// need is one of a source's needs on the repository.
func need(p replication.Place, action string, given map[string][]string) authz.Need {
	return authz.Need{Action: "ecr:" + action, Resource: p.Destination.RepositoryARN(p.Repository), Context: given}
}

// may asks for the source's needs, of which the first names the call. A refusal is
// recorded; digest and tag are what it was about, "" for nothing.
func (r *Receiver) may(ctx context.Context, p replication.Place, digest name.Digest, tag name.Tag, needs ...authz.Need) error {
	err := r.c.Authorize(ctx, p.Source.Account, p.Destination.Region, needs)
	if errs.Is(err, errs.AccessDenied) {
		r.record(ctx, p, needs[0].Action[len("ecr:"):], digest, tag, err)
	}
	return err
}

// repository finds the repository for a source that may replicate to it.
func (r *Receiver) repository(ctx context.Context, p replication.Place, digest name.Digest, tag name.Tag) (repository.Repository, error) {
	if err := r.may(ctx, p, digest, tag, need(p, replicateImage, nil)); err != nil {
		return repository.Repository{}, err
	}
	return r.c.Repositories.Get(ctx, p.Destination, p.Repository)
}

// record writes the audit record of a call, refused if err is not nil, into the
// destination's trail.
func (r *Receiver) record(ctx context.Context, p replication.Place, call string, digest name.Digest, tag name.Tag, err error) {
	code, message := "", ""
	if err != nil {
		code, message = "ServerException", err.Error()
		for is, named := range map[errs.Code]string{errs.AccessDenied: "AccessDenied", errs.LimitExceeded: "LimitExceededException", errs.KeyFailure: "KmsException"} {
			if errs.Is(err, is) {
				code = named
			}
		}
	}
	r.entry(ctx, p, call, digest, tag, code, message)
}

func (r *Receiver) entry(ctx context.Context, p replication.Place, call string, digest name.Digest, tag name.Tag, code, message string) {
	parameters := map[string]any{"repositoryName": p.Repository, "registryId": p.Destination.Account}
	if call != createRepository {
		parameters["sourceRegistryId"], parameters["sourceRegion"] = p.Source.Account, p.Source.Region
		id := map[string]string{}
		if digest != "" {
			id["imageDigest"] = string(digest)
		}
		if tag != "" {
			id["imageTag"] = string(tag)
		}
		parameters["imageId"] = id
	}
	text, err := json.Marshal(parameters)
	if err != nil { // strings always can be
		r.c.Log.ErrorContext(ctx, "an audit record cannot be written", "error", err)
		return
	}
	now := r.c.Clock.Now()
	r.c.Trail.Record(ctx, audit.Entry{
		Time: now, EventSource: "ecr.amazonaws.com", EventName: call, Region: p.Destination.Region,
		Principal: authz.ReplicationPrincipal(p.Source.Account, now).AuditIdentity(), InvokedBy: authz.ReplicationService, Account: p.Destination.Account,
		SourceIP: authz.ReplicationService, UserAgent: authz.ReplicationService, RequestID: uuid.NewString(),
		ErrorCode: code, ErrorMessage: message, RequestParameters: text, Resources: []string{p.Destination.RepositoryARN(p.Repository).String()},
	})
}

// Prepare implements replication.Destination.
func (r *Receiver) Prepare(ctx context.Context, p replication.Place) error {
	_, err := r.repository(ctx, p, "", "")
	if !errs.Is(err, errs.RepositoryNotFound) {
		return err
	}
	tags, err := r.c.TemplateTags(ctx, p.Destination, p.Repository)
	if err != nil {
		return err
	}
	given := authz.TagContext(tags)
	needs := []authz.Need{need(p, createRepository, given)}
	if len(tags) > 0 {
		needs = append(needs, need(p, tagResource, given))
	}
	if err := r.may(ctx, p, "", "", needs...); err != nil {
		return err
	}
	_, err = r.c.Template(ctx, p.Destination, p.Repository)
	if errs.Is(err, errs.TemplateNotFound) {
		_, err = r.c.Repositories.Create(ctx, repository.Create{
			Registry: p.Destination, Name: p.Repository, Mutability: repository.Mutability{Setting: repository.Mutable}, Encryption: repository.Encryption{Type: repository.AES256},
		})
	}
	switch {
	case errs.Is(err, errs.RepositoryExists):
		return nil // made at the same moment
	case errs.Is(err, errs.InvalidParameter): // the account is none of ours, or its region is not served here
		err = errs.Wrap(err, errs.AccessDenied, "The registry with id '%s' does not exist in region '%s'", p.Destination.Account, p.Destination.Region)
	}
	r.record(ctx, p, createRepository, "", "", err)
	return err
}

// imagesPerQuery bounds the digests of one statement.
const imagesPerQuery = 500

// Images implements replication.Destination.
func (r *Receiver) Images(ctx context.Context, p replication.Place, ds []name.Digest) ([]name.Digest, error) {
	repo, err := r.repository(ctx, p, "", "")
	if err != nil {
		return nil, err
	}
	var found []name.Digest
	err = r.c.Durable.View(ctx, func(tx *sqldb.Tx) error {
		found = nil
		for n := 0; n < len(ds); n += imagesPerQuery {
			some := ds[n:min(n+imagesPerQuery, len(ds))]
			page, err := sqldb.Collect(ctx, tx, sqldb.One[name.Digest], `SELECT digest FROM image WHERE repository_id = $1 AND status = 0 AND NOT sparse AND digest IN `+sqldb.In(2, len(some)),
				append([]any{repo.ID}, texts(some)...)...)
			if err != nil {
				return err
			}
			found = append(found, page...)
		}
		return nil
	})
	return found, err
}

func texts(ds []name.Digest) []any {
	all := make([]any, len(ds))
	for n, d := range ds {
		all[n] = string(d)
	}
	return all
}

// Failed implements replication.Destination. That a source was refused it may say
// although it is.
func (r *Receiver) Failed(ctx context.Context, p replication.Place, m replication.Manifest, code string) error {
	err := r.c.Authorize(ctx, p.Source.Account, p.Destination.Region, []authz.Need{need(p, replicateImage, nil)})
	denied := code == replication.AccessDenied
	if err != nil && (!denied || !errs.Is(err, errs.AccessDenied)) {
		return err
	}
	err = r.c.Durable.Update(ctx, func(tx *sqldb.Tx) error { return r.tell(ctx, tx, p, m, event.Failed, code) })
	if err == nil && !denied { // a refusal is in the trail since it was made
		r.entry(ctx, p, replicateImage, m.Digest, m.Tag, code, "")
	}
	return err
}

// tell records the event of a replication.
func (r *Receiver) tell(ctx context.Context, tx *sqldb.Tx, p replication.Place, m replication.Manifest, result event.Outcome, code string) error {
	return r.c.Outbox.Record(ctx, tx, event.Event{Registry: p.Destination, Kind: event.ImageReplicated, OccurredAt: r.c.Clock.Now(), Detail: event.ReplicationDetail{
		Repository: p.Repository, Digest: m.Digest, Tag: m.Tag, Source: p.Source, Destination: p.Destination, Result: result, FailureCode: code,
	}})
}

// The periodic work.
const (
	JobTidy    = "replication.tidy"
	tidyPeriod = 24 * time.Hour
	tidyPage   = 500
	// guardLife is how long a deleted tag or image is remembered. It is far longer
	// than anybody goes on trying (replication.DefaultGiveUp).
	guardLife = 90 * 24 * time.Hour
	// uploadLife is how long after its last use the upload of a blob is forgotten;
	// uploads themselves live for a day.
	uploadLife = 48 * time.Hour
)

// Alone gives free the blobs that an earlier process was taking in: for a process that
// has its databases to itself, before it works.
func (r *Receiver) Alone(ctx context.Context) error {
	return r.c.Volatile.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE replication_upload SET held_until = 0`)
		return err
	})
}

// Tidy forgets uploads that nobody goes on with, and deletions of long ago.
func (r *Receiver) Tidy(ctx context.Context) error {
	now := r.c.Clock.Now()
	err := r.c.Volatile.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM replication_upload WHERE used_at < $1`, now.Add(-uploadLife).UnixMicro())
		return err
	})
	var repo int64
	for ref := ""; err == nil; {
		type row struct {
			repo int64
			ref  string
		}
		var page []row
		err = r.c.Durable.Update(ctx, func(tx *sqldb.Tx) (err error) {
			page, err = sqldb.Collect(ctx, tx, func(s sqldb.Scanner) (one row, err error) { return one, s.Scan(&one.repo, &one.ref) },
				`SELECT DISTINCT repository_id, ref FROM replication_guard WHERE (repository_id, ref) > ($1, $2) ORDER BY repository_id, ref LIMIT $3`, repo, ref, tidyPage)
			for _, one := range page {
				if err != nil {
					return err
				}
				_, err = tx.Exec(ctx, `DELETE FROM replication_guard WHERE repository_id = $1 AND ref = $2 AND seq < $3
					AND NOT EXISTS (SELECT 1 FROM image i WHERE i.repository_id = $1 AND i.digest = $2) AND NOT EXISTS (SELECT 1 FROM image_tag t WHERE t.repository_id = $1 AND t.tag = $2)`,
					one.repo, one.ref, now.Add(-guardLife).UnixMicro())
			}
			return err
		})
		if len(page) < tidyPage {
			break
		}
		repo, ref = page[len(page)-1].repo, page[len(page)-1].ref
	}
	return err
}
