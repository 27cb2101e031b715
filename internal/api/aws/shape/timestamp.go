package shape

import (
	"errors"
	"math"
	"strconv"
	"time"
)

// Timestamp is a point in time as the AWS APIs carry it: in JSON a number of
// seconds since 1970 with a fraction, in XML and in form parameters ISO 8601 in
// UTC. Both are written with milliseconds or whole seconds; what is finer is cut.
type Timestamp struct{ time.Time }

// ErrTimestamp is returned for what is no timestamp, or none of the years 1 to
// 9999.
var ErrTimestamp = errors.New("not a timestamp")

// Bounds of the timestamps that are read, in seconds since 1970: the years 1 to
// 9999, outside of which time.Time cannot be formatted.
const (
	minSeconds = -62135596800
	maxSeconds = 253402300799
)

// At returns a pointer to t as a Timestamp, for the optional members of outputs.
func At(t time.Time) *Timestamp { return &Timestamp{t} }

// AtNonZero is At, and nil for the zero time, so that the member is left out.
func AtNonZero(t time.Time) *Timestamp {
	if t.IsZero() {
		return nil
	}
	return At(t)
}

// MarshalJSON writes seconds since 1970 with three decimals.
func (t Timestamp) MarshalJSON() ([]byte, error) { return t.AppendJSON(nil) }

// AppendJSON appends what MarshalJSON writes.
func (t Timestamp) AppendJSON(b []byte) ([]byte, error) {
	if s := t.Unix(); s < minSeconds || s > maxSeconds {
		return nil, ErrTimestamp
	}
	millis := t.UnixMilli()
	if millis < 0 {
		b, millis = append(b, '-'), -millis
	}
	b = append(strconv.AppendInt(b, millis/1000, 10), '.')
	millis %= 1000
	return append(b, byte('0'+millis/100), byte('0'+millis/10%10), byte('0'+millis%10)), nil
}

// UnmarshalJSON reads a number of seconds since 1970, in exponent form too. It
// keeps microseconds. ErrTimestamp is returned for anything else.
func (t *Timestamp) UnmarshalJSON(b []byte) error {
	seconds, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.IsNaN(seconds) || seconds < minSeconds || seconds > maxSeconds {
		return ErrTimestamp
	}
	whole := math.Floor(seconds)
	micros := math.Round((seconds - whole) * 1e6)
	t.Time = time.Unix(int64(whole), int64(micros)*1000).UTC()
	return nil
}

// ISO formats the timestamp as the Query protocol's XML carries it.
func (t Timestamp) ISO() string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// ParseISO reads a timestamp of the Query protocol. ErrTimestamp is returned
// for text that is not ISO 8601 with a zone.
func ParseISO(s string) (Timestamp, error) {
	parsed, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return Timestamp{}, ErrTimestamp
	}
	return Timestamp{parsed.UTC()}, nil
}
