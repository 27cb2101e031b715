package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
	"github.com/berth-registry/berth/internal/domain/scan/worker"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// unsupported is what ECR says of an image whose software it cannot tell.
const unsupported = "UnsupportedImageError: The operating system and/or package manager are not supported."

// unfit is why an image cannot be scanned, whoever tries again: the description of
// its scan.
type unfit struct {
	status  Status
	text    string
	waiting bool
	how     string // for the tally
}

func (u *unfit) Error() string { return u.text }

// notSupported is the end of a scan that cannot be.
func notSupported(kind rules.ScanType) *unfit {
	if kind == rules.Enhanced {
		return &unfit{status: UnsupportedImage, text: unsupported, how: "unsupported"}
	}
	return &unfit{status: Failed, text: unsupported, how: "unsupported"}
}

// scan does the job of one image.
func (s *Service) scan(ctx context.Context, t jobs.Task, o order) error {
	sub, ok, err := s.subject(ctx, o.Image)
	if err != nil || !ok {
		return err
	}
	over := false
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		r, ok, err := find(ctx, tx, o.Image, o.Type)
		if err != nil || !ok {
			over = true
			return err
		}
		if over = r.status != InProgress && r.status != Pending; over {
			return nil // done already, by a run whose end was not noted
		}
		if t.Attempt > 1 || o.Counted || o.Type != rules.Basic {
			return nil
		}
		if ok, err = s.countTx(ctx, tx, sub.repository.Registry, s.Clock.Now()); err != nil || ok {
			return err
		}
		over = true
		r.status, r.description = LimitExceeded, fmt.Sprintf("The registry has begun %d scans in 24 hours. Wait and try again.", s.Daily)
		return r.put(ctx, tx)
	})
	if err != nil || over {
		return err
	}
	err = s.examine(ctx, t, sub, o)
	var u *unfit
	switch {
	case err == nil:
		return nil
	case errors.As(err, &u):
		return s.fail(ctx, sub, o, *u)
	case errs.Is(err, errs.ImageNotFound), errs.Is(err, errs.LayerInaccessible), errs.Is(err, errs.RepositoryNotFound):
		return nil // deleted or archived meanwhile, and its row with it
	case t.Attempt >= tries:
		s.Log.ErrorContext(ctx, "an image could not be scanned", "repository", sub.repository.Name, "digest", sub.digest, "err", err)
		return errors.Join(s.fail(ctx, sub, o, unfit{status: Failed, how: "internal", text: "InternalError: The image could not be scanned because of a fault of the registry. Scan it again later."}), jobs.Permanent(err))
	}
	return err
}

// subject is the image of a job.
type subject struct {
	id         int64
	digest     name.Digest
	repository repository.Repository
}

