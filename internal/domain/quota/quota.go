// Package quota holds the limits of ECR as numbers that an operator can change,
// for all accounts in the configuration and for one account or repository with
// `berth quota`, and admits requests at the rates that are set for them.
//
// The features enforce the limits; nothing that is stored is counted here. The
// edges ask Admit; which request is which action is theirs to say.
package quota

import "github.com/berth-registry/berth/internal/domain/name"

// Limits are the quotas of one account. The defaults are those of the ECR user
// guide, "Amazon ECR service quotas" (2026); where the API model admits more
// than the guide says, the larger value holds.
type Limits struct {
	// RepositoriesPerRegistry counts repositories of one account and region.
	RepositoriesPerRegistry int64
	// ImagesPerRepository counts images, tagged or not.
	ImagesPerRepository int64
	// TagsPerImage counts tags that point to one image.
	TagsPerImage int64
	// LayersPerImage bounds the layers that a manifest names. AWS publishes no
	// number; docker itself stops at 127.
	LayersPerImage int
	// ManifestBytes bounds a manifest (API model: 4,194,304 characters).
	ManifestBytes int
	// MaxLayerBytes bounds one layer: 52,000 MiB.
	MaxLayerBytes int64
	// MaxLayerParts bounds the parts of one upload through the API.
	MaxLayerParts int64
	// MinPartBytes is the least size of a part that is not the last: 5 MiB.
	MinPartBytes int64
	// MaxPartBytes is the largest part that the API model admits: 20 MiB.
	MaxPartBytes int64
	// PartSize is what InitiateLayerUpload recommends: 10 MiB.
	PartSize int64
	// ResourceTags counts the tags of one repository.
	ResourceTags int
	// LifecycleRules counts the rules of one lifecycle policy.
	LifecycleRules int
	// LifecyclePolicyChars bounds the text of a lifecycle policy, in characters.
	LifecyclePolicyChars int
	// PolicyChars bounds the text of a repository or registry policy, in
	// characters (API model).
	PolicyChars int
	// PullTimeExclusions counts the principals of one registry whose pulls leave
	// no time.
	PullTimeExclusions int
	// StorageBytes bounds what the images of one account and region take, in
	// bytes; 0 is no bound. AWS has none.
	StorageBytes int64
	// RepositoryStorageBytes bounds what the images of one repository take, in
	// bytes; 0 is no bound. AWS has none.
	RepositoryStorageBytes int64
	// PublicRepositories, PublicMaxLayerBytes and PublicMaxLayerParts stand in the
	// place of those without Public in public registries (ECR Public user guide,
	// "Amazon ECR Public service quotas").
	PublicRepositories  int64
	PublicMaxLayerBytes int64
	PublicMaxLayerParts int64
}

// In gives the limits that hold in a registry of the account, public or private.
func (l Limits) In(r name.Registry) Limits {
	if r.IsPublic() {
		l.RepositoriesPerRegistry, l.MaxLayerBytes, l.MaxLayerParts = l.PublicRepositories, l.PublicMaxLayerBytes, l.PublicMaxLayerParts
	}
	return l
}

const mib = 1 << 20

// Default returns ECR's own limits.
func Default() Limits {
	return Limits{
		RepositoriesPerRegistry: 100_000,
		ImagesPerRepository:     100_000,
		TagsPerImage:            1_000,
		LayersPerImage:          4_096,
		ManifestBytes:           4 * mib,
		MaxLayerBytes:           52_000 * mib,
		MaxLayerParts:           4_200,
		MinPartBytes:            5 * mib,
		MaxPartBytes:            20 * mib,
		PartSize:                10 * mib,
		ResourceTags:            50,
		LifecycleRules:          50,
		LifecyclePolicyChars:    30_720,
		PolicyChars:             10_240,
		PullTimeExclusions:      100,
		PublicRepositories:      10_000,
		PublicMaxLayerBytes:     10_000 * mib,
		PublicMaxLayerParts:     1_000,
	}
}
