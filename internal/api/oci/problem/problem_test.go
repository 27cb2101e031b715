package problem_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/api/oci/path"
	"github.com/berth-registry/berth/internal/api/oci/problem"
	"github.com/berth-registry/berth/internal/domain/errs"
)

// TestRetryAfter: a throttled request comes back when the failure says, else after
// a second.
func TestRetryAfter(t *testing.T) {
	for err, want := range map[*errs.Error]int{
		errs.New(errs.Throttled, "Rate exceeded"):                          1,
		errs.New(errs.Throttled, "Rate exceeded").With("retryAfter", 7):    7,
		errs.New(errs.Throttled, "Rate exceeded").With("retryAfter", 0):    1,
		errs.New(errs.Throttled, "Rate exceeded").With("retryAfter", "2s"): 1,
	} {
		p := problem.Of(err, path.Manifest, false, "x")
		if p.Status != http.StatusTooManyRequests || p.Code != problem.TooManyRequests || p.Retry != want {
			t.Errorf("%v is %+v, want to retry after %d", err.Detail, p, want)
		}
	}
}

// TestEveryFailureHasAnAnswer walks the whole list of failure codes: each has a
// row, only faults of ours are 500, and what the specification knows has one
// of its codes.
func TestEveryFailureHasAnAnswer(t *testing.T) {
	specification := []string{
		"BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID",
		"MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS",
		"TAG_INVALID", // docker's, which ECR answers
	}
	for _, quirks := range []bool{false, true} {
		for code := errs.Internal; code <= errs.Unavailable; code++ {
			for at := path.None; at <= path.Referrers; at++ {
				p := problem.Of(errs.New(code, "the text"), at, quirks, "the-id")
				switch {
				case code == errs.Internal:
					if p.Status != 500 || p.Code != "UNKNOWN" || !strings.Contains(p.Message, "the-id") || strings.Contains(p.Message, "the text") {
						t.Errorf("a fault of ours is %+v", p)
					}
				case p.Status == http.StatusInternalServerError:
					t.Errorf("the failure code %d has no answer of its own", code)
				case p.Status < 500 && !slices.Contains(specification, p.Code):
					t.Errorf("the failure code %d is %s, which the specification does not know", code, p.Code)
				case p.Status == http.StatusMethodNotAllowed && p.Allow == "" && !quirks:
					t.Errorf("the failure code %d is 405 without Allow", code)
				}
			}
		}
		if p := problem.Of(fmt.Errorf("a secret of ours: %w", context.DeadlineExceeded), path.Blob, quirks, "x"); p.Status != 500 || strings.Contains(p.Message, "secret") {
			t.Errorf("an unknown error is %+v", p)
		}
	}
}
