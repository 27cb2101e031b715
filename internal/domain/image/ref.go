package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/internal/domain/errs"
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
	imageByDigest = `SELECT ` + rowColumns + ` FROM image i WHERE i.repository_id = $1 AND i.digest = $2`
	imageByTag    = `SELECT ` + rowColumns + ` FROM image_tag t JOIN image i ON i.id = t.image_id WHERE t.repository_id = $1 AND t.tag = $2`
	// translationByDigest finds any of the images that share the translation.
	translationByDigest = `SELECT ` + rowColumns + `, x.media_type, x.tag FROM image_translation x JOIN image i ON i.id = x.image_id
		WHERE x.repository_id = $1 AND x.digest = $2 ORDER BY x.image_id LIMIT 1`
	translationOfImage = `SELECT x.media_type, x.tag FROM image_translation x WHERE x.repository_id = $1 AND x.digest = $2 AND x.image_id = $3`
)

// find looks an image up by the digest that it is stored under, or by tag.
func find(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ref Ref) (row, error) {
	if err := ref.check(); err != nil {
		return row{}, err
	}
	query, key := imageByDigest, string(ref.Digest)
	if ref.Tag != "" {
		query, key = imageByTag, string(ref.Tag)
	}
	i, err := scanRow(tx.QueryRow(ctx, query, r.ID, key))
	switch {
	case errors.Is(err, sqldb.ErrNoRows):
		return row{}, refuse(ref, NotFound)
	case err != nil:
		return row{}, err
	case ref.Digest != "" && i.digest != ref.Digest:
		return i, refuse(ref, TagMismatch)
	}
	return i, nil
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
		found, translated, missing = s.translations.find(ctx, tx, r, ref.Digest)
		if missing == nil && f.Code == TagMismatch && found.id != i.id {
			missing = sqldb.ErrNoRows
		}
	}
	if errors.Is(missing, sqldb.ErrNoRows) {
		return row{}, form{}, err
	}
	return found, translated, missing
}

func translationBy(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d name.Digest) (i row, f form, err error) {
	i, err = scanRow(scanTail{tx.QueryRow(ctx, translationByDigest, r.ID, string(d)), []any{&f.mediaType, &f.tag}})
	return i, f, err
}

// scanTail scans some columns more than its user knows of.
type scanTail struct {
	sqldb.Scanner
	tail []any
}

// Scan reads the columns into dest and the last ones apart.
func (s scanTail) Scan(dest ...any) error { return s.Scanner.Scan(append(dest, s.tail...)...) }
