package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/image/translated"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Get reads an image for a pull, and notes the pull in memory.
//
// accept are the values of the client's Accept header; none means the stored
// form. By tag the manifest is translated when the client does not understand
// the stored form (manifest.Forms says into what); by digest it never is, but a
// translated form can be asked for by its own digest.
//
// It returns errs.ImageNotFound, also for an image that is not Active, errs.InvalidParameter for a ref that cannot
// be, both with a Failure as their cause, errs.ManifestUntranslated when the
// client accepts no form that there is, and errs.KeyFailure.
func (s *Service) Get(ctx context.Context, r repository.Repository, ref Ref, accept []string) (Image, error) {
	img, err := s.read(ctx, r, ref, accept, true)
	if err == nil {
		s.pulls.Note(img.ID, s.Clock.Now().UnixMicro())
	}
	return img, err
}

// Peek is Get that notes no pull.
func (s *Service) Peek(ctx context.Context, r repository.Repository, ref Ref, accept []string) (Image, error) {
	return s.read(ctx, r, ref, accept, true)
}

// Stat is Get for a client that asks about the image only: no pull is noted,
// and the manifest's bytes may be left out.
func (s *Service) Stat(ctx context.Context, r repository.Repository, ref Ref, accept []string) (Image, error) {
	return s.read(ctx, r, ref, accept, false)
}

// GetAll gets several images in the order of the refs, by Get, or by Peek if the
// pulls are not to be noted. What is wrong with one of
// them becomes a Failure; other errors fail the whole call.
func (s *Service) GetAll(ctx context.Context, r repository.Repository, refs []Ref, accept []string, note bool) (images []Image, failures []Failure, err error) {
	get := s.Peek
	if note {
		get = s.Get
	}
	for _, ref := range refs {
		img, err := get(ctx, r, ref, accept)
		if err != nil {
			f, ok := FailureOf(ref, err)
			if !ok {
				return nil, nil, err
			}
			failures = append(failures, f)
			continue
		}
		images = append(images, img)
	}
	return images, failures, nil
}

func (s *Service) read(ctx context.Context, r repository.Repository, ref Ref, accept []string, needBody bool) (Image, error) {
	found, err := s.findKept(ctx, r, ref, needBody)
	if err == nil && found.row.status != Active {
		err = refuse(ref, Inaccessible)
	}
	switch {
	case err == nil && (ref.Digest != "" || accepts(accept, found.row.mediaType)):
	case err == nil || ref.Digest != "" && isFailure(err):
		return s.readForm(ctx, r, ref, accept)
	default:
		return Image{}, err
	}
	img := found.row.image(ref.Tag)
	if needBody {
		img.Manifest, err = s.Repositories.Unseal(ctx, r, SealContext(img.Digest), found.body)
	}
	return img, err
}

func isFailure(err error) bool {
	var f Failure
	return errors.As(err, &f)
}

// readForm is read for what is translated, or named by the digest of a translation.
func (s *Service) readForm(ctx context.Context, r repository.Repository, ref Ref, accept []string) (Image, error) {
	var i row
	var body []byte // sealed
	var asked form  // the translation that was asked for by its digest
	err := s.Durable.View(ctx, func(tx *sqldb.Tx) (err error) {
		if i, asked, err = s.findForm(ctx, tx, r, ref); err != nil {
			return err
		}
		if i.status != Active {
			return refuse(ref, Inaccessible)
		}
		i, body, err = findBody(ctx, tx, r, Ref{Digest: i.digest}, true)
		return err
	})
	if err != nil {
		return Image{}, err
	}
	img := i.image(ref.Tag)
	img.Manifest, err = s.Repositories.Unseal(ctx, r, SealContext(i.digest), body)
	if err != nil || asked == (form{}) && (ref.Digest != "" || accepts(accept, i.mediaType)) {
		return img, err
	}
	if asked.tag == "" {
		asked.tag = ref.Tag
	}
	return s.translate(ctx, r, img, asked, accept)
}

// keptBytes bounds what is kept of images; rowBytes is about what a row takes.
const keptBytes, rowBytes = 4 << 20, 400

// pulled is an image with its manifest, sealed.
type pulled struct {
	row  row
	body []byte
}

