package usage

import (
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// row is a row of berth usage --format json.
type row struct {
	Period, Account, Region, Repository, Tag string
	Untagged                                 bool
	StoredBytes, ByteHours                   float64
	Samples                                  int64
	SentBytes, ReceivedBytes, Pulls, Pushes  int64
}

// reportOf is what berth usage says of this month.
func reportOf(t *testing.T, s *harness.Server, group string, args ...string) []row {
	t.Helper()
	text := berth(t, s, "usage", append([]string{"--group-by", group, "--format", "json"}, args...)...)
	return decode[struct{ Rows []row }](t, text).Rows
}
