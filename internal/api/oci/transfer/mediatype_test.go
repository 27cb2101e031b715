package transfer

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// safeRE says what SafeMediaType takes, once more.
var safeRE = regexp.MustCompile(`^application/(vnd\.[A-Za-z0-9.+_-]+|json)$`)

// TestSafeMediaType: what a browser could render is served as bytes.
func TestSafeMediaType(t *testing.T) {
	for mediaType, safe := range map[string]bool{
		"application/json": true, "application/vnd.oci.image.layer.v1.tar+gzip": true, "application/vnd.docker.container.image.v1+json": true,
		"": false, "text/html": false, "application/xhtml+xml": false, "application/vnd.": false, "application/vnd.a+xml": false, "application/vnd.a+xml.b": false,
		"application/json; charset=utf-8": false, "application/json\n": false, "application/vnd.a\n": false, "application/vnd.a/b": false, "application/vnd.é": false, "Application/json": false,
	} {
		if got := SafeMediaType(mediaType) == mediaType; got != safe {
			t.Errorf("%q is served as it is: %v", mediaType, got)
		}
	}
	pieces := rapid.SampledFrom([]string{"application/", "vnd.", "json", "+xml", "a", "Z", "9", "_", "-", ".", "+", "/", ";", " ", "\n", "\xff", "é", "@", "[", "`", "{"})
	rapid.Check(t, func(t *rapid.T) {
		s := strings.Join(rapid.SliceOfN(pieces, 0, 6).Draw(t, "pieces"), "")
		if want := safeRE.MatchString(s) && !strings.Contains(s, "+xml"); (SafeMediaType(s) == s) != want {
			t.Fatalf("%q is served as it is: %v", s, !want)
		}
	})
}
