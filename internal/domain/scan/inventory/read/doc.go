// Package read reads one layer of an image into an inventory.Layer: the archive and its
// compression, whiteouts, release files of distributions, and the databases of their package
// managers. The packages of languages are inventory/language's, whose Wanted and Parse it calls; RPM's
// databases are read by read/rpm. How layers are put together is inventory's.
//
// A layer is what a stranger made. Whatever it holds, reading it ends, in bounded memory, with an
// inventory or an *Error; it does not panic. What costs time only is bounded by Limits.Bytes and by
// the limits of the process this runs in.
package read

import (
	"fmt"
	"strings"
	"unicode"
)

// Limits bound one layer. A limit of zero is none of that thing; use DefaultLimits.
type Limits struct {
	// Bytes is the length of the plain archive.
	Bytes int64
	// Ratio is how many plain bytes one compressed byte may make. It is looked at when
	// there are RatioBytes plain ones: small layers of zeros are common.
	Ratio, RatioBytes int64
	// Entries of the archive.
	Entries int64
	// PathBytes is the length of one path.
	PathBytes int
	// FileBytes is the size of one file that tells of software. A larger one is skipped.
	FileBytes int64
	// MemoryBytes is the size up to which such a file is kept in memory; a larger one
	// is written to the spool directory.
	MemoryBytes int64
	// Packages of all files of the layer, and files that have any.
	Packages int
	// Owned are paths that belong to packages of the distribution and might be
	// packages of a language. More of them are left out.
	Owned int
	// WhiteoutBytes is the length of all paths that the layer removes.
	WhiteoutBytes int64
}

// DefaultLimits are for images as they are met: the largest layer that ECR takes has
// 52 GB (compressed), a large distribution has 60,000 packages, Linux takes paths of 4,096 bytes,
// gzip makes 1,032 bytes of one at most.
func DefaultLimits() Limits {
	return Limits{
		Bytes: 256 << 30, Ratio: 2000, RatioBytes: 1 << 30, Entries: 4_000_000, PathBytes: 4096,
		FileBytes: 1 << 30, MemoryBytes: 32 << 20,
		Packages: 100_000, Owned: 500_000, WhiteoutBytes: 16 << 20,
	}
}

// Error says why a layer cannot be inventoried; another try will end the same way.
type Error struct {
	// Reason is in plain words and goes on "the layer ...": "is not a tar archive".
	Reason string
}

func (e *Error) Error() string { return "the layer " + e.Reason }

func refuse(format string, args ...any) error { return &Error{Reason: fmt.Sprintf(format, args...)} }

// words makes what came from a layer fit for a line of text.
func words(s string) string {
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
