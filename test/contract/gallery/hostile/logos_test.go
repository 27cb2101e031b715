package hostile_test

import (
	"archive/zip"
	"bytes"
	"image"
	_ "image/jpeg" // registers itself with image
	_ "image/png"  // as well
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/gallery/hostile"
)

// TestLogos holds the logos to what they say of themselves.
func TestLogos(t *testing.T) {
	all, err := hostile.Logos()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]byte{}
	for _, l := range all {
		if names[l.Name] != nil {
			t.Errorf("%s: twice", l.Name)
		}
		names[l.Name] = l.Body
		if got := bytes.Contains(l.Body, []byte(hostile.Marker)); got != l.Marked {
			t.Errorf("%s: marked %v", l.Name, got)
		}
		config, format, err := image.DecodeConfig(bytes.NewReader(l.Body))
		right := err == nil && format != "gif" && len(l.Body) <= hostile.LogoBytes && min(config.Width, config.Height) >= 60 && max(config.Width, config.Height) <= 2048
		if right {
			_, _, err = image.Decode(bytes.NewReader(l.Body))
		}
		switch right = right && err == nil; {
		case l.Fate == hostile.Accepted && (!right || !strings.HasPrefix(l.Name, format)):
			t.Errorf("%s: %s, %dx%d, %d bytes: %v", l.Name, format, config.Width, config.Height, len(l.Body), err)
		case l.Fate == hostile.Refused && right:
			t.Errorf("%s: nothing is wrong with it", l.Name)
		}
	}
	equal(t, len(names["png of noise, as large as may be"]), 512_000)
	equal(t, len(names["png one byte too large"]), 512_001)
	for _, bomb := range []string{"png that says 20,000x20,000", "png that is 20,000x20,000"} {
		config, _, err := image.DecodeConfig(bytes.NewReader(names[bomb]))
		if err != nil || config.Width != 20_000 || config.Height != 20_000 || len(names[bomb]) > 100_000 {
			t.Errorf("%s: %v, %+v, %d bytes", bomb, err, config, len(names[bomb]))
		}
	}
	both := names["png and zip"]
	if z, err := zip.NewReader(bytes.NewReader(both), int64(len(both))); err != nil || len(z.File) != 1 {
		t.Errorf("not an archive: %v", err)
	}
	if _, _, err := image.Decode(bytes.NewReader(both)); err != nil {
		t.Errorf("not a picture: %v", err)
	}
}

func equal[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
