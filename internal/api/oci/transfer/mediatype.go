package transfer

import "strings"

// SafeMediaType is the media type to serve a blob with: JSON, or one of a vendor's that is no XML,
// which no browser renders. Who pushes a manifest chooses it, and the registry may share its origin
// with the console.
func SafeMediaType(t string) string {
	vendor, ok := strings.CutPrefix(t, "application/vnd.")
	if t == "application/json" || ok && vendor != "" && strings.IndexFunc(vendor, outsideOfNames) < 0 && !strings.Contains(vendor, "+xml") {
		return t
	}
	return "application/octet-stream"
}

// outsideOfNames says whether a character stands in no vendor's media type.
func outsideOfNames(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(".+_-", c)
}
