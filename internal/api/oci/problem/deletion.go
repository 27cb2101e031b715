package problem

import (
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
)

// OfDeletion is the failure of deleting one image.
func OfDeletion(f image.Failure) error {
	code := errs.ImageNotFound
	switch f.Code {
	case image.Referenced:
		code = errs.ImageReferenced
	case image.KeyFailed:
		code = errs.KeyFailure
	case image.MissingRef, image.InvalidDigest, image.InvalidTag:
		code = errs.InvalidParameter
	case image.NotFound, image.TagMismatch, image.Inaccessible:
	}
	return errs.New(code, "%s", f.Reason)
}
