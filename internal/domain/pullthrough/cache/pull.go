package cache

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/outcome"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Pull is a request for an image of a covered repository.
type Pull struct {
	Registry   name.Registry
	Repository name.Repository
	Ref        image.Ref
	// Accept are the values of the client's Accept header; see image.Service.Get.
	Accept []string
	// Head: the manifest's bytes are not needed, and no pull is noted. Note: the pull
	// is to be noted, see image.Service.Get.
	Head, Note bool
	// MayImport says whether the caller has ecr:BatchImportUpstreamImage. It is asked
	// at most once, and only when the upstream is needed; nil is no.
	MayImport func(ctx context.Context) (bool, error)
	// MayCreate says whether the caller has ecr:CreateRepository for a repository with
	// these resource tags. It is asked only when the repository is missing; nil is no.
	MayCreate func(ctx context.Context, tags map[string]string) (bool, error)
}

// Ask has authorize answer what the caller may: nil is yes, errs.AccessDenied no.
func (p *Pull) Ask(authorize func(ctx context.Context, n authz.Need) error) {
	may := func(ctx context.Context, n authz.Need) (bool, error) {
		n.Resource = p.Registry.RepositoryARN(p.Repository)
		err := authorize(ctx, n)
		if errs.Is(err, errs.AccessDenied) {
			return false, nil
		}
		return err == nil, err
	}
	p.MayImport = func(ctx context.Context) (bool, error) {
		return may(ctx, authz.Need{Action: "ecr:BatchImportUpstreamImage"})
	}
	p.MayCreate = func(ctx context.Context, tags map[string]string) (bool, error) {
		return may(ctx, authz.Need{Action: "ecr:CreateRepository", Context: authz.TagContext(tags)})
	}
}

// Covers says whether a rule is for the repository.
func (s *Service) Covers(ctx context.Context, reg name.Registry, repo name.Repository) (bool, error) {
	_, covered, err := s.Rules.Covering(ctx, reg, repo)
	return covered, err
}

// Image finds the image of a pull, here or at the upstream, and the repository that
// it is in, which is made where it is missing and the upstream has the image.
//
// What is asked for by digest and here, and what is asked for by a tag that was
// compared with the upstream less than Config.Refresh ago, is served without
// contact; so is an immutable tag. When the upstream fails, a copy that is here is
// served.
//
// It fails as image.Service.Get does; and with errs.RepositoryNotFound and
// errs.ImageNotFound where the caller may not import, or the upstream has no such
// image; errs.Throttled when the upstream says that it gets too many requests;
// errs.UpstreamImageFailed when it fails otherwise; and, where the upstream has the
// image, with what making the repository and storing fail with. A repository that
// no rule covers is looked into and no more.
func (s *Service) Image(ctx context.Context, p Pull) (image.Image, repository.Repository, error) {
	rule, covered, err := s.Rules.Covering(ctx, p.Registry, p.Repository)
	if err != nil {
		return image.Image{}, repository.Repository{}, err
	}
	here, err := s.look(ctx, p)
	if err == nil && covered && here.late {
		s.track.ServedStale(ctx, rule, p.Repository, outcome.ReasonLayers, nil)
	}
	if err == nil {
		s.nudge(ctx, here.arrival)
	}
	if err != nil || here.final || !covered || !askable(p.Ref) {
		return here.img, here.r, cmp.Or(err, here.err)
	}
	if err := s.fetchAllowed(ctx, p, here); err != nil {
		if here.found() {
			return here.img, here.r, nil
		}
		return image.Image{}, here.r, err
	}
	key := checkKey(p.Registry, p.Repository, p.Ref)
	if why, resting := s.track.Resting(rule.URL, key); resting && here.found() {
		s.track.ServedStale(ctx, rule, p.Repository, why, nil)
		return here.img, here.r, nil
	} else if resting && !here.found() {
		if wait, throttling := s.track.Throttling(rule.URL); throttling {
			return image.Image{}, here.r, outcome.Throttled(rule, nil, wait)
		}
	}
	err = s.consult(ctx, p, rule, key, here.found())
	if err != nil && ctx.Err() != nil {
		return image.Image{}, here.r, context.Cause(ctx)
	}
	if err != nil && here.found() {
		s.track.ServedStale(ctx, rule, p.Repository, outcome.Reason(err), err)
		return here.img, here.r, nil
	}
	if err != nil {
		return image.Image{}, here.r, outcome.ImageError(rule, p.Repository, err)
	}
	now, err := s.look(ctx, p)
	return now.img, now.r, cmp.Or(err, now.err)
}

// askable says whether an upstream can have what the ref names.
func askable(ref image.Ref) bool {
	err := error(nil)
	if ref.Tag != "" {
		_, err = name.ParseTag(string(ref.Tag))
	} else {
		_, err = name.ParseDigest(string(ref.Digest))
	}
	return err == nil && (ref.Tag != "" || ref.Digest.Verifiable())
}

// local is what is here for a pull.
type local struct {
	r       repository.Repository
	missing bool // the repository
	img     image.Image
	// err is why there is no image, nil where there is one.
	err error
	// final says that the upstream is not to be asked.
	final bool
	// arrival is what is on its way to the tag or digest; its id is 0 for none.
	arrival arrival
	// late says that the tag has a newer image, whose layers cannot be had for now.
	late bool
}

func (l local) found() bool { return !l.missing && l.err == nil }

// look finds what is here for a pull: the image, or the one on its way.
func (s *Service) look(ctx context.Context, p Pull) (local, error) {
	r, err := s.Repositories.Get(ctx, p.Registry, p.Repository)
	if errs.Is(err, errs.RepositoryNotFound) {
		return local{missing: true, err: err}, nil
	}
	if err != nil {
		return local{}, err
	}
	if p.Ref.Tag == "" {
		return s.lookDigest(ctx, p, r)
	}
	return s.lookTag(ctx, p, r)
}

