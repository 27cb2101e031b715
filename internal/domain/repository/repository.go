// Package repository owns repositories and their settings: creation, deletion,
// tag mutability, scan flag, encryption settings, resource tags, policy, Berth's own
// settings (settings.go), and the sealing of what the database keeps for a
// repository (its manifests).
//
// It does not own images or layers (domain/image, domain/layer), nor deleted
// images that can be restored (domain/recovery), nor who may do what
// (domain/authz).
package repository

import (
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
)

// Repository is one repository as it stands.
type Repository struct {
	ID         int64
	Registry   name.Registry
	Name       name.Repository
	CreatedAt  time.Time
	Mutability Mutability
	ScanOnPush bool
	Encryption Encryption
	// Images is the number of images it holds.
	Images int64
	// DeletedAt is when it was deleted, and ExpiresAt until when it can be restored;
	// zero for all but what the functions in deleted.go return. Its Name is the one
	// that it had.
	DeletedAt, ExpiresAt time.Time
	// dataKey is the wrapped key that seals its manifests, nil when sealing is off.
	dataKey []byte
}

// ARN is the repository's resource name.
func (r Repository) ARN() name.ARN { return r.Registry.RepositoryARN(r.Name) }

// EncryptionType is how a repository's content is protected at rest.
type EncryptionType string

// The encryption types of the ECR API that Berth serves (KMS_DSSE exists in
// AWS's GovCloud regions only).
const (
	AES256 EncryptionType = "AES256"
	KMS    EncryptionType = "KMS"
)

// Encryption is fixed when a repository is created.
type Encryption struct {
	Type EncryptionType
	// KMSKey is the key's ARN, "" under AES256.
	KMSKey string
	// KeyID is the id in infra/keys, "" under AES256 (the default key).
	KeyID string
}

// TagMutability says whether a tag may move to another digest.
type TagMutability string

// The four settings of the ECR user guide, "image tag mutability".
const (
	Mutable                TagMutability = "MUTABLE"
	Immutable              TagMutability = "IMMUTABLE"
	MutableWithExclusion   TagMutability = "MUTABLE_WITH_EXCLUSION"
	ImmutableWithExclusion TagMutability = "IMMUTABLE_WITH_EXCLUSION"
)

// Mutability is the setting with its exclusion filters.
type Mutability struct {
	Setting TagMutability
	// Filters are wildcard patterns (`*` matches any run of characters, the
	// whole tag has to match); 1 to 5 with the *_WITH_EXCLUSION settings.
	Filters []string
}

// Allows says whether the tag may be moved off the digest it points to.
func (m Mutability) Allows(tag name.Tag) bool {
	excluded := false
	for _, f := range m.Filters {
		if matchWildcard(f, string(tag)) {
			excluded = true
			break
		}
	}
	switch m.Setting {
	case Immutable:
		return false
	case ImmutableWithExclusion:
		return excluded
	case MutableWithExclusion:
		return !excluded
	case Mutable:
		return true
	}
	return true
}

// matchWildcard matches the whole of s against pattern, in which `*` stands
// for any run of characters. It takes time proportional to both lengths'
// product at worst.
func matchWildcard(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
