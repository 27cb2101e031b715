package manifest

import (
	"errors"
	"io"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// MaxConfigBytes bounds the image configuration that is read for a translation
// to schema 1; the manifest that holds it could not be larger anyway.
const MaxConfigBytes = 4 << 20

// ReadConfig reads an image configuration, and closes it. errs.ManifestUntranslated for
// one that is too large.
func ReadConfig(content io.ReadCloser) ([]byte, error) {
	config, err := io.ReadAll(io.LimitReader(content, MaxConfigBytes+1))
	if err = errors.Join(err, content.Close()); err != nil {
		return nil, err
	}
	if len(config) > MaxConfigBytes {
		return nil, errs.New(errs.ManifestUntranslated, "Requested image has a configuration that is too large to be translated")
	}
	return config, nil
}
