package name

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"regexp"
	"strings"
)

// AccountID is a 12-digit AWS account number.
type AccountID string

// Region is an AWS region code, such as us-east-1.
type Region string

// Registry is one registry: ECR keeps a private one for each account and region, and
// a public one for each account, whose Region is Public.
type Registry struct {
	Account AccountID
	Region  Region
}

// Public stands in the place of a region for what belongs to public registries,
// which have none. No region has this name, so ParseRegion refuses it.
const Public Region = "public"

// PublicRegistry is the public registry of an account.
func PublicRegistry(a AccountID) Registry { return Registry{Account: a, Region: Public} }

// IsPublic says whether it is a public registry.
func (r Registry) IsPublic() bool { return r.Region == Public }

// Alias is the name of a public registry in the addresses of its repositories.
type Alias string

// Repository is the name of a repository inside a registry. It may hold slashes.
type Repository string

// Tag is an image tag.
type Tag string

// Digest is an algorithm-prefixed content digest in the OCI form, algorithm:hex.
type Digest string

// Errors that parsing returns. Callers turn them into the failure of their own
// wire; the text of the pattern that was missed is in the constants below.
var (
	ErrAccount    = errors.New("an account id has 12 digits")
	ErrRegion     = errors.New("a region is 2 to 25 lower-case letters, digits and hyphens")
	ErrRepository = errors.New("not a repository name")
	ErrTag        = errors.New("not an image tag")
	ErrDigest     = errors.New("not a digest")
	ErrAlias      = errors.New("an alias has 2 to 50 lower-case letters and digits, begins with a letter, and has single dots, hyphens or underscores inside")
)

// Patterns as the ECR API model states them. The repository and tag patterns
// stand in error messages word for word.
const (
	RepositoryPattern = `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`
	TagPattern        = `[a-zA-Z0-9-_.]+`
	DigestPattern     = `[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+`
	AliasPattern      = `[a-z][a-z0-9]+(?:[._-][a-z0-9]+)*`
)

// Length limits of the ECR API model, in characters.
const (
	RepositoryMinLength = 2
	RepositoryMaxLength = 256
	TagMaxLength        = 300
	AliasMaxLength      = 50
)

var aliasRE = regexp.MustCompile(`^` + AliasPattern + `$`)

// ParseAccountID checks that s is a 12-digit account id.
func ParseAccountID(s string) (AccountID, error) {
	if !isAccount(s) {
		return "", ErrAccount
	}
	return AccountID(s), nil
}

// ParseRegion checks that s has the form of a region code. Whether the region
// exists is the registry's question.
func ParseRegion(s string) (Region, error) {
	if !isRegion(s) || s == string(Public) {
		return "", ErrRegion
	}
	return Region(s), nil
}

// ParseRepository checks that s is a repository name of the present ECR
// grammar: 2 to 256 characters, segments joined by slashes.
func ParseRepository(s string) (Repository, error) {
	if len(s) < RepositoryMinLength || len(s) > RepositoryMaxLength || !isRepository(s) {
		return "", ErrRepository
	}
	return Repository(s), nil
}

// ParseAlias checks that s has the form of a public registry's alias (ECR Public API
// model, PrimaryRegistryAlias). Which of them may be had is domain/catalog's question.
func ParseAlias(s string) (Alias, error) {
	if len(s) > AliasMaxLength || !aliasRE.MatchString(s) {
		return "", ErrAlias
	}
	return Alias(s), nil
}

// ParseTag checks that s is a tag that ECR accepts: 1 to 300 characters out of
// letters, digits, hyphen, underscore and dot.
func ParseTag(s string) (Tag, error) {
	if len(s) > TagMaxLength || !isTag(s) {
		return "", ErrTag
	}
	return Tag(s), nil
}

// ParseDigest checks that s has the form of a digest and, for the algorithms
// that can be verified (sha256 and sha512), the right length of lower-case hex.
func ParseDigest(s string) (Digest, error) {
	if !LooksLikeDigest(s) {
		return "", ErrDigest
	}
	algorithm, hex, _ := strings.Cut(s, ":")
	switch algorithm {
	case "sha256":
		if len(hex) != 2*sha256.Size || hex != strings.ToLower(hex) {
			return "", ErrDigest
		}
	case "sha512":
		if len(hex) != 2*sha512.Size || hex != strings.ToLower(hex) {
			return "", ErrDigest
		}
	}
	return Digest(s), nil
}

// LooksLikeDigest says whether s has the loose digest form of the API model,
// without a check of its length.
func LooksLikeDigest(s string) bool {
	algorithm, hex, ok := strings.Cut(s, ":")
	return ok && consists(algorithm, func(c byte) bool { return inTag(c) || c == '+' }) && consists(hex, func(c byte) bool {
		return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
	})
}

// Algorithm is the part of the digest before the colon.
func (d Digest) Algorithm() string {
	algorithm, _, _ := strings.Cut(string(d), ":")
	return algorithm
}

