package totp_test

import (
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/principal/credential/totp"
)

var rfcSeed = []byte("12345678901234567890")

// The vectors of RFC 6238, appendix B, whose codes have eight digits: six are
// the last six of them.
func TestVectorsOfRFC6238(t *testing.T) {
	for at, want := range map[int64]string{
		59: "94287082", 1111111109: "07081804", 1111111111: "14050471",
		1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130",
	} {
		if got := totp.Code(rfcSeed, totp.Step(time.Unix(at, 0))); got != want[2:] {
			t.Errorf("at %d: %s, want %s", at, got, want[2:])
		}
	}
}

// The vectors of RFC 4226, appendix D.
func TestVectorsOfRFC4226(t *testing.T) {
	for counter, want := range []string{"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"} {
		if got := totp.Code(rfcSeed, int64(counter)); got != want {
			t.Errorf("counter %d: %s, want %s", counter, got, want)
		}
	}
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		code     string
		from, to int64
		step     int64
		found    bool
	}{
		{"969429", 0, 9, 3, true},
		{"969429", 3, 3, 3, true},
		{"969429", 0, 2, 0, false},
		{"969429", 4, 9, 0, false},
		{"96942", 0, 9, 0, false},
		{"", 0, 9, 0, false},
	} {
		if step, found := totp.Find(rfcSeed, c.code, c.from, c.to); step != c.step || found != c.found {
			t.Errorf("%+v: %d %v", c, step, found)
		}
	}
}

func TestFindPair(t *testing.T) {
	for _, c := range []struct {
		first, second string
		from, to      int64
		step          int64
		found         bool
	}{
		{"359152", "969429", 0, 9, 3, true},
		{"359152", "969429", 3, 3, 3, true},
		{"755224", "287082", 1, 1, 1, true},
		{"359152", "969429", 4, 9, 0, false},
		{"359152", "969429", 0, 2, 0, false},
		{"969429", "359152", 0, 9, 0, false}, // the other way round
		{"359152", "359152", 0, 9, 0, false}, // one code twice
		{"287082", "969429", 0, 9, 0, false}, // one left out
	} {
		if step, found := totp.FindPair(rfcSeed, c.first, c.second, c.from, c.to); step != c.step || found != c.found {
			t.Errorf("%+v: %d %v", c, step, found)
		}
	}
}
