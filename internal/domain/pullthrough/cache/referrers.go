package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/outcome"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

const (
	// maxReferrers bounds what is brought for one image at a time.
	maxReferrers = 100
	// referrersLimit bounds the bringing of them all.
	referrersLimit = 10 * time.Minute
)

// Referrers brings here, whole, what refers at the upstream to an image that is here,
// so that signatures can be verified through the cache. The upstream is asked at most
// once in Config.Refresh for each image, and not while it fails. It is no failure that
// no rule covers the repository, that the image is not here, or that nothing refers to
// it.
//
// errs.UpstreamReferrersFailed when the upstream does not answer, and what Complete
// fails with; what was brought before stays.
func (s *Service) Referrers(ctx context.Context, r repository.Repository, subject name.Digest) error {
	rule, covered, err := s.Rules.Covering(ctx, r.Registry, r.Name)
	if err != nil || !covered {
		return err
	}
	ready, err := s.referrersKnown(ctx, r, subject)
	if err != nil || ready {
		return err
	}
	here, err := s.look(ctx, Pull{Registry: r.Registry, Repository: r.Name, Ref: image.Ref{Digest: subject}, Head: true})
	if err != nil || !here.found() {
		return err
	}
	key := fmt.Sprintf("r/%d/%s", r.ID, subject)
	if why, resting := s.track.Resting(rule.URL, key); resting {
		s.track.ServedStale(ctx, rule, r.Name, why, nil)
		return nil
	}
	f, err := s.work.Fly(ctx, key, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeoutCause(ctx, referrersLimit, context.DeadlineExceeded)
		defer cancel()
		leased, l, err := s.leases.Turn(ctx, key, s.Limits.Poll, func() (bool, error) { return s.referrersKnown(ctx, r, subject) })
		if err != nil || l == nil {
			return err
		}
		defer l.End(ctx)
		if err := s.bringReferrers(leased, rule, r, subject); err != nil {
			s.track.Rest(rule.URL, key, err)
			return err
		}
		return s.touch(ctx, r, string(subject))
	})
	if err != nil {
		return err
	}
	err = f.Wait(ctx)
	if upstream.KindOf(err) != 0 && errs.CodeOf(err) == errs.Internal {
		return errs.Wrap(err, errs.UpstreamReferrersFailed, "The referrers of the image %s in the repository with name '%s' could not be listed at the upstream registry %s: %s", subject, r.Name, rule.URL, outcome.Plain(err))
	}
	return err
}

// referrersKnown says whether the upstream was asked short ago. Tags have no colon, so
// that digests stand apart from them in the same table.
func (s *Service) referrersKnown(ctx context.Context, r repository.Repository, subject name.Digest) (bool, error) {
	var at int64
	err := s.Durable.View(ctx, func(tx *sqldb.Tx) (err error) {
		at, err = checkedTx(ctx, tx, r.ID, string(subject))
		return err
	})
	return s.fresh(at), err
}

func (s *Service) bringReferrers(ctx context.Context, rule pullthrough.Rule, r repository.Repository, subject name.Digest) error {
	e, err := s.Rules.Endpoint(ctx, rule)
	if err != nil {
		return outcome.CredentialsError{Err: err}
	}
	body, err := s.Upstream.Referrers(ctx, e, rule.UpstreamRepository(r.Name), string(subject), "")
	if s.track.Asked(err) != nil {
		if upstream.KindOf(err) == upstream.NotFound {
			return nil // nothing refers to it
		}
		return err
	}
	var index struct {
		Manifests []struct {
			Digest string `json:"digest"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(body, &index); err != nil {
		return &upstream.Failure{Kind: upstream.Invalid, Err: fmt.Errorf("the list of referrers of %s: %w", subject, err)}
	}
	var failures error
	for _, m := range index.Manifests[:min(len(index.Manifests), maxReferrers)] {
		d, err := name.ParseDigest(m.Digest)
		if err == nil {
			err = s.Complete(ctx, r, d)
		}
		if errs.Is(err, errs.ImageNotFound) {
			continue // listed and gone, or archived here
		}
		failures = errors.Join(failures, err)
	}
	return failures
}
