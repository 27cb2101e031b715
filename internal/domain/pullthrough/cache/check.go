package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/fetch"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/outcome"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

// recordLimit bounds the recording of a failure, whose context may have ended.
const recordLimit = 10 * time.Second

// check is the question what a tag or a digest is at the upstream.
type check struct {
	rule       pullthrough.Rule
	registry   name.Registry
	repository name.Repository
	ref        image.Ref
	key        string // of the flight and the lease
	pulled     bool   // see arrival
}

// accepted are the manifests that are asked for: all that can be kept but docker
// schema 1, whose layers have no sizes. The upstream sends what it has.
func accepted() []string {
	return []string{manifest.OCIIndex, manifest.DockerList, manifest.OCIImage, manifest.DockerSchema2, manifest.ORASArtifact}
}

// check asks the upstream, unless another node has done so meanwhile, and brings here
// what is new. On success, the repository has the image, or its arrival, and the tag
// is fresh.
func (s *Service) check(ctx context.Context, c check) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.Limits.Check, context.DeadlineExceeded)
	defer cancel()
	leased, l, err := s.leases.Turn(ctx, c.key, s.Limits.Poll, func() (bool, error) { return s.done(ctx, c) })
	if err != nil || l == nil {
		return err
	}
	defer l.End(ctx)
	if err = s.ask(leased, c); err != nil {
		if cause := context.Cause(leased); leased.Err() != nil && cause != nil {
			err = errors.Join(cause, err)
		}
		s.track.Rest(c.rule.URL, c.key, err)
		s.recordFailure(ctx, c, err)
	}
	return err
}

// done says whether the answer is here.
func (s *Service) done(ctx context.Context, c check) (bool, error) {
	l, err := s.look(ctx, Pull{Registry: c.registry, Repository: c.repository, Ref: c.ref, Head: true})
	return l.final, err
}

// ask asks the upstream and keeps the answer.
func (s *Service) ask(ctx context.Context, c check) error {
	e, err := s.Rules.Endpoint(ctx, c.rule)
	if err != nil {
		return outcome.CredentialsError{Err: err}
	}
	source, reference := c.rule.UpstreamRepository(c.repository), string(c.ref.Digest)
	if c.ref.Tag != "" {
		reference = string(c.ref.Tag)
	}
	r, here, err := s.current(ctx, c)
	if err != nil {
		return err
	}
	if here != "" {
		head, err := s.Upstream.Head(ctx, e, source, reference, accepted())
		// An upstream that does not understand HEAD is asked with GET.
		if s.track.Asked(err) != nil && upstream.KindOf(err) != upstream.Invalid {
			return err
		}
		if err == nil && head.Digest == string(here) {
			return s.touch(ctx, r, string(c.ref.Tag))
		}
	}
	got, err := s.Upstream.Manifest(ctx, e, source, reference, accepted())
	if s.track.Asked(err) != nil {
		return err
	}
	content, err := s.parse(ctx, c, got)
	if err != nil {
		return err
	}
	if here != "" && content.digest == here {
		return s.touch(ctx, r, string(c.ref.Tag))
	}
	if r.ID == 0 {
		if r, err = s.makeRepository(ctx, c.registry, c.repository); err != nil {
			return err
		}
	}
	return s.keep(ctx, c, r, content)
}

// current finds the repository, with ID 0 where there is none, and which image a tag
// is on here; "" for none, and for a digest.
func (s *Service) current(ctx context.Context, c check) (r repository.Repository, d name.Digest, err error) {
	r, err = s.Repositories.Get(ctx, c.registry, c.repository)
	if errs.Is(err, errs.RepositoryNotFound) {
		return repository.Repository{}, "", nil
	}
	if err != nil || c.ref.Tag == "" {
		return r, "", err
	}
	state, err := s.tagState(ctx, r, c.ref.Tag)
	if err != nil || state.arrival.id != 0 {
		return r, state.arrival.digest, err
	}
	img, err := s.Images.Stat(ctx, r, image.Ref{Tag: c.ref.Tag}, nil)
	if errs.Is(err, errs.ImageNotFound) {
		return r, "", nil
	}
	return r, img.Stored, err
}

// parse checks what the upstream has sent.
func (s *Service) parse(ctx context.Context, c check, got upstream.Manifest) (content, error) {
	limits, err := s.Quotas.Limits(ctx, c.registry.Account)
	if err != nil {
		return content{}, err
	}
	m, err := manifest.Parse(got.Body, got.MediaType, manifest.Limits{Bytes: limits.ManifestBytes, Layers: limits.LayersPerImage})
	if err != nil {
		return content{}, err
	}
	if m.Kind == manifest.KindSchema1 {
		return content{}, errs.New(errs.ManifestInvalid, "it is of docker schema 1, whose layers have no sizes")
	}
	for _, b := range m.Blobs() {
		if b.Size < 0 && !b.Foreign {
			return content{}, errs.New(errs.ManifestInvalid, "the layer %s has no size", b.Digest)
		}
	}
	d := name.SHA256(m.Canonical)
	if c.ref.Tag == "" {
		if d = c.ref.Digest.DigestOf(m.Canonical); d != c.ref.Digest {
			return content{}, errs.New(errs.ImageDigestMismatch, "it does not have the digest %s", c.ref.Digest)
		}
	}
	return content{Manifest: m, body: got.Body, digest: d}, nil
}

