package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Ref names an image by its digest, by a tag, or by both, which then have to
// belong together. What clients wrote may stand here unchecked: a malformed
// digest or tag is a failure of its own.
type Ref struct {
	Tag    name.Tag
	Digest name.Digest
}

// FailureCode says why one image of several could not be handled. Each wire
// has its own names for them.
type FailureCode int

// The failure codes.
const (
	MissingRef    FailureCode = iota + 1 // neither digest nor tag
	InvalidDigest                        // not the form of a digest
	InvalidTag                           // not the form of a tag
	TagMismatch                          // the tag is on another digest
	NotFound
	Referenced // an index needs the image
	KeyFailed  // the repository's key cannot be used
	// Inaccessible: the image is archived, or on its way back from the archive.
	Inaccessible
)

// Failure is what happened to one image of several. It is the cause of the
// errors that Get returns, too.
type Failure struct {
	Ref    Ref
	Code   FailureCode
	Reason string
}

// Error names the image, for the log; the text for the client is Reason.
func (f Failure) Error() string {
	return fmt.Sprintf("image {imageDigest:'%s', imageTag:'%s'}", orNull(f.Ref.Digest), orNull(f.Ref.Tag))
}

// FailureOf gives the failure of one image that err stands for, and false for
// an error that is no answer about one image: then the whole call has failed.
func FailureOf(ref Ref, err error) (Failure, bool) {
	var f Failure
	if errors.As(err, &f) {
		f.Ref = ref
		return f, true
	}
	var e *errs.Error
	if errors.As(err, &e) {
		if e.Code == errs.KeyFailure {
			return Failure{Ref: ref, Code: KeyFailed, Reason: e.Message}, true
		}
		if e.Code == errs.ManifestUntranslated {
			return Failure{Ref: ref, Code: NotFound, Reason: e.Message}, true
		}
	}
	return Failure{}, false
}

// refuse makes the error for a ref that does not lead to an image.
func refuse(ref Ref, code FailureCode) error {
	f := Failure{Ref: ref, Code: code}
	wire := errs.InvalidParameter
	switch code {
	case MissingRef:
		f.Reason = "Invalid request parameters: both tag and digest cannot be null"
	case InvalidDigest:
		f.Reason = "Invalid request parameters: image digest should satisfy the regex '" + name.DigestPattern + "'"
	case InvalidTag:
		f.Reason = "Invalid request parameters: image tag should satisfy the regex '" + name.TagPattern + "'"
	case TagMismatch:
		f.Reason, wire = "Requested image tag and digest do not match", errs.ImageNotFound
	case Inaccessible:
		f.Reason, wire = "Requested image is archived. Restore it before you pull it", errs.ImageNotFound
	default:
		f.Code, f.Reason, wire = NotFound, "Requested image not found", errs.ImageNotFound
	}
	return errs.Wrap(f, wire, "%s", f.Reason)
}

// check refuses a ref that cannot name an image.
func (r Ref) check() error {
	if r.Digest == "" && r.Tag == "" {
		return refuse(r, MissingRef)
	}
	if r.Digest != "" && !name.LooksLikeDigest(string(r.Digest)) {
		return refuse(r, InvalidDigest)
	}
	if r.Tag != "" {
		if _, err := name.ParseTag(string(r.Tag)); err != nil {
			return refuse(r, InvalidTag)
		}
	}
	return nil
}