// subject finds the image of a job; ok is false for one that is not there to be
// scanned any more.
func (s *Service) subject(ctx context.Context, id int64) (sub subject, ok bool, err error) {
	sub.id = id
	var repo, status int64
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT repository_id, digest, status FROM image WHERE id = $1`, id).Scan(&repo, &sub.digest, &status)
	})
	if errors.Is(err, sqldb.ErrNoRows) || err == nil && image.Status(status) != image.Active {
		return sub, false, nil
	}
	if err != nil {
		return sub, false, err
	}
	sub.repository, err = s.Repositories.Stored(ctx, repo)
	if errs.Is(err, errs.RepositoryNotFound) || err == nil && !sub.repository.DeletedAt.IsZero() {
		return sub, false, nil
	}
	return sub, err == nil, err
}

// examine makes the image's inventory, has it matched and stores what was found.
func (s *Service) examine(ctx context.Context, t jobs.Task, sub subject, o order) error {
	db, ok, err := s.Databases.Current(ctx)
	if err != nil {
		return err
	}
	if !ok {
		return &unfit{status: Failed, waiting: true, how: "database", text: "VulnerabilityDatabaseError: There is no vulnerability database yet. The image is scanned as soon as there is one."}
	}
	img, author, err := s.inventory(ctx, sub.repository, sub.digest, func(done, total int) error {
		return t.Progress(ctx, int64(done), int64(total), "reading layers")
	})
	if err != nil {
		var u *unfit
		if errors.As(err, &u) && u.status == "" {
			return notSupported(o.Type)
		}
		return err
	}
	return s.matched(ctx, sub, o.Type, db, img, author)
}

// matched matches an inventory and stores the outcome.
func (s *Service) matched(ctx context.Context, sub subject, kind rules.ScanType, db vulndb.Database, img inventory.Image, author string) error {
	if img.Unreadable != nil {
		return &unfit{status: Failed, how: "content", text: fmt.Sprintf("ImageContentError: the list of packages %s cannot be read: %s", img.Unreadable.Path, img.Unreadable.Reason)}
	}
	report, err := s.Workers.Match(ctx, db.Dir, img, match.Options{Languages: kind == rules.Enhanced, Now: s.Clock.Now()})
	if err != nil {
		return outcome(ctx, err)
	}
	if !report.Supported {
		return notSupported(kind)
	}
	return s.store(ctx, sub, kind, db, report, author)
}

// outcome tells what the image did to the scanner from what failed otherwise.
func outcome(ctx context.Context, err error) error {
	var refused *worker.Refused
	var crashed *worker.Crashed
	switch {
	case ctx.Err() != nil:
		return err
	case errors.As(err, &refused):
		return &unfit{status: Failed, how: "content", text: "ImageContentError: " + refused.Reason}
	case errors.As(err, &crashed):
		return &unfit{status: Failed, how: "scanner", text: "ScannerError: " + crashed.Reason}
	}
	return err
}

// maxConfig bounds an image's configuration, in bytes.
const maxConfig = 8 << 20

// inventory puts the inventories of an image's layers together, and makes those that
// are missing. An unfit without a status says that the image is of no kind that can be
// scanned.
func (s *Service) inventory(ctx context.Context, r repository.Repository, d name.Digest, report func(done, total int) error) (out inventory.Image, author string, err error) {
	img, err := s.Images.Peek(ctx, r, image.Ref{Digest: d}, nil)
	if err != nil {
		return out, "", err
	}
	m, err := manifest.Parse(img.Manifest, img.MediaType, manifest.Limits{})
	if err != nil {
		return out, "", err
	}
	if m.Kind != manifest.KindImage {
		return out, "", &unfit{text: unsupported}
	}
	var c struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
		Author       string `json:"author"`
	}
	body, err := s.open(ctx, r, d, m.Config.Digest)
	if err != nil {
		return out, "", err
	}
	text, err := io.ReadAll(io.LimitReader(body, maxConfig))
	if err = errors.Join(err, body.Close()); err != nil {
		return out, "", err
	}
	if json.Unmarshal(text, &c) != nil {
		return out, "", &unfit{status: Failed, how: "content", text: "ImageContentError: the image's configuration is not what it should be"}
	}
	if c.OS == "windows" {
		return out, "", &unfit{text: unsupported}
	}
	layers, digests := make([]inventory.Layer, 0, len(m.Layers)), make([]name.Digest, 0, len(m.Layers))
	for i, l := range m.Layers {
		if l.Foreign {
			return out, "", &unfit{text: unsupported}
		}
		if l.Digest == manifest.EmptyLayerDigest {
			continue
		}
		one, err := s.layer(ctx, r, d, l)
		if err != nil {
			return out, "", err
		}
		layers, digests = append(layers, one), append(digests, l.Digest)
		if report != nil {
			if err := report(i+1, len(m.Layers)); err != nil {
				return out, "", err
			}
		}
	}
	out = inventory.Merge(layers, digests)
	out.Architecture, out.Platform = c.Architecture, c.OS
	return out, c.Author, nil
}

// layer is the inventory of one layer, made if there is none.
func (s *Service) layer(ctx context.Context, r repository.Repository, image name.Digest, l manifest.Descriptor) (inventory.Layer, error) {
	out, ok, err := s.known(ctx, r, l.Digest)
	if err != nil || ok {
		return out, err
	}
	body, err := s.open(ctx, r, image, l.Digest)
	if err != nil {
		return out, err
	}
	out, err = s.Workers.ReadLayer(ctx, l.MediaType, l.Size, body)
	if closed := body.Close(); err == nil && closed != nil {
		err = closed
	}
	if err != nil {
		return out, outcome(ctx, err)
	}
	s.counts.Layer(l.Size)
	return out, s.keep(ctx, r, l.Digest, out)
}

// open reads a blob of the image, which the pull-through cache is asked for where it
// is not here yet.
func (s *Service) open(ctx context.Context, r repository.Repository, image, d name.Digest) (io.ReadCloser, error) {
	body, _, err := s.Layers.Open(ctx, r, d, 0, -1)
	if errs.Is(err, errs.LayersNotFound) && s.Complete != nil {
		if err := s.Complete(ctx, r, image); err != nil {
			return nil, err
		}
		body, _, err = s.Layers.Open(ctx, r, d, 0, -1)
	}
	return body, err
}