// makeRepository makes a repository by its template, or with ECR's defaults. Of two
// at a time one makes it, and both get it.
func (s *Service) makeRepository(ctx context.Context, reg name.Registry, repo name.Repository) (r repository.Repository, err error) {
	err = errs.New(errs.TemplateNotFound, "none")
	if s.Make != nil {
		r, err = s.Make(ctx, reg, repo)
	}
	if errs.Is(err, errs.TemplateNotFound) {
		r, err = s.Repositories.Create(ctx, repository.Create{
			Registry: reg, Name: repo, Mutability: repository.Mutability{Setting: repository.Mutable},
		})
	}
	if errs.Is(err, errs.RepositoryExists) {
		r, err = s.Repositories.Get(ctx, reg, repo)
	}
	return r, err
}

// keep stores what the upstream has sent: at once where nothing is missing, else as an
// arrival, whose blobs begin to come.
func (s *Service) keep(ctx context.Context, c check, r repository.Repository, m content) error {
	whole, err := s.whole(ctx, r, m)
	if err != nil {
		return err
	}
	if whole {
		err := s.put(ctx, c, r, m)
		if !errs.Is(err, errs.LayersNotFound) {
			return err
		}
	}
	a, err := s.expect(ctx, r, m, c.ref.Tag, c.pulled)
	if err != nil {
		return err
	}
	if _, err := s.bring(ctx, a.id); err != nil {
		s.Log.DebugContext(ctx, "an import is left to its job", "image", a.digest, "error", err)
	}
	return nil
}

// whole says whether the repository has all that the image needs. Blobs of other
// repositories do not count: an upstream must not give content away by naming it.
func (s *Service) whole(ctx context.Context, r repository.Repository, m content) (bool, error) {
	blobs := m.blobs()
	if len(blobs) == 0 {
		return true, nil
	}
	held, err := s.held(ctx, r, blobs)
	if err != nil {
		return false, err
	}
	for _, b := range blobs {
		if l, ok := held[b.Digest]; !ok || l.Archived || l.Size != b.Size {
			return false, nil
		}
	}
	return true, nil
}

func (s *Service) held(ctx context.Context, r repository.Repository, blobs []fetch.Blob) (map[name.Digest]layer.Layer, error) {
	ds := make([]name.Digest, len(blobs))
	for i, b := range blobs {
		ds[i] = b.Digest
	}
	return s.Layers.Check(ctx, r, ds)
}

// put stores an image of which nothing is missing, or an index.
func (s *Service) put(ctx context.Context, c check, r repository.Repository, m content) error {
	_, _, err := s.Images.Put(ctx, r, image.Put{
		Manifest: m.body, MediaType: m.MediaType, Tag: c.ref.Tag, Digest: m.digest, Origin: event.OriginPullThrough, Sparse: m.Kind == manifest.KindIndex,
		Before: func(ctx context.Context, tx *sqldb.Tx, r repository.Repository) error {
			if c.ref.Tag != "" {
				// What was to get the tag before does not get it any more.
				if _, err := tx.Exec(ctx, `DELETE FROM pullthrough_import_tag WHERE repository_id = $1 AND tag = $2`, r.ID, string(c.ref.Tag)); err != nil {
					return err
				}
				if err := s.touchTx(ctx, tx, r, string(c.ref.Tag)); err != nil {
					return err
				}
			}
			return s.recordTx(ctx, tx, c.rule, r.Registry, event.PullThroughDetail{Repository: r.Name, Digest: m.digest, Tag: c.ref.Tag, Result: event.Success})
		},
	})
	return err
}

// recordTx puts the event of an attempt into the outbox.
func (s *Service) recordTx(ctx context.Context, tx *sqldb.Tx, rule pullthrough.Rule, reg name.Registry, d event.PullThroughDetail) error {
	d.Prefix, d.UpstreamURL = rule.Prefix, rule.URL
	return s.Outbox.Record(ctx, tx, event.Event{Registry: reg, Kind: event.ImagePulledThrough, OccurredAt: s.Clock.Now(), Detail: d})
}

// recordFailure puts the event of an attempt into the outbox that has failed.
func (s *Service) recordFailure(ctx context.Context, c check, cause error) {
	if errors.Is(cause, context.Canceled) {
		return // the server stops
	}
	d := event.PullThroughDetail{Repository: c.repository, Digest: c.ref.Digest, Tag: c.ref.Tag, Result: event.Failed, Reason: fmt.Sprintf("the upstream registry %s: %s", c.rule.URL, outcome.Reason(cause))}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordLimit)
	defer cancel()
	if err := s.update(ctx, func(tx *sqldb.Tx) error { return s.recordTx(ctx, tx, c.rule, c.registry, d) }); err != nil {
		s.Log.WarnContext(ctx, "the event of a failed pull through the cache could not be recorded", "repository", c.repository, "error", err)
	}
}
