package repository

import (
	"errors"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/infra/keys"
)

// KeyFailure says why a repository's key cannot be used, in the words of the
// ECR API's KmsException: its member kmsError has the key service's own code.
func KeyFailure(cause error) error {
	code := "KMSInternalException"
	switch {
	case errors.Is(cause, keys.ErrNotFound):
		code = "NotFoundException"
	case errors.Is(cause, keys.ErrDisabled):
		code = "DisabledException"
	case errors.Is(cause, keys.ErrUnwrap):
		code = "InvalidCiphertextException"
	}
	return errs.Wrap(cause, errs.KeyFailure, "The repository's encryption key cannot be used: %s", code).With("kmsError", code)
}

// StorageFull is the failure of a write for which a disk or a database has no
// room.
func StorageFull(cause error) error {
	return errs.Wrap(cause, errs.StorageFull, "The registry has no storage space left. Ask its operator to make room, then try again.")
}