// findKept is findBody out of memory, while the repository is as it was.
func (s *Service) findKept(ctx context.Context, r repository.Repository, ref Ref, needed bool) (pulled, error) {
	if err := ref.check(); err != nil {
		return pulled{}, err
	}
	key := string(ref.Tag)
	if key == "" {
		key = string(ref.Digest)
	}
	found, ok, at := s.kept.Get(r.ID, key)
	if !ok || needed && found.body == nil {
		var err error
		if found, err = s.findPulled(ctx, r, ref, needed); err != nil {
			return pulled{}, err
		}
		s.kept.Put(r.ID, key, at, found, rowBytes+len(found.body))
	}
	return found, ref.matches(found.row.digest)
}

func (s *Service) findPulled(ctx context.Context, r repository.Repository, ref Ref, needed bool) (found pulled, err error) {
	err = s.Durable.Lookup(ctx, func(tx *sqldb.Tx) (err error) {
		found.row, found.body, err = findBody(ctx, tx, r, ref, needed)
		return err
	})
	return found, err
}

// findBody is find with the manifest as it is stored, where that is needed.
func findBody(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ref Ref, needed bool) (i row, body []byte, err error) {
	if !needed {
		i, err = find(ctx, tx, r, ref)
		return i, nil, err
	}
	i, err = lookUp(ctx, tx, r, ref, pullByDigest, pullByTag, rows(&body).scan)
	if err == nil {
		err = ref.matches(i.digest)
	}
	if err == nil && len(body) == 0 {
		err = fmt.Errorf("the image %s of the repository %s has no manifest", i.digest, r.Name)
	}
	return i, body, err
}

func accepts(accept []string, mediaType string) bool {
	_, ok := manifest.Choose([]string{mediaType}, accept)
	return ok
}

// translate turns an image in its stored form into the given form, or, if that
// has no media type, into one that the client accepts.
func (s *Service) translate(ctx context.Context, r repository.Repository, img Image, to form, accept []string) (Image, error) {
	m, err := manifest.Parse(img.Manifest, img.MediaType, manifest.Limits{})
	if err != nil {
		return Image{}, fmt.Errorf("the stored manifest %s of the repository %s cannot be read: %w", img.Stored, r.Name, err)
	}
	if to.mediaType == "" {
		var ok bool
		if to.mediaType, ok = manifest.Choose(s.forms(m), accept); !ok {
			return Image{}, untranslated(m)
		}
	}
	if to.mediaType == manifest.DockerSchema1Signed {
		return s.toSchema1(ctx, r, to.tag, img, m)
	}
	body, mediaType, ok := m.Counterpart()
	if !ok || mediaType != to.mediaType {
		return Image{}, untranslated(m)
	}
	translated, err := manifest.Parse(body, mediaType, manifest.Limits{})
	if err != nil {
		return Image{}, err
	}
	img.Manifest, img.MediaType, img.Digest = body, mediaType, name.SHA256(body)
	img.ManifestSize, img.ArtifactType = int64(len(body)), translated.EffectiveArtifactType()
	return img, nil
}

// forms are the forms that this deployment can serve the manifest in.
func (s *Service) forms(m manifest.Manifest) []string {
	forms := m.Forms()
	if last := len(forms) - 1; s.Signer == nil && last > 0 && forms[last] == manifest.DockerSchema1Signed {
		forms = forms[:last]
	}
	return forms
}

func untranslated(m manifest.Manifest) error {
	return errs.New(errs.ManifestUntranslated, "Requested image has a manifest of the media type %s, which is none of those that the client accepts, and cannot be translated", m.MediaType)
}

func (s *Service) toSchema1(ctx context.Context, r repository.Repository, tag name.Tag, img Image, m manifest.Manifest) (Image, error) {
	if m.Config.Size > manifest.MaxConfigBytes {
		return Image{}, untranslated(m)
	}
	content, _, err := s.Layers.Open(ctx, r, m.Config.Digest, 0, -1)
	if err != nil {
		return Image{}, err
	}
	config, err := manifest.ReadConfig(content)
	if err != nil {
		return Image{}, err
	}
	body, digest, err := m.Schema1(manifest.Schema1Options{Repository: r.Name, Tag: tag, Config: config, At: img.PushedAt, Signer: s.Signer})
	if errors.Is(err, manifest.ErrUntranslatable) {
		return Image{}, untranslated(m)
	}
	if err != nil {
		return Image{}, err
	}
	img.Manifest, img.MediaType, img.Digest, img.ArtifactType = body, manifest.DockerSchema1Signed, digest, ""
	img.ManifestSize = int64(len(body))
	s.translations.Note(r.ID, digest, translated.Origin{Image: img.ID, Tag: tag})
	return img, nil
}
