package increase

import (
	"math"
	"strconv"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// encode writes a position in a list of requests.
func encode(seq int64) string { return strconv.FormatInt(seq, 10) }

// position reads one; "" is the beginning. errs.InvalidInput.
func position(cursor string) (int64, error) {
	if cursor == "" {
		return math.MaxInt64, nil
	}
	n, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil {
		return 0, errs.New(errs.InvalidInput, "Invalid pagination token provided")
	}
	return n, nil
}
