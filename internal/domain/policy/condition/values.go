package condition

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/policy/pattern"
)

// values are those of the policy, read. One of the lists is used.
type values struct {
	texts   []pattern.Pattern
	arns    []pattern.ARN
	numbers []float64
	times   []time.Time
	bools   []bool
	bytes   [][]byte
	nets    []netip.Prefix
}

// add reads a value of the policy for an operator.
func (v *values) add(o operator, text string, variables bool) error {
	ok := true
	switch o.family {
	case stringEquals, stringEqualsIgnoreCase, stringLike:
		var syntax pattern.Syntax
		if o.family == stringLike {
			syntax |= pattern.Wildcards
		}
		if variables {
			syntax |= pattern.Variables
		}
		p, err := pattern.Compile(text, syntax)
		if err != nil {
			return err
		}
		v.texts = append(v.texts, p)
	case arn:
		a, err := pattern.CompileARN(text, variables)
		if err != nil {
			return err
		}
		v.arns = append(v.arns, a)
	case numeric:
		var n float64
		n, ok = number(text)
		v.numbers = append(v.numbers, n)
	case date:
		var t time.Time
		t, ok = instant(text)
		v.times = append(v.times, t)
	case boolean, null:
		var b bool
		b, ok = truth(text)
		v.bools = append(v.bools, b)
	case binary:
		b, err := base64.StdEncoding.DecodeString(text)
		ok = err == nil
		v.bytes = append(v.bytes, b)
	case ipAddress:
		var n netip.Prefix
		n, ok = network(text)
		v.nets = append(v.nets, n)
	}
	if !ok {
		return ErrValue
	}
	return nil
}

// match says whether a value of the key stands in the operator's relation to any
// of the policy's values. Negation is not looked at.
func (v *values) match(o operator, have string, ctx pattern.Context) bool {
	switch o.family {
	case stringEquals, stringLike:
		for i := range v.texts {
			if v.texts[i].Match(have, ctx) {
				return true
			}
		}
	case stringEqualsIgnoreCase:
		for i := range v.texts {
			if v.texts[i].EqualFold(have, ctx) {
				return true
			}
		}
	case arn:
		subject := pattern.NewSubject(have)
		for i := range v.arns {
			if v.arns[i].Match(&subject, ctx) {
				return true
			}
		}
	case numeric:
		n, ok := number(have)
		for i := 0; ok && i < len(v.numbers); i++ {
			if o.relation.holds(cmp.Compare(n, v.numbers[i])) {
				return true
			}
		}
	case date:
		t, ok := instant(have)
		for i := 0; ok && i < len(v.times); i++ {
			if o.relation.holds(t.Compare(v.times[i])) {
				return true
			}
		}
	case boolean, null:
		b, ok := truth(have)
		return ok && v.hasBool(b)
	case binary:
		b, err := base64.StdEncoding.DecodeString(have)
		for i := 0; err == nil && i < len(v.bytes); i++ {
			if bytes.Equal(b, v.bytes[i]) {
				return true
			}
		}
	case ipAddress:
		a, err := netip.ParseAddr(have)
		for i := 0; err == nil && i < len(v.nets); i++ {
			if v.nets[i].Contains(a.Unmap().WithZone("")) {
				return true
			}
		}
	}
	return false
}

func (v *values) hasBool(b bool) bool { return slices.Contains(v.bools, b) }

// number reads a decimal number, "-1.5" or "1e3".
func number(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false // no hexadecimal, no underscores, no infinity
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

func truth(s string) (value, ok bool) {
	return strings.EqualFold(s, "true"), strings.EqualFold(s, "true") || strings.EqualFold(s, "false")
}

// dateLayouts are the forms of ISO 8601 that the W3C's note on dates lists, and
// those with a zone without a colon. Fractions of a second are read without being
// named.
var dateLayouts = []string{
	"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04Z07:00", "2006-01-02T15:04Z0700",
	"2006-01-02", "2006-01", "2006",
}

// maxEpoch bounds seconds since 1970, so that time can hold them: the year 9999.
const maxEpoch = 253_402_300_799

// instant reads a date, or seconds since 1970. Four digits are a year.
func instant(s string) (time.Time, bool) {
	if len(s) != len("2006") && strings.Trim(s, "0123456789") == "" && s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		return time.Unix(n, 0), err == nil && n <= maxEpoch
	}
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// network reads an address or a range in CIDR notation. Bits behind the prefix
// are ignored; an IPv4 address within IPv6 is one of IPv4.
func network(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), a.Zone() == ""
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}
