package problem

import (
	"net/http"
	"regexp"
	"strconv"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Invalid refuses a parameter of the request: by the specification's own code
// with 400, or as ECR does, for which every invalid parameter is an unsupported
// operation.
func Invalid(quirks bool, code, parameter, constraint string) *Problem {
	p := &Problem{Status: http.StatusBadRequest, Code: code, Message: errs.Parameter(parameter, constraint).Message}
	if quirks {
		p.Status, p.Code = http.StatusMethodNotAllowed, Unsupported
	}
	return p
}

// Digest reads the digest that a parameter of the request is, and refuses what is none
// or cannot be verified.
func Digest(quirks bool, parameter, text string) (name.Digest, error) {
	d, err := name.ParseDigest(text)
	if err != nil {
		return "", Invalid(quirks, DigestInvalid, parameter, "must satisfy regular expression '"+name.DigestPattern+"'")
	}
	if !d.Verifiable() {
		return "", Invalid(quirks, DigestInvalid, parameter, "the digest algorithm has to be sha256 or sha512")
	}
	return d, nil
}

// tagRE is the specification's grammar of tags. ECR's own (name.ParseTag) also
// takes longer ones and ones that begin with a dot or a hyphen.
var tagRE = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// NewTag reads a tag that is to be made.
func NewTag(quirks bool, text string) (name.Tag, error) {
	t, err := name.ParseTag(text)
	if err != nil || !quirks && !tagRE.MatchString(text) {
		return "", InvalidTag(quirks)
	}
	return t, nil
}

// InvalidTag refuses what is no tag.
func InvalidTag(quirks bool) *Problem {
	return Invalid(quirks, TagInvalid, "imageTag", "must satisfy regular expression '"+name.TagPattern+"'")
}

// InvalidRepository refuses what is no repository's name.
func InvalidRepository(quirks bool) *Problem {
	return Invalid(quirks, NameInvalid, "repositoryName", "must satisfy regular expression '"+name.RepositoryPattern+"'")
}

// OutOfRange refuses a Range in content of size bytes.
func OutOfRange(size int64) *Problem {
	return &Problem{Status: http.StatusRequestedRangeNotSatisfiable, Code: SizeInvalid, Message: "The content has " + strconv.FormatInt(size, 10) + " bytes; the range is not in it"}
}

// NoRoute refuses a method that a path does not take; allow are those that it does, "" where there is
// no such path.
func NoRoute(allow string) *Problem {
	if allow == "" {
		return &Problem{Status: http.StatusNotFound, Code: Unsupported, Message: "There is no such path in this API"}
	}
	return &Problem{Status: http.StatusMethodNotAllowed, Code: Unsupported, Message: "This path does not take the method", Allow: allow}
}
