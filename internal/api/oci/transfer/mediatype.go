package transfer

import (
	"regexp"
	"strings"
)

// safeRE are media types that no browser renders.
var safeRE = regexp.MustCompile(`^application/(vnd\.[A-Za-z0-9.+_-]+|json)$`)

// SafeMediaType is the media type to serve a blob with. Who pushes a manifest
// chooses it, and the registry may share its origin with the console.
func SafeMediaType(t string) string {
	if safeRE.MatchString(t) && !strings.Contains(t, "+xml") {
		return t
	}
	return "application/octet-stream"
}