func (s *Service) lookDigest(ctx context.Context, p Pull, r repository.Repository) (local, error) {
	l, err := s.stored(ctx, p, r)
	if err != nil || l.final || l.err == nil {
		l.final = true
		return l, err
	}
	a, err := s.arrival(ctx, arrivalByDigest, r.ID, string(p.Ref.Digest))
	if err != nil {
		return local{}, err
	}
	if a.id == 0 {
		// It may have become an image between the two looks.
		l, err = s.stored(ctx, p, r)
		l.final = l.final || l.err == nil
		return l, err
	}
	img, err := s.serve(ctx, r, a, p.Ref, p.Accept)
	return local{r: r, img: img, err: err, final: true, arrival: a}, nil
}

func (s *Service) lookTag(ctx context.Context, p Pull, r repository.Repository) (local, error) {
	// An arrival becomes an image, never the other way round: it is looked for first.
	state, err := s.tagState(ctx, r, p.Ref.Tag)
	if err != nil {
		return local{}, err
	}
	fresh := s.fresh(state.checkedAt)
	if state.arrival.id != 0 && state.arrival.failedAt == 0 {
		img, err := s.serve(ctx, r, state.arrival, p.Ref, p.Accept)
		return local{r: r, img: img, err: err, final: fresh || err != nil || !r.Mutability.Allows(p.Ref.Tag), arrival: state.arrival}, nil
	}
	l, err := s.stored(ctx, p, r)
	if err != nil {
		return local{}, err
	}
	l.arrival = state.arrival
	if state.arrival.id != 0 {
		if l.err == nil {
			l.late = true // the old image is better than none
		} else if !l.final {
			l.img, l.err = s.serve(ctx, r, state.arrival, p.Ref, p.Accept)
		}
	}
	switch {
	case l.err == nil:
		l.final = fresh || !r.Mutability.Allows(p.Ref.Tag)
	case !l.final:
		// A tag that went away here comes again, however short ago it was compared; one
		// that is on another digest than the client wants does not, until it is compared.
		var f image.Failure
		l.final = errors.As(l.err, &f) && f.Code == image.TagMismatch && fresh
	}
	return l, nil
}

// stored finds a stored image. It is final that an image is here in a state, or
// asked for in a way, that the upstream has nothing to do with.
func (s *Service) stored(ctx context.Context, p Pull, r repository.Repository) (local, error) {
	read := s.Images.Peek
	switch {
	case p.Head:
		read = s.Images.Stat
	case p.Note:
		read = s.Images.Get
	}
	img, err := read(ctx, r, p.Ref, p.Accept)
	if err == nil {
		return local{r: r, img: img}, nil
	}
	var f image.Failure
	switch {
	case !errors.As(err, &f):
		if !errs.Is(err, errs.ManifestUntranslated) {
			return local{}, err
		}
		return local{r: r, err: err, final: true}, nil
	case f.Code == image.NotFound || f.Code == image.TagMismatch:
		return local{r: r, err: err}, nil
	}
	return local{r: r, err: err, final: true}, nil
}

// fetchAllowed asks whether the caller may have the upstream asked, and what comes of
// it stored.
func (s *Service) fetchAllowed(ctx context.Context, p Pull, here local) error {
	may, err := false, error(nil)
	if p.MayImport != nil {
		may, err = p.MayImport(ctx)
	}
	if err != nil {
		return err
	}
	if !may {
		return here.err
	}
	if !here.missing {
		return nil
	}
	if may, err = s.mayCreate(ctx, p); err == nil && !may {
		err = here.err
	}
	return err
}

func (s *Service) mayCreate(ctx context.Context, p Pull) (bool, error) {
	if p.MayCreate == nil {
		return false, nil
	}
	var tags map[string]string
	if s.Tags != nil {
		var err error
		if tags, err = s.Tags(ctx, p.Registry, p.Repository); err != nil {
			return false, err
		}
	}
	return p.MayCreate(ctx, tags)
}

// consult has the upstream asked, together with all who want the same, and waits. A
// caller that has a copy does not wait for long.
func (s *Service) consult(ctx context.Context, p Pull, rule pullthrough.Rule, key string, have bool) error {
	f, err := s.work.Fly(ctx, key, func(ctx context.Context) error {
		c := check{rule: rule, registry: p.Registry, repository: p.Repository, ref: p.Ref, key: key, pulled: p.Note && !p.Head}
		return s.check(ctx, c)
	})
	if err != nil {
		return err
	}
	if !have {
		return f.Wait(ctx)
	}
	slow, cancel := context.WithTimeoutCause(ctx, s.Limits.Slow, context.DeadlineExceeded)
	defer cancel()
	err = f.Wait(slow)
	if ctx.Err() == nil && slow.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		s.track.Rest(rule.URL, key, err)
	}
	return err
}

// nudge has an import go on that is asked for and did not come whole at its first try,
// before its job would.
func (s *Service) nudge(ctx context.Context, a arrival) {
	last := max(a.createdAt, a.failedAt)
	if a.id == 0 || s.Clock.Now().Before(time.UnixMicro(last).Add(s.Limits.Pause)) {
		return
	}
	if _, err := s.bring(ctx, a.id); err != nil {
		s.Log.DebugContext(ctx, "an import is left to its job", "image", a.digest, "error", err)
	}
}

func checkKey(reg name.Registry, repo name.Repository, ref image.Ref) string {
	what := string(ref.Digest)
	if ref.Tag != "" {
		what = string(ref.Tag)
	}
	return "m/" + reg.String() + "/" + string(repo) + "@" + what
}