const (
	byDigest = ` WHERE i.repository_id = $1 AND i.digest = $2`
	fromTag  = ` FROM image_tag t JOIN image i ON i.id = t.image_id`
	byTag    = ` WHERE t.repository_id = $1 AND t.tag = $2`

	imageByDigest = `SELECT ` + rowColumns + ` FROM image i` + byDigest
	imageByTag    = `SELECT ` + rowColumns + fromTag + byTag

	detailByDigest = `SELECT ` + detailColumns + ` FROM image i` + byDigest
	detailByTag    = `SELECT ` + detailColumns + fromTag + byTag

	// The manifest is missing where the database is damaged.
	pullByDigest = `SELECT ` + rowColumns + `, m.body FROM image i LEFT JOIN manifest m ON m.image_id = i.id` + byDigest
	pullByTag    = `SELECT ` + rowColumns + `, m.body` + fromTag + ` LEFT JOIN manifest m ON m.image_id = i.id` + byTag

	// translationByDigest finds any of the images that share the translation.
	translationByDigest = `SELECT ` + rowColumns + `, x.media_type, x.tag FROM image_translation x JOIN image i ON i.id = x.image_id
		WHERE x.repository_id = $1 AND x.digest = $2 ORDER BY x.image_id LIMIT 1`
	translationOfImage = `SELECT x.media_type, x.tag FROM image_translation x WHERE x.repository_id = $1 AND x.digest = $2 AND x.image_id = $3`
)

// find looks an image up by the digest that it is stored under, or by tag.
func find(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ref Ref) (row, error) {
	i, err := lookUp(ctx, tx, r, ref, imageByDigest, imageByTag, scanRow)
	if err == nil {
		err = ref.matches(i.digest)
	}
	return i, err
}

// lookUp reads the image that a ref names by its tag, or else by its digest.
func lookUp[T any](ctx context.Context, tx *sqldb.Tx, r repository.Repository, ref Ref, byDigest, byTag string, scan func(sqldb.Scanner) (T, error)) (found T, err error) {
	if err := ref.check(); err != nil {
		return found, err
	}
	query, key := byDigest, string(ref.Digest)
	if ref.Tag != "" {
		query, key = byTag, string(ref.Tag)
	}
	found, err = scan(tx.QueryRow(ctx, query, r.ID, key))
	if errors.Is(err, sqldb.ErrNoRows) {
		err = refuse(ref, NotFound)
	}
	return found, err
}

// matches refuses a ref whose tag is on another digest.
func (r Ref) matches(d name.Digest) error {
	if r.Digest != "" && d != r.Digest {
		return refuse(r, TagMismatch)
	}
	return nil
}

// form is a translation: its media type, and for schema 1 the tag that it
// names. The zero form is the stored one.
type form struct {
	mediaType string
	tag       name.Tag
}

// findForm is find for pulls: a digest may be that of a translation, which is
// then the form.
func (s *Service) findForm(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ref Ref) (row, form, error) {
	i, err := find(ctx, tx, r, ref)
	var f Failure
	if err == nil || ref.Digest == "" || !errors.As(err, &f) {
		return i, form{}, err
	}
	var found row
	var translated form
	var missing error
	switch {
	case f.Code == NotFound && ref.Tag == "":
		found, translated, missing = translationBy(ctx, tx, r, ref.Digest)
	case f.Code == TagMismatch:
		found = i
		missing = tx.QueryRow(ctx, translationOfImage, r.ID, string(ref.Digest), i.id).Scan(&translated.mediaType, &translated.tag)
	default:
		return row{}, form{}, err
	}
	if errors.Is(missing, sqldb.ErrNoRows) {
		found, translated, missing = s.made(ctx, tx, r, ref.Digest)
		if missing == nil && f.Code == TagMismatch && found.id != i.id {
			missing = sqldb.ErrNoRows
		}
	}
	if errors.Is(missing, sqldb.ErrNoRows) {
		return row{}, form{}, err
	}
	return found, translated, missing
}

const imageByID = `SELECT ` + rowColumns + ` FROM image i WHERE i.repository_id = $1 AND i.id = $2`

// made finds the image of a translation that this node has made; ErrNoRows where
// it made none, or the image is gone.
func (s *Service) made(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d name.Digest) (row, form, error) {
	of, ok := s.translations.Find(r.ID, d)
	if !ok {
		return row{}, form{}, sqldb.ErrNoRows
	}
	i, err := scanRow(tx.QueryRow(ctx, imageByID, r.ID, of.Image))
	return i, form{manifest.DockerSchema1Signed, of.Tag}, err
}

func translationBy(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d name.Digest) (i row, f form, err error) {
	i, err = rows(&f.mediaType, &f.tag).scan(tx.QueryRow(ctx, translationByDigest, r.ID, string(d)))
	return i, f, err
}
