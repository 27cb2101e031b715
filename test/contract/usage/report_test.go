package usage

import (
	"testing"
	"time"

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

// reportOf is what berth usage says of yesterday and today: midnight may pass meanwhile.
func reportOf(t *testing.T, s *harness.Server, group string, args ...string) []row {
	t.Helper()
	from := time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	text := berth(t, s, "usage", append([]string{"--from", from, "--group-by", group, "--format", "json"}, args...)...)
	return decode[struct{ Rows []row }](t, text).Rows
}
