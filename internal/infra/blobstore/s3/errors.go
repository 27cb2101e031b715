package s3

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// codeOf is S3's code for a failure, "" when there is none. What answers a HEAD
// has no body; its code is made from the status.
func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// statusOf is the HTTP status of a failure, 0 when no answer came.
func statusOf(err error) int {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

// isMissing says that an object is not there. A bucket that is not there is
// something else: nobody may take its objects for deleted.
func isMissing(err error) bool {
	code := codeOf(err)
	return code == "NoSuchKey" || code == "NotFound" || code == "" && statusOf(err) == http.StatusNotFound
}

// isGone says that a multipart upload is not there.
func isGone(err error) bool { return codeOf(err) == "NoSuchUpload" }

// full are the codes by which S3-compatible services say that they have no room.
var full = []string{"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "EntityTooLarge.Quota"}

// storeError adds the store's own error to one of S3 where the two mean the same.
func storeError(op, key string, err error) error {
	for _, own := range []error{blobstore.ErrNotFound, blobstore.ErrCorrupt, blobstore.ErrFull} {
		if errors.Is(err, own) {
			return fmt.Errorf("%w: %s %q", err, op, key)
		}
	}
	switch {
	case isMissing(err), isGone(err):
		return fmt.Errorf("%w: %s %q: %w", blobstore.ErrNotFound, op, key, err)
	case slices.Contains(full, codeOf(err)), statusOf(err) == http.StatusInsufficientStorage:
		return fmt.Errorf("%w: %s %q: %w", blobstore.ErrFull, op, key, err)
	}
	return fmt.Errorf("blobstore: %s %q: %w", op, key, err)
}