// Hex is the part of the digest after the colon.
func (d Digest) Hex() string {
	_, h, _ := strings.Cut(string(d), ":")
	return h
}

// Verifiable says whether Berth can compute this digest's algorithm.
func (d Digest) Verifiable() bool {
	return d.Algorithm() == "sha256" || d.Algorithm() == "sha512"
}

// NewHash returns the hash of the digest's algorithm, or nil for one that
// Berth cannot compute.
func (d Digest) NewHash() hash.Hash {
	switch d.Algorithm() {
	case "sha256":
		return sha256.New()
	case "sha512":
		return sha512.New()
	}
	return nil
}

// SHA256 is the sha256 digest of b.
func SHA256(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// DigestOf computes the digest of b with the algorithm of d. It returns ""
// for an algorithm that Berth cannot compute.
func (d Digest) DigestOf(b []byte) Digest {
	h := d.NewHash()
	if h == nil {
		return ""
	}
	h.Write(b)
	return FromHash(d.Algorithm(), h)
}

// FromHash formats the present sum of h as a digest of the named algorithm.
func FromHash(algorithm string, h hash.Hash) Digest {
	return Digest(algorithm + ":" + hex.EncodeToString(h.Sum(nil)))
}

// String is the form that log lines and cache keys use: account/region.
func (r Registry) String() string { return string(r.Account) + "/" + string(r.Region) }

// Partition is the AWS partition of the region: aws, aws-cn or aws-us-gov.
func (r Region) Partition() string {
	switch {
	case strings.HasPrefix(string(r), "cn-"):
		return "aws-cn"
	case strings.HasPrefix(string(r), "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// The services of private and of public registries, as ARNs, IAM actions and
// signatures call them.
const (
	ServiceECR       = "ecr"
	ServiceECRPublic = "ecr-public"
)

// Service is the one that the registry belongs to.
func (r Registry) Service() string {
	if r.IsPublic() {
		return ServiceECRPublic
	}
	return ServiceECR
}

// RegistryARN is the ARN of a public registry; private ones have none.
func (r Registry) RegistryARN() ARN {
	return ARN{Partition: "aws", Service: ServiceECRPublic, Account: r.Account, Resource: "registry/" + string(r.Account)}
}

// RepositoryARN is the ARN of a repository; those of public ones are without a region.
func (r Registry) RepositoryARN(repo Repository) ARN {
	if r.IsPublic() {
		return ARN{Partition: "aws", Service: ServiceECRPublic, Account: r.Account, Resource: "repository/" + string(repo)}
	}
	return ARN{Partition: r.Region.Partition(), Service: "ecr", Region: r.Region, Account: r.Account, Resource: "repository/" + string(repo)}
}

// ARN is an Amazon resource name, split into its segments.
type ARN struct {
	Partition string
	Service   string
	Region    Region
	Account   AccountID
	Resource  string
}

// ErrARN is returned for text that is not an ARN of six segments.
var ErrARN = errors.New("not an ARN: arn:partition:service:region:account:resource")

// ParseARN splits s into its segments. Only the shape is checked.
func ParseARN(s string) (ARN, error) {
	var p [6]string
	for i := range 5 {
		var more bool
		if p[i], s, more = strings.Cut(s, ":"); !more {
			return ARN{}, ErrARN
		}
	}
	if p[5] = s; p[0] != "arn" || p[1] == "" || p[2] == "" || p[5] == "" {
		return ARN{}, ErrARN
	}
	return ARN{Partition: p[1], Service: p[2], Region: Region(p[3]), Account: AccountID(p[4]), Resource: p[5]}, nil
}

// String formats the ARN.
func (a ARN) String() string {
	return "arn:" + a.Partition + ":" + a.Service + ":" + string(a.Region) + ":" + string(a.Account) + ":" + a.Resource
}

// IsZero says whether the ARN is empty.
func (a ARN) IsZero() bool { return a == ARN{} }

// RegistryOf is the registry that the resource belongs to.
func (a ARN) RegistryOf() Registry {
	if a.Service == ServiceECRPublic {
		return PublicRegistry(a.Account)
	}
	return Registry{Account: a.Account, Region: a.Region}
}

// RepositoryOf returns the registry and repository that a repository ARN names, and
// false where it names something else.
func (a ARN) RepositoryOf() (Registry, Repository, bool) {
	rest, ok := strings.CutPrefix(a.Resource, "repository/")
	if !ok || a.Service != ServiceECR && a.Service != ServiceECRPublic {
		return Registry{}, "", false
	}
	repo, err := ParseRepository(rest)
	if err != nil {
		return Registry{}, "", false
	}
	if _, err := ParseAccountID(string(a.Account)); err != nil {
		return Registry{}, "", false
	}
	if a.Service == ServiceECRPublic {
		return PublicRegistry(a.Account), repo, a.Region == ""
	}
	if _, err := ParseRegion(string(a.Region)); err != nil {
		return Registry{}, "", false
	}
	return Registry{Account: a.Account, Region: a.Region}, repo, true
}
