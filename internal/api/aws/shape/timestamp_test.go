package shape_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/aws/shape"
)

func TestTimestampMarshal(t *testing.T) {
	for _, tt := range []struct {
		at   time.Time
		want string
	}{
		{time.Unix(1504295007, 123_000_000), "1504295007.123"},
		{time.Unix(1504295007, 0), "1504295007.000"},
		{time.Unix(1504295007, 999_999_999), "1504295007.999"},
		{time.Unix(0, 0), "0.000"},
		{time.Unix(-1, 500_000_000), "-0.500"},
	} {
		got, err := json.Marshal(struct {
			At *shape.Timestamp `json:"at,omitzero"`
		}{shape.At(tt.at)})
		if err != nil || string(got) != `{"at":`+tt.want+`}` {
			t.Errorf("%v: got %s, %v, want %s", tt.at, got, err, tt.want)
		}
	}
	if shape.AtNonZero(time.Time{}) != nil {
		t.Error("the zero time is not left out")
	}
	if _, err := json.Marshal(shape.Timestamp{Time: time.Unix(1<<40, 0)}); err == nil {
		t.Error("a year past 9999 was written")
	}
}

func TestTimestampUnmarshal(t *testing.T) {
	for text, want := range map[string]time.Time{
		"1504295007.123":  time.Unix(1504295007, 123_000_000),
		"1.504295007E9":   time.Unix(1504295007, 0),
		"1565128275.0":    time.Unix(1565128275, 0),
		"1565128275":      time.Unix(1565128275, 0),
		"-0.5":            time.Unix(-1, 500_000_000),
		"0.9999999":       time.Unix(1, 0),
		"1504295007.0001": time.Unix(1504295007, 100_000),
	} {
		var got shape.Timestamp
		if err := json.Unmarshal([]byte(text), &got); err != nil || !got.Equal(want) {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{`"2020-01-01T00:00:00Z"`, "1e300", "-1e300", "true", "{}"} {
		var got shape.Timestamp
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s was read as %v", text, got)
		}
	}
}

func TestTimestampISO(t *testing.T) {
	at := time.Date(2026, 11, 21, 3, 4, 5, 6000, time.FixedZone("", 3600))
	if got := (shape.Timestamp{Time: at}).ISO(); got != "2026-11-21T02:04:05Z" {
		t.Errorf("got %s", got)
	}
	for text, ok := range map[string]bool{"2026-11-21T02:04:05Z": true, "2026-11-21T03:04:05+01:00": true, "2026-11-21": false, "yesterday": false} {
		if got, err := shape.ParseISO(text); (err == nil) != ok || ok && got.Unix() != at.Unix() {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
}
