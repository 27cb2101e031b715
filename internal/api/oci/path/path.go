// Package path takes the paths of the OCI distribution API apart. It does not
// check the parts against their grammars (domain/name) and knows no methods
// (the rows of api/oci).
package path

import (
	"net/url"
	"strings"
)

// Kind is what a path under /v2/ points at.
type Kind int

// The kinds of paths. None is a path that is none of them.
const (
	None      Kind = iota
	Base           // /v2/
	Catalog        // /v2/_catalog
	Tags           // /v2/<name>/tags/list
	Manifest       // /v2/<name>/manifests/<reference>
	Blob           // /v2/<name>/blobs/<digest>
	Uploads        // /v2/<name>/blobs/uploads/
	Upload         // /v2/<name>/blobs/uploads/<id>
	Referrers      // /v2/<name>/referrers/<digest>
)

// Target is a path taken apart. The parts are decoded and not yet checked
// against their grammars, which refuse whatever else is wrong with them: empty
// and dot segments, and the lone slash that stands for an encoded one.
type Target struct {
	Kind Kind
	// Name is the repository's name.
	Name string
	// Reference is the tag, digest or upload id at the end.
	Reference string
}

// Split takes the escaped path of a request apart, from the right, because a
// repository's name may hold any of the words that the routes are made of.
// It works on the escaped form so that an encoded slash stays inside its
// segment, where it then makes the name or the reference invalid, and it never
// cleans a path: what would have to be cleaned is no path of this API.
func Split(escaped string) Target {
	rest, ok := strings.CutPrefix(escaped, "/v2")
	if !ok {
		return Target{}
	}
	if rest == "" || rest == "/" {
		return Target{Kind: Base}
	}
	if rest[0] != '/' {
		return Target{}
	}
	// The last segments, the last one first, and what stands before each. first is the
	// number of the path's first segment, or more where there are others before these.
	var segments, before [3]string
	first, left := 0, rest[1:]
	for i := range segments {
		slash := strings.LastIndexByte(left, '/')
		segments[i], left = decoded(left[slash+1:]), left[:max(slash, 0)]
		before[i], first = left, i+1
		if slash < 0 {
			first = i
			break
		}
	}
	if first == 0 && segments[0] == "_catalog" {
		return Target{Kind: Catalog}
	}
	at := func(i int) string { return segments[i-1] } // the i-th segment from the right, 1-based
	named := func(k Kind, tail int, reference string) Target {
		if first < tail {
			return Target{}
		}
		return Target{Kind: k, Name: decodedAll(before[tail-1]), Reference: reference}
	}
	switch {
	case at(2) == "blobs" && at(1) == "uploads":
		return named(Uploads, 2, "")
	case at(3) == "blobs" && at(2) == "uploads" && at(1) == "":
		return named(Uploads, 3, "")
	case at(3) == "blobs" && at(2) == "uploads":
		return named(Upload, 3, at(1))
	case at(1) == "":
		return Target{}
	case at(2) == "tags" && at(1) == "list":
		return named(Tags, 2, "")
	case at(2) == "manifests":
		return named(Manifest, 2, at(1))
	case at(2) == "blobs":
		return named(Blob, 2, at(1))
	case at(2) == "referrers":
		return named(Referrers, 2, at(1))
	}
	return Target{}
}

// decoded is a segment without its escapes. One that no grammar admits becomes a slash,
// which keeps it so.
func decoded(segment string) string {
	if !strings.Contains(segment, "%") {
		return segment
	}
	text, err := url.PathUnescape(segment)
	if err != nil || strings.Contains(text, "/") {
		return "/"
	}
	return text
}

// decodedAll is decoded for each of the segments of a path.
func decodedAll(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = decoded(s)
	}
	return strings.Join(segments, "/")
}
