package ecr

import (
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
)

func TestErrorTableNamesOnlyErrorsOfTheModelOrCommonOnes(t *testing.T) {
	known := map[string]bool{
		// Common to all AWS operations (API reference, "common errors").
		"AccessDeniedException": true, "ExpiredTokenException": true, "ThrottlingException": true, "RequestAbortedException": true, "ServiceUnavailable": true,
	}
	for _, e := range ErrorShapes() {
		known[e.Name] = true
	}
	for code := errs.Internal; code <= errs.Unavailable; code++ {
		if n, _ := errorOf(code); !known[n] {
			t.Errorf("code %d is answered as %s, which no client knows", code, n)
		}
	}
}
