package scan

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// errDisabled is what is answered to who asks for what enhanced scanning does not let
// him have.
func errDisabled() error { return errs.New(errs.Validation, "This feature is disabled") }

// Start begins a basic scan of an image. errs.RepositoryNotFound, errs.ImageNotFound,
// errs.ImageArchived, errs.ImageTypeUnsupported for an index or an artifact,
// errs.LimitExceeded for an image that was scanned in the last 24 hours and for a
// registry that has begun as many scans as it may, errs.Validation where the registry
// has enhanced scanning.
func (s *Service) Start(ctx context.Context, r repository.Repository, ref image.Ref) (out State, err error) {
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		c, err := rules.Stored(ctx, tx, r.Registry)
		if err != nil {
			return err
		}
		if c.Type == rules.Enhanced {
			return errDisabled()
		}
		d, err := s.Images.FindTx(ctx, tx, r, ref)
		if err != nil {
			return err
		}
		if d.Status != image.Active {
			return errs.New(errs.ImageArchived, "The image with digest '%s' in the repository with name '%s' in the registry with id '%s' is archived and cannot be scanned", d.Digest, r.Name, r.Registry.Account)
		}
		if !scannable(d.MediaType, d.ArtifactType) {
			return errs.New(errs.ImageTypeUnsupported, "The image with digest '%s' in the repository with name '%s' in the registry with id '%s' is of a type that cannot be scanned", d.Digest, r.Name, r.Registry.Account)
		}
		now := s.Clock.Now()
		was, ok, err := s.lockRow(ctx, tx, d.ID, rules.Basic)
		if err != nil {
			return err
		}
		if ok && !was.waiting && now.Sub(was.requested) < Again && now.After(was.requested.Add(-time.Minute)) {
			return errs.New(errs.LimitExceeded, "The scan quota per image has been exceeded. Wait and try again.")
		}
		if ok, err = s.countTx(ctx, tx, r.Registry, now); err != nil {
			return err
		} else if !ok {
			return errs.New(errs.LimitExceeded, "The scan quota per registry has been exceeded. Wait and try again.")
		}
		was.image, was.kind, was.waiting, was.requested = d.ID, rules.Basic, false, now
		was.status, was.description = startOf(rules.Basic)
		if err := was.put(ctx, tx); err != nil {
			return err
		}
		out = State{Digest: d.Digest, Tag: ref.Tag, Status: was.status, Description: was.description}
		return s.enqueue(ctx, tx, order{Image: d.ID, Type: rules.Basic, Counted: true})
	})
	return out, err
}

// notFound is the failure for an image that was not scanned.
func notFound(r repository.Repository, ref image.Ref) error {
	orNull := func(text string) string {
		if text == "" {
			return "null"
		}
		return text
	}
	return errs.New(errs.ScanNotFound, "Image scan does not exist for the image with '{imageDigest:'%s', imageTag:'%s'}' in the repository with name '%s' in the registry with id '%s'",
		orNull(string(ref.Digest)), orNull(string(ref.Tag)), r.Name, r.Registry.Account)
}

// look is what there is to say about the scan of an image.
type look struct {
	config rules.Configuration
	sub    subject
	detail image.Detail
	row    row
	found  bool
}

// look finds an image and its scan of the registry's type.
func (s *Service) look(ctx context.Context, r repository.Repository, ref image.Ref) (out look, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		if out.config, err = rules.Stored(ctx, tx, r.Registry); err != nil {
			return err
		}
		if out.detail, err = s.Images.FindTx(ctx, tx, r, ref); err != nil {
			return err
		}
		out.sub = subject{id: out.detail.ID, digest: out.detail.Digest, repository: r}
		out.row, out.found, err = find(ctx, tx, out.detail.ID, out.config.Type)
		return err
	})
	return out, err
}

// state is what ECR says of the scan, for a repository that is treated so.
func (l look) state(ref image.Ref, applied rules.Applied) State {
	out := State{Digest: l.detail.Digest, Tag: ref.Tag, Status: l.row.status, Description: l.row.description}
	if l.row.kind == rules.Enhanced && l.row.status == Complete && applied.Frequency == rules.Continuous {
		out.Status, out.Description = Active, "Continuous scan is selected for image."
	}
	return out
}

// summary is the state and the counts. errs.ScanNotFound.
func (l look) summary(r repository.Repository, ref image.Ref) (Summary, error) {
	if l.detail.Status != image.Active {
		return Summary{State: State{Digest: l.detail.Digest, Tag: ref.Tag, Status: ImageArchived, Description: "The image is archived. Archived images are not scanned."}}, nil
	}
	applied := l.config.For(r.Name, r.ScanOnPush)
	if !l.found || l.config.Type == rules.Enhanced && applied.Frequency == rules.Manual {
		return Summary{}, notFound(r, ref)
	}
	return Summary{State: l.state(ref, applied), CompletedAt: l.row.completed, SourceUpdatedAt: l.row.source, Counts: l.row.counts}, nil
}

