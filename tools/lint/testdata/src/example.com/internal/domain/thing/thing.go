// Package thing is no edge.
package thing

import "example.com/internal/domain/errs"

func retry(c errs.Code) bool {
	switch c {
	case errs.Internal:
		return true
	default:
		return false
	}
}
