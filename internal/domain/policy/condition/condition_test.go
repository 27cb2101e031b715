package condition

import (
	"errors"
	"testing"

	"github.com/berth-registry/berth/internal/domain/policy/pattern"
)

// What the operators compare is shown by policy's corpus; here are the forms of
// values.

func TestNumbers(t *testing.T) {
	for s, want := range map[string]float64{"0": 0, "-1.5": -1.5, "+2": 2, "1e3": 1000, ".5": 0.5} {
		if got, ok := number(s); !ok || got != want {
			t.Errorf("%s: %v %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "ten", "0x10", "1_000", "Inf", "NaN", "1e999", "1 ", "--1", "e"} {
		if n, ok := number(s); ok {
			t.Errorf("%q is %v", s, n)
		}
	}
}

func TestDates(t *testing.T) {
	const day = 1795824000 // 2026-11-28
	for s, want := range map[string]int64{
		"2026-11-28": day, "2026-11-28T00:00Z": day, "2026-11-28T01:00:00+01:00": day, "2026-11-27T22:30:00-0130": day,
		"1795824000": day, "0": 0, "12": 12, "2026": 1767225600, "2026-02": 1769904000, "253402300799": maxEpoch,
		"2026-11-28T00:00:00.999Z": day,
	} {
		if got, ok := instant(s); !ok || got.Unix() != want {
			t.Errorf("%s: %v %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "now", "2026-13", "2026-02-30", "2026-11-28T00:00:00", "2026-11-28 00:00:00Z", "253402300800", "99999999999999999999", "-1", "1.5"} {
		if got, ok := instant(s); ok {
			t.Errorf("%q is %v", s, got)
		}
	}
}

func TestNetworks(t *testing.T) {
	for s, want := range map[string]string{
		"10.1.2.3": "10.1.2.3/32", "10.1.2.3/8": "10.0.0.0/8", "::1": "::1/128", "2001:DB8::1/32": "2001:db8::/32",
		"::ffff:10.1.2.3": "10.1.2.3/32", "::ffff:10.1.2.3/104": "10.0.0.0/8", "::ffff:0:0/90": "::ffc0:0:0/90", "0.0.0.0/0": "0.0.0.0/0",
	} {
		if got, ok := network(s); !ok || got.String() != want {
			t.Errorf("%s: %v %v, want %s", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "10.1.2", "10.1.2.256", "10.0.0.0/33", "10.0.0.0/", "fe80::1%eth0", "10.*", "010.0.0.1", "host"} {
		if got, ok := network(s); ok {
			t.Errorf("%q is %v", s, got)
		}
	}
}

func TestCompileFails(t *testing.T) {
	for _, c := range []struct {
		operator, value string
		want            error
	}{
		{"StringEquals", "x", nil},
		{"ForAnyValue:ForAllValues:StringEquals", "x", ErrOperator},
		{"IfExistsStringEquals", "x", ErrOperator},
		{"", "x", ErrOperator},
		{"IfExists", "x", ErrOperator},
		{"NullIfExists", "true", ErrOperator},
		{"Null", "x", ErrValue},
		{"StringLike", "${", pattern.ErrVariable},
		{"ArnNotLike", "${", pattern.ErrVariable},
		{"Bool", "${k:a}", ErrValue},
	} {
		if _, err := Compile(c.operator, "k:x", []string{c.value}, true); !errors.Is(err, c.want) {
			t.Errorf("%s %s: %v, want %v", c.operator, c.value, err, c.want)
		}
	}
}