// Findings returns up to limit findings of an image's last completed scan from the
// given place, the worst first, with how its scan stands. errs.ImageNotFound;
// errs.ScanNotFound for an image that was not scanned by the registry's present type.
func (s *Service) Findings(ctx context.Context, r repository.Repository, ref image.Ref, after, limit int) (out Page, err error) {
	l, err := s.look(ctx, r, ref)
	if err != nil {
		return out, err
	}
	out.Type = l.config.Type
	if out.Summary, err = l.summary(r, ref); err != nil || out.CompletedAt.IsZero() {
		return out, err
	}
	found, ok, err := s.report(ctx, r, l.sub.id, l.config.Type)
	if err != nil || !ok {
		return out, err
	}
	if l.config.Type == rules.Enhanced {
		all := found.Report.Enhanced(finding.EnhancedOptions{Image: detailsOf(l.sub, l.detail, found), Observed: found.Observed, Now: s.Clock.Now()})
		out.Enhanced, out.Next = page(all, after, limit)
	} else {
		out.Basic, out.Next = page(found.Report.Basic(), after, limit)
	}
	return out, nil
}

// page cuts a page out of a list.
func page[T any](all []T, after, limit int) (part []T, next int) {
	after = min(max(after, 0), len(all))
	end := min(after+limit, len(all))
	if end < len(all) {
		next = end
	}
	return all[after:end], next
}

// summaries is completed with a list of images.
const summaries = `SELECT ` + rowColumns + ` FROM scan_image WHERE scan_type = $1
	AND NOT EXISTS (SELECT 1 FROM scan_config c WHERE c.account_id = $2 AND c.region = $3 AND c.scan_type = $4) AND image_id IN `

// Summaries says how the basic scans of images of a repository stand, for those that
// have one. A registry with enhanced scanning has none (ECR API reference, ImageDetail).
func (s *Service) Summaries(ctx context.Context, r repository.Repository, images []image.Detail) (map[name.Digest]Summary, error) {
	out := map[name.Digest]Summary{}
	if len(images) == 0 {
		return out, nil
	}
	args := make([]any, 0, 4+len(images))
	args = append(args, string(rules.Basic), string(r.Registry.Account), string(r.Registry.Region), string(rules.Enhanced))
	for i := range images {
		args = append(args, images[i].ID)
	}
	var found []row
	err := s.DB.Lookup(ctx, func(tx *sqldb.Tx) (err error) {
		found, err = sqldb.Collect(ctx, tx, scanRow, summaries+sqldb.In(5, len(images)), slices.Clone(args)...)
		return err
	})
	if err != nil || len(found) == 0 {
		return out, err
	}
	digests := make(map[int64]name.Digest, len(images))
	for i := range images {
		digests[images[i].ID] = images[i].Digest
	}
	for _, f := range found {
		d := digests[f.image]
		out[d] = Summary{State: State{Digest: d, Status: f.status, Description: f.description}, CompletedAt: f.completed, SourceUpdatedAt: f.source, Counts: f.counts}
	}
	return out, nil
}

// Report is the findings of an image's last completed scan of the registry's type, when
// each vulnerability was first seen in it, and when the scan was completed; scanned is
// false where there is none. errs.ImageNotFound.
func (s *Service) Report(ctx context.Context, r repository.Repository, d name.Digest) (report finding.Report, first map[string]time.Time, scanned bool, completed time.Time, err error) {
	l, err := s.look(ctx, r, image.Ref{Digest: d})
	if err != nil || !l.found || l.row.completed.IsZero() {
		return report, nil, false, time.Time{}, err
	}
	found, ok, err := s.report(ctx, r, l.sub.id, l.config.Type)
	first = make(map[string]time.Time, len(found.Observed))
	for id, o := range found.Observed {
		first[id] = o.First
	}
	return found.Report, first, ok, l.row.completed, err
}

// Inventory is what software an image holds, whether or not it was scanned: layers that
// have not been read yet are. errs.ImageNotFound, errs.ImageArchived,
// errs.ImageTypeUnsupported.
func (s *Service) Inventory(ctx context.Context, r repository.Repository, ref image.Ref) (image.Detail, inventory.Image, error) {
	l, err := s.look(ctx, r, ref)
	if err != nil {
		return l.detail, inventory.Image{}, err
	}
	if l.detail.Status != image.Active {
		return l.detail, inventory.Image{}, errs.New(errs.ImageArchived, "The image is archived and cannot be read")
	}
	if !scannable(l.detail.MediaType, l.detail.ArtifactType) {
		return l.detail, inventory.Image{}, errs.New(errs.ImageTypeUnsupported, "%s is no image of a container: an index or an artifact has no packages of its own", l.detail.Digest)
	}
	img, _, err := s.inventory(ctx, r, l.detail.Digest, nil)
	var u *unfit
	if errors.As(err, &u) {
		return l.detail, img, errs.New(errs.ImageTypeUnsupported, "%s", u.text)
	}
	return l.detail, img, err
}
